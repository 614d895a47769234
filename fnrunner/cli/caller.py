"""Signs the commands' requests, for servers that want to know who calls: with AWS's variables or a profile of AWS's files.

In order: ``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY`` and ``AWS_SESSION_TOKEN``; the profile ``AWS_PROFILE`` (or
``default``) of ``AWS_SHARED_CREDENTIALS_FILE`` (or ``~/.aws/credentials``). Nothing on the network is asked for keys.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from fnrunner.cli.error import ServerRefused

if TYPE_CHECKING:
    from botocore.credentials import Credentials

REMEDY = (
    "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE. On the server's host `fnrunner iam bootstrap` makes the "
    "first key."
)


def region(environ: Mapping[str, str]) -> str:
    """What requests are signed for: the server's region."""
    names = ("FNRUNNER_REGION", "AWS_REGION", "AWS_DEFAULT_REGION")
    return next((environ[name] for name in names if environ.get(name)), "us-east-1")


def at_hand(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether there seem to be some, without reading them."""
    return bool(environ.get("AWS_ACCESS_KEY_ID") or environ.get("AWS_PROFILE")) or os.path.exists(_file(environ))


def _file(environ: Mapping[str, str]) -> str:
    return environ.get("AWS_SHARED_CREDENTIALS_FILE") or os.path.expanduser("~/.aws/credentials")


def credentials(environ: Mapping[str, str] = os.environ) -> Credentials:
    """Raises ServerRefused when there are none."""
    from botocore.credentials import EnvProvider, SharedCredentialProvider
    from botocore.exceptions import BotoCoreError

    profile = environ.get("AWS_PROFILE") or None
    try:
        found = None if profile else EnvProvider(environ=environ).load()
        found = found or SharedCredentialProvider(_file(environ), profile or "default").load()
    except BotoCoreError as error:
        raise ServerRefused(
            f"The server wants to know who calls, and the credentials are no use: {error}", REMEDY
        ) from error
    if found is None:
        raise ServerRefused("The server wants to know who calls, and there are no credentials.", REMEDY)
    return found


def sign(
    method: str, url: str, headers: Mapping[str, str], body: bytes, environ: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """The headers, with the signature's. Raises ServerRefused."""
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest

    request = AWSRequest(method=method, url=url, data=body, headers=dict(headers))
    SigV4Auth(credentials(environ), "lambda", region(environ)).add_auth(request)
    return dict(request.headers.items())
