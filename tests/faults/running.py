"""How many invocations ran at each moment, from what the functions themselves wrote. Pure.

A function writes lines of ``word id nanoseconds`` to one file, on the clock that all processes of a host share: ``begin``
when it starts, ``alive`` now and then, ``end`` when it ends. One that was killed ran at least to its last line. The id ends
with that of the environment, which writes ``init`` with its id alone when it initialises: its first invocation has its
slot since then.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, replace

RECORDER = """
    import os, time

    HERE = os.environ["AWS_LAMBDA_LOG_STREAM_NAME"][-32:]

    def note(word, run):
        log = os.open(os.environ["RUNS"], os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.write(log, f"{word} {run} {time.monotonic_ns()}\\n".encode())
        if word != "alive":
            os.fsync(log)
        os.close(log)
"""
"""Source text for a function's module, with ``RUNS`` in its environment."""


@dataclass(frozen=True, slots=True)
class Run:
    """Seconds of the shared clock. ``ended`` is False where it was killed: then ``end`` is its last sign of life.

    ``held`` is since when it has its slot, as far as can be seen: the initialisation counts.
    """

    begin: float
    end: float
    ended: bool
    held: float = 0.0

    @property
    def with_init(self) -> Run:
        return replace(self, begin=self.held)


def read(lines: Iterable[str]) -> list[Run]:
    """By their beginning. A torn last line is passed over."""
    begins: dict[str, float] = {}
    lasts: dict[str, float] = {}
    ended: set[str] = set()
    cold: dict[str, float] = {}
    helds: dict[str, float] = {}
    for line in lines:
        if not line.endswith("\n") or len(parts := line.split()) != 3:
            continue
        word, run, at = parts[0], parts[1], int(parts[2]) / 1e9
        environment = run.rpartition(".")[2]
        if word == "init":
            cold[environment] = at
            continue
        if word == "begin":
            begins[run] = at
            helds[run] = cold.pop(environment, at)
        lasts[run] = at
        if word == "end":
            ended.add(run)
    runs = [Run(begin, lasts[run], run in ended, helds[run]) for run, begin in begins.items()]
    return sorted(runs, key=lambda run: run.begin)


class Timeline:
    """How many ran, as steps.

    >>> line = Timeline([Run(1.0, 3.0, True), Run(2.0, 2.5, True)])
    >>> line.most, line.at(2.2), line.at(2.7), line.most_within(2.6, 9.0), line.most_within(3.5, 9.0)
    (2, 2, 1, 1, 0)
    >>> line.gap_below(2, 1.0)
    1.0
    """

    def __init__(self, runs: Iterable[Run]) -> None:
        runs = tuple(runs)
        # who ends in the instant in which another begins has ended
        changes = sorted([(run.end, -1) for run in runs] + [(run.begin, 1) for run in runs])
        self._times: list[float] = []
        self._counts: list[int] = []
        now = 0
        for at, step in changes:
            now += step
            self._times.append(at)
            self._counts.append(now)

    @property
    def most(self) -> int:
        return max(self._counts, default=0)

    def at(self, moment: float) -> int:
        place = bisect_right(self._times, moment) - 1
        return self._counts[place] if place >= 0 else 0

    def most_within(self, begin: float, end: float) -> int:
        """The highest number at any moment between the two."""
        first, last = bisect_right(self._times, begin), bisect_right(self._times, end)
        return max([self.at(begin), *self._counts[first:last]])

    def gap_below(self, number: int, since: float) -> float | None:
        """Seconds from ``since`` until ``number`` ran again; None when that never was."""
        if self.at(since) >= number:
            return 0.0
        for place in range(bisect_right(self._times, since), len(self._times)):
            if self._counts[place] >= number:
                return self._times[place] - since
        return None
