"""The load in Prometheus' text form, for autoscalers: the last sample, read when somebody asks.

=========================================  ========  ========================================================================
name                                       labels    meaning
=========================================  ========  ========================================================================
``fnrunner_backlog``                       function  events that wait in the function's queue or are in workers' hands
``fnrunner_oldest_event_age_seconds``      function  see :class:`~fnrunner.model.load.FunctionLoad`; left out while unknown
``fnrunner_busy_share``                    function  running environments ÷ reserved concurrency, or ÷ the fleet's capacity
``fnrunner_capacity``                                environments that the workers may run, those that drain left out
``fnrunner_running``                                 environments that run
=========================================  ========  ========================================================================

Every API process says the same of the whole fleet: take the maximum over them, not the sum. Nothing is said when the last
sample is old.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from fnrunner.model.load import Load


class LoadCollector(Collector):
    """``latest`` gives the last sample, or None."""

    def __init__(self, latest: Callable[[], Load | None]) -> None:
        self._latest = latest

    def describe(self) -> Iterator[GaugeMetricFamily]:
        yield from self._families()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        backlog, oldest, busy, capacity, running = self._families()
        if (load := self._latest()) is not None:
            capacity.add_metric([], load.capacity)
            running.add_metric([], load.running)
            for name, function in load.functions.items():
                backlog.add_metric([name], function.backlog)
                busy.add_metric([name], function.busy_share)
                if function.oldest_s is not None:
                    oldest.add_metric([name], function.oldest_s)
        yield from (backlog, oldest, busy, capacity, running)

    @staticmethod
    def _families() -> tuple[GaugeMetricFamily, ...]:
        of_function = ["function"]
        return (
            GaugeMetricFamily("fnrunner_backlog", "Events that wait or are in hand", labels=of_function),
            GaugeMetricFamily(
                "fnrunner_oldest_event_age_seconds", "Age of the oldest event to be dealt with", labels=of_function
            ),
            GaugeMetricFamily("fnrunner_busy_share", "Running environments, of those there may be", labels=of_function),
            GaugeMetricFamily("fnrunner_capacity", "Environments that the workers may run", labels=[]),
            GaugeMetricFamily("fnrunner_running", "Environments that run", labels=[]),
        )
