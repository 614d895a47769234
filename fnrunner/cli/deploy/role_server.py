"""Execution roles on the server: compared, made, changed and taken away through its IAM API."""

from __future__ import annotations

from typing import Any

from fnrunner.cli.deploy.policy_server import PolicyServer
from fnrunner.cli.deploy.spec import RoleSpec
from fnrunner.cli.deploy.trigger import Change, shown
from fnrunner.cli.error import ServerRefused
from fnrunner.cli.iam.api import IamClient

_MISSING = "NoSuchEntity"


class RoleServer:
    """The client is made at the first use: only servers that enforce permissions have roles."""

    def __init__(self, endpoint_url: str) -> None:
        self._endpoint_url = endpoint_url
        self._made: IamClient | None = None
        self.policies = PolicyServer(lambda: self._client)

    @property
    def _client(self) -> IamClient:
        if self._made is None:
            self._made = IamClient(self._endpoint_url)
        return self._made

    def there(self, name: str) -> RoleSpec | None:
        """A role as it is; None where there is none."""
        try:
            role = self._client.call("get_role", RoleName=name)["Role"]
        except ServerRefused as error:
            if error.code == _MISSING:
                return None
            raise
        attached = self._client.every("list_attached_role_policies", "AttachedPolicies", RoleName=name)
        names = list(self._client.every("list_role_policies", "PolicyNames", RoleName=name))
        inline = {
            one: self._client.call("get_role_policy", RoleName=name, PolicyName=one)["PolicyDocument"] for one in names
        }
        arns = tuple(sorted(str(one["PolicyArn"]) for one in attached))
        return RoleSpec(name, role["AssumeRolePolicyDocument"], arns, inline, role.get("Description", ""))

    def put(self, wanted: RoleSpec) -> None:
        """Make it, or make what is there into it. Each call can be repeated."""
        there = self.there(wanted.name)
        if there is None:
            self._call(
                "create_role", wanted, AssumeRolePolicyDocument=_text(wanted.trust), Description=wanted.description
            )
            there = RoleSpec(wanted.name, wanted.trust, description=wanted.description)
        if there.trust != wanted.trust:
            self._call("update_assume_role_policy", wanted, PolicyDocument=_text(wanted.trust))
        if there.description != wanted.description:
            self._call("update_role", wanted, Description=wanted.description)
        for arn in sorted({*wanted.managed} - {*there.managed}):
            self._call("attach_role_policy", wanted, PolicyArn=arn)
        for arn in sorted({*there.managed} - {*wanted.managed}):
            self._call("detach_role_policy", wanted, PolicyArn=arn)
        for name, document in wanted.inline.items():
            if there.inline.get(name) != document:
                self._call("put_role_policy", wanted, PolicyName=name, PolicyDocument=_text(document))
        for name in there.inline:
            if name not in wanted.inline:
                self._call("delete_role_policy", wanted, PolicyName=name)

    def remove(self, name: str) -> None:
        """With its policies; passed over when it is not there."""
        if (there := self.there(name)) is None:
            return
        self.put(RoleSpec(name, there.trust, description=there.description))
        self._call("delete_role", there)

    def _call(self, operation: str, role: RoleSpec, **params: Any) -> None:
        self._client.call(operation, RoleName=role.name, **params)


def changes(wanted: RoleSpec, there: RoleSpec) -> tuple[Change, ...]:
    """What makes one into the other. Pure."""
    new, old = _comparable(wanted), _comparable(there)
    keys = [*new, *(key for key in old if key not in new)]
    return tuple(Change(key, old.get(key), new.get(key)) for key in keys if old.get(key) != new.get(key))


def _comparable(role: RoleSpec) -> dict[str, str | None]:
    return {
        "AssumeRolePolicyDocument": shown(role.trust),
        "Description": shown(role.description),
        **{f"ManagedPolicy.{arn}": "attached" for arn in role.managed},
        **{f"Policy.{name}": shown(document) for name, document in role.inline.items()},
    }


def _text(document: Any) -> str:
    import json

    return json.dumps(document)
