"""Messages that wait to become batches: when a batch is complete, and which message groups may have one now. Pure.

A batch closes when it has ``size`` messages, when ``limit_bytes`` of payload are reached, or when ``window`` is over since its
first message came (zero: at once). Messages without a group go into as many batches as there is room for; those of a group
(FIFO) make batches of their own, in order, one at a time. Source: Lambda developer guide, "Batching behavior".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from sources.inbox import Received

LIMIT_BYTES = 6 * 1024 * 1024
ENVELOPE_BYTES = 1024
"""What is round the messages of a payload."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Messages to be handled by one invocation, all of one group or all without one. ``since``: when the first came."""

    messages: tuple[Received, ...]
    since: float

    @property
    def group(self) -> str:
        return self.messages[0].group


@dataclass(frozen=True, slots=True)
class _Waiting:
    message: Received
    weight: int
    since: float


class Batches:
    """``window`` is in seconds; so are the times, of the monotonic clock."""

    def __init__(self, size: int, window: float, limit_bytes: int = LIMIT_BYTES) -> None:
        self._size = size
        self._window = window
        self._limit = limit_bytes - ENVELOPE_BYTES
        self._lines: dict[str, deque[_Waiting]] = {}
        self._busy: set[str] = set()
        self._count = 0

    def __len__(self) -> int:
        """How many messages wait, those behind a busy group included."""
        return self._count

    def add(self, message: Received, weight: int, now: float) -> None:
        """``weight`` is how many bytes it adds to a payload."""
        self._lines.setdefault(message.group, deque()).append(_Waiting(message, weight, now))
        self._count += 1

    def take(self, now: float) -> Batch | None:
        """A batch that is complete, whose group is busy from now on until :meth:`done`. Groups take turns."""
        for group, line in self._lines.items():
            if group not in self._busy and (length := self._complete(line, now)):
                break
        else:
            return None
        taken = [line.popleft() for _ in range(length)]
        self._count -= length
        del self._lines[group]
        if line:
            self._lines[group] = line  # behind the others
        if group:
            self._busy.add(group)
        return Batch(tuple(each.message for each in taken), taken[0].since)

    def done(self, group: str) -> None:
        """The group may have its next batch."""
        self._busy.discard(group)

    def withdraw(self, group: str) -> tuple[Received, ...]:
        """Everything that waits of the group, in order; it waits no more."""
        line = self._lines.pop(group, deque())
        self._count -= len(line)
        return tuple(each.message for each in line)

    def drain(self) -> tuple[Received, ...]:
        """Everything that waits; nothing does afterwards."""
        return tuple(message for group in tuple(self._lines) for message in self.withdraw(group))

    def due(self) -> float | None:
        """When the next batch is complete if nothing more comes; None when there is none to come."""
        return min((line[0].since + self._window for line in self._free()), default=None)

    def room(self, slots: int, most: int) -> int:
        """How many messages ``slots`` more batches could begin with, beyond those that wait: at most ``most`` wait."""
        free = list(self._free())
        needed = sum(-(-len(line) // self._size) for line in free)
        loose = len(self._lines[""]) % self._size if "" in self._lines else 0
        unfilled = self._size - loose if loose and needed <= slots else 0
        return max(0, min((slots - needed) * self._size + unfilled if slots >= needed else 0, most - self._count))

    def _free(self) -> Iterator[deque[_Waiting]]:
        return (line for group, line in self._lines.items() if group not in self._busy)

    def _complete(self, line: deque[_Waiting], now: float) -> int:
        """How many messages its next batch has; 0 when it is not complete yet. One that is too heavy goes alone."""
        weight = 0
        for length, each in enumerate(line):
            weight += each.weight
            if length == self._size or (length and weight > self._limit):
                return length
        return len(line) if len(line) >= self._size or now >= line[0].since + self._window else 0
