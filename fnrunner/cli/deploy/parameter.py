"""A template's Parameters: defaults, values from the command line, and what they must satisfy."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from fnrunner.cli.deploy import schema
from fnrunner.cli.deploy.fault import Faults
from fnrunner.cli.deploy.source import Node
from fnrunner.cli.error import UsageFault
from fnrunner.model.arn import Home

_ANY = schema.text()
_COUNT = schema.whole(0, 999_999_999)
_PARAMETER = schema.section(
    {
        "Type": schema.one_of("String", "Number"),
        "Default": _ANY,
        "Description": _ANY,
        "AllowedValues": schema.items(_ANY),
        "AllowedPattern": _ANY,
        "ConstraintDescription": _ANY,
        "MinLength": _COUNT,
        "MaxLength": _COUNT,
        "MinValue": _COUNT,
        "MaxValue": _COUNT,
        "NoEcho": schema.one_of("true", "false"),
    },
    required=("Type",),
)


def read(section: Node | None, given: Mapping[str, str], faults: Faults) -> tuple[dict[str, str], set[str]]:
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
    values, hidden = {}, set()
    for name, node in entries.items():
        where = f"Parameters.{name}"
        said = _PARAMETER(node, where, faults)
        if said.get("NoEcho") == "true":
            hidden.add(name)
        value = given.get(name, said.get("Default"))
        if value is None:
            faults.add(node.line, where, f"has no Default: give it with --parameter-overrides {name}=VALUE")
        elif fault := _unfit(value, said):
            faults.add(node.line, where, f"{'' if name in hidden else repr(value) + ' '}{fault}")
        values[name] = value or ""
    return values, hidden


def pseudo(home: Home, stack: str) -> dict[str, str]:
    """AWS's pseudo parameters that mean something here."""
    return {
        "AWS::Region": home.region,
        "AWS::AccountId": home.account,
        "AWS::Partition": "aws",
        "AWS::URLSuffix": "amazonaws.com",
        "AWS::StackName": stack,
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
    if said.get("Type") == "Number" and not re.fullmatch(r"-?\d+(\.\d+)?", value):
        return "is no number"
    if (allowed := said.get("AllowedValues")) and isinstance(allowed, list) and value not in allowed:
        return f"is not one of {', '.join(map(str, allowed))}{explained}"
    if (pattern := said.get("AllowedPattern")) and not _matches(str(pattern), value):
        return f"does not match {pattern}{explained}"
    number = float(value) if said.get("Type") == "Number" else float(len(value))
    low, high = ("MinValue", "MaxValue") if said.get("Type") == "Number" else ("MinLength", "MaxLength")
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
