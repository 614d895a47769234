"""SIGTERM: what runs may end, what waits goes back, nothing is charged and nothing is left running."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.installation import Installation, environments_of, eventually

pytestmark = pytest.mark.slow

CODE = """
    import time
    def handler(event, context):
        time.sleep(event["s"])
        return "fine"
"""


def attempts(installation: Installation, event_id: str) -> list[tuple[int, str]]:
    return [(a["number"], a["outcome"]) for a in installation.story(event_id)["attempts"]]


def test_a_running_event_ends_and_a_waiting_one_runs_elsewhere_uncharged(rabbitmq_url: str, tmp_path: Path) -> None:
    with Installation(tmp_path, rabbitmq_url, FNRUNNER_WORKER_CAPACITY="1") as installation:
        installation.start("api")
        first = installation.start("worker", "first")
        installation.deploy("f", CODE, Timeout=30)
        assert eventually(lambda: installation.call("f", {"s": 0})[2] == "fine")
        running = installation.send("f", {"s": 3})
        waiting = [installation.send("f", {"s": 0}) for _ in range(3)]
        eventually(lambda: environments_of(first))
        assert installation.stop("first") == 0
        assert attempts(installation, running) == [(1, "succeeded")]
        installation.start("worker", "second")
        assert installation.settled("f", 4)["succeeded"] == 4
        for event_id in waiting:
            assert attempts(installation, event_id) == [(1, "succeeded")]


def test_what_does_not_end_within_the_drain_timeout_is_given_back_uncharged(rabbitmq_url: str, tmp_path: Path) -> None:
    with Installation(tmp_path, rabbitmq_url, FNRUNNER_DRAIN_TIMEOUT_S="1") as installation:
        installation.start("api")
        first = installation.start("worker", "first")
        installation.deploy("f", CODE, Timeout=60)
        assert eventually(lambda: installation.call("f", {"s": 0})[2] == "fine")
        slow = installation.send("f", {"s": 4})
        eventually(lambda: installation.balance("f")["in_flight"] == 1)
        assert installation.stop("first") == 0
        assert not environments_of(first)
        installation.start("worker", "second")
        installation.settled("f", 1)
        assert attempts(installation, slow) == [(1, "succeeded")]
