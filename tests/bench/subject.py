"""What is measured: a system with two worker processes on the same RabbitMQ, and the ways it offers to call it.

Everything a system needs comes from its ``Ground``; nothing of it outlives ``close``.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from itertools import takewhile
from pathlib import Path
from threading import Barrier
from typing import Any, Protocol, TypeVar

import aiormq
import uvloop

from tests.bench.completions import FILE, Completions
from tests.bench.measurement import Latency

T = TypeVar("T")

WORKERS = 2
URL = "FNRUNNER_TEST_BENCH_BROKER_URL"
"""Environment variable from which the workers of the other systems take the broker."""

PAYLOAD_BYTES = 200
CALLING_S = 8.0
"""Calls that have not begun by then are left out, so that a slow machine still ends in time."""


def _event() -> dict[str, Any]:
    """An event whose JSON has exactly :data:`PAYLOAD_BYTES`."""
    event = {"order": 4711, "customer": "c-0815", "express": True, "note": ""}
    return {**event, "note": "x" * (PAYLOAD_BYTES - len(json.dumps(event)))}


EVENT = _event()
PAYLOAD = json.dumps(EVENT).encode()


@dataclass(frozen=True, slots=True)
class Ground:
    """What all systems share: the broker, the file of completions, a directory for logs and data. ``capacity`` is how
    many environments one fnrunner worker has.
    """

    broker_url: str
    completions: Completions
    directory: Path
    capacity: int

    @property
    def variables(self) -> dict[str, str]:
        return {URL: self.broker_url, FILE: str(self.completions.path)}


@dataclass(frozen=True, slots=True)
class CallPath:
    """``measure(concurrency, calls)`` makes that many synchronous calls; without it, ``absent`` says why not."""

    name: str
    measure: Callable[[int, int], Latency] | None = None
    absent: str = ""


class Subject(Protocol):
    """Constructed on a :class:`Ground`; ``queue`` is the one that ``publish`` fills, with ``consumers`` when all are there."""

    @property
    def name(self) -> str: ...
    @property
    def packages(self) -> tuple[str, ...]: ...
    @property
    def configuration(self) -> str: ...
    @property
    def queue(self) -> str: ...
    @property
    def consumers(self) -> int: ...

    def start(self) -> None:
        """Start everything."""

    def alive(self) -> bool: ...

    def publish(self, count: int) -> None:
        """Put that many persistent events into the queue, by the system's own client."""

    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def paths(self) -> tuple[CallPath, ...]: ...

    def stop_workers(self) -> None:
        """In order, and wait for it. Idempotent."""

    def accept(self, count: int, concurrency: int) -> float | None:
        """Events a second that its HTTP door accepts, or None where there is no such door."""

    def log(self) -> str:
        """The end of the workers' output."""

    def close(self) -> None: ...


def versions(subject: Subject) -> dict[str, str]:
    return {package: version(package) for package in subject.packages}


def run(work: Coroutine[Any, Any, T]) -> T:
    """On the event loop that fnrunner and FastStream use in production."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def depth(url: str, queue: str) -> tuple[int, int]:
    """Ready messages and consumers; a queue that does not exist yet has none."""

    async def ask() -> tuple[int, int]:
        connection = await aiormq.connect(url)
        try:
            channel = await connection.channel()
            found = await channel.queue_declare(queue, passive=True)
            return found.message_count or 0, found.consumer_count or 0
        except aiormq.exceptions.ChannelNotFoundEntity:
            return 0, 0
        finally:
            await connection.close()

    return run(ask())


def _timely(calls: int) -> Iterator[int]:
    deadline = time.monotonic() + CALLING_S
    return takewhile(lambda _: time.monotonic() < deadline, iter(range(calls)))


async def timed(call: Callable[[], Awaitable[object]], concurrency: int, calls: int) -> Latency:
    """Time coroutine calls, ``concurrency`` at a time, for at most :data:`CALLING_S`."""
    seconds: list[float] = []
    left = _timely(calls)

    async def caller() -> None:
        for _ in left:
            started = time.perf_counter()
            await call()
            seconds.append(time.perf_counter() - started)

    started = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(concurrency)))
    return Latency.of(concurrency, seconds, time.perf_counter() - started)


def timed_in_threads(callers: Sequence[Callable[[], object]], calls: int, *, warm_up: int) -> Latency:
    """Time blocking calls, each caller in one thread of its own after ``warm_up`` calls there, as long as ``timed``."""
    shares = [calls // len(callers) + (number < calls % len(callers)) for number in range(len(callers))]
    began: list[float] = []
    ready = Barrier(len(callers), action=lambda: began.append(time.perf_counter()))

    def work(call: Callable[[], object], share: int) -> list[float]:
        try:
            for _ in range(warm_up):
                call()
        except BaseException:
            ready.abort()
            raise
        ready.wait()
        seconds = []
        for _ in _timely(share):
            started = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - started)
        return seconds

    with ThreadPoolExecutor(len(callers)) as pool:
        seconds = [each for found in pool.map(work, callers, shares) for each in found]
    return Latency.of(len(callers), seconds, time.perf_counter() - began[0])
