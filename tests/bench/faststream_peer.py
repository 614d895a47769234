"""FastStream: two workers of its command line, request and reply over direct reply-to."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Any

from faststream import AckPolicy, FastStream
from faststream.rabbit import Channel, RabbitBroker, RabbitQueue

from tests.bench.completions import marker
from tests.bench.measurement import Latency
from tests.bench.peer import Peer
from tests.bench.subject import EVENT, URL, WORKERS, CallPath, run, timed

QUEUE = "bench.work"
PREFETCH = 10
TOGETHER = 100
WARM_UP_CALLS = 4
REPLY_WITHIN_S = 30.0


def make_app() -> FastStream:
    """What ``faststream run --factory`` calls in each worker."""
    mark = marker()
    broker = RabbitBroker(os.environ[URL], default_channel=Channel(prefetch_count=PREFETCH), logger=None)

    async def work(event: dict[str, Any]) -> None:
        mark()

    broker.subscriber(RabbitQueue(QUEUE, durable=True), ack_policy=AckPolicy.REJECT_ON_ERROR)(work)
    return FastStream(broker)


class FastStreamPeer(Peer):
    name = "FastStream"
    packages = ("faststream", "aio-pika", "aiormq")
    configuration = (
        f"`faststream run --workers {WORKERS}`, prefetch {PREFETCH}, reject on error (its default), durable classic queue, "
        "no log line for each message"
    )
    queue = QUEUE

    def command(self) -> Sequence[str]:
        app = "tests.bench.faststream_peer:make_app"
        return ("faststream", "run", app, "--factory", "--workers", str(WORKERS))

    def publish(self, count: int) -> None:
        async def send() -> None:
            async with RabbitBroker(self.ground.broker_url, logger=None) as broker:
                for start in range(0, count, TOGETHER):
                    sends = (broker.publish(EVENT, QUEUE, persist=True) for _ in range(min(TOGETHER, count - start)))
                    await asyncio.gather(*sends)

        run(send())

    def paths(self) -> tuple[CallPath, ...]:
        return (CallPath("broker.request", self._measure),)

    def _measure(self, concurrency: int, calls: int) -> Latency:
        async def measure() -> Latency:
            async with RabbitBroker(self.ground.broker_url, logger=None) as broker:

                async def call() -> None:
                    await broker.request(EVENT, QUEUE, timeout=REPLY_WITHIN_S)

                await timed(call, concurrency, WARM_UP_CALLS * concurrency)
                return await timed(call, concurrency, calls)

        return run(measure())
