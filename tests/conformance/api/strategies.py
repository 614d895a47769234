"""Parameters from the model that are mostly valid and mostly speak of the same few things, so that sequences meet."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StructureShape
from hypothesis import strategies as st

from fnrunner.api import operations
from tests.api_server import CODE, HOME, ROLE, zipped
from tests.conformance.api import model

NAMES = ("a", "b", "c")
QUALIFIERS = ("$LATEST", "1", "2", "3", "live", "other")
ODD = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | ODD,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ODD, inner, max_size=3),
    max_leaves=6,
)
_FUNCTIONS = st.sampled_from([
    *NAMES, *NAMES, "a:live", "b:1", f"function:{NAMES[0]}", HOME.function("a"), HOME.function("b", "live"), "nobody",
])  # fmt: skip
_LAYERS = [f"arn:aws:lambda:{HOME.region}:{HOME.account}:layer:{name}:{number}" for name in "lm" for number in (1, 2)]
_SOURCES = [HOME.queue("q"), HOME.queue("missing"), f"arn:aws:kinesis:{HOME.region}:{HOME.account}:stream/s"]

_BY_NAME: dict[str, st.SearchStrategy[Any]] = {
    "FunctionName": _FUNCTIONS,
    "Qualifier": st.sampled_from(QUALIFIERS),
    "Name": st.sampled_from(["live", "other", "1"]),
    "FunctionVersion": st.sampled_from(["$LATEST", "1", "2", "9", "ALL"]),
    "Code": st.fixed_dictionaries({"ZipFile": st.sampled_from([CODE, CODE, CODE, b"junk"])}),
    "PublishTo": st.nothing(),
    "ProvisionedConcurrentExecutions": st.sampled_from([1, 2, 2000]),
    "ReservedConcurrentExecutions": st.sampled_from([0, 10, 100, 901]),
    "Role": st.just(ROLE),
    "Runtime": st.sampled_from(["python3.12", "python3.12", "python3.11", "cobol"]),
    "Handler": st.sampled_from(["app.handler", "a.b"]),
    "ZipFile": st.sampled_from([CODE, CODE, zipped(app_py="x = 1\n"), b"junk", b""]),
    "Resource": st.sampled_from([HOME.function("a"), HOME.function("b"), HOME.function("a", "1"), HOME.queue("q")]),
    "Tags": st.dictionaries(st.sampled_from(["k", "l", "aws:x"]), ODD, max_size=2),
    "EventSourceArn": st.sampled_from(_SOURCES),
    "AdditionalVersionWeights": st.dictionaries(st.sampled_from(["1", "2"]), st.floats(0, 1), max_size=2),
    "Variables": st.dictionaries(st.sampled_from(["KEY", "OTHER", "AWS_REGION"]), ODD, max_size=2),
    "LayerName": st.sampled_from(["l", "m", *_LAYERS]),
    "VersionNumber": st.sampled_from([1, 1, 2, 3]),
    "Layers": st.lists(st.sampled_from(_LAYERS), max_size=2),
    "Arn": st.sampled_from(_LAYERS),
    "StatementId": st.sampled_from(["s", "t"]),
    "Action": st.sampled_from(["lambda:InvokeFunction", "lambda:GetLayerVersion", "lambda:*"]),
    "Principal": st.sampled_from(["*", HOME.account, "s3.amazonaws.com", ROLE]),
    "MaxItems": st.sampled_from([1, 2, 50, 10_000]),
    "Destination": st.sampled_from([HOME.queue("q"), HOME.function("b"), HOME.function("a")]),
    "TargetArn": st.just(HOME.queue("q")),
    "Payload": st.sampled_from([b"{}", b"[1]", b"", b"{", b"\xff"]),
    "InvokeArgs": st.sampled_from([b"{}", b"x"]),
    "ClientContext": st.sampled_from(["e30=", "x", "\u00e9", "eyJhIjoxfQ==", "bnVsbA==", "A" * 4_000]),
    "DurableExecutionName": st.nothing(),
    "TenantId": st.nothing(),
}  # fmt: skip

SEEN = ("UUID", "CodeSigningConfigArn", "RevisionId", "CodeSha256", "Marker")
"""What the server gave, by name; see Sequence.seen."""


@cache
def parameters(name: str) -> st.SearchStrategy[dict[str, Any]]:
    """Those that are required always, of the others some that this release has, and now and then one of no use at all."""
    members, required = model.members(name), set(model.required(name))
    if name == "CreateFunction":
        required |= {"Runtime", "Handler"}
    has = {path.partition(".")[0] for path in operations.supports()[name]}
    known = {member: value_of(shape, member) for member, shape in members.items() if member not in SEEN}
    must = {member: strategy for member, strategy in known.items() if member in required and not strategy.is_empty}
    may = {member: strategy for member, strategy in known.items() if member in has - required and not strategy.is_empty}
    base = st.fixed_dictionaries(must)
    some = st.lists(st.sampled_from(sorted(may)), max_size=3, unique=True) if may else st.just([])
    more = some.flatmap(lambda names: st.fixed_dictionaries({one: may[one] for one in names}))
    chosen = st.tuples(base, more).map(lambda two: two[0] | two[1])
    body = [member for member in members if model.location(name, member) == "body"]
    if not body:
        return chosen
    odd = st.tuples(chosen, st.dictionaries(st.sampled_from(body), JSON, max_size=1)).map(lambda two: two[0] | two[1])
    return st.one_of(chosen, chosen, chosen, chosen, odd)


def value_of(shape: Shape, name: str = "") -> st.SearchStrategy[Any]:
    """A value of the shape, by preference one of the few things that exist."""
    if (known := _BY_NAME.get(name)) is not None:
        return known
    rules = shape.metadata
    if rules.get("enum"):
        return st.sampled_from(rules["enum"])
    if isinstance(shape, StructureShape):
        return st.fixed_dictionaries(
            {member: value_of(shape.members[member], member) for member in shape.required_members},
            optional={
                member: value_of(inner, member)
                for member, inner in shape.members.items()
                if member not in shape.required_members
            },
        )
    if isinstance(shape, ListShape):
        return st.lists(value_of(shape.member, name.rstrip("s")), min_size=min(rules.get("min", 0), 3), max_size=3)
    if isinstance(shape, MapShape):
        return st.dictionaries(value_of(shape.key), value_of(shape.value), max_size=2)
    return _scalar(shape, rules)


def _scalar(shape: Shape, rules: dict[str, Any]) -> st.SearchStrategy[Any]:
    match shape.type_name:
        case "integer" | "long":
            low, high = rules.get("min", 0), rules.get("max", 10_000)
            return st.sampled_from(sorted({low, min(low + 1, high), min(100, high), high}))
        case "double" | "float":
            return st.floats(0, 1)
        case "boolean":
            return st.booleans()
        case "timestamp":
            return st.sampled_from([0, 1_700_000_000.5, "2026-01-01T00:00:00Z", 10**15])
        case "blob":
            return st.binary(max_size=20)
    pattern = rules.get("pattern")
    if pattern and r"\p{" not in pattern:
        return st.from_regex(re.compile(pattern, re.ASCII), fullmatch=True).map(
            lambda text: text[: rules.get("max", 200)]
        )
    return ODD
