"""What a reserved concurrency costs a synchronous call: the same function with and without one, in turns, in one run.

``python -m tests.bench.cap [--calls N] [--rounds N] [--workers N]``: medians over the rounds of p50 and p99, on RabbitMQ.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from tests.bench.http_caller import HttpCaller
from tests.installation import Installation
from tests.rabbitmq_server import RabbitMQServer

FUNCTION = """
    def handler(event, context):
        return event
"""
KINDS = {"uncapped": None, "capped": 8}


async def latencies_ms(port: int, function: str, calls: int) -> list[float]:
    """Sorted, of calls one after another on one connection."""
    path = f"/2015-03-31/functions/{function}/invocations"
    caller = HttpCaller("127.0.0.1", port, path, {}, b'{"n":1}', 200)
    await caller.connect()
    times = []
    for _ in range(calls):
        began = time.perf_counter()
        await caller.post()
        times.append((time.perf_counter() - began) * 1000)
    await caller.close()
    return sorted(times)


def rounds(port: int, calls: int, number: int) -> dict[str, dict[str, float]]:
    """Medians over the rounds; the kinds take turns, so that what else the host does meets all of them."""
    for name in KINDS:
        asyncio.run(latencies_ms(port, name, max(50, calls // 10)))
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in KINDS}
    for _ in range(number):
        for name in KINDS:
            times = asyncio.run(latencies_ms(port, name, calls))
            found[name].append((times[len(times) // 2], times[len(times) * 99 // 100]))
    return {
        name: {"p50_ms": median(p50 for p50, _ in pairs), "p99_ms": median(p99 for _, p99 in pairs)}
        for name, pairs in found.items()
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        with RabbitMQServer(home / "rabbitmq") as server, Installation(home, server.url) as installation:
            installation.start("api")
            for number in range(asked.workers):
                installation.start("worker", f"worker-{number}")
            for name, cap in KINDS.items():
                installation.deploy(name, FUNCTION)
                if cap is not None:
                    installation.client().put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=cap)
            print(json.dumps(rounds(installation.port, asked.calls, asked.rounds), indent=1))


if __name__ == "__main__":
    main()
