"""Requests signed as botocore signs them, by an httpx client that knows nothing of it."""

from __future__ import annotations

from collections.abc import Generator

import httpx
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from fnrunner.auth.credentials import Credential


class Signature(httpx.Auth):
    """Of one caller, for the Lambda API."""

    requires_request_body = True

    def __init__(self, who: Credential, region: str) -> None:
        self._signer = SigV4Auth(Credentials(who.access_key, who.secret, who.token or None), "lambda", region)

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        names = [name for name in request.headers if name in ("host", "content-type") or name.startswith("x-amz-")]
        given = {name: request.headers[name] for name in names}
        made = AWSRequest(method=request.method, url=str(request.url), data=request.content, headers=given)
        self._signer.add_auth(made)
        for name, value in made.headers.items():
            request.headers[name] = value
        yield request
