"""A template's text as a tree of nodes that know their line and column, with CloudFormation's short forms read as calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fnrunner.cli.deploy.fault import Faults, Line

if TYPE_CHECKING:
    from collections.abc import Iterator

Scalar = str | int | float | bool | None
_CORE = "tag:yaml.org,2002:"


@dataclass(frozen=True, slots=True)
class Call:
    """An intrinsic function: ``name`` in its long form (``Ref``, ``Fn::Sub``)."""

    name: str
    argument: Node


@dataclass(frozen=True, slots=True)
class Node:
    """``value`` is a scalar, a tuple of nodes, a dict of nodes, or a Call. ``text`` is a scalar as it was written."""

    line: int
    value: Scalar | tuple[Node, ...] | dict[str, Node] | Call
    text: str = ""

    def entries(self) -> dict[str, Node]:
        """The mapping's entries; empty when it is no mapping."""
        return self.value if isinstance(self.value, dict) else {}

    def elements(self) -> tuple[Node, ...]:
        """The list's elements; empty when it is no list."""
        return self.value if isinstance(self.value, tuple) else ()

    @property
    def is_scalar(self) -> bool:
        return not isinstance(self.value, dict | tuple | Call)

    @property
    def kind(self) -> str:
        """What it is, for messages."""
        match self.value:
            case dict():
                return "a mapping"
            case tuple():
                return "a list"
            case Call(name):
                return name
            case None:
                return "empty"
            case _:
                return repr(self.text)


def read(text: str, faults: Faults) -> Node:
    """The tree of a YAML or JSON text. Raises TemplateFault when it cannot be read at all."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        root = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        faults.add(_line(mark) if mark else 1, "", f"this is not YAML: {error.problem or error.context}")
    except YAMLError as error:
        faults.add(1, "", f"this is not YAML: {' '.join(str(error).split())}")
    else:
        if root is not None:
            return _Reader(faults).node(root, "")
        faults.add(1, "", "the template is empty")
    faults.check()
    raise AssertionError("a fault was found, and check() raises")


class _Reader:
    """Converts composed YAML once a node, however often an anchor is used."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._done: dict[int, Node] = {}
        self._open: set[int] = set()

    def node(self, raw: Any, where: str) -> Node:
        if (key := id(raw)) in self._done:
            return self._done[key]
        line = _line(raw.start_mark)
        if key in self._open:
            self._faults.add(line, where, "contains itself through an alias")
            return Node(line, None)
        self._open.add(key)
        node = self._tagged(raw, line, where)
        self._open.discard(key)
        self._done[key] = node
        return node

    def _tagged(self, raw: Any, line: int, where: str) -> Node:
        tag = str(raw.tag)
        if not tag.startswith("!") or tag == "!":
            return self._plain(raw, line, where)
        name = tag[1:] if tag in ("!Ref", "!Condition") else f"Fn::{tag[1:]}"
        return Node(line, Call(name, self._plain(raw, line, where)))

    def _plain(self, raw: Any, line: int, where: str) -> Node:
        if isinstance(raw.value, str):
            value = _scalar(str(raw.tag), raw.value)
            return Node(line, value, "" if value is None else raw.value)
        if raw.value and isinstance(raw.value[0], tuple):
            return self._mapping(raw.value, line, where)
        if str(raw.tag) == f"{_CORE}map" or type(raw).__name__ == "MappingNode":
            return Node(line, {})
        return Node(line, tuple(self.node(item, f"{where}[{i}]") for i, item in enumerate(raw.value)))

    def _mapping(self, pairs: list[tuple[Any, Any]], line: int, where: str) -> Node:
        entries: dict[str, Node] = {}
        for key, value in pairs:
            name = key.value if isinstance(key.value, str) else "?"
            path = f"{where}.{name}" if where else name
            if name in entries:
                self._faults.add(_line(key.start_mark), path, "is there twice")
            read = self.node(value, path)
            # A mapping's fault is shown at its key, where people look for it.
            entries[name] = Node(_line(key.start_mark), read.value, read.text)
        if len(entries) == 1 and ((only := next(iter(entries))) == "Ref" or only.startswith("Fn::")):
            return Node(line, Call(only, entries[only]))
        return Node(line, entries)


def _line(mark: Any) -> Line:
    return Line.at(mark.line + 1, mark.column + 1)


def _scalar(tag: str, text: str) -> Scalar:
    match tag.removeprefix(_CORE):
        case "int":
            return _number(text)
        case "float":
            try:
                return float(text)
            except ValueError:
                return text
        case "bool":
            return text.lower() == "true"
        case "null":
            return None
        case _:
            return text


def _number(text: str) -> Scalar:
    try:
        return int(text.replace("_", ""), 0) if not text.lstrip("+-").startswith("0") or len(text) == 1 else text
    except ValueError:
        return text


def walk(node: Node) -> Iterator[Node]:
    """The node and everything under it."""
    yield node
    match node.value:
        case dict() as entries:
            below = tuple(entries.values())
        case tuple() as elements:
            below = elements
        case Call(_, argument):
            below = (argument,)
        case _:
            below = ()
    for child in below:
        yield from walk(child)
