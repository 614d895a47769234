"""How long a warm synchronous invocation takes: p50 and p99 at 1 and at 16 clients, in one run on one machine.

``python -m tests.bench.warm [--seconds S] [--json FILE] [--npm DIRECTORY]`` measures

- fnrunner over HTTP, on the embedded broker in one process, and through RabbitMQ with an API and a worker of their own;
- a bare request and its reply over the same RabbitMQ (direct reply-to, aio-pika), which is what any worker must pay;
- serverless-offline from npm with the same handlers.

Subjects take turns in several rounds, so that what else the host does meets all of them. ``--npm`` keeps what npm installs.
RabbitMQ or npm that are not there are named and left out.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import shutil
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aio_pika
from rich.console import Console
from rich.table import Table

from tests.bench.http_caller import HttpCaller
from tests.bench.measurement import Latency
from tests.bench.serverless_offline import NotThere, ServerlessOffline, install, versions
from tests.installation import RUNTIME, Installation
from tests.rabbitmq_server import RabbitMQServer, available

CLIENTS = (1, 16)
ROUNDS = 3
WARM_UP = 50
BODY = b'{"number": 1}'
PYTHON = "def handler(event, context):\n    return event\n"
NODE = "exports.handler = async (event) => event;\n"
REPLY_TO = "amq.rabbitmq.reply-to"

Call = Callable[[], Awaitable[object]]
Open = Callable[[], Awaitable[Call]]
"""One client more; its call is one invocation."""


@dataclass(frozen=True, slots=True)
class Subject:
    name: str
    open: Open


@dataclass(frozen=True, slots=True)
class Outcome:
    """``missing``: what could not be measured, and why."""

    warm: dict[str, list[Latency]]
    missing: dict[str, str]
    versions: dict[str, str]


def over_http(name: str, port: int, path: str, closing: AsyncExitStack) -> Subject:
    async def opened() -> Call:
        caller = HttpCaller("127.0.0.1", port, path, {"Content-Type": "application/json"}, BODY, 200)
        await caller.connect()
        closing.push_async_callback(caller.close)
        return caller.post

    return Subject(name, opened)


async def measured(subject: Subject, clients: int, seconds: float) -> Latency:
    """So many clients, each calling again as soon as it is answered."""
    calls = [await subject.open() for _ in range(clients)]
    await asyncio.gather(*(_repeated(call, WARM_UP) for call in calls))
    began, taken = time.perf_counter(), list[float]()

    async def client(call: Call) -> None:
        while time.perf_counter() - began < seconds:
            asked = time.perf_counter()
            await call()
            taken.append(time.perf_counter() - asked)

    await asyncio.gather(*(client(call) for call in calls))
    return Latency.of(clients, taken, time.perf_counter() - began)


async def _repeated(call: Call, times: int) -> None:
    for _ in range(times):
        await call()


@asynccontextmanager
async def request_reply(url: str) -> AsyncIterator[Subject]:
    """A consumer that answers with what it gets, and clients that wait for that: nothing else between them."""
    async with AsyncExitStack() as stack:
        served = await stack.enter_async_context(await aio_pika.connect(url))
        channel = await served.channel(publisher_confirms=False)
        await channel.set_qos(64)
        queue = await channel.declare_queue("bench-bare", auto_delete=True)

        async def answer(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            reply = aio_pika.Message(message.body, correlation_id=message.correlation_id)
            await channel.default_exchange.publish(reply, routing_key=message.reply_to or "", mandatory=False)

        await queue.consume(answer, no_ack=True)

        async def opened() -> Call:
            own = await stack.enter_async_context(await aio_pika.connect(url))
            asking = await own.channel(publisher_confirms=False)
            came: asyncio.Queue[bytes] = asyncio.Queue()
            replies = await asking.get_queue(REPLY_TO, ensure=False)

            async def received(message: aio_pika.abc.AbstractIncomingMessage) -> None:
                came.put_nowait(message.body)

            await replies.consume(received, no_ack=True)

            async def call() -> bytes:
                message = aio_pika.Message(BODY, reply_to=REPLY_TO)
                await asking.default_exchange.publish(message, routing_key="bench-bare")
                return await came.get()

            return call

        yield Subject("bare request and reply over RabbitMQ", opened)


class Bench:
    """Everything that runs while it is measured. ``missing`` collects what could not be."""

    def __init__(self, directory: Path, npm: Path, stack: ExitStack, closing: AsyncExitStack) -> None:
        self._directory, self._npm, self._stack, self._closing = directory, npm, stack, closing
        self.missing: dict[str, str] = {}
        self.versions = {"python": platform.python_version()}

    async def subjects(self) -> list[Subject]:
        found = [self._fnrunner("embedded", "embedded:", ("dev",))]
        if available():
            server = self._stack.enter_context(RabbitMQServer(self._directory / "rabbitmq"))
            found.append(self._fnrunner("RabbitMQ", server.url, ("api", "worker")))
            found.append(await self._closing.enter_async_context(request_reply(server.url)))
        else:
            self.missing["RabbitMQ"] = "rabbitmq-server is not on this host"
        return [*found, *self._serverless()]

    def _fnrunner(self, name: str, url: str, roles: Sequence[str]) -> Subject:
        (self._directory / name).mkdir()
        installation = self._stack.enter_context(Installation(self._directory / name, url))
        for role in roles:
            installation.start(role)
        installation.deploy("warm", PYTHON)
        return over_http(
            f"fnrunner, {name}", installation.port, "/2015-03-31/functions/warm/invocations", self._closing
        )

    def _serverless(self) -> list[Subject]:
        functions = {"python": (RUNTIME, PYTHON), "node": ("nodejs20.x", NODE)}
        try:
            install(self._npm)
            offline = ServerlessOffline(self._directory / "serverless", self._npm, functions)
            self._stack.enter_context(offline)
        except NotThere as why:
            self.missing["serverless-offline"] = str(why)
            return []
        self.versions |= versions(self._npm)
        return [
            over_http(f"serverless-offline, {name}", offline.lambda_port, offline.path(name), self._closing)
            for name in functions
        ]


async def run(seconds: float, npm: Path | None) -> Outcome:
    with TemporaryDirectory(dir="/var/tmp") as name, ExitStack() as stack:
        directory = Path(name)
        async with AsyncExitStack() as closing:
            bench = Bench(directory, npm or directory / "npm", stack, closing)
            subjects = await bench.subjects()
            rounds: dict[tuple[str, int], list[Latency]] = {}
            for _ in range(ROUNDS):
                for clients in CLIENTS:
                    for subject in subjects:
                        print(f"{subject.name}, {clients}", file=sys.stderr)
                        try:
                            got = await measured(subject, clients, seconds / ROUNDS)
                        except Exception as error:
                            bench.missing[f"{subject.name}, {clients} clients"] = f"{type(error).__name__}: {error}"[
                                :300
                            ]
                            continue
                        rounds.setdefault((subject.name, clients), []).append(got)
    warm: dict[str, list[Latency]] = {}
    for (subject_name, _), found in rounds.items():
        warm.setdefault(subject_name, []).append(middle(found))
    return Outcome(warm, bench.missing, bench.versions)


def middle(rounds: Sequence[Latency]) -> Latency:
    """The medians of the rounds.

    >>> middle([Latency(1, 10, 1.0, 4.0, 9.0), Latency(1, 10, 3.0, 5.0, 7.0), Latency(1, 10, 2.0, 9.0, 8.0)])
    Latency(concurrency=1, calls=30, p50_ms=2.0, p99_ms=5.0, per_s=8.0)
    """
    return Latency(
        rounds[0].concurrency,
        sum(one.calls for one in rounds),
        statistics.median(one.p50_ms for one in rounds),
        statistics.median(one.p99_ms for one in rounds),
        statistics.median(one.per_s for one in rounds),
    )


def show(outcome: Outcome, console: Console) -> None:
    table = Table(title="warm synchronous invocation")
    table.add_column("clients", no_wrap=True)
    for heading in (f"{clients}: {value}" for clients in CLIENTS for value in ("p50 ms", "p99 ms", "calls/s")):
        table.add_column(heading, justify="right")
    for name, latencies in outcome.warm.items():
        known = {one.concurrency: one for one in latencies}
        cells: list[str] = []
        for clients in CLIENTS:
            one = known.get(clients)
            cells += [f"{one.p50_ms:.2f}", f"{one.p99_ms:.2f}", f"{one.per_s:,.0f}"] if one else ["-"] * 3
        table.add_row(name, *cells)
    console.print(table)
    for what, why in outcome.missing.items():
        console.print(f"not measured: {what}: {why}", markup=False)
    said = ", ".join(f"{name} {number}" for name, number in outcome.versions.items())
    load = " ".join(f"{one:.1f}" for one in os.getloadavg())
    console.print(f"{said}; {os.cpu_count()} processors, load average now {load}", highlight=False)


def document(outcome: Outcome) -> dict[str, Any]:
    return asdict(outcome) | {"processors": os.cpu_count(), "load": list(os.getloadavg())}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=15.0, help="of each subject at each number of clients")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    parser.add_argument("--npm", type=Path, help="where npm installs, kept")
    asked = parser.parse_args(arguments)
    console = Console(width=max(120, shutil.get_terminal_size().columns))
    outcome = asyncio.run(run(asked.seconds, asked.npm))
    show(outcome, console)
    if asked.json:
        asked.json.write_text(json.dumps(document(outcome), indent=1) + "\n")


if __name__ == "__main__":
    main()
