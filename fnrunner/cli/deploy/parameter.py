"""A template's Parameters: defaults, values from the command line, and what they must satisfy."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from fnrunner.cli.deploy import schema
from fnrunner.cli.deploy.fault import Faults
from fnrunner.cli.deploy.intrinsics import Value
from fnrunner.cli.deploy.source import Node
from fnrunner.cli.error import UsageFault
from fnrunner.model.arn import Home

_ANY = schema.text()
_COUNT = schema.whole(0, 999_999_999)
_BOUND = schema.text(r"-?\d{1,15}(\.\d{1,15})?", takes="a number")
LISTS = ("CommaDelimitedList", "List<Number>", "List<String>")
TYPES = ("String", "Number", *LISTS)
_REFUSED: Mapping[str, str] = {
    "AWS::SSM::": "there is no parameter store here: make it a String and give its value",
    "AWS::EC2::": "there are no such resources here: make it a String",
    "List<AWS::": "there are no such resources here: make it a CommaDelimitedList",
    "AWS::": "there are no such resources here: make it a String",
}


def _type(node: Node, where: str, faults: Faults) -> str | None:
    for start, why in _REFUSED.items():
        if node.text.startswith(start):
            faults.add(node.line, where, f"is {node.text!r}, which is not supported: {why}")
            return None
    read: str | None = schema.one_of(*TYPES)(node, where, faults)
    return read


_PARAMETER = schema.section(
    {
        "Type": _type,
        "Default": _ANY,
        "Description": _ANY,
        "AllowedValues": schema.items(_ANY),
        "AllowedPattern": _ANY,
        "ConstraintDescription": _ANY,
        "MinLength": _COUNT,
        "MaxLength": _COUNT,
        "MinValue": _BOUND,
        "MaxValue": _BOUND,
        "NoEcho": schema.text("(?i)true|false", takes="true or false"),
    },
    required=("Type",),
)


def read(section: Node | None, given: Mapping[str, str], faults: Faults) -> tuple[dict[str, Value], set[str]]:
    """The value of every parameter, and the names of those that are not to be shown (NoEcho).

    Raises UsageFault for a value that was given to a parameter that is not there.
    """
    entries = section.entries() if section else {}
    if unknown := sorted(set(given) - set(entries)):
        known = ", ".join(entries) or "none"
        raise UsageFault(
            f"--parameter-overrides: the template has no parameter {', '.join(unknown)}",
            f"Its parameters are: {known}.",
        )
    values: dict[str, Value] = {}
    hidden = set()
    for name, node in entries.items():
        where = f"Parameters.{name}"
        said = _PARAMETER(node, where, faults)
        if str(said.get("NoEcho")).lower() == "true":
            hidden.add(name)
        value = given.get(name, said.get("Default"))
        if value is None:
            faults.add(node.line, where, f"has no Default: give it with --parameter-overrides {name}=VALUE")
        else:
            _check(value, said, node.line, where, name in hidden, faults)
        values[name] = _parts(value or "") if said.get("Type") in LISTS else value or ""
    return values, hidden


def _check(value: str, said: Mapping[str, object], line: int, where: str, hidden: bool, faults: Faults) -> None:
    """Every element of a list by itself, as CloudFormation does."""
    for part in _parts(value) if said.get("Type") in LISTS else (value,):
        if fault := _unfit(part, said):
            faults.add(line, where, f"{'' if hidden else repr(part) + ' '}{fault}")


def _parts(value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",")) if value else ()


def pseudo(home: Home, stack: str) -> dict[str, Value]:
    """AWS's pseudo parameters. Nobody is notified of a stack here."""
    return {
        "AWS::Region": home.region,
        "AWS::AccountId": home.account,
        "AWS::Partition": "aws",
        "AWS::URLSuffix": "amazonaws.com",
        "AWS::StackName": stack,
        "AWS::StackId": f"arn:aws:cloudformation:{home.region}:{home.account}:stack/{stack}/{stack}",
        "AWS::NotificationARNs": (),
    }


def overrides(pairs: Iterable[str]) -> dict[str, str]:
    """``K=V`` texts as a mapping; one text may hold several, separated by spaces, as with the SAM CLI.

    >>> overrides(["A=1", "B=x C=y=z"])
    {'A': '1', 'B': 'x', 'C': 'y=z'}
    """
    values = {}
    for text in pairs:
        for part in re.split(r"\s+(?=\w+=)", text.strip()):
            name, found, value = part.partition("=")
            if not found or not name:
                raise UsageFault(f"--parameter-overrides: {part!r} has no =", "It has the form NAME=VALUE.")
            values[name] = value
    return values


def _unfit(value: str, said: Mapping[str, object]) -> str:
    explained = f" ({said['ConstraintDescription']})" if said.get("ConstraintDescription") else ""
    numeric = said.get("Type") in ("Number", "List<Number>")
    if numeric and not re.fullmatch(r"-?\d+(\.\d+)?", value):
        return "is no number"
    if (allowed := said.get("AllowedValues")) and isinstance(allowed, list) and value not in allowed:
        return f"is not one of {', '.join(map(str, allowed))}{explained}"
    if (pattern := said.get("AllowedPattern")) and not _matches(str(pattern), value):
        return f"does not match {pattern}{explained}"
    number = float(value) if numeric else float(len(value))
    low, high = ("MinValue", "MaxValue") if numeric else ("MinLength", "MaxLength")
    if (bound := said.get(low)) is not None and number < float(str(bound)):
        return f"is below {low} {bound}{explained}"
    if (bound := said.get(high)) is not None and number > float(str(bound)):
        return f"is above {high} {bound}{explained}"
    return ""


def _matches(pattern: str, value: str) -> bool:
    try:
        return re.fullmatch(pattern, value) is not None
    except re.error:
        return False
