"""``python -m tests.bench.api``: requests per second of the Lambda API on one process, beside moto's server in the same run.

GetFunction and Invoke of `fnrunner dev`, and GetFunction of ``moto_server``, at one and at eight callers. moto's server closes
each connection after its answer, so fnrunner is measured that way too, besides over connections that stay open. The systems
take turns in rounds, and the median round counts. ``--json FILE`` writes the numbers.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import boto3
import httpx

from tests.bench.http_caller import HttpCaller
from tests.bench.measurement import Latency
from tests.bench.subject import run, timed
from tests.installation import RUNTIME, Installation, eventually, zipped
from tests.rabbitmq_server import free_port

NAME = "bench"
GET, INVOKE = f"/2015-03-31/functions/{NAME}", f"/2015-03-31/functions/{NAME}/invocations"
SIGNED = {
    "Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/lambda/aws4_request, SignedHeaders=host, Signature=0"
}
"""moto reads the service out of it."""
HANDLER = "def handler(event, context):\n    return event\n"
WARM_UP = 20


@dataclass(frozen=True, slots=True)
class Series:
    """One operation of one system. ``keeps``: its connections stay open."""

    system: str
    operation: str
    port: int
    keeps: bool

    @property
    def name(self) -> str:
        return f"{self.system}, {self.operation}, {'keep-alive' if self.keeps else 'a connection each'}"

    def caller(self) -> HttpCaller:
        if self.operation == "Invoke":
            return HttpCaller("127.0.0.1", self.port, INVOKE, SIGNED, b'{"key": "value"}', 200)
        return HttpCaller("127.0.0.1", self.port, GET, SIGNED, b"", 200, method="GET")


@dataclass(frozen=True, slots=True)
class Row:
    """The median of the rounds."""

    series: str
    concurrency: int
    per_s: float
    p50_ms: float
    p99_ms: float


class Moto:
    """moto's server in a process of its own, with the function in it."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        with (directory / "moto.log").open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)],
                stdout=output,
                stderr=output,
            )

    def __enter__(self) -> Moto:
        url = f"http://127.0.0.1:{self.port}"
        eventually(lambda: httpx.get(f"{url}/moto-api/data.json", timeout=5).status_code == 200)
        known = {"region_name": "us-east-1", "aws_access_key_id": "test", "aws_secret_access_key": "test"}
        role = boto3.client("iam", endpoint_url=url, **known).create_role(
            RoleName="bench", AssumeRolePolicyDocument="{}"
        )
        boto3.client("lambda", endpoint_url=url, **known).create_function(
            FunctionName=NAME,
            Runtime=RUNTIME,
            Role=role["Role"]["Arn"],
            Handler="app.handler",
            Code={"ZipFile": zipped({"app.py": HANDLER})},
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(timeout=30)


async def _measure(series: Series, concurrency: int, calls: int) -> Latency:
    async with AsyncExitStack() as stack:
        call = await _kept(series, concurrency, stack) if series.keeps else _fresh(series)
        await timed(call, concurrency, WARM_UP * concurrency)
        return await timed(call, concurrency, calls)


async def _kept(series: Series, concurrency: int, stack: AsyncExitStack) -> Callable[[], Awaitable[object]]:
    free: list[HttpCaller] = []
    for _ in range(concurrency):
        caller = series.caller()
        await caller.connect()
        stack.push_async_callback(caller.close)
        free.append(caller)

    async def call() -> None:
        caller = free.pop()
        await caller.post()
        free.append(caller)

    return call


def _fresh(series: Series) -> Callable[[], Awaitable[object]]:
    async def call() -> None:
        caller = series.caller()
        await caller.connect()
        try:
            await caller.post()
        finally:
            await caller.close()

    return call


def measured(calls: int, rounds: int, concurrencies: Sequence[int]) -> list[Row]:
    with ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="fnrunner-bench-", dir="/var/tmp")))
        there = stack.enter_context(Installation(directory))
        there.start("dev")
        there.deploy(NAME, HANDLER)
        eventually(lambda: there.call(NAME, {})[0] == 200)
        moto = stack.enter_context(Moto(directory))
        every = (
            Series("fnrunner", "GetFunction", there.port, keeps=True),
            Series("fnrunner", "GetFunction", there.port, keeps=False),
            Series("moto", "GetFunction", moto.port, keeps=False),
            Series("fnrunner", "Invoke", there.port, keeps=True),
        )
        rows = []
        for concurrency in concurrencies:
            found: dict[str, list[Latency]] = {series.name: [] for series in every}
            for _ in range(rounds):
                for series in every:
                    found[series.name].append(run(_measure(series, concurrency, calls)))
            rows += [_row(name, concurrency, latencies) for name, latencies in found.items()]
        return rows


def _row(name: str, concurrency: int, latencies: Sequence[Latency]) -> Row:
    return Row(
        name,
        concurrency,
        round(median(one.per_s for one in latencies), 1),
        round(median(one.p50_ms for one in latencies), 2),
        round(median(one.p99_ms for one in latencies), 2),
    )


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.api", description=__doc__.partition("\n")[0])
    parser.add_argument("--calls", type=int, default=2_000, help="requests of one round (2,000)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, the median counts (3)")
    parser.add_argument("--callers", type=int, nargs="*", default=[1, 8], help="callers at a time (1 8)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    options = parser.parse_args(words)
    began = time.monotonic()
    rows = measured(options.calls, options.rounds, options.callers)
    print(f"{'':45} {'callers':>7} {'per s':>9} {'p50 ms':>8} {'p99 ms':>8}")
    for row in rows:
        print(f"{row.series:45} {row.concurrency:7} {row.per_s:9.1f} {row.p50_ms:8.2f} {row.p99_ms:8.2f}")
    print(f"{options.rounds} rounds of {options.calls} requests in {time.monotonic() - began:.0f} s")
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))


if __name__ == "__main__":
    main()
