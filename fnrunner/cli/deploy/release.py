"""Versions and aliases that are resources of a template: read, compared, and what is remembered of them. Pure.

A version is published once, of what its function is then, and keeps its number for as long as the template says the same of
it. What says another thing, or has another logical id, is another version, as with CloudFormation; the one before it goes
with what has left the template.

>>> entry = Entry("f", "3", "ab")
>>> Entry.of(str(entry)) == entry
True
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, NamedTuple

from fnrunner.cli.deploy import schema
from fnrunner.cli.deploy.fault import Faults
from fnrunner.cli.deploy.naming import Entry, Resource, function_named
from fnrunner.cli.deploy.resource import ALIAS, VERSION
from fnrunner.cli.deploy.schema import Reader, items, section, text
from fnrunner.cli.deploy.source import Node
from fnrunner.cli.deploy.spec import PENDING, FunctionSpec, RoutedAliasSpec, VersionSpec
from fnrunner.cli.deploy.trigger import Change, shown

_FUNCTION = text(takes="a function, as !Ref or !GetAtt gives it")
_NUMBER = text(rf"\$LATEST|[0-9]+|{PENDING}\w+", takes="a version, as !GetAtt VERSION.Version gives it")


def _share(node: Node, where: str, faults: Faults) -> float | None:
    read: str | None = text(r"0|1|0?\.\d+|[01]\.\d+", takes="a share from 0 to 1")(node, where, faults)
    if read is not None and float(read) > 1:
        faults.add(node.line, where, f"is {node.kind}: it takes a share from 0 to 1")
        return None
    return None if read is None else float(read)


_SHARE = section({"FunctionVersion": _NUMBER, "FunctionWeight": _share}, required=("FunctionVersion", "FunctionWeight"))


def _weights(node: Node, where: str, faults: Faults) -> list[Any]:
    """Of one version: an alias is shared by two at most."""
    read: list[Any] = items(_SHARE)(node, where, faults)
    if len(read) > 1:
        faults.add(
            node.line, where, "have more than one version: an alias names one and shares its events with one more"
        )
    return read


READERS: Mapping[str, Reader] = {
    VERSION: section(
        {
            "FunctionName": _FUNCTION,
            "Description": schema.SHARED["Description"],
            "CodeSha256": text(r"[A-Za-z0-9+/=]{1,64}", takes="the SHA-256 of the code in base64"),
        },
        required=("FunctionName",),
    ),
    ALIAS: section(
        {
            "FunctionName": _FUNCTION,
            "Name": schema.SHARED["AutoPublishAlias"],
            "FunctionVersion": _NUMBER,
            "Description": schema.SHARED["Description"],
            "RoutingConfig": section({"AdditionalVersionWeights": _weights}),
            "ProvisionedConcurrencyConfig": schema.SHARED["ProvisionedConcurrencyConfig"],
        },
        required=("FunctionName", "Name", "FunctionVersion"),
    ),
}


def said_of(values: Mapping[str, Any]) -> str:
    """What tells one version from another."""
    kept = [values.get(key) or "" for key in ("FunctionName", "Description", "CodeSha256")]
    return sha256(json.dumps(kept).encode()).hexdigest()[:12]


def outdated(read: Mapping[str, Mapping[str, Any]], known: Mapping[str, Entry]) -> set[str]:
    """The versions that were published of what the template does not say any more."""
    return {logical for logical, entry in known.items() if logical in read and said_of(read[logical]) != entry.said}


def with_releases(
    functions: list[FunctionSpec],
    resources: list[Resource],
    read: Mapping[str, Mapping[str, Any]],
    known: Mapping[str, Entry],
    faults: Faults,
) -> list[FunctionSpec]:
    """The functions with their versions and aliases. ``known`` are the versions that have been published before."""
    found = {spec.name: spec for spec in functions}
    for one in (r for r in resources if r.type in READERS):
        values, where = read[one.logical], f"Resources.{one.logical}"
        name = function_named(str(values.get("FunctionName") or ""))
        if name not in found:
            what = f"names {name or 'nothing'}, which is no function of this template"
            faults.add(one.line, f"{where}.Properties.FunctionName", what)
        elif one.type == VERSION:
            found[name] = _with_version(found[name], one, values, known, faults)
        else:
            found[name] = _with_alias(found[name], one, values, faults)
    return list(found.values())


def _with_version(
    spec: FunctionSpec, one: Resource, values: Mapping[str, Any], known: Mapping[str, Entry], faults: Faults
) -> FunctionSpec:
    entry = known.get(one.logical)
    version = VersionSpec(
        one.logical, entry.number if entry else "", values.get("Description") or "", values.get("CodeSha256") or "",
        said_of(values),
    )  # fmt: skip
    others = [other.name for other in spec.versions if not other.number]
    if others and not version.number:
        what = (
            f"would be the same version as {others[0]}: both are published of what {spec.name} is now. Deploy one of them, and "
            "the other together with the next change of the function"
        )
        faults.add(one.line, f"Resources.{one.logical}", what)
    return replace(spec, versions=(*spec.versions, version))


def _with_alias(spec: FunctionSpec, one: Resource, values: Mapping[str, Any], faults: Faults) -> FunctionSpec:
    shares = (values.get("RoutingConfig") or {}).get("AdditionalVersionWeights") or []
    weights = {
        share["FunctionVersion"]: share.get("FunctionWeight") or 0.0 for share in shares if share.get("FunctionVersion")
    }
    held = (values.get("ProvisionedConcurrencyConfig") or {}).get("ProvisionedConcurrentExecutions")
    version, where = values.get("FunctionVersion") or "", f"Resources.{one.logical}"
    alias = RoutedAliasSpec(values.get("Name") or "", version, values.get("Description") or "", weights, held)
    if alias.name == spec.qualifier:
        faults.add(one.line, where, f"has the name {alias.name}, as the AutoPublishAlias of {spec.name} has")
    if weights and "$LATEST" in (version, *weights):
        faults.add(one.line, where, "shares events with $LATEST, which no alias can: publish a version of it")
    if version in weights:
        faults.add(one.line, where, f"shares its events between version {_called(version)} and itself")
    if version == "$LATEST" and held:
        faults.add(one.line, where, "has ProvisionedConcurrencyConfig, which needs a published version")
    return replace(spec, aliases=(*spec.aliases, alias))


@dataclass(frozen=True, slots=True)
class AliasState:
    """An alias as the server has it."""

    version: str
    description: str = ""
    weights: Mapping[str, float] = field(default_factory=dict)
    provisioned: int | None = None


class AliasStep(NamedTuple):
    """``creates``: it is not there. ``routed``: it is, and is to name or say something else. ``held``: another number of
    environments is to be ready for it."""

    spec: RoutedAliasSpec
    changes: tuple[Change, ...]
    creates: bool
    routed: bool
    held: bool


def plan_aliases(wanted: tuple[RoutedAliasSpec, ...], there: Mapping[str, AliasState]) -> tuple[AliasStep, ...]:
    """The steps that change something."""
    steps = (_step(spec, there.get(spec.name)) for spec in wanted)
    return tuple(step for step in steps if step.changes)


def _step(spec: RoutedAliasSpec, there: AliasState | None) -> AliasStep:
    key, new = f"Alias.{spec.name}", _routing(spec.version, spec.weights)
    old = _routing(there.version, there.weights) if there else None
    told = there.description if there else ""
    held = there.provisioned if there else None
    changes = [
        Change(key, old, new),
        Change(f"{key}.Description", shown(told), shown(spec.description)),
        Change(f"{key}.ProvisionedConcurrentExecutions", shown(held), shown(spec.provisioned)),
    ]
    routed = there is not None and (old != new or told != spec.description)
    changed = tuple(change for change in changes if change.old != change.new)
    return AliasStep(spec, changed, there is None, routed, held != spec.provisioned)


def _routing(version: str, weights: Mapping[str, float]) -> str:
    """
    >>> _routing("3", {"4": 0.1})
    'version 3, and 4 with 0.1'
    """
    shares = "".join(f", and {_called(other)} with {share:g}" for other, share in sorted(weights.items()))
    return f"version {_called(version)}{shares}"


def _called(version: str) -> str:
    return f"{version.removeprefix(PENDING)} (new)" if version.startswith(PENDING) else version


def plan_versions(wanted: tuple[VersionSpec, ...]) -> tuple[Change, ...]:
    """Those that have yet to be published."""
    return tuple(Change(f"Version.{one.name}", None, "a new version") for one in wanted if not one.number)


def entries(specs: tuple[FunctionSpec, ...]) -> dict[str, str]:
    """What a stack remembers of the versions that it has published."""
    return {
        version.name: str(Entry(spec.name, version.number, version.said))
        for spec in specs
        for version in spec.versions
        if version.number
    }
