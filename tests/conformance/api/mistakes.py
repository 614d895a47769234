"""Every way in which the model says that a request can be wrong: one mistake in a request that is good otherwise.

A mistake knows what the answer has to say: the sentence of Lambda's ValidationException, or only that it is a modelled 4xx.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StructureShape

from fnrunner.model import limits
from tests.conformance.api import model

LONGEST_IN_A_BODY = 20_000
LONGEST_ELSEWHERE = 6_000
NUMBERS = ("integer", "long")

TIGHTER = {
    "Timeout": limits.TIMEOUT_S[1],
    "MemorySize": limits.MEMORY_MB[1],
    "EphemeralStorageSize": limits.EPHEMERAL_STORAGE_MB[1],
}
OWN_WORDS = {"runtime"}
"""Members for whose enumeration Lambda has words of its own."""

OF_TYPES: dict[str, Any] = {
    "string": "text", "number": 7, "fraction": 1.5, "boolean": True, "list": [], "list of lists": [[]], "object": {},
    "nested object": {"a": {}}, "list of nulls": [None], "NUL": "a\0b", "half a pair": "\ud800", "huge": 10**40,
    "infinity": 1e400,
}  # fmt: skip
TAKES = {
    "string": {"string"}, "timestamp": {"string", "number", "fraction", "NUL", "huge", "infinity"},
    "integer": {"number", "huge"}, "long": {"number", "huge"}, "double": {"number", "fraction", "huge", "infinity"},
    "float": {"number", "fraction", "huge", "infinity"}, "boolean": {"boolean"}, "blob": {"string"},
    "list": {"list", "list of lists", "list of nulls"}, "map": {"object", "nested object"}, "structure": {"object"},
}  # fmt: skip
UNFIT = ("\u00e9!\t ?x", "\u0007", "a b\n", " ", "%", "!", "a\n")


Wrong = tuple[str, Any, tuple[str, ...]]
"""How it is wrong, the value, and the sentences."""


@dataclass(frozen=True)
class Mistake:
    """``params`` replace those of the good request; None takes one away. ``sentences`` must be in the message."""

    operation: str
    kind: str
    where: str
    params: dict[str, Any]
    sentences: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.operation}: {self.where}: {self.kind}"


def of(name: str, good: dict[str, Any]) -> Iterator[Mistake]:
    """In a fixed order."""
    for member, shape in model.members(name).items():
        place, path = model.location(name, member), lowered(member)
        if place == "payload":
            continue
        last = model.operation(name).http["requestUri"].endswith(f"{{{model.wire_name(shape, member)}}}")
        if member in model.required(name) and place != "uri":
            sentence = f"Value null at '{path}' failed to satisfy constraint: Member must not be null"
            yield Mistake(name, "missing", member, {member: None}, (sentence,))
        for kind, value, sentences in _of_member(shape, path, place, good.get(member)):
            if not (last and value == ""):  # a path that ends in / is its collection's
                yield Mistake(name, kind, member, {member: value}, sentences)
    if model.has_body(name):
        yield Mistake(name, "unknown", "Nonsense", {"Nonsense": 1})
        yield Mistake(name, "unknown", "a name of another case", {"functionname": "f"})


def lowered(name: str) -> str:
    return name[:1].lower() + name[1:]


def _of_member(shape: Shape, path: str, place: str, good: Any) -> Iterator[Wrong]:
    if place != "body":
        yield from _in_text(shape, path, place)
        return
    for kind, value in OF_TYPES.items():
        if kind not in TAKES[shape.type_name]:
            yield f"is a {kind}", value, ()
    yield from _inside(shape, path, good)


def _in_text(shape: Shape, path: str, place: str) -> Iterator[Wrong]:
    """What a path, query or header can hold, where everything is text."""
    if shape.type_name in NUMBERS:
        for text in ("", "x", "1.5", "1e3", "0x10", " 1", "\u0661", "true", "9" * 400):
            yield f"is no number ({text[:8]!r})", text, ()
    if shape.type_name == "boolean":
        for text in ("", "yes", "1", "TRUE"):
            yield f"is no boolean ({text!r})", text, ()
    if place == "uri" and shape.type_name == "string":
        for text in ("", "a/b", "\0", "..", ".", "a" * 5_000):
            yield f"is no label ({text[:4]!r})", text, ()
    for kind, value, sentences in _broken(shape, path):
        if not (isinstance(value, str) and (len(value) > LONGEST_ELSEWHERE or _no_header(value, place))):
            yield kind, value, sentences


def _no_header(value: str, place: str) -> bool:
    """Header values that are trimmed or refused before anybody reads them."""
    return place == "header" and (not value.strip() or value != value.strip() or not value.isprintable())


def _inside(shape: Shape, path: str, good: Any) -> Iterator[Wrong]:
    yield from _broken(shape, path)
    if isinstance(shape, StructureShape):
        base = good if isinstance(good, dict) else {}
        for name, member in shape.members.items():
            for kind, value, sentences in _of_member(member, f"{path}.{lowered(name)}", "body", base.get(name)):
                yield f".{name} {kind}", {**base, name: value}, sentences
        for name in shape.required_members:
            left = {key: value for key, value in base.items() if key != name}
            sentence = f"Value null at '{path}.{lowered(name)}' failed to satisfy constraint: Member must not be null"
            yield f".{name} missing", left, (sentence,)
        yield ".Nonsense unknown", {**base, "Nonsense": 1}, ()
    elif isinstance(shape, ListShape):
        for kind, value in OF_TYPES.items():
            if kind not in TAKES[shape.member.type_name]:
                yield f"[] is a {kind}", [value], ()
        for kind, value, sentences in _inside(shape.member, f"{path}.1.member", None):
            wrapped = (
                sentences if isinstance(shape.member, StructureShape) else _wrapped(path, sentences, "Member must")
            )
            yield f"[] {kind}", [value], wrapped
    elif isinstance(shape, MapShape):
        for kind, value in OF_TYPES.items():
            if kind not in TAKES[shape.value.type_name]:
                yield f"{{}} is a {kind}", {"a": value}, ()
        for kind, value, sentences in _broken(shape.key, path):
            if isinstance(value, str):
                yield f"{{}} key {kind}", {value: _fit(shape.value)}, _wrapped(path, sentences, "Map keys must")
        for kind, value, sentences in _inside(shape.value, path, None):
            yield f"{{}} {kind}", {"Key": value}, _wrapped(path, sentences, "Map value must")


def _wrapped(path: str, sentences: tuple[str, ...], who: str) -> tuple[str, ...]:
    """Lambda names the rules of members at the list or map that holds them."""
    rules = [sentence.partition("failed to satisfy constraint: ")[2] for sentence in sentences]
    return (f"at '{path}' failed to satisfy constraint: {who} satisfy constraint: [", *rules) if sentences else ()


def _fit(shape: Shape) -> Any:
    return {"string": "a", "integer": 1, "double": 0.5, "list": ["a"]}.get(shape.type_name, {})


def _broken(shape: Shape, path: str) -> Iterator[Wrong]:
    """Values that break one rule of the shape each (and perhaps another with it)."""
    rules = shape.metadata
    at = f"at '{path}' failed to satisfy constraint: Member must "
    longest = TIGHTER.get(shape.name, rules.get("max"))
    if rules.get("enum"):
        own = path in OWN_WORDS
        for value in ("Nonsense", rules["enum"][0].swapcase()):
            if value not in rules["enum"]:
                sentence = f"{at}satisfy enum value set: [{', '.join(rules['enum'])}]"
                yield f"not in the enumeration ({value})", value, () if own else (sentence,)
    if shape.type_name in (*NUMBERS, "double", "float"):
        if "min" in rules:
            for less in (1, 10**6):
                yield "too small", rules["min"] - less, (f"{at}have value greater than or equal to {rules['min']}",)
        if longest is not None:
            for more in (1, 10**6):
                yield "too large", longest + more, (f"{at}have value less than or equal to {longest}",)
        return
    if shape.type_name == "blob" or isinstance(shape, StructureShape):
        return
    if longest is not None and longest < LONGEST_IN_A_BODY:
        yield "too long", _long(shape, longest + 1), (f"{at}have length less than or equal to {longest}",)
    if rules.get("min", 0) > 0:
        yield "too short", _long(shape, rules["min"] - 1), (f"{at}have length greater than or equal to {rules['min']}",)
    if pattern := rules.get("pattern"):
        for value in UNFIT:
            if _breaks(pattern, value):
                yield (
                    f"not of the pattern ({json.dumps(value)})",
                    value,
                    (f"{at}satisfy regular expression pattern: {pattern}",),
                )


def _long(shape: Shape, length: int) -> Any:
    """A string, list or map of this length."""
    if isinstance(shape, ListShape):
        return [_fit(shape.member)] * length
    if isinstance(shape, MapShape):
        return {f"k{number}": _fit(shape.value) for number in range(length)}
    return "a" * length


def _breaks(pattern: str, value: str) -> bool:
    if r"\p{" in pattern:
        return value == "\u0007"
    return re.fullmatch(pattern, value, re.ASCII) is None
