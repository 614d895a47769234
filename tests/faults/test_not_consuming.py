"""A worker whose consumer is dead while its connection lives says so within seconds, and mends it by itself."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest

from broker import names
from broker.rabbitmq import RabbitMQBroker
from broker.topology import Topology, function_queues
from tests.installation import Installation, eventually

pytestmark = pytest.mark.slow

SOON_S, TOLD_S = 45.0, 5.0
"""Some ten seconds, and more on a busy machine. RabbitMQ's client alone would need five minutes."""


def replace_queue(url: str, function: str) -> None:
    """Delete its events queue and make it again in the same instant, of which RabbitMQ 3 tells its consumers nothing."""

    async def work() -> None:
        broker = RabbitMQBroker(url)
        await broker.start()
        queues = function_queues(function)
        events = tuple(queue for queue in queues.queues if queue.name == names.events(function))
        await broker.delete(Topology(queues=events))
        await broker.declare(queues)
        await broker.close()

    asyncio.run(work())


class Codes:
    """Every code that a process reports until ``stop``."""

    def __init__(self, installation: Installation, name: str) -> None:
        self.seen: set[str] = set()
        self._look = lambda: self.seen.update(installation.codes(name))
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while not self._stopping.wait(0.1):
            self._look()

    def stop(self) -> set[str]:
        self._stopping.set()
        self._thread.join(30)
        return self.seen


def test_a_consumer_that_hangs_is_reported_and_renewed_and_what_waits_is_run(rabbitmq_url: str, tmp_path: Path) -> None:
    with Installation(tmp_path, rabbitmq_url) as installation:
        installation.start("api")
        worker = installation.start("worker")
        installation.deploy("f", "def handler(event, context): return 1")
        assert eventually(lambda: installation.call("f", {})[0] == 200)
        # from now on what RabbitMQ delivers by this channel has the numbers of what it delivered before
        installation.send("f", {})
        installation.settled("f", 1)
        replace_queue(rabbitmq_url, "f")
        codes = Codes(installation, "worker")
        try:
            began = time.monotonic()
            waiting = [installation.send("f", {}) for _ in range(3)]
            installation.settled("f", 4, within_s=SOON_S)
            took_s = time.monotonic() - began
        finally:
            seen = codes.stop()
        # RabbitMQ sometimes tells the consumer after all, and then it is back at once
        assert "connected-but-not-consuming" in seen or took_s < TOLD_S, (
            seen,
            took_s,
            installation.log("worker")[-2000:],
        )
        for event_id in waiting:
            assert installation.story(event_id)["attempts"][-1]["outcome"] == "succeeded"
        eventually(lambda: installation.health("worker")[0] == 200)
        assert worker.poll() is None
