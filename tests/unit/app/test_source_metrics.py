"""Each source's counters and state are on /metrics under its kind and name."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest

from fnrunner.app.source_metrics import SourceCollector
from sources.source import Condition, Health

HEALTHS = {
    "bucket": {"photos": Health(Condition.WATCHING, (), {"announced": 3})},
    "event source mapping": {"photos": Health(Condition.OUTAGE, ("the stream is away",), {"records": 7, "skipped": 1})},
}


def test_counters_and_states_are_told_as_they_are_now() -> None:
    registry = CollectorRegistry()
    found = dict(HEALTHS)
    registry.register(SourceCollector(lambda: found))
    text = generate_latest(registry).decode()
    assert 'fnrunner_source_total{kind="bucket",source="photos",what="announced"} 3.0' in text
    assert 'fnrunner_source_total{kind="event source mapping",source="photos",what="skipped"} 1.0' in text
    assert 'fnrunner_source_ok{kind="bucket",source="photos"} 1.0' in text
    assert 'fnrunner_source_ok{kind="event source mapping",source="photos"} 0.0' in text
    del found["bucket"]
    assert 'kind="bucket"' not in generate_latest(registry).decode()
