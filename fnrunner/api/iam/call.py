"""One call of an IAM or STS operation, read and validated, and what handlers share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import quote

from fnrunner.auth.iam import Iam, Known
from fnrunner.auth.iam_error import InvalidInput, MalformedPolicyDocument, ValidationError
from fnrunner.auth.identity import Identity
from fnrunner.auth.pattern import Context
from fnrunner.auth.policy import Kind, MalformedPolicy, parse

PAGE = 100
MAX_POLICY_CHARS = {Kind.IDENTITY: 6144, Kind.TRUST: 4096}


@dataclass(frozen=True, slots=True)
class Call:
    """``params`` are named as in the model; absent means not given. ``context`` has the condition keys that every request
    has.
    """

    operation: str
    params: Mapping[str, Any] = field(repr=False)
    iam: Iam
    caller: Known
    now: datetime
    context: Context = field(default_factory=dict)

    def text(self, name: str, default: str = "") -> str:
        return str(self.params.get(name, default))

    @property
    def user(self) -> str:
        """The user that is named, else the caller. Raises ValidationError for a session that names none."""
        if name := self.text("UserName"):
            return name
        identity = self.iam.directory.identity_of(self.caller.principal)
        if identity is None or identity.kind.value != "user":
            raise ValidationError("Must specify userName when calling with non-User credentials")
        return identity.name


Handler = Callable[[Call], Awaitable[Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class Route:
    """``operation`` of the service's model. ``resource`` names what it is about, for policies. ``unsupported`` parameters
    are refused by name.
    """

    operation: str
    handle: Handler
    resource: Callable[[Mapping[str, Any], str], str]
    unsupported: frozenset[str] = frozenset()


def document(call: Call, name: str, kind: Kind = Kind.IDENTITY) -> str:
    """A policy document among the parameters, as it came. Raises MalformedPolicyDocument."""
    text = call.text(name)
    try:
        parse(text, kind)
    except MalformedPolicy as error:
        raise MalformedPolicyDocument(str(error)) from error
    if len("".join(text.split())) > MAX_POLICY_CHARS[kind]:
        raise MalformedPolicyDocument(f"The policy has more than {MAX_POLICY_CHARS[kind]} characters without blanks.")
    return text


def encoded(text: str) -> str:
    """A policy document as answers have it."""
    return quote(text, safe="")


def tags(call: Call) -> dict[str, str]:
    """Raises InvalidInput for a key that is there twice."""
    given = call.params.get("Tags", [])
    found = {tag["Key"]: tag["Value"] for tag in given}
    if len({key.lower() for key in found}) != len(given):
        raise InvalidInput("Duplicate tag keys found. Please note that Tag keys are case insensitive.")
    return found


def tag_list(one: Identity) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in one.tags.items()]


def page(call: Call, key: str, items: Sequence[Any], shown: Callable[[Any], Any]) -> dict[str, Any]:
    """A page of a list; markers are positions in it. Raises InvalidInput."""
    marker = call.text("Marker", "0")
    if not (marker.isascii() and marker.isdigit() and len(marker) < 10):
        raise InvalidInput("Invalid Marker.")
    start, size = int(marker), int(call.params.get("MaxItems", PAGE))
    left = start + size < len(items)
    answer = {key: [shown(one) for one in items[start : start + size]], "IsTruncated": left}
    return answer | ({"Marker": str(start + size)} if left else {})
