"""The execution roles of a template's functions, as SAM makes them: aws-sam-translator does the transformation.

It knows every policy template, which policies event sources need, and what is wrong with a function's Policies.
Source: SAM specification, AWS::Serverless::Function, Policies.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fnrunner.auth import managed
from fnrunner.cli.deploy.conversion import ROUTES
from fnrunner.cli.deploy.event import plain
from fnrunner.cli.deploy.fault import Faults
from fnrunner.cli.deploy.intrinsics import Scope, resolve
from fnrunner.cli.deploy.source import Call, Node
from fnrunner.cli.deploy.spec import RoleSpec
from fnrunner.cli.error import UsageFault

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


class TranslatorMissing(UsageFault):
    """Roles are made by aws-sam-translator, which is not installed."""

    def __init__(self) -> None:
        super().__init__(
            "Execution roles are made of a template's Policies by aws-sam-translator, which is not installed",
            "Install it: pip install 'fnrunner[sam]'.",
        )


def roles(functions: list[Roleless], scope: Scope, faults: Faults) -> dict[str, RoleSpec]:
    """The role of each function, by the function's logical id. Raises TranslatorMissing."""
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
    try:
        import boto3
        from samtranslator.model.exceptions import InvalidDocumentException
        from samtranslator.parser.parser import Parser
        from samtranslator.translator.translator import Translator
    except ImportError as error:
        raise TranslatorMissing from error
    template = {
        "Transform": "AWS::Serverless-2016-10-31",
        "Resources": {one.logical: _function(one) for one in functions},
    }
    known = {arn.rpartition("/")[2]: arn for arn in managed.arns()}
    region = str(scope.parameters["AWS::Region"])
    session = boto3.Session(region_name=region, aws_access_key_id="none", aws_secret_access_key="none")  # noqa: S106
    logging.getLogger("samtranslator").setLevel(logging.CRITICAL)
    try:
        # it speaks of its own metrics on standard error
        with contextlib.redirect_stderr(io.StringIO()):
            resources: Mapping[str, Any] = Translator(known, Parser(), None, session).translate(template, {})[
                "Resources"
            ]
    except InvalidDocumentException as error:
        lines = {one.logical: one.properties.entries().get("Policies", one.properties).line for one in functions}
        for cause in error.causes:
            logical = next((name for name in lines if f"[{name}" in str(cause.message)), functions[0].logical)
            message = str(cause.message).rpartition("is invalid. ")[2]
            faults.add(lines[logical], f"Resources.{logical}.Properties.Policies", f"cannot be: {message}")
        return {}
    return resources


def _function(one: Roleless) -> dict[str, Any]:
    entries = one.properties.entries()
    named = {key: plain(entries[key], key, Faults("")) for key in _NAMED if key in entries}
    if isinstance(events := named.get("Events"), dict):
        # routes of APIs give a role nothing, and their APIs are not of this template
        named["Events"] = {key: one for key, one in events.items() if one.get("Type") not in ROUTES}
    return {
        "Type": "AWS::Serverless::Function",
        "Properties": {"InlineCode": "-", "Handler": "index.handler", "Runtime": "python3.12", **named},
    }


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
        {key: _whole(document) for key, document in inline.items()},
        str(properties.get("Description") or ""),
    )


def _whole(document: Mapping[str, Any]) -> dict[str, Any]:
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
