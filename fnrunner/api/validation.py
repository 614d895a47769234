"""Checks a request's parameters against the shapes of the model and says what is wrong in Lambda's words.

>>> text = Shape("string", maximum=3)
>>> validate(Shape("structure", required=("A",), members={"A": Member(text, "body", "A")}), {"A": "four"})
Traceback (most recent call last):
    ...
fnrunner.api.errors.ValidationFailed: 1 validation error detected: Value 'four' at 'a' failed to satisfy constraint: \
Member must have length less than or equal to 3

Values of a sensitive shape, and of what holds one, are shown as ``***``.
Source: Lambda's ValidationException messages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fnrunner.api.errors import InvalidRequestContent, ValidationFailed
from fnrunner.api.shape import Member, Shape

_JSON_TYPES: Mapping[str, tuple[type, ...]] = {
    "structure": (dict,),
    "map": (dict,),
    "list": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "long": (int,),
    "double": (int, float),
    "float": (int, float),
    "blob": (bytes,),
    "timestamp": (str, int, float),
}
_NAMES: Mapping[type, str] = {
    dict: "an object", list: "an array", str: "a string", bool: "a boolean", int: "a number", float: "a number",
    bytes: "base64 text", type(None): "null",
}  # fmt: skip
_TAKES: Mapping[str, str] = {
    "structure": "an object", "map": "an object", "list": "an array", "string": "a string", "boolean": "a boolean",
    "integer": "a whole number", "long": "a whole number", "double": "a number", "float": "a number", "blob": "base64 text",
    "timestamp": "a time",
}  # fmt: skip
_NUMBERS = ("integer", "long", "double", "float")


def validate(shape: Shape, params: Mapping[str, Any]) -> None:
    """Raises InvalidRequestContent for the first value of a wrong JSON type, else ValidationFailed with every mistake."""
    _check_types(shape, params, "")
    if problems := list(_structure(shape, params, "")):
        raise ValidationFailed(problems)


def _check_types(shape: Shape, value: Any, path: str) -> None:
    fitting = _JSON_TYPES[shape.kind]
    if not isinstance(value, fitting) or (isinstance(value, bool) and shape.kind != "boolean"):
        given = _NAMES.get(type(value), type(value).__name__)
        raise InvalidRequestContent(
            f"Could not parse request body into json: '{path}' takes {_TAKES[shape.kind]}, not {given}"
        )
    for inner, item, inner_path in _inside(shape, value, path):
        _check_types(inner, item, inner_path)
    if shape.kind == "string" and "\0" in str(value):
        # neither a database nor an environment holds one, whatever the model's pattern lets through
        raise InvalidRequestContent(f"Could not parse request body into json: '{path}' holds a NUL character")


def _inside(shape: Shape, value: Any, path: str) -> Iterator[tuple[Shape, Any, str]]:
    """What a structure, list or map holds, with the shape and the path of each."""
    if shape.kind == "structure":
        for name, member in shape.members.items():
            if name in value:
                yield member.shape, value[name], _join(path, name)
    elif shape.kind == "list" and shape.item is not None:
        for position, item in enumerate(value, 1):
            yield shape.item, item, f"{path}.{position}"
    elif shape.kind == "map" and shape.item is not None and shape.key is not None:
        for key, item in value.items():
            yield shape.key, key, path
            yield shape.item, item, path


def _structure(shape: Shape, value: Mapping[str, Any], path: str) -> Iterator[str]:
    for name in shape.required:
        if name not in value:
            yield f"Value null at '{_join(path, name)}' failed to satisfy constraint: Member must not be null"
    for name, member in shape.members.items():
        if name in value:
            yield from _member(member, value[name], _join(path, name))


def _member(member: Member, value: Any, path: str) -> Iterator[str]:
    shape = member.shape
    if shape.kind == "structure":
        yield from _structure(shape, value, path)
        return
    for rule in _broken(shape, value):
        yield f"Value '{_shown(shape, value)}' at '{path}' failed to satisfy constraint: {rule}"
    if shape.kind == "list" and shape.item is not None and shape.item.kind == "structure":
        for position, item in enumerate(value, 1):
            yield from _structure(shape.item, item, f"{path}.{position}.member")


def _broken(shape: Shape, value: Any) -> Iterator[str]:
    """The rules that this value breaks, a list's or map's own first. Structures in a list have paths of their own."""
    yield from (rule for rule, kept in _rules(shape, value) if not kept)
    item = shape.item if shape.kind == "list" else None
    if item is not None and item.kind != "structure" and any(_breaks(item, one) for one in value):
        yield f"Member must satisfy constraint: {_constraints(item)}"
    if shape.kind == "map" and shape.key is not None and any(_breaks(shape.key, key) for key in value):
        yield f"Map keys must satisfy constraint: {_constraints(shape.key)}"
    if shape.kind == "map" and shape.item is not None and any(_breaks(shape.item, item) for item in value.values()):
        yield f"Map value must satisfy constraint: {_constraints(shape.item)}"


def _breaks(shape: Shape, value: Any) -> bool:
    if shape.kind == "structure":
        return next(_structure(shape, value, ""), None) is not None
    return next(_broken(shape, value), None) is not None


def _rules(shape: Shape, value: Any) -> Iterator[tuple[str, bool]]:
    """Each rule of the shape itself, and whether the value keeps it."""
    measure, word = (value, "value") if shape.kind in _NUMBERS else (_length(value), "length")
    if shape.enum:
        yield f"Member must satisfy enum value set: [{', '.join(shape.enum)}]", value in shape.enum
    if shape.maximum is not None and measure is not None:
        yield f"Member must have {word} less than or equal to {shape.maximum}", measure <= shape.maximum
    if shape.minimum is not None and measure is not None:
        yield f"Member must have {word} greater than or equal to {shape.minimum}", measure >= shape.minimum
    if shape.compiled is not None and isinstance(value, str):
        yield (
            f"Member must satisfy regular expression pattern: {shape.pattern}",
            shape.compiled.fullmatch(value) is not None,
        )


def _constraints(shape: Shape) -> str:
    """Every rule of the members of a list or map: Lambda names them all when one member breaks one."""
    sample: Any = 0 if shape.kind in _NUMBERS else ""
    inner = (
        [f"Member must satisfy constraint: {_constraints(shape.item)}"] if shape.kind == "list" and shape.item else []
    )
    return f"[{', '.join([*(rule for rule, _ in _rules(shape, sample)), *inner, 'Member must not be null'])}]"


def _length(value: Any) -> int | None:
    return len(value) if isinstance(value, str | list | dict | bytes) else None


def _shown(shape: Shape, value: Any) -> str:
    """As Java prints it: ``[a, b]`` and ``{k=v}``; long values are cut."""
    if shape.sensitive or (shape.item is not None and shape.item.sensitive) or shape.kind == "blob":
        return "***"
    if isinstance(value, list):
        text = f"[{', '.join(map(str, value))}]"
    elif isinstance(value, dict):
        text = f"{{{', '.join(f'{key}={item}' for key, item in value.items())}}}"
    else:
        text = str(value)
    return text if len(text) <= 1024 else text[:1024] + "…"


def _join(path: str, name: str) -> str:
    lower = name[:1].lower() + name[1:]
    return f"{path}.{lower}" if path else lower
