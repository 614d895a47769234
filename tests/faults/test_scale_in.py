"""Taking a worker away under load: what runs ends, what does not end in time goes back uncharged, and everybody can see it."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.faults.gate import CODE, Gate
from tests.installation import Installation, eventually

pytestmark = pytest.mark.slow


def attempts(installation: Installation, event_id: str) -> list[tuple[int, str]]:
    return [(a["number"], a["outcome"]) for a in installation.story(event_id)["attempts"]]


def state_of(installation: Installation, pid: int) -> dict[str, Any]:
    """The worker as `fnrunner status` shows it."""
    found = json.loads(installation.command("status", "--json").stdout)
    workers: list[dict[str, Any]] = [worker for worker in found["workers"] if worker["pid"] == pid]
    return workers[0] if workers else {"state": "gone", "running": 0}


def test_a_busy_worker_that_is_stopped_ends_what_runs_and_is_seen_to_drain(rabbitmq_url: str, tmp_path: Path) -> None:
    settings = {"FNRUNNER_WORKER_CAPACITY": "2"}
    with Installation(tmp_path, rabbitmq_url, FNRUNNER_NETWORK="host", **settings) as installation, Gate() as gate:
        installation.start("api")
        first, second = (installation.start("worker", name) for name in ("first", "second"))
        installation.deploy("f", CODE, Timeout=120)
        assert eventually(lambda: installation.call("f", {})[0] == 200)
        running = [installation.send("f", gate.event) for _ in range(4)]
        gate.until_waiting(4)
        waiting = [installation.send("f", {}) for _ in range(20)]
        eventually(lambda: installation.admin("status")["load"]["capacity"] == 4)
        installation.kill("first", signal.SIGTERM)
        eventually(lambda: state_of(installation, first.pid)["state"] == "draining")
        assert state_of(installation, first.pid)["running"] == 2
        assert installation.codes("first") >= {"draining"}
        status, document = installation.health("first", "healthz")
        assert (status, document["ready"]) == (200, False)
        load = eventually(lambda: (found := installation.admin("status")["load"]) and found["capacity"] == 2 and found)
        assert load["functions"][0]["busy_share"] == 1.0
        assert load["functions"][0]["backlog"] == 24
        assert "draining" in installation.command("status").stdout
        assert first.poll() is None
        gate.open()
        assert first.wait(timeout=60) == 0
        installation.settled("f", 24)
        for event_id in (*running, *waiting):
            assert attempts(installation, event_id) == [(1, "succeeded")]
        assert second.poll() is None


def test_what_runs_longer_than_the_drain_timeout_is_not_cut_before_it_and_goes_back_uncharged(
    rabbitmq_url: str, tmp_path: Path
) -> None:
    drain_s = 3.0
    settings = {"FNRUNNER_DRAIN_TIMEOUT_S": str(drain_s)}
    with Installation(tmp_path, rabbitmq_url, FNRUNNER_NETWORK="host", **settings) as installation, Gate() as gate:
        installation.start("api")
        first = installation.start("worker", "first")
        installation.deploy("f", CODE, Timeout=120)
        assert eventually(lambda: installation.call("f", {})[0] == 200)
        slow = installation.send("f", gate.event)
        gate.until_waiting(1)
        began = time.monotonic()
        installation.kill("first", signal.SIGTERM)
        gate.until_gone(1)
        assert time.monotonic() - began >= drain_s, "it was cut before its time"
        assert first.wait(timeout=60) == 0
        assert attempts(installation, slow) == []
        installation.start("worker", "second")
        gate.until_waiting(2)
        gate.open()
        installation.settled("f", 1)
        assert attempts(installation, slow) == [(1, "succeeded")]
