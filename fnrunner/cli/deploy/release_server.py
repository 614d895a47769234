"""Versions and aliases on the server: asked for, published, pointed and taken away. Every call can be repeated."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fnrunner.cli.client import FUNCTIONS, Client, function_path, segment
from fnrunner.cli.deploy import image
from fnrunner.cli.deploy.plan import AliasThere
from fnrunner.cli.deploy.release import AliasState, AliasStep
from fnrunner.cli.deploy.spec import AliasSpec, RoutedAliasSpec, VersionSpec
from fnrunner.cli.error import ServerRefused

PROVISIONED = "/2019-09-30/functions"
_LATEST = "$LATEST"


class ReleaseServer:
    def __init__(self, client: Client) -> None:
        self._client = client

    def alias(self, name: str, alias: str) -> AliasThere | None:
        """The version that an alias names, and what is prepared for it."""
        if (found := self.state(name, alias)) is None:
            return None
        return AliasThere(found.version, self.code_sha256(name, found.version), found.provisioned)

    def code_sha256(self, name: str, version: str) -> str:
        """Of a version's package."""
        there = self._client.get(function_path(name), Qualifier=version)
        return str(image.in_terms_of_packages(there["Configuration"], there["Code"])["CodeSha256"])

    def state(self, name: str, alias: str) -> AliasState | None:
        """All that an alias says; None where there is none."""
        if not (found := self._client.find(_alias_path(name, alias))):
            return None
        held = self._client.find(_provisioned_path(name), Qualifier=alias) or {}
        weights = (found.get("RoutingConfig") or {}).get("AdditionalVersionWeights") or {}
        return AliasState(
            str(found["FunctionVersion"]), found.get("Description", ""), weights,
            held.get("RequestedProvisionedConcurrentExecutions"),
        )  # fmt: skip

    def states(self, name: str, aliases: Iterable[str]) -> dict[str, AliasState]:
        """Of the aliases that are there."""
        found = {alias: self.state(name, alias) for alias in aliases}
        return {alias: state for alias, state in found.items() if state is not None}

    def numbers(self, name: str) -> tuple[str, ...]:
        """The versions that a function has, besides ``$LATEST``; none of one that is not there."""
        path = function_path(name, "versions")
        if self._client.find(path) is None:
            return ()
        found = (str(version["Version"]) for version in self._client.pages(path, "Versions"))
        return tuple(number for number in found if number != _LATEST)

    def publish(self, name: str, wanted: VersionSpec) -> str:
        """The number of the version that the function is now: one that has been published already keeps its number, so that
        a crash after it makes no more of them."""
        body = {"CodeSha256": wanted.code_sha256, "Description": wanted.description}
        given = {key: value for key, value in body.items() if value}
        return str(self._client.send("POST", function_path(name, "versions"), given)["Version"])

    def point_alias(self, name: str, wanted: AliasSpec, version: str, code_sha256: str) -> None:
        """The alias names this version and no other; without one, the version that what the function is now is published as."""
        if not version:
            version = self.publish(name, VersionSpec("", description=wanted.description, code_sha256=code_sha256))
        if self._client.find(_alias_path(name, wanted.name)) is None:
            body: dict[str, Any] = {"Name": wanted.name, "FunctionVersion": version}
            self._client.send("POST", function_path(name, "aliases"), body)
        else:
            body = {"FunctionVersion": version, "RoutingConfig": {"AdditionalVersionWeights": {}}}
            self._client.send("PUT", _alias_path(name, wanted.name), body)

    def apply(self, name: str, step: AliasStep) -> None:
        """Make or change an alias, then what is held ready for it."""
        if step.creates or step.routed:
            self._route(name, step.spec, step.creates)
        if step.held:
            self.put_provisioned(name, step.spec.name, step.spec.provisioned)

    def _route(self, name: str, spec: RoutedAliasSpec, creates: bool) -> None:
        body: dict[str, Any] = {
            "FunctionVersion": spec.version,
            "Description": spec.description,
            "RoutingConfig": {"AdditionalVersionWeights": dict(spec.weights)},
        }
        if creates:
            self._client.send("POST", function_path(name, "aliases"), {"Name": spec.name, **body})
        else:
            self._client.send("PUT", _alias_path(name, spec.name), body)

    def remove_alias(self, name: str, alias: str) -> None:
        """Passed over when it is not there."""
        if self._client.find(_alias_path(name, alias)) is not None:
            self._client.call("DELETE", _alias_path(name, alias))

    def remove_version(self, name: str, number: str) -> None:
        """Passed over when it is not there. Raises ServerRefused while an alias names it."""
        try:
            self._client.call("DELETE", function_path(name), query={"Qualifier": number})
        except ServerRefused as error:
            if error.http_status != 404:
                raise

    def put_provisioned(self, name: str, alias: str, wanted: int | None) -> None:
        """None: nothing is held ready."""
        path = _provisioned_path(name)
        if wanted is None:
            self._client.call("DELETE", path, query={"Qualifier": alias})
        else:
            self._client.send("PUT", path, {"ProvisionedConcurrentExecutions": wanted}, query={"Qualifier": alias})


def _alias_path(name: str, alias: str) -> str:
    return function_path(name, "aliases", segment(alias))


def _provisioned_path(name: str) -> str:
    return function_path(name, "provisioned-concurrency").replace(FUNCTIONS, PROVISIONED, 1)
