"""Managed policies on the server: compared, made, changed and taken away through its IAM API."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from fnrunner.cli.deploy.spec import PolicySpec
from fnrunner.cli.deploy.trigger import Change, shown
from fnrunner.cli.error import ServerRefused, UsageFault

if TYPE_CHECKING:
    from collections.abc import Callable

    from fnrunner.cli.iam.api import IamClient

_MISSING = "NoSuchEntity"
_MOST_VERSIONS = 5


class DescriptionFixed(UsageFault):
    """A managed policy's description is what it was made with."""

    def __init__(self, wanted: PolicySpec, there: PolicySpec) -> None:
        super().__init__(
            f"The Description of the policy {wanted.name} is {there.description!r} and cannot become {wanted.description!r}",
            "Leave it as it was, or give the policy another ManagedPolicyName.",
        )


class PolicyServer:
    """``client`` is asked for at each use: only servers that enforce permissions have policies."""

    def __init__(self, client: Callable[[], IamClient]) -> None:
        self._made = client

    def there(self, arn: str) -> PolicySpec | None:
        """A policy as it is; None where there is none."""
        client = self._made()
        try:
            policy = client.call("get_policy", PolicyArn=arn)["Policy"]
        except ServerRefused as error:
            if error.code == _MISSING:
                return None
            raise
        version = client.call("get_policy_version", PolicyArn=arn, VersionId=policy["DefaultVersionId"])
        document = version["PolicyVersion"]["Document"]
        return PolicySpec(policy["PolicyName"], arn, document, policy.get("Description", ""))

    def put(self, wanted: PolicySpec) -> None:
        """Make it, or a new version of it, which counts from now on. Each call can be repeated. Raises DescriptionFixed."""
        client, there = self._made(), self.there(wanted.arn)
        text = json.dumps(wanted.document)
        if there is None:
            description = wanted.description or None
            client.call("create_policy", PolicyName=wanted.name, PolicyDocument=text, Description=description)
        elif changes(wanted, there):
            self._make_room(client, wanted.arn)
            client.call("create_policy_version", PolicyArn=wanted.arn, PolicyDocument=text, SetAsDefault=True)

    def remove(self, arn: str) -> None:
        """With all of its versions; passed over when it is not there. Raises ServerRefused while it is attached."""
        client = self._made()
        if self.there(arn) is None:
            return
        for version in self._others(client, arn):
            client.call("delete_policy_version", PolicyArn=arn, VersionId=version["VersionId"])
        client.call("delete_policy", PolicyArn=arn)

    def _make_room(self, client: IamClient, arn: str) -> None:
        """The oldest goes where there are as many as there can be."""
        others = sorted(self._others(client, arn), key=lambda version: int(version["VersionId"][1:]))
        for version in others[: max(0, len(others) + 2 - _MOST_VERSIONS)]:
            client.call("delete_policy_version", PolicyArn=arn, VersionId=version["VersionId"])

    def _others(self, client: IamClient, arn: str) -> list[dict[str, Any]]:
        found = client.every("list_policy_versions", "Versions", PolicyArn=arn)
        return [version for version in found if not version["IsDefaultVersion"]]


def changes(wanted: PolicySpec, there: PolicySpec) -> tuple[Change, ...]:
    """What makes one into the other. Raises DescriptionFixed."""
    if wanted.description != there.description:
        raise DescriptionFixed(wanted, there)
    if wanted.document == there.document:
        return ()
    return (Change("PolicyDocument", shown(there.document), shown(wanted.document)),)
