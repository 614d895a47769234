"""Why an event ran more often than it should: each run too many needs a fault that can have caused it.

A run is caused by a fault that was there, or whose consequences were, between the beginning of the run before it and its
own; or by one that was there while the event was accepted, since a publish that was not confirmed in time is published
again; or by a copy that the nemesis itself published.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tests.faults.soak.fault import Struck
from tests.faults.soak.history import Answered
from tests.faults.soak.run_log import ALIVE, BEGIN, OK, Line

COPIED = "copied"


@dataclass(slots=True)
class Run:
    """One run. ``state`` is the last that was seen: ``begin`` or ``alive`` when it never ended."""

    begin: float
    event_id: str
    state: str = BEGIN


@dataclass(frozen=True, slots=True)
class Detail:
    """One event in full."""

    answer: Answered | None
    runs: tuple[Run, ...]


@dataclass(frozen=True, slots=True)
class Repetition:
    """A run too many and the fault that explains it, or None."""

    at: float
    cause: Struck | None


def details(numbers: Iterable[int], answers: Iterable[Answered], lines: Iterable[Line]) -> Mapping[int, Detail]:
    """These events in full, their runs in order of their beginnings."""
    wanted = frozenset(numbers)
    answered = {one.number: one for one in answers if one.number in wanted}
    runs: dict[int, dict[int, Run]] = {number: {} for number in wanted}
    for line in lines:
        if line.number in wanted:
            run = runs[line.number].setdefault(line.begin_ns, Run(line.begin_ns / 1e9, line.event_id))
            if line.state != ALIVE:
                run.state = line.state
    return {n: Detail(answered.get(n), tuple(runs[n][begin] for begin in sorted(runs[n]))) for n in sorted(wanted)}


def repetitions(detail: Detail, expected: int, faults: Sequence[Struck]) -> list[Repetition]:
    """The runs beyond ``expected``. As many as are expected need no cause, unless they follow a success.

    >>> [r.cause for r in repetitions(Detail(None, (Run(1.0, "a", "ok"), Run(2.0, "a", "ok"))), 1, [])]
    [None]
    """
    found: list[Repetition] = []
    free = expected - 1
    for before, run in zip(detail.runs, detail.runs[1:], strict=False):
        cause = cause_of(before, run, detail.answer, faults)
        if cause is None and before.state != OK and free > 0:
            free -= 1
        else:
            found.append(Repetition(run.begin, cause))
    # Where a retry that was due fell together with a fault, it was counted as the fault's.
    return found[min(free, len(found)) :] if all(one.cause for one in found) else found


def cause_of(before: Run, run: Run, answer: Answered | None, faults: Sequence[Struck]) -> Struck | None:
    """The latest fault that explains that ``run`` follows ``before``."""
    copied = [fault for fault in faults if fault.kind == COPIED and run.event_id in fault.ids]
    if copied and copied[-1].begin <= run.begin:
        return copied[-1]
    reaching = [fault for fault in faults if fault.kind != COPIED and not fault.problem]
    for fault in sorted(reaching, key=lambda each: each.begin, reverse=True):
        if fault.reaches(before.begin, run.begin):
            return fault
        if answer is not None and fault.reaches(answer.sent, answer.answered):
            return fault
    return None
