"""fnrunner: an API process and two workers on RabbitMQ, each function run in a sandboxed process of its own.

Draining measures the workers, so the queue is filled by the broker port with the envelopes that the API would have made;
only the ledger's row of the acceptance is missing. What the API adds is measured by itself, as the rate of acceptance.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

from broker import names, reply
from broker.envelope import Envelope, to_message
from broker.rabbitmq import RabbitMQBroker
from fnrunner.model.arn import Home
from fnrunner.telemetry import context as trace_context
from tests.bench import processes
from tests.bench.completions import FILE, HANDLER
from tests.bench.http_caller import HttpCaller
from tests.bench.measurement import Latency
from tests.bench.subject import PAYLOAD, WORKERS, CallPath, Ground, run, timed
from tests.installation import Installation, eventually

NAME = "bench"
TOGETHER = 200
WARM_UP_CALLS = 4
SYNC_WAIT = timedelta(seconds=10)
REPLY_WITHIN = timedelta(seconds=30)


def _envelope(trigger: str) -> Envelope:
    trace = trace_context.carrier(trace_context.new())
    return Envelope(
        id=str(uuid.uuid4()),
        function=NAME,
        payload=PAYLOAD,
        accepted_at_ms=time.time_ns() // 1_000_000,
        invoked_arn=Home().function(NAME),
        trigger=trigger,
        trace=trace,
        xray=trace_context.to_xray(trace_context.of(trace)),
    )


class FnrunnerSubject:
    """See :class:`tests.bench.subject.Subject`."""

    name = "fnrunner"
    packages = ("aiormq", "uvicorn", "uvloop", "sqlalchemy")
    queue = names.events(NAME)
    consumers = WORKERS

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self.configuration = (
            f"`fnrunner api` and {WORKERS} `fnrunner worker`, FNRUNNER_WORKER_CAPACITY={ground.capacity}, which is the "
            "prefetch too; each environment a sandboxed process; quorum queue; SQLite ledger written before each ack"
        )
        self._directory = ground.directory / self.name
        self._directory.mkdir()
        self._installation = Installation(
            self._directory, ground.broker_url, FNRUNNER_WORKER_CAPACITY=str(ground.capacity)
        )

    def start(self) -> None:
        there = self._installation
        there.start("api")
        there.deploy(NAME, HANDLER, Environment={"Variables": {FILE: str(self._ground.completions.path)}})
        for number in range(WORKERS):
            there.start("worker", f"worker-{number}")
        eventually(lambda: there.call(NAME, {})[0] == 200)

    def alive(self) -> bool:
        return all(process.poll() is None for process in self._installation.processes.values())

    def publish(self, count: int) -> None:
        async def send() -> None:
            async with self._broker() as broker:
                for start in range(0, count, TOGETHER):
                    messages = (to_message(_envelope("other")) for _ in range(min(TOGETHER, count - start)))
                    await asyncio.gather(*(broker.publish(each, routing_key=self.queue) for each in messages))

        run(send())

    def pause(self) -> None:
        processes.pause(self._workers())

    def resume(self) -> None:
        processes.resume(self._workers())

    def _workers(self) -> list[processes.Process]:
        return [each for name, each in self._installation.processes.items() if name != "api"]

    def stop_workers(self) -> None:
        processes.stop(self._workers())

    def paths(self) -> tuple[CallPath, ...]:
        return (
            CallPath("HTTP Invoke, keep-alive", self._measure_http),
            CallPath("broker request/reply", self._measure_requests),
        )

    def _measure_http(self, concurrency: int, calls: int) -> Latency:
        async def measure() -> Latency:
            async with self._callers(concurrency, {}, 200) as call:
                await timed(call, concurrency, WARM_UP_CALLS * concurrency)
                return await timed(call, concurrency, calls)

        return run(measure())

    def _measure_requests(self, concurrency: int, calls: int) -> Latency:
        async def measure() -> Latency:
            async with self._broker() as broker:

                async def call() -> None:
                    message = to_message(_envelope("http"), persistent=False)
                    queue = names.requests(NAME)
                    async for answer in broker.request(message, queue=queue, room=SYNC_WAIT, timeout=REPLY_WITHIN):
                        assert reply.decode(answer.body).kind is reply.ReplyKind.ANSWER

                await timed(call, concurrency, WARM_UP_CALLS * concurrency)
                return await timed(call, concurrency, calls)

        return run(measure())

    def accept(self, count: int, concurrency: int) -> float | None:
        async def measure() -> Latency:
            async with self._callers(concurrency, {"X-Amz-Invocation-Type": "Event"}, 202) as call:
                return await timed(call, concurrency, count)

        return run(measure()).per_s

    def log(self) -> str:
        return "\n".join(log.read_text(errors="replace")[-1500:] for log in self._directory.glob("*.log"))

    def close(self) -> None:
        started = list(self._installation.processes.values())
        try:
            processes.stop(started)
        finally:
            self._installation.close()

    @asynccontextmanager
    async def _broker(self) -> AsyncIterator[RabbitMQBroker]:
        broker = RabbitMQBroker(self._ground.broker_url, delays=(), name="bench")
        await broker.start()
        try:
            yield broker
        finally:
            await broker.close()

    @asynccontextmanager
    async def _callers(
        self, concurrency: int, headers: Mapping[str, str], status: int
    ) -> AsyncIterator[Callable[[], Awaitable[object]]]:
        """A call that takes whichever of the open connections is free."""
        path = f"/2015-03-31/functions/{NAME}/invocations"
        free: asyncio.Queue[HttpCaller] = asyncio.Queue()
        async with AsyncExitStack() as stack:
            for _ in range(concurrency):
                caller = HttpCaller("127.0.0.1", self._installation.port, path, headers, PAYLOAD, status)
                await caller.connect()
                stack.push_async_callback(caller.close)
                free.put_nowait(caller)

            async def call() -> None:
                caller = free.get_nowait()
                await caller.post()
                free.put_nowait(caller)

            yield call
