"""The page that lists every operation of the Lambda API with what this release does of it, made from the routes.

``python -m fnrunner.api.operations > docs/operations.md`` writes it anew.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import botocore

from fnrunner.api import app, invoke, response_stream, shape
from fnrunner.api.absent import feature_of
from fnrunner.api.shape import Operation, Shape


class Extent(Enum):
    """How much of an operation there is."""

    COMPLETE = "complete"
    PARTLY = "without some parameters"
    REFUSED = "refused by name"


@dataclass(frozen=True, slots=True)
class Entry:
    """One operation. ``supported`` take effect, ``refused`` are answered with an error that names them; a dot leads into
    a structure. Of an operation that is refused both are empty.
    """

    operation: Operation
    extent: Extent
    supported: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


def supports() -> Mapping[str, frozenset[str]]:
    """The parameters that take effect, by operation of this release."""
    return {
        **{route.operation: route.supports for route in app.LAMBDA_ROUTES},
        "Invoke": invoke.SUPPORTS,
        "InvokeWithResponseStream": response_stream.SUPPORTS,
    }


def entries(operations: Sequence[Operation], supported: Mapping[str, frozenset[str]]) -> tuple[Entry, ...]:
    """By name."""
    return tuple(
        entry(operation, supported.get(operation.name)) for operation in sorted(operations, key=lambda one: one.name)
    )


def entry(operation: Operation, supported: frozenset[str] | None) -> Entry:
    """``supported`` None: the operation as a whole is refused.

    >>> from fnrunner.api.shape import Member
    >>> text = Shape("string")
    >>> code = Shape("structure", members={"Zip": Member(text, "body", "Zip"), "Image": Member(text, "body", "Image")})
    >>> input_ = Shape("structure", members={"Name": Member(text, "uri", "Name"), "Code": Member(code, "body", "Code")})
    >>> make = Operation("Make", "POST", ("f", "{Name}"), {}, 201, input_, {})
    >>> made = entry(make, frozenset({"Name", "Code.Zip"}))
    >>> made.extent.value, made.supported, made.refused
    ('without some parameters', ('Name', 'Code.Zip'), ('Code.Image',))
    """
    if supported is None:
        return Entry(operation, Extent.REFUSED)
    parts = list(_parameters(operation.input, supported, ""))
    refused = tuple(path for path, has in parts if not has)
    taken = tuple(path for path, has in parts if has)
    return Entry(operation, Extent.PARTLY if refused else Extent.COMPLETE, taken, refused)


def page(found: Sequence[Entry]) -> str:
    """The page as Markdown."""
    count = {extent: sum(one.extent is extent for one in found) for extent in Extent}
    lines = [
        "# Operations of the Lambda API",
        "",
        "Made from the code by `python -m fnrunner.api.operations > docs/operations.md`; a test compares the two.",
        f"The operations are those of botocore {botocore.__version__}.",
        "",
        f"{len(found)} operations: {count[Extent.COMPLETE]} complete, {count[Extent.PARTLY]} without some parameters, "
        f"{count[Extent.REFUSED]} refused by name.",
        "",
        "A parameter that would have no effect, and an operation that there is not, is answered with a 400 "
        "`InvalidParameterValueException` that names it, and changes nothing. Values that ask for nothing (an empty list, "
        '`SnapStart={"ApplyOn": "None"}`) are accepted everywhere.',
        "",
        "| Operation | Request | State | Parameters that take effect | Refused by name, or what it would need |",
        "|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *(_row(one) for one in found)]) + "\n"


def current() -> str:
    """The page of this release."""
    return page(entries(shape.load(), supports()))


def _parameters(structure: Shape, supported: frozenset[str], prefix: str) -> Iterator[tuple[str, bool]]:
    for name, member in structure.members.items():
        path = prefix + name
        if path in supported:
            yield path, True
        elif any(known.startswith(path + ".") for known in supported):
            yield from _parameters(member.shape, supported, path + ".")
        else:
            yield path, False


def _row(one: Entry) -> str:
    operation = one.operation
    query = "&".join(f"{key}={value}" for key, value in operation.query.items())
    request = f"`{operation.method} /{'/'.join(operation.path)}{'?' + query if query else ''}`"
    absent = feature_of(operation.name) if one.extent is Extent.REFUSED else ""
    cells = (operation.name, request, one.extent.value, _names(one.supported), absent or _names(one.refused))
    return f"| {' | '.join(cells)} |"


def _names(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


if __name__ == "__main__":
    sys.stdout.write(current())
