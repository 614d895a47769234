"""Which invocations of a function with active tracing are traced, where their caller has not decided: the first in each
second, and one in twenty of the others.

>>> sampling = ActiveSampling(chance=lambda: 0.5)
>>> [sampling.decide("f", at) for at in (10.0, 10.9, 11.0)]
[True, False, True]
>>> sampling.decide("g", 11.0)
True

Source: Lambda, active tracing: one request in each second, and 5 percent of those beyond.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from fnrunner.telemetry import context as trace_context

BEYOND = 0.05
ACTIVE = "Active"


class ActiveSampling:
    """Remembers when it last took an invocation of each function. ``chance`` gives numbers from 0 to 1."""

    def __init__(self, chance: Callable[[], float] = random.random) -> None:
        self._chance = chance
        self._seconds: dict[str, int] = {}

    def decide(self, function: str, now_s: float) -> bool:
        """Whether this invocation is traced. ``now_s`` is monotonic."""
        second = int(now_s)
        if self._seconds.get(function) != second:
            self._seconds[function] = second
            return True
        return self._chance() < BEYOND

    def parent(self, function: str, mode: str, parent: Mapping[str, str], now_s: float) -> Mapping[str, str]:
        """What an invocation's spans follow: ``parent``, where the caller sent one, or a trace that begins here."""
        if mode != ACTIVE or parent.get("traceparent") or not self.decide(function, now_s):
            return parent
        begun = trace_context.new()
        return trace_context.carrier(trace_context.TraceContext(begun.trace_id, begun.span_id, sampled=True))
