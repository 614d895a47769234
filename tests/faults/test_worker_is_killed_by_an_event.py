"""One event kills every worker that runs it: it alone is charged and dead-lettered, its neighbours succeed."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from tests.installation import Installation, eventually

pytestmark = pytest.mark.slow

CODE = """
    import os, signal, time
    def handler(event, context):
        if event.get("kill"):
            time.sleep(0.3)  # so that neighbours run when it happens
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(5)
        time.sleep(event.get("s", 0))
        return "fine"
"""
NEIGHBOURS = 24


def charged(story: dict[str, Any]) -> list[int]:
    """The numbers of the attempts that cost a worker its life."""
    return [attempt["number"] for attempt in story["attempts"] if attempt["outcome"] == "died"]


def keep_running(installation: Installation, stop: threading.Event, deaths: list[str]) -> None:
    """What a service manager does: a worker that has died is started again."""
    while not stop.wait(0.2):
        for name in ("worker-0", "worker-1"):
            if installation.processes[name].poll() is not None:
                deaths.append(name)
                installation.start("worker", name, wait=False)


def test_only_the_killer_is_dead_lettered(rabbitmq_url: str, tmp_path: Path) -> None:
    stop, deaths = threading.Event(), list[str]()
    # in a namespace of its own a function cannot so much as name the worker
    settings = {"FNRUNNER_WORKER_CAPACITY": "8", "FNRUNNER_SANDBOX": "process"}
    with Installation(tmp_path, rabbitmq_url, **settings) as installation:
        installation.start("api")
        for n in range(2):
            installation.start("worker", f"worker-{n}")
        installation.deploy("f", CODE, Timeout=10)
        eventually(lambda: installation.call("f", {})[2] == "fine")
        guard = threading.Thread(target=keep_running, args=(installation, stop, deaths))
        guard.start()
        try:
            ids = [installation.send("f", {"s": 0.4}) for _ in range(NEIGHBOURS // 2)]
            killer = installation.send("f", {"kill": True})
            ids += [installation.send("f", {"s": 0.4}) for _ in range(NEIGHBOURS // 2)]
            balance = installation.settled("f", NEIGHBOURS + 1, within_s=150)
        finally:
            stop.set()
            guard.join()
        assert (balance["succeeded"], balance["dead_lettered"], balance["missing"]) == (NEIGHBOURS, 1, 0)
        [letter] = installation.dead_letters("f")
        assert (letter["event_id"], letter["error_type"]) == (killer, "Runtime.WorkerDied")
        # the letter is published before the last attempt is written down
        eventually(lambda: charged(installation.story(killer)) == [1, 2, 3])
        for event_id in ids:
            assert {a["outcome"] for a in installation.story(event_id)["attempts"]} == {"succeeded"}
        # at the first death it was one of many; each charged attempt then cost one worker more
        assert 3 <= len(deaths) <= 8, deaths
