"""The load is on /metrics as autoscalers read it, and old figures are not."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest

from fnrunner.app.load_metrics import LoadCollector
from fnrunner.model.load import FunctionLoad, Load

LOAD = Load(
    taken_ms=1,
    capacity=8,
    running=3,
    functions={
        "f": FunctionLoad("f", ready=5, unsettled=2, running=2, limit=4, oldest_s=1.5),
        "g": FunctionLoad("g", ready=9, running=1, limit=8, oldest_s=None),
    },
)


def test_each_function_and_the_fleet_have_their_figures() -> None:
    registry = CollectorRegistry()
    latest: list[Load | None] = [LOAD]
    registry.register(LoadCollector(lambda: latest[0]))
    text = generate_latest(registry).decode()
    for line in (
        'fnrunner_backlog{function="f"} 7.0',
        'fnrunner_busy_share{function="f"} 0.5',
        'fnrunner_oldest_event_age_seconds{function="f"} 1.5',
        'fnrunner_backlog{function="g"} 9.0',
        "fnrunner_capacity 8.0",
        "fnrunner_running 3.0",
    ):
        assert line in text
    assert 'fnrunner_oldest_event_age_seconds{function="g"}' not in text
    latest[0] = None
    assert "fnrunner_backlog{" not in generate_latest(registry).decode()
    assert "\nfnrunner_capacity " not in generate_latest(registry).decode()
