"""Which operation a method and a raw path mean.

The raw path is split on ``/`` first and unquoted after, so that an ARN with its slashes percent-encoded is one segment.
Operations on one path are told apart by what the query must hold; the more it asks for, the earlier it is tried.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from fnrunner.api.errors import UnknownOperation
from fnrunner.api.shape import Operation


@dataclass(slots=True)
class _Node:
    literals: dict[str, _Node] = field(default_factory=dict)
    label: _Node | None = None
    label_name: str = ""
    operations: dict[str, list[Operation]] = field(default_factory=dict)


class Router:
    """A tree of path segments; a literal wins over a label."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        self._root = _Node()
        for operation in operations:
            self._add(operation)

    def match(self, method: str, raw_path: str, query: Mapping[str, list[str]]) -> tuple[Operation, dict[str, str]]:
        """The operation and its path labels, unquoted. A trailing ``/`` is passed over, as older SDKs send one; a label
        that is empty within the path is told by validation, in its words.

        Raises UnknownOperation.
        """
        node, labels = self._root, {}
        for segment in raw_path.removeprefix("/").rstrip("/").split("/"):
            if (literal := node.literals.get(segment)) is not None:
                node = literal
            elif node.label is not None:
                labels[node.label_name] = unquote(segment)
                node = node.label
            else:
                raise UnknownOperation
        for operation in node.operations.get(method, ()):
            if all(query.get(key) == [value] for key, value in operation.query.items()):
                return operation, labels
        raise UnknownOperation

    def _add(self, operation: Operation) -> None:
        node = self._root
        for segment in operation.path:
            if segment.startswith("{"):
                node.label = node.label or _Node()
                node.label_name = segment.strip("{}+")
                node = node.label
            else:
                node = node.literals.setdefault(segment, _Node())
        same_path = node.operations.setdefault(operation.method, [])
        same_path.append(operation)
        same_path.sort(key=lambda other: -len(other.query))


def unquote(segment: str) -> str:
    """Percent-decoded UTF-8; what is not UTF-8 becomes U+FFFD, which no pattern of the model takes."""
    return unquote_to_bytes(segment).decode("utf-8", "replace") if "%" in segment else segment
