"""The ``report`` step: metrics, spans and the log tail of what has ended."""

from __future__ import annotations

import logging

from prometheus_client import Counter, Gauge, Histogram

from fnrunner.model import limits
from fnrunner.model.invocation import FunctionError, Report, Succeeded
from fnrunner.telemetry.metrics import Metrics
from fnrunner.worker import log_lines
from fnrunner.worker.execution import Execution
from fnrunner.worker.outcome import name_of

log = logging.getLogger(__name__)

_SMOOTHING = 0.1


class Reporter:
    """Cheap: a few counters for each execution."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._durations_s: dict[str, float] = {}
        self._counters: dict[tuple[str, ...], Counter] = {}
        self._gauges: dict[str, tuple[Histogram, Gauge]] = {}

    def durations_s(self) -> dict[str, float]:
        """How long each function takes on average, the recent runs counting most."""
        return dict(self._durations_s)

    def ended(self, execution: Execution) -> None:
        """Count it, and end its span with what came of it."""
        answer, function = execution.answer, execution.envelope.function
        assert answer is not None
        outcome, report = answer.outcome, answer.report
        name = name_of(outcome)
        self._count(function, execution.kind.value, name)
        execution.span.set(fnrunner__outcome=name)
        if not isinstance(outcome, Succeeded):
            execution.span.fail(getattr(outcome, "error_type", name), getattr(outcome, "message", ""))
        if not isinstance(outcome, Succeeded | FunctionError):
            return
        self._observe(function, report)
        self._durations_s[function] = _SMOOTHING * report.duration_ms / 1000 + (1 - _SMOOTHING) * self._durations_s.get(
            function, report.duration_ms / 1000
        )
        if report.init_ms is not None:
            self._metrics.init_duration.labels(function).observe(report.init_ms / 1000)
            self._metrics.cold_starts.labels(function, report.cold_reason).inc()

    def _count(self, *labels: str) -> None:
        # looking a child up by its labels costs more than counting
        if (counter := self._counters.get(labels)) is None:
            counter = self._counters[labels] = self._metrics.invocations.labels(*labels)
        counter.inc()

    def _observe(self, function: str, report: Report) -> None:
        if (gauges := self._gauges.get(function)) is None:
            gauges = self._metrics.duration.labels(function), self._metrics.max_memory.labels(function)
            self._gauges[function] = gauges
        duration, memory = gauges
        duration.observe(report.duration_ms / 1000)
        memory.set(report.max_memory_mb * limits.MB)

    def unreadable(self, queue: str) -> None:
        self._metrics.unreadable.labels(queue).inc()

    def settle_waits(self, seconds: float) -> None:
        self._metrics.settle_wait.set(seconds)

    def log_tail(self, execution: Execution) -> bytes:
        """The last 4 KB of the invocation's log, START to REPORT, when the caller asked for it."""
        answer = execution.answer
        if not execution.envelope.log_tail or answer is None or execution.spec is None:
            return b""
        whole = log_lines.whole(execution.envelope.id, execution.version, answer, execution.spec)
        return whole[-limits.LOG_TAIL_BYTES :]
