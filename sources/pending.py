"""Which keys want a look, and when: bounded, ordered by time, never the same key twice at once. Pure: time is handed in.

What does not fit is refused, not forgotten: the caller compares the whole directory again later.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field, replace
from itertools import count

from sources.snapshot import Identity

NOTHING: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Note:
    """What is known of a key that wants a look. Times are seconds of the monotonic clock.

    ``written``: a writer closed the file, or it was moved here. ``appeared``: it was made while being watched, so a
    writer's close is to come. ``sighted``: what was there, and since when. ``hashed``: its content's tag at that identity.
    ``accepted``: the ids of the events about its present state that have been taken. ``attempts``: failures so far.
    """

    due: float
    since: float
    written: bool = False
    appeared: bool = False
    sighted: tuple[Identity, float] | None = None
    hashed: tuple[Identity, str] | None = None
    accepted: frozenset[str] = field(default=NOTHING)
    attempts: int = 0


class Pending:
    """At most ``limit`` keys wait; keys that were taken count until they are finished or put back."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._notes: dict[str, Note] = {}
        self._heap: list[tuple[float, int, str]] = []
        self._order = count()
        self._taken: dict[str, Note] = {}

    def __len__(self) -> int:
        return len(self._notes) + len(self._taken)

    @property
    def taken(self) -> int:
        return len(self._taken)

    def taken_keys(self) -> list[str]:
        """The keys that are being dealt with."""
        return list(self._taken)

    @property
    def full(self) -> bool:
        return len(self) >= self._limit

    @property
    def crowded(self) -> bool:
        """Half full: what can be found again by comparing the directory should not wait here."""
        return len(self) >= self._limit // 2

    def mark(self, key: str, *, due: float, now: float, written: bool = False, appeared: bool = False) -> bool:
        """Look at the key at ``due``, or when it was to be looked at anyway, if that is sooner. False: there is no room.

        A new write has news, so what a failure postponed is looked at when the news is due.
        """
        if (known := self._notes.get(key)) is not None:
            note = replace(
                known, due=min(known.due, due), written=known.written or written, appeared=known.appeared or appeared
            )
            if note != known:
                self._put(key, note)
            return True
        if key not in self._taken and self.full:
            return False
        self._put(key, Note(due=due, since=now, written=written, appeared=appeared))
        return True

    def take(self, now: float, limit: int) -> list[tuple[str, Note]]:
        """Up to ``limit`` keys that are due and not taken already, the longest due first."""
        taken: list[tuple[str, Note]] = []
        while self._heap and self._heap[0][0] <= now and len(taken) < limit:
            due, _, key = heapq.heappop(self._heap)
            if (note := self._notes.get(key)) is None or note.due != due:
                continue  # an older appointment of a key that has another one now, or none
            if key in self._taken:
                continue  # finishing it makes a new appointment
            self._taken[key] = self._notes.pop(key)
            taken.append((key, note))
        return taken

    def finish(self, key: str) -> None:
        """It has been dealt with; what was marked meanwhile gets its turn."""
        self._taken.pop(key, None)
        if (note := self._notes.get(key)) is not None:
            heapq.heappush(self._heap, (note.due, next(self._order), key))

    def put_back(self, key: str, note: Note) -> None:
        """Look again at ``note.due``; what was marked meanwhile is merged in, and may make it sooner."""
        self._taken.pop(key, None)
        if (news := self._notes.get(key)) is not None:
            note = replace(
                note,
                due=min(note.due, news.due),
                written=note.written or news.written,
                appeared=note.appeared or news.appeared,
            )
        self._put(key, note)

    def next_due(self) -> float | None:
        """When :meth:`take` is worth calling, apart from news and finished keys."""
        while self._heap:
            due, _, key = self._heap[0]
            if (note := self._notes.get(key)) is not None and note.due == due and key not in self._taken:
                return due
            heapq.heappop(self._heap)
        return None

    def oldest(self) -> float | None:
        """Since when the first of the waiting keys has been waiting. Looks at each."""
        notes = [*self._notes.values(), *self._taken.values()]
        return min((note.since for note in notes), default=None)

    def _put(self, key: str, note: Note) -> None:
        self._notes[key] = note
        heapq.heappush(self._heap, (note.due, next(self._order), key))


class Backoff:
    """Who may not be asked before when: from ``tolerance`` failures in a row on, doubling from ``first`` to ``longest`` s."""

    def __init__(self, first: float, longest: float, *, tolerance: int = 3) -> None:
        self._first = first
        self._longest = longest
        self._tolerance = tolerance
        self._failures: dict[str, int] = {}
        self._closed: dict[str, tuple[float, float]] = {}

    def until(self, name: str, now: float) -> float | None:
        """When the name may be asked again; None: now."""
        until, _ = self._closed.get(name, (now, 0.0))
        return until if until > now else None

    def failed(self, name: str, now: float) -> bool:
        """Count a failure. True when this one closed the gate; those of calls that ran together close it once."""
        self._failures[name] = self._failures.get(name, 0) + 1
        until, delay = self._closed.get(name, (now, 0.0))
        if self._failures[name] < self._tolerance or until > now:
            return False
        delay = min(self._longest, delay * 2 or self._first)
        self._closed[name] = (now + delay, delay)
        return True

    def succeeded(self, name: str) -> None:
        self._failures.pop(name, None)
        self._closed.pop(name, None)

    def delay(self, attempts: int) -> float:
        """The wait after that many failures of one thing.

        >>> [Backoff(0.5, 3).delay(n) for n in (1, 2, 3, 4)]
        [0.5, 1.0, 2.0, 3]
        """
        return min(self._longest, self._first * 2.0 ** min(attempts - 1, 30))

    @property
    def waiting(self) -> tuple[str, ...]:
        """Whose gate has been closed and has not been asked with success since."""
        return tuple(self._closed)
