"""Policy documents, read and checked once, so that evaluating them cannot fail.

>>> policy = parse('{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "lambda:Get*", "Resource": "*"}}')
>>> policy.statements[0].actions
('lambda:Get*',)

Source: IAM, grammar of the JSON policy language.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from fnrunner.auth.condition import Condition, InvalidCondition
from fnrunner.auth.condition import read as read_condition

VERSIONS = ("2012-10-17", "2008-10-17")
VARIABLES_SINCE = "2012-10-17"
_ACTION = re.compile(r"\*|[a-zA-Z0-9-]+:[a-zA-Z0-9*?]+|\*:\*")
_RESOURCE = re.compile(r"\*|(arn|\*)[:*].*|\$\{.*", re.DOTALL)
_SID = re.compile(r"[a-zA-Z0-9]*")
_PRINCIPAL_KINDS = ("AWS", "Service", "Federated", "CanonicalUser")
_TOP = frozenset({"Version", "Id", "Statement"})
_MEMBERS = frozenset({
    "Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Principal", "NotPrincipal", "Condition",
})  # fmt: skip


class MalformedPolicy(ValueError):
    """The policy document is not one of IAM's. The message says what is wrong with it."""


class Effect(Enum):
    ALLOW = "Allow"
    DENY = "Deny"


class Kind(Enum):
    """What a policy is attached to, which decides what its statements must have."""

    IDENTITY = "identity"
    RESOURCE = "resource"
    TRUST = "trust"


@dataclass(frozen=True, slots=True)
class Principals:
    """``everybody`` is ``"*"``; the others by kind. ``negated``: everybody else is meant."""

    everybody: bool = False
    aws: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Statement:
    """``actions`` and ``resources`` are patterns; with ``not_action`` and ``not_resource`` all but these are meant.

    ``principals`` None: the policy's owner is meant. Without ``variables``, ``${`` is text.
    """

    effect: Effect
    actions: tuple[str, ...]
    resources: tuple[str, ...] = ("*",)
    not_action: bool = False
    not_resource: bool = False
    principals: Principals | None = None
    conditions: tuple[Condition, ...] = ()
    sid: str = ""
    variables: bool = True


@dataclass(frozen=True, slots=True)
class Policy:
    """``name`` is its ARN, or what it is called where it is in line."""

    statements: tuple[Statement, ...]
    name: str = ""
    version: str = VARIABLES_SINCE


def parse(text: str, kind: Kind = Kind.IDENTITY, name: str = "") -> Policy:
    """Raises MalformedPolicy."""
    try:
        document = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        if isinstance(error, MalformedPolicy):
            raise
        raise MalformedPolicy("Syntax errors in policy.") from error
    if not isinstance(document, dict):
        raise MalformedPolicy("Syntax errors in policy.")
    return read(document, kind, name)


def read(document: Mapping[str, Any], kind: Kind = Kind.IDENTITY, name: str = "") -> Policy:
    """As ``parse``, of a document that is no text any more."""
    version = document.get("Version", "2008-10-17")
    if version not in VERSIONS:
        raise MalformedPolicy("The policy must contain a valid version string")
    if unknown := [key for key in document if key not in _TOP]:
        raise MalformedPolicy(f"Syntax error: the policy has no element {unknown[0][:64]}.")
    given = document.get("Statement")
    if isinstance(given, dict):
        given = [given]
    if not isinstance(given, list) or not given or not all(isinstance(one, dict) for one in given):
        raise MalformedPolicy("Syntax error: the policy needs a Statement, an object or a list of objects.")
    statements = tuple(_statement(one, kind, version) for one in given)
    sids = [statement.sid for statement in statements if statement.sid]
    if len(set(sids)) != len(sids):
        raise MalformedPolicy("Statement IDs (SID) in a single policy must be unique.")
    return Policy(statements, name, version)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of two members of one name one would be overlooked, perhaps a Deny."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise MalformedPolicy("Syntax errors in policy: an element is there twice.")
    return found


def _statement(given: Mapping[str, Any], kind: Kind, version: str) -> Statement:
    if unknown := [key for key in given if key not in _MEMBERS]:
        raise MalformedPolicy(f"Syntax error: a statement has no element {unknown[0][:64]}.")
    if given.get("Effect") not in ("Allow", "Deny"):
        raise MalformedPolicy("Syntax error: Effect is Allow or Deny.")
    sid = given.get("Sid", "")
    if not isinstance(sid, str) or (kind is Kind.IDENTITY and not _SID.fullmatch(sid)):
        raise MalformedPolicy(
            f"Statement IDs (SID) must be alpha-numeric. Check that your input satisfies {_SID.pattern}"
        )
    effect = Effect(given["Effect"])
    not_action, actions = _either(given, "Action", required=True)
    for action in actions:
        if not _ACTION.fullmatch(action):
            raise MalformedPolicy("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.")
    if kind is Kind.TRUST and ("Resource" in given or "NotResource" in given):
        raise MalformedPolicy("Has prohibited field Resource")
    not_resource, resources = _either(given, "Resource", required=kind is Kind.IDENTITY)
    for resource in resources:
        if not _RESOURCE.fullmatch(resource):
            raise MalformedPolicy(f'Resource {resource[:256]} must be in ARN format or "*".')
    return Statement(
        effect=effect,
        actions=actions,
        resources=resources or ("*",),
        not_action=not_action,
        not_resource=not_resource,
        principals=_principals(given, kind, effect),
        conditions=_conditions(given.get("Condition", {})),
        sid=sid,
        variables=version == VARIABLES_SINCE,
    )


def _either(given: Mapping[str, Any], name: str, *, required: bool) -> tuple[bool, tuple[str, ...]]:
    """The element, or its negation: whether it is negated, and its values."""
    found = [key for key in (name, f"Not{name}") if key in given]
    if len(found) > 1:
        raise MalformedPolicy(f"Syntax error: a statement has either {name} or Not{name}.")
    if not found:
        if required:
            what = "actions" if name == "Action" else "resources"
            raise MalformedPolicy(f"Policy statement must contain {what}.")
        return False, ()
    return found[0] != name, _texts(given[found[0]], found[0])


def _texts(value: Any, name: str) -> tuple[str, ...]:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not values or not all(isinstance(one, str) for one in values):
        raise MalformedPolicy(f"Syntax error: {name} takes a text or a list of texts.")
    return tuple(values)


def _principals(given: Mapping[str, Any], kind: Kind, effect: Effect) -> Principals | None:
    found = [key for key in ("Principal", "NotPrincipal") if key in given]
    if kind is Kind.IDENTITY:
        if found:
            raise MalformedPolicy(f"Policy document should not specify a principal. (Has prohibited field {found[0]})")
        return None
    if len(found) != 1:
        raise MalformedPolicy("Missing required field Principal")
    negated = found[0] == "NotPrincipal"
    if negated and effect is Effect.ALLOW:
        raise MalformedPolicy("Allow with NotPrincipal is not allowed.")
    value = given[found[0]]
    if value == "*":
        return Principals(everybody=True, aws=("*",), negated=negated)
    if not isinstance(value, dict) or not value:
        raise MalformedPolicy(f'Invalid principal in policy: {found[0]} takes "*" or an object.')
    if unknown := [key for key in value if key not in _PRINCIPAL_KINDS]:
        raise MalformedPolicy(f"Invalid principal in policy: {unknown[0][:64]}")
    by_kind = {key: _texts(names, key) for key, names in value.items()}
    aws = by_kind.get("AWS", ())
    return Principals("*" in aws, aws, by_kind.get("Service", ()), negated)


def _conditions(given: Any) -> tuple[Condition, ...]:
    if not isinstance(given, dict):
        raise MalformedPolicy("Syntax error: Condition takes an object.")
    found = []
    for operator, keys in given.items():
        if not isinstance(keys, dict):
            raise MalformedPolicy(f"Syntax error: {operator[:64]} takes an object.")
        for key, values in keys.items():
            try:
                found.append(read_condition(operator, key, _scalars(values, key)))
            except InvalidCondition as error:
                raise MalformedPolicy(str(error)) from error
    return tuple(found)


def _scalars(value: Any, name: str) -> Sequence[str]:
    """Numbers and booleans may stand without quotes."""
    values = value if isinstance(value, list) else [value]
    texts = []
    for one in values:
        if isinstance(one, bool):
            texts.append("true" if one else "false")
        elif isinstance(one, str | int | float):
            texts.append(str(one))
        else:
            raise MalformedPolicy(f"Syntax error: {name[:64]} takes texts.")
    return texts
