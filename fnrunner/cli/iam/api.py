"""botocore's client of the server's IAM API, with errors as commands have them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from fnrunner import __version__
from fnrunner.cli.caller import REMEDY, at_hand, credentials, region
from fnrunner.cli.error import ServerRefused, ServerUnreachable, UsageFault

_START = "Start it with FNRUNNER_AUTH=iam."
"""How a server without users ends its refusal."""
AWS_POLICIES = "arn:aws:iam::aws:policy/"


class IamClient:
    """Calls operations of IAM by botocore's names, such as ``create_user``."""

    def __init__(self, endpoint_url: str) -> None:
        import botocore.session
        from botocore import UNSIGNED
        from botocore.config import Config

        session = botocore.session.Session()
        # without a key the server says whether it wants one, or has no users at all
        found = credentials() if at_hand() else None
        unsigned = {} if found else {"signature_version": UNSIGNED}
        self._endpoint_url = endpoint_url
        self._client = session.create_client(
            "iam",
            endpoint_url=endpoint_url,
            region_name=region(os.environ),
            aws_access_key_id=found.access_key if found else None,
            aws_secret_access_key=found.secret_key if found else None,
            aws_session_token=found.token if found else None,
            config=Config(retries={"total_max_attempts": 2}, user_agent=f"fnrunner/{__version__}", **unsigned),
        )

    def call(self, operation: str, **params: Any) -> dict[str, Any]:
        """Parameters that are None are left out. Raises ServerRefused, ServerUnreachable."""
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, ParamValidationError
        from botocore.parsers import ResponseParserError

        try:
            answer = getattr(self._client, operation)(
                **{key: value for key, value in params.items() if value is not None}
            )
        except ClientError as error:
            raise _refused(error.response) from error
        except ParamValidationError as error:
            raise ServerRefused(str(error), "Nothing was changed by this call.", code="ValidationError") from error
        except HTTPClientError as error:
            raise ServerUnreachable(
                f"The server at {self._endpoint_url} does not answer: {error}",
                "Start it with `FNRUNNER_AUTH=iam fnrunner dev`, or name another with --endpoint-url.",
            ) from error
        except ResponseParserError as error:
            raise ServerRefused(
                "The answer is not IAM's.", "Is this a fnrunner endpoint, and of this release? Check --endpoint-url."
            ) from error
        except BotoCoreError as error:
            raise ServerRefused(str(error), "Is this a fnrunner endpoint? Check --endpoint-url.") from error
        return dict(answer)

    def every(self, operation: str, key: str, **params: Any) -> Iterator[Any]:
        """The items of a paged list, page after page."""
        marker = None
        while True:
            page = self.call(operation, **params, Marker=marker)
            yield from page[key]
            if not page.get("IsTruncated"):
                return
            marker = page["Marker"]

    def principal_arn(self, name: str) -> str:
        """An ARN as it is; a name is that of a role or a user. Raises ServerRefused for none, UsageFault for both."""
        if name.startswith("arn:"):
            return name
        found = []
        for operation, key, kind in (("get_role", "RoleName", "Role"), ("get_user", "UserName", "User")):
            try:
                found.append(str(self.call(operation, **{key: name})[kind]["Arn"]))
            except ServerRefused as error:
                if error.code != "NoSuchEntity":
                    raise
        if len(found) > 1:
            raise UsageFault(f"{name} is a role and a user", f"Name one of them by its ARN: {' or '.join(found)}.")
        if not found:
            raise ServerRefused(
                f"There is no role and no user {name}.",
                "`fnrunner iam role ls` and `fnrunner iam user ls` list them.",
                code="NoSuchEntity",
            )
        return found[0]

    def policy_arn(self, name: str) -> str:
        """An ARN as it is; a name is one of this account's policies, else one of AWS's. Raises ServerRefused."""
        if name.startswith("arn:"):
            return name
        for policy in self.every("list_policies", "Policies"):
            if policy["PolicyName"] == name:
                return str(policy["Arn"])
        raise ServerRefused(f"There is no policy {name}.", "`fnrunner iam policy ls` lists them.", code="NoSuchEntity")


def _refused(response: dict[str, Any]) -> ServerRefused:
    error, status = response["Error"], response["ResponseMetadata"]["HTTPStatusCode"]
    code = error.get("Code", "")
    if code == "InvalidAction" and (fault := error.get("Message", "")).endswith(_START):
        return ServerRefused(fault.removesuffix(_START).strip(), _START, code=code, http_status=status)
    remedy = (
        REMEDY
        if code in ("MissingAuthenticationToken", "InvalidClientTokenId")
        else "Nothing was changed by this call."
    )
    return ServerRefused(f"{code}: {error.get('Message', '')}", remedy, code=code, http_status=status)
