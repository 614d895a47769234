"""The execution roles of a template's functions, as SAM makes them: aws-sam-translator does the transformation.

It knows every policy template, which policies event sources need, and what is wrong with a function's Policies.
Source: SAM specification, AWS::Serverless::Function, Policies.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fnrunner.auth import managed
from fnrunner.cli.deploy import translator
from fnrunner.cli.deploy.conversion import ROUTES
from fnrunner.cli.deploy.event import plain
from fnrunner.cli.deploy.fault import Faults
from fnrunner.cli.deploy.intrinsics import Scope, resolve
from fnrunner.cli.deploy.sam_document import CREDENTIALS
from fnrunner.cli.deploy.source import Call, Node
from fnrunner.cli.deploy.spec import RoleSpec

_NAMED = (
    "Policies",
    "AssumeRolePolicyDocument",
    "Events",
    "DeadLetterQueue",
    "Tracing",
    "VpcConfig",
    "EventInvokeConfig",
)
"""The properties of a function that its role depends on."""


@dataclass(frozen=True, slots=True)
class Roleless:
    """A function that names no role: its properties with every call resolved, and the name of the role to be made."""

    logical: str
    properties: Node
    role: str


def roles(functions: list[Roleless], scope: Scope, faults: Faults) -> dict[str, RoleSpec]:
    """The role of each function, by the function's logical id."""
    if not functions:
        return {}
    made = _translated(functions, scope, faults)
    return {
        one.logical: _role(one, made[f"{one.logical}Role"]["Properties"], scope, faults)
        for one in functions
        if f"{one.logical}Role" in made
    }


def _translated(functions: list[Roleless], scope: Scope, faults: Faults) -> Mapping[str, Any]:
    """CloudFormation's resources; empty when something is wrong, which is a fault of the function then."""
    template = {
        "Transform": "AWS::Serverless-2016-10-31",
        "Resources": {one.logical: _function(one) for one in functions},
    }
    try:
        return translator.translate(template, str(scope.parameters["AWS::Region"]))
    except translator.Refused as refused:
        lines = {one.logical: one.properties.entries().get("Policies", one.properties).line for one in functions}
        for cause in refused.causes:
            logical = cause.logical if cause.logical in lines else functions[0].logical
            faults.add(lines[logical], f"Resources.{logical}.Properties.Policies", f"cannot be: {cause.message}")
        return {}


def _function(one: Roleless) -> dict[str, Any]:
    entries = one.properties.entries()
    named = {key: plain(entries[key], key, Faults("")) for key in _NAMED if key in entries}
    if isinstance(events := named.get("Events"), dict):
        # routes and buckets give a role nothing, and what they name is not in this template; nor does a broker without a secret
        silent = ("S3", *ROUTES)
        named["Events"] = {key: one for key, one in events.items() if one.get("Type") not in silent and not _open(one)}
    return {
        "Type": "AWS::Serverless::Function",
        "Properties": {"InlineCode": "-", "Handler": "index.handler", "Runtime": "python3.12", **named},
    }


def _open(event: Mapping[str, Any]) -> bool:
    """Whether it reads a broker whose credentials are the installation's."""
    return event.get("Type") in CREDENTIALS and "SourceAccessConfigurations" not in (event.get("Properties") or {})


def _role(one: Roleless, properties: Mapping[str, Any], scope: Scope, faults: Faults) -> RoleSpec:
    line = one.properties.entries().get("Policies", one.properties).line
    where = f"Resources.{one.logical}.Properties.Policies"
    given = plain(resolve(_node(dict(properties), line), scope, faults, where), where, faults)
    return role(one.role, given, line, where, faults)


def role(name: str, properties: Mapping[str, Any], line: int, where: str, faults: Faults) -> RoleSpec:
    """From the properties of an AWS::IAM::Role."""
    arns = [str(arn) for arn in properties.get("ManagedPolicyArns", [])]
    for arn in arns:
        of_aws = arn.startswith(managed.PREFIX) or not arn.startswith("arn:")
        if of_aws and managed.document(arn) is None:
            what = (
                f"names {arn}, which is no policy that AWS manages and that is known here: write its statements instead"
            )
            faults.add(line, where, what)
    inline = {str(one["PolicyName"]): one["PolicyDocument"] for one in properties.get("Policies", [])}
    return RoleSpec(
        name,
        properties["AssumeRolePolicyDocument"],
        tuple(sorted(arns)),
        {key: versioned(document) for key, document in inline.items()},
        str(properties.get("Description") or ""),
    )


def versioned(document: Mapping[str, Any]) -> dict[str, Any]:
    """A policy without a version has the old one, in which there are no variables; SAM's templates have none."""
    return {"Version": "2012-10-17", **document}


def _node(value: Any, line: int) -> Node:
    """What the translator gives as JSON, as a template has it."""
    match value:
        case dict() if len(value) == 1 and ((only := next(iter(value))) == "Ref" or only.startswith("Fn::")):
            return Node(line, Call(only, _node(value[only], line)))
        case dict():
            return Node(line, {key: _node(child, line) for key, child in value.items()})
        case list():
            return Node(line, tuple(_node(child, line) for child in value))
        case bool():
            return Node(line, value, str(value).lower())
        case _:
            return Node(line, value, "" if value is None else str(value))


def roleless(functions: list[tuple[str, Node, str]]) -> Iterator[Roleless]:
    """Of logical ids, properties and names of roles: those that name no role of their own."""
    for logical, properties, name in functions:
        if "Role" not in properties.entries():
            yield Roleless(logical, properties, name)
