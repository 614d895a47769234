"""The numbers as values, and the arithmetic from times to rates.

>>> rate([1.0, 1.5, 2.0])
2.0
>>> percentile([3.0, 1.0, 2.0], 50)
2.0
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median


def rate(times_s: Sequence[float]) -> float:
    """Runs per second from the first end to the last; ``times_s`` is sorted."""
    return (len(times_s) - 1) / (times_s[-1] - times_s[0])


def percentile(values: Sequence[float], percent: int) -> float:
    """The smallest value that at least ``percent`` of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


@dataclass(frozen=True, slots=True)
class Drain:
    """One round: ``events`` runs, and how many a second ended between the first and the last."""

    events: int
    per_s: float


@dataclass(frozen=True, slots=True)
class Latency:
    """Of ``calls`` synchronous calls, ``concurrency`` of them at any time."""

    concurrency: int
    calls: int
    p50_ms: float
    p99_ms: float
    per_s: float

    @classmethod
    def of(cls, concurrency: int, seconds: Sequence[float], elapsed_s: float) -> Latency:
        return cls(
            concurrency=concurrency,
            calls=len(seconds),
            p50_ms=percentile(seconds, 50) * 1000,
            p99_ms=percentile(seconds, 99) * 1000,
            per_s=len(seconds) / elapsed_s,
        )


@dataclass(frozen=True, slots=True)
class Path:
    """A way to call and wait; without ``latencies``, ``absent`` says why there is none."""

    name: str
    latencies: tuple[Latency, ...] = ()
    absent: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """All of one system. ``failure`` is why it could not be measured to the end, ``left`` what its queue still held."""

    system: str
    versions: dict[str, str]
    configuration: str
    drains: tuple[Drain, ...] = ()
    paths: tuple[Path, ...] = ()
    accepted_per_s: float | None = None
    left: int | None = None
    failure: str = ""
    load: tuple[float, ...] = field(default=())

    @property
    def drained_per_s(self) -> float | None:
        """The median round."""
        return median(drain.per_s for drain in self.drains) if self.drains else None
