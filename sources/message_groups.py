"""Message groups at rest: a message that failed and all that follow it in its group wait here, in order. Pure.

Nothing of a group may be handed out while an earlier message of it rests, so later ones join the line. Times are seconds of
the monotonic clock; places are numbers that grow in the order in which the queue has its messages.

>>> rest = RestingGroups[str]()
>>> rest.put("g", 1, "first", until=30.0); rest.put("g", 2, "second", until=0.0)
>>> rest.take(10.0, 10), rest.blocks("g"), rest.take(30.0, 1), rest.take(30.0, 10), rest.blocks("g")
([], True, ['first'], ['second'], False)
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class RestingGroups(Generic[T]):
    """Each group has a line, ordered by place, and a time until when it rests: the latest it was given."""

    def __init__(self) -> None:
        self._lines: dict[str, list[tuple[int, T]]] = {}
        self._until: dict[str, float] = {}

    def __len__(self) -> int:
        return sum(len(line) for line in self._lines.values())

    def __iter__(self) -> Iterator[T]:
        """Everything that rests, in the order of places."""
        ordered = sorted((each for line in self._lines.values() for each in line), key=lambda each: each[0])
        return (entry for _, entry in ordered)

    def blocks(self, group: str) -> bool:
        """Messages of the group must join the line."""
        return group in self._lines

    def put(self, group: str, place: int, entry: T, *, until: float) -> None:
        """It is handed out again after ``until`` and after those before it."""
        insort(self._lines.setdefault(group, []), (place, entry), key=lambda each: each[0])
        self._until[group] = max(until, self._until.get(group, until))

    def take(self, now: float, limit: int) -> list[T]:
        """At most ``limit`` whose rest is over, each group in order; what is left of a group goes on blocking it."""
        taken: list[T] = []
        for group in [group for group, until in self._until.items() if until <= now]:
            line = self._lines[group]
            share = line[: max(0, limit - len(taken))]
            taken += [entry for _, entry in share]
            del line[: len(share)]
            if not line:
                del self._lines[group], self._until[group]
        return taken

    def due(self) -> float | None:
        """When :meth:`take` has something; None when nothing rests."""
        return min(self._until.values(), default=None)

    def clear(self) -> None:
        self._lines.clear()
        self._until.clear()
