"""One of everything that the supported operations speak of, good parameters for each operation, and its whole state."""

from __future__ import annotations

from typing import Any

import httpx

from tests.api_server import CODE, HOME, ROLE
from tests.conformance.api import model
from tests.conformance.api.wire import send

FUNCTION = "f"
MISSING_UUID = "00000000-0000-4000-8000-000000000000"
VOLATILE = ("Location", "StateTransitionReason")
"""Links expire, and a mapping that nobody takes up says so after a while."""

_BY_PARAMETER: dict[str, Any] = {
    "FunctionName": FUNCTION,
    "Name": "live",
    "Resource": HOME.function(FUNCTION),
    "ResourceArn": HOME.function(FUNCTION),
    "LayerName": "layer",
    "VersionNumber": 1,
    "StatementId": "statement",
    "Action": "lambda:InvokeFunction",
    "Principal": "events.amazonaws.com",
    "Arn": f"arn:aws:lambda:{HOME.region}:{HOME.account}:layer:layer:1",
    "Role": ROLE,
    "AuthType": "NONE",
    "RecursiveLoop": "Allow",
    "UpdateRuntimeOn": "Auto",
    "ReservedConcurrentExecutions": 50,
    "ProvisionedConcurrentExecutions": 1,
    "UUID": MISSING_UUID,
    "Tags": {"k": "v"},
    "TagKeys": ["a"],
    "Content": {"ZipFile": CODE},
    "InvokeArgs": b"{}",
    "AllowedPublishers": {
        "SigningProfileVersionArns": [
            f"arn:aws:signer:{HOME.region}:{HOME.account}:/signing-profiles/profile/0123456789"
        ]
    },
}  # fmt: skip

_BY_OPERATION: dict[str, dict[str, Any]] = {
    "CreateFunction": {
        "FunctionName": "new", "Role": ROLE, "Code": {"ZipFile": CODE}, "Runtime": "python3.12", "Handler": "app.handler",
    },
    "UpdateFunctionCode": {"ZipFile": CODE},
    "UpdateFunctionConfiguration": {"Description": "changed"},
    "PutFunctionEventInvokeConfig": {"MaximumRetryAttempts": 1},
    "UpdateFunctionEventInvokeConfig": {"MaximumRetryAttempts": 1},
    "CreateAlias": {"Name": "new", "FunctionVersion": "1"},
    "UpdateAlias": {"Description": "changed"},
    "CreateFunctionUrlConfig": {"Qualifier": "other"},
    "AddPermission": {"StatementId": "new"},
    "AddLayerVersionPermission": {"StatementId": "new", "Action": "lambda:GetLayerVersion", "Principal": "*"},
    "CreateEventSourceMapping": {"EventSourceArn": HOME.queue("missing"), "Enabled": False},
    "UpdateEventSourceMapping": {"Enabled": False},
    "Invoke": {"Payload": b"{}"},
    "InvokeWithResponseStream": {"Payload": b"{}"},
    "PutProvisionedConcurrencyConfig": {"Qualifier": "live"},
    "GetProvisionedConcurrencyConfig": {"Qualifier": "live"},
    "DeleteProvisionedConcurrencyConfig": {"Qualifier": "live"},
}  # fmt: skip


class World:
    """What was made, and what only the server can name: UUIDs and ARNs."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client
        self.known: dict[str, Any] = dict(_BY_PARAMETER)

    def good(self, name: str) -> dict[str, Any]:
        """Parameters that the operation takes; what it needs to exist was made."""
        needed = {key: self.known[key] for key in model.required(name) if key in self.known}
        return needed | _BY_OPERATION.get(name, {})

    def make(self) -> None:
        """Each of its things, where this release has them."""
        self._do("CreateFunction", FunctionName=FUNCTION, Tags={"a": "1"})
        self._do("PublishVersion")
        self._do("CreateAlias", Name="live")
        self._do("CreateAlias", Name="other")
        self._do("PutFunctionEventInvokeConfig")
        self._do("PutFunctionConcurrency")
        self._do("CreateFunctionUrlConfig", Qualifier="live")
        self._do("PutProvisionedConcurrencyConfig")
        self._do("AddPermission", StatementId="statement")
        self._do("PublishLayerVersion")
        self._do("AddLayerVersionPermission", StatementId="statement")
        self.client.put("/fnrunner/v1/queues/work", json={}).raise_for_status()
        mapping = self._do("CreateEventSourceMapping", EventSourceArn=HOME.queue("work"))
        self.known["UUID"] = mapping["UUID"]
        if signing := self._do("CreateCodeSigningConfig"):
            self.known["CodeSigningConfigArn"] = signing["CodeSigningConfig"]["CodeSigningConfigArn"]

    def _do(self, name: str, **changes: Any) -> Any:
        if name not in model.supported():
            return {}
        answer = send(self.client, name, self.good(name) | changes)
        assert answer.is_success, f"{name}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else {}

    def state(self) -> dict[str, Any]:
        """What every operation that only reads answers."""
        found = {}
        for name in model.supported():
            if name.startswith(("Get", "List")):
                answer = send(self.client, name, self.good(name))
                found[name] = (answer.status_code, _lasting(answer.json() if answer.content else None))
        return found


def _lasting(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _lasting(item) for key, item in value.items() if key not in VOLATILE}
    if isinstance(value, list):
        return [_lasting(item) for item in value]
    return value
