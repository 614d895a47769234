"""Who waits before anybody asks: some for whomever, and one of each kind of runtime that was wanted in the last minutes."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from fnrunner.sandbox.home import Home

WAITING_S = 600.0
"""After so long what those who wait know of the host, such as its name servers, may have become wrong."""

KINDS = 4
"""So many kinds of runtimes wait at most: each has the memory of an interpreter."""

WANTED_S = 300.0
"""A kind that nobody has asked for in so long does not wait any more."""

PLAIN = b""
"""The kind of those who know nothing yet."""


@dataclass(frozen=True, slots=True)
class Waiter:
    """``since`` in the event loop's seconds."""

    number: int
    home: Home
    since: float


@dataclass(slots=True)
class _Kind:
    most: int
    wanted: float = float("-inf")
    waiting: deque[Waiter] = field(default_factory=deque)


class Ahead:
    """The decisions about them, without making or ending any. Times are the event loop's seconds.

    >>> ahead = Ahead(1)
    >>> ahead.missing(), ahead.want(b"node", 0.0), ahead.missing()
    (b'', None, b'')
    >>> ahead.add(b"", Waiter(1, None, 0.0)), ahead.missing()
    (None, b'node')
    >>> ahead.add(b"node", Waiter(2, None, 0.0)), ahead.missing()
    (None, None)
    >>> [ahead.take(b"node").number for _ in range(2)], ahead.take(b"node")
    ([2, 1], None)
    """

    def __init__(self, most: int) -> None:
        """``most`` wait for whomever."""
        self._kinds: OrderedDict[bytes, _Kind] = OrderedDict({PLAIN: _Kind(most)})

    def want(self, kind: bytes, now: float) -> None:
        """Somebody asks for one of this kind; others will follow."""
        found = self._kinds.setdefault(kind, _Kind(1))
        found.wanted = now
        self._kinds.move_to_end(kind)

    def take(self, kind: bytes) -> Waiter | None:
        """One of this kind; otherwise one that can be of any."""
        for name in (kind, PLAIN):
            if name in self._kinds and self._kinds[name].waiting:
                return self._kinds[name].waiting.popleft()
        return None

    def add(self, kind: bytes, waiter: Waiter) -> None:
        self._kinds.setdefault(kind, _Kind(1)).waiting.append(waiter)

    def missing(self) -> bytes | None:
        """A kind of which there should be one more, those for whomever first; None: all that should wait do."""
        kinds = sorted(self._kinds.items(), key=lambda item: item[0] != PLAIN)
        return next((name for name, kind in kinds if len(kind.waiting) < kind.most), None)

    def superfluous(self, now: float) -> list[Waiter]:
        """Those of kinds that are not wanted any more, or of too many; they are forgotten."""
        early = [name for name in self._kinds if name != PLAIN]
        gone = [name for name in early if now - self._kinds[name].wanted > WANTED_S] or early[:-KINDS]
        return [waiter for name in gone for waiter in self._kinds.pop(name).waiting]

    def next_look_s(self, now: float) -> float | None:
        """When some may have become superfluous; None: never, as it is."""
        wanted = [kind.wanted for name, kind in self._kinds.items() if name != PLAIN]
        return max(0.0, min(wanted) + WANTED_S - now) if wanted else None

    def all(self, kind: bytes | None = None) -> Iterator[Waiter]:
        """Everybody who waits, or those of one kind; they are forgotten."""
        for name, found in self._kinds.items():
            while found.waiting and kind in (None, name):
                yield found.waiting.popleft()
