"""Taskiq on taskiq-aio-pika: two workers, acknowledgement after the work."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Any

from taskiq_aio_pika import AioPikaBroker

from tests.bench.completions import marker
from tests.bench.peer import Peer
from tests.bench.subject import EVENT, URL, WORKERS, CallPath, run

NAME = "bench.work"
TOGETHER = 100


def make_broker(url: str = "") -> AioPikaBroker:
    """A broker with the measured task; the workers call it without a URL."""
    mark = marker()
    broker = AioPikaBroker(url or os.environ[URL])

    async def work(event: dict[str, Any]) -> None:
        mark()

    broker.register_task(work, task_name=NAME)
    return broker


class TaskiqPeer(Peer):
    name = "Taskiq"
    packages = ("taskiq", "taskiq-aio-pika", "aio-pika", "aiormq")
    configuration = f"{WORKERS} workers, ack when executed, prefetch 10, 100 async tasks, quorum queue (its defaults)"
    queue = "taskiq"

    def command(self) -> Sequence[str]:
        app = "tests.bench.taskiq_peer:make_broker"
        return ("taskiq", "worker", app, "--workers", str(WORKERS), "--ack-type", "when_executed")

    def publish(self, count: int) -> None:
        async def send() -> None:
            broker = make_broker(self.ground.broker_url)
            await broker.startup()
            task = broker.find_task(NAME)
            assert task is not None
            try:
                for start in range(0, count, TOGETHER):
                    await asyncio.gather(*(task.kiq(EVENT) for _ in range(min(TOGETHER, count - start))))
            finally:
                await broker.shutdown()

        run(send())

    def paths(self) -> tuple[CallPath, ...]:
        return (CallPath("results", absent="not offered on RabbitMQ: taskiq-aio-pika has no result backend"),)
