"""AWS's query protocol: parameters from a form, results and errors as XML, both by the shapes of botocore's model.

Source: AWS query protocol, as botocore's serializer and parser speak it.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from xml.sax.saxutils import escape

from botocore.model import ListShape, MapShape, OperationModel, Shape, StructureShape

from fnrunner.auth.iam_error import ValidationError

Form = Mapping[str, str]
MAX_ITEMS = 1000
_NOT_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def read_params(shape: Shape | None, form: Form) -> dict[str, Any]:
    """The parameters that the form gives. Raises ValidationError for a text that its shape does not take."""
    return {} if shape is None else _structure(shape, form, "")


def _structure(shape: StructureShape, form: Form, prefix: str) -> dict[str, Any]:
    found = {}
    for name, member in shape.members.items():
        key = f"{prefix}{member.serialization.get('name', name)}"
        if (value := _value(member, form, key)) is not None:
            found[name] = value
    return found


def _value(shape: Shape, form: Form, key: str) -> Any:
    if isinstance(shape, StructureShape):
        return _structure(shape, form, f"{key}.") or None
    if isinstance(shape, ListShape):
        found = (_value(shape.member, form, f"{key}.member.{number}") for number in _numbers(form, f"{key}.member."))
        # an item that says nothing is there all the same: validation says what it lacks
        items = [_nothing(shape.member) if item is None else item for item in found]
        return items if items or form.get(key) == "" else None
    if isinstance(shape, MapShape):
        entries = [f"{key}.entry.{number}" for number in _numbers(form, f"{key}.entry.")]
        return {form.get(f"{entry}.key", ""): _value(shape.value, form, f"{entry}.value") for entry in entries} or None
    text = form.get(key)
    return None if text is None else _scalar(shape, text, key)


def _nothing(shape: Shape) -> Any:
    return {} if isinstance(shape, StructureShape | MapShape) else [] if isinstance(shape, ListShape) else ""


def _numbers(form: Form, prefix: str) -> list[int]:
    found = {rest.partition(".")[0] for name in form if name.startswith(prefix) and (rest := name[len(prefix) :])}
    return sorted(int(text) for text in found if re.fullmatch(r"[1-9][0-9]{0,3}", text))[:MAX_ITEMS]


def _scalar(shape: Shape, text: str, key: str) -> Any:
    if shape.type_name in ("integer", "long"):
        if not re.fullmatch(r"-?[0-9]{1,18}", text):
            raise ValidationError(f"Value '{text[:64]}' at '{key}' is no whole number")
        return int(text)
    if shape.type_name == "boolean":
        if text.lower() not in ("true", "false"):
            raise ValidationError(f"Value '{text[:64]}' at '{key}' is neither true nor false")
        return text.lower() == "true"
    return text


def validate(shape: Shape | None, params: Mapping[str, Any]) -> None:
    """Raises ValidationError with every problem, in AWS's words."""
    problems: list[str] = []
    if shape is not None:
        _check(shape, params, "", problems)
    if problems:
        count = f"{len(problems)} validation error{'s' if len(problems) > 1 else ''} detected: "
        raise ValidationError(count + "; ".join(problems))


def _check(shape: Shape, value: Any, path: str, problems: list[str]) -> None:
    if isinstance(shape, StructureShape):
        for name in shape.required_members:
            if name not in value:
                inner = _path(path, name)
                problems.append(f"Value null at '{inner}' failed to satisfy constraint: Member must not be null")
        for name, one in value.items():
            _check(shape.members[name], one, _path(path, name), problems)
    elif isinstance(shape, ListShape):
        _check_size(shape, value, path, problems)
        for number, one in enumerate(value, 1):
            _check(shape.member, one, f"{path}.{number}.member", problems)
    elif isinstance(value, str):
        _check_text(shape, value, path, problems)
    elif isinstance(value, int) and not isinstance(value, bool):
        _check_number(shape, value, path, problems)


def _path(path: str, name: str) -> str:
    lowered = name[0].lower() + name[1:]
    return f"{path}.{lowered}" if path else lowered


def _check_size(shape: Shape, value: Any, path: str, problems: list[str]) -> None:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    what = f"Value '{str(value)[:256]}' at '{path}' failed to satisfy constraint: Member must have length"
    if low is not None and len(value) < low:
        problems.append(f"{what} greater than or equal to {low}")
    if high is not None and len(value) > high:
        problems.append(f"{what} less than or equal to {high}")


def _check_text(shape: Shape, value: str, path: str, problems: list[str]) -> None:
    _check_size(shape, value, path, problems)
    if (enum := shape.metadata.get("enum")) and value not in enum:
        problems.append(
            f"Value '{value[:256]}' at '{path}' failed to satisfy constraint: Member must satisfy enum value set: "
            f"[{', '.join(enum)}]"
        )
    pattern = shape.metadata.get("pattern")
    if pattern and not re.fullmatch(_python(pattern), value, _flags(pattern)):
        problems.append(
            f"Value '{value[:256]}' at '{path}' failed to satisfy constraint: Member must satisfy regular expression "
            f"pattern: {pattern}"
        )


def _check_number(shape: Shape, value: int, path: str, problems: list[str]) -> None:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    what = f"Value '{value}' at '{path}' failed to satisfy constraint: Member must have value"
    if low is not None and value < low:
        problems.append(f"{what} greater than or equal to {low}")
    if high is not None and value > high:
        problems.append(f"{what} less than or equal to {high}")


def _flags(pattern: str) -> re.RegexFlag:
    r"""Java's ``\w``, ``\d`` and ``\s`` are ASCII; its ``\p{…}`` are not.

    >>> _flags(r"[\w+=,.@-]+") is re.ASCII, _flags(r"[\p{L}]*") is re.ASCII
    (True, False)
    """
    return re.UNICODE if r"\p{" in pattern else re.ASCII


def _python(pattern: str) -> str:
    r"""Java's classes as Python's: ``\p{L}`` and its like are what ``\w`` has, ``\p{Z}`` blanks."""
    for java, python in ((r"\p{L}", r"\w"), (r"\p{N}", r"\d"), (r"\p{Z}", r" \u00a0\u2000-\u200a"), (r"\p{M}", ""),
                         (r"\p{S}", r"$+<=>^`|~"), (r"\p{P}", r"!-/:-@\[-`{-~")):  # fmt: skip
        pattern = pattern.replace(java, python)
    return pattern


def render(operation: OperationModel, result: Mapping[str, Any], request_id: str, namespace: str) -> bytes:
    """The whole answer to an operation that succeeded."""
    body = ""
    if operation.output_shape is not None:
        wrapper = operation.output_shape.serialization.get("resultWrapper", f"{operation.name}Result")
        body = f"<{wrapper}>{_members(operation.output_shape, result)}</{wrapper}>"
    name = f"{operation.name}Response"
    metadata = f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata>"
    return f'<{name} xmlns="{namespace}">{body}{metadata}</{name}>'.encode()


def render_error(code: str, message: str, status: int, request_id: str, namespace: str) -> bytes:
    """What botocore's parser reads an error from."""
    kind = "Receiver" if status >= 500 else "Sender"
    return (
        f'<ErrorResponse xmlns="{namespace}"><Error><Type>{kind}</Type><Code>{escape(code)}</Code>'
        f"<Message>{_text(message)}</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>"
    ).encode()


def _members(shape: StructureShape, value: Mapping[str, Any]) -> str:
    parts = []
    for name, member in shape.members.items():
        if (one := value.get(name)) is not None:
            parts.append(_element(member, one, member.serialization.get("name", name)))
    return "".join(parts)


def _element(shape: Shape, value: Any, name: str) -> str:
    if isinstance(shape, StructureShape):
        return f"<{name}>{_members(shape, value)}</{name}>"
    if isinstance(shape, ListShape):
        items = "".join(_element(shape.member, one, "member") for one in value)
        return f"<{name}>{items}</{name}>"
    if isinstance(shape, MapShape):
        entries = "".join(
            f"<entry><key>{_text(key)}</key>{_element(shape.value, one, 'value')}</entry>" for key, one in value.items()
        )
        return f"<{name}>{entries}</{name}>"
    return f"<{name}>{_text(_plain(value))}</{name}>"


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


def _text(text: str) -> str:
    """What XML cannot say becomes U+FFFD."""
    return escape(_NOT_XML.sub("\ufffd", text))
