"""What the sources of this process have counted, in Prometheus' text form: read when somebody asks, kept nowhere.

``fnrunner_source_total{kind, source, what}`` counts records, batches, skips, filtered records and so on, as each source names
them; ``fnrunner_source_ok{kind, source}`` is 1 while a source needs nobody's attention.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from sources.source import Health

Healths = Mapping[str, Mapping[str, Health]]
"""Of each source by its kind and name."""


class SourceCollector(Collector):
    """``healths`` looks at every source, quickly."""

    def __init__(self, healths: Callable[[], Healths]) -> None:
        self._healths = healths

    def describe(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        yield from self._families()

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        counts, states = self._families()
        for kind, found in self._healths().items():
            for name, health in found.items():
                states.add_metric([kind, name], float(health.ok))
                for what, count in health.counters.items():
                    counts.add_metric([kind, name, what], count)
        yield counts
        yield states

    @staticmethod
    def _families() -> tuple[CounterMetricFamily, GaugeMetricFamily]:
        return (
            CounterMetricFamily("fnrunner_source", "What sources have counted", labels=["kind", "source", "what"]),
            GaugeMetricFamily("fnrunner_source_ok", "Sources that need nobody's attention", labels=["kind", "source"]),
        )
