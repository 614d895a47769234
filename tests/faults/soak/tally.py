"""What is known of each event, in some fifty bytes each: a million fit in little memory.

Fed with the history and the log of runs in any order. What an ordinary event leaves behind is only counted; runs are
kept one by one for the few that are looked at again.
"""

from __future__ import annotations

import uuid
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.faults.soak.history import ACKNOWLEDGED, REFUSED, UNKNOWN, Answered
from tests.faults.soak.operation import EXPECTED, Behaviour
from tests.faults.soak.run_log import BEGIN, FAILED, OK, Line

NONE_S = 0.0
GRACE_S = 2.0
"""How long after its timeout a function may still be seen alive: the worker has to notice and to kill."""
MOST_KEPT = 10_000

_BEHAVIOURS = tuple(Behaviour)
_NUMBER_OF = {behaviour: number for number, behaviour in enumerate(_BEHAVIOURS, 1)}
_OUTCOME = {ACKNOWLEDGED: 1, REFUSED: 2, UNKNOWN: 3}
_ID_BYTES = 16


@dataclass(frozen=True, slots=True)
class Overrun:
    """A run that was seen alive ``lasted_s`` after it began."""

    number: int
    begin_ns: int
    lasted_s: float


@dataclass(slots=True)
class Span:
    """A run of the capped function: from when to when it certainly ran."""

    number: int
    begin_ns: int
    end_ns: int


@dataclass(slots=True)
class Tally:
    """``mended_ns`` is when failing functions were mended: runs that begin later are counted apart."""

    mended_ns: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    overruns: list[Overrun] = field(default_factory=list)
    strange: list[tuple[int, str]] = field(default_factory=list)
    capped: dict[tuple[int, int], Span] = field(default_factory=dict)
    failed_ids: dict[str, int] = field(default_factory=dict)
    done: int = 0
    runs: int = 0
    _behaviour: bytearray = field(default_factory=bytearray)
    _outcome: bytearray = field(default_factory=bytearray)
    _begins: array[int] = field(default_factory=lambda: array("H"))
    _oks: array[int] = field(default_factory=lambda: array("H"))
    _fails: array[int] = field(default_factory=lambda: array("H"))
    _later: array[int] = field(default_factory=lambda: array("H"))
    _later_oks: array[int] = field(default_factory=lambda: array("H"))
    _given: bytearray = field(default_factory=bytearray)
    _seen: bytearray = field(default_factory=bytearray)

    def __len__(self) -> int:
        return len(self._outcome)

    def answered(self, one: Answered) -> None:
        n = one.number
        self._room_for(n)
        self.outcomes[one.outcome] += 1
        self._behaviour[n] = _NUMBER_OF[one.behaviour]
        self._outcome[n] = _OUTCOME[one.outcome]
        if one.outcome == ACKNOWLEDGED:
            # what is to fail at once is done with its answer
            self.done += self._oks[n] > 0 or one.behaviour is Behaviour.SYNC_ERROR
            if one.event_id:
                self._given[n * _ID_BYTES : (n + 1) * _ID_BYTES] = _packed(one.event_id)

    def ran(self, line: Line) -> None:
        n = line.number
        self._room_for(n)
        later = 0 < self.mended_ns <= line.begin_ns
        if line.state == BEGIN:
            self.runs += 1
            self._check_id(line)
            (self._later if later else self._begins)[n] += 1
        elif line.state == OK:
            if not later and not self._oks[n] and self._outcome[n] == _OUTCOME[ACKNOWLEDGED]:
                self.done += 1
            (self._later_oks if later else self._oks)[n] += 1
        elif line.state == FAILED:
            self._fails[n] += not later
            self.failed_ids[line.event_id] = n
        self._check_time(line)

    def _check_id(self, line: Line) -> None:
        at = slice(line.number * _ID_BYTES, (line.number + 1) * _ID_BYTES)
        packed, known = _packed(line.event_id), bytes(self._seen[at])
        if not any(known):
            self._seen[at] = packed
        elif known != packed and len(self.strange) < MOST_KEPT:
            self.strange.append((line.number, line.event_id))

    def _check_time(self, line: Line) -> None:
        behaviour = self.behaviour(line.number)
        if behaviour is Behaviour.CAPPED:
            span = self.capped.setdefault((line.number, line.begin_ns), Span(line.number, line.begin_ns, line.begin_ns))
            span.end_ns = max(span.end_ns, line.now_ns)
        longest = EXPECTED[behaviour].longest_s if behaviour else 20.0
        lasted = (line.now_ns - line.begin_ns) / 1e9
        if lasted > longest + GRACE_S and len(self.overruns) < MOST_KEPT:
            self.overruns.append(Overrun(line.number, line.begin_ns, lasted))

    def behaviour(self, number: int) -> Behaviour | None:
        """None before its answer is known."""
        known = self._behaviour[number]
        return _BEHAVIOURS[known - 1] if known else None

    def events(self, *outcomes: str) -> Iterator[int]:
        """Numbers of the events with one of these outcomes."""
        wanted = {_OUTCOME[outcome] for outcome in outcomes}
        return (n for n, outcome in enumerate(self._outcome) if outcome in wanted)

    def unfinished(self, behaviour: Behaviour) -> int:
        """How many accepted events of this behaviour have not succeeded."""
        wanted = _NUMBER_OF[behaviour]
        return sum(
            outcome == _OUTCOME[ACKNOWLEDGED] and kind == wanted and not ok
            for outcome, kind, ok in zip(self._outcome, self._behaviour, self._oks, strict=True)
        )

    def begins(self, number: int) -> int:
        return self._begins[number]

    def oks(self, number: int) -> int:
        return self._oks[number]

    def later(self, number: int) -> tuple[int, int]:
        """Runs that began, and that succeeded, after the mending."""
        return self._later[number], self._later_oks[number]

    def event_id(self, number: int) -> str:
        """The id that was given out, or else the one it ran under; empty where there is none."""
        at = slice(number * _ID_BYTES, (number + 1) * _ID_BYTES)
        packed = bytes(self._given[at])
        if not any(packed):
            packed = bytes(self._seen[at])
        return str(uuid.UUID(bytes=packed)) if any(packed) else ""

    def ran_as_another(self, number: int) -> bool:
        """Whether it ran under another id than was given out."""
        at = slice(number * _ID_BYTES, (number + 1) * _ID_BYTES)
        given, seen = self._given[at], self._seen[at]
        return any(given) and any(seen) and given != seen

    def numbers_of(self, ids: set[str]) -> dict[str, int]:
        """The numbers of these ids, as far as they are known."""
        found = {one: self.failed_ids[one] for one in ids if one in self.failed_ids}
        wanted = {uuid.UUID(one).bytes: one for one in ids - found.keys() if _is_uuid(one)}
        for ids_of in (self._given, self._seen):
            for n in range(len(self) if wanted else 0):
                packed = bytes(ids_of[n * _ID_BYTES : (n + 1) * _ID_BYTES])
                if packed in wanted:
                    found[wanted.pop(packed)] = n
        return found

    def _room_for(self, number: int) -> None:
        if (more := number + 1 - len(self._outcome)) <= 0:
            return
        more += 4096
        self._outcome.extend(bytes(more))
        self._behaviour.extend(bytes(more))
        for counts in (self._begins, self._oks, self._fails, self._later, self._later_oks):
            counts.frombytes(bytes(more * counts.itemsize))
        for ids in (self._given, self._seen):
            ids.extend(bytes(more * _ID_BYTES))


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True


def _packed(event_id: str) -> bytes:
    return bytes.fromhex(event_id.replace("-", ""))
