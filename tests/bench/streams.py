"""Records a second from a RabbitMQ stream into a function, beside aio-pika and aiormq reading the same stream, in one run.

``python -m tests.bench.streams [--records 50000] [--rounds 3]``. fnrunner runs its parts as separate processes (api, two
workers, one sources) with the default sandbox; batches have up to 100 records of 200 bytes, and the function reads each
record's data. The two readers only receive and acknowledge, in one process: no function, no batch, no stored position.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import aio_pika
import aiormq
from aiormq.abc import DeliveredMessage

from tests.installation import Installation, eventually
from tests.rabbitmq_server import RabbitMQServer

STREAM = "readings"
PREFETCH = 2000
FUNCTION = """
    import base64, os, time

    def handler(event, context):
        size = sum(len(base64.b64decode(record["kinesis"]["data"])) for record in event["Records"])
        log = os.open(os.environ["LOG"], os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.write(log, f"{len(event['Records'])} {time.time()} {size}\\n".encode())
        os.close(log)
"""


async def fill(url: str, records: int) -> None:
    """Publish with confirms, a few hundred at a time."""
    connection = await aiormq.connect(url)
    channel = await connection.channel()
    body = json.dumps({"sensor": "s", "celsius": 20.5, "note": "x" * 160}).encode()
    for start in range(0, records, 500):
        await asyncio.gather(
            *(
                channel.basic_publish(
                    body,
                    routing_key=STREAM,
                    properties=aiormq.spec.Basic.Properties(delivery_mode=2, headers={"partition-key": f"k{n % 97}"}),
                )
                for n in range(start, min(start + 500, records))
            )
        )
    await connection.close()


async def with_aio_pika(url: str, records: int) -> float:
    """Records a second."""
    connection = await aio_pika.connect(url)
    channel = await connection.channel()
    await channel.set_qos(prefetch_count=PREFETCH)
    queue = await channel.get_queue(STREAM, ensure=False)
    done, seen, began = asyncio.Event(), 0, 0.0

    async def on_message(message: aio_pika.abc.AbstractIncomingMessage) -> None:
        nonlocal seen, began
        began = began or time.perf_counter()
        seen += 1
        await message.ack()
        if seen == records:
            done.set()

    await queue.consume(on_message, arguments={"x-stream-offset": "first"})
    await done.wait()
    took = time.perf_counter() - began
    await connection.close()
    return records / took


async def with_aiormq(url: str, records: int) -> float:
    """Records a second; acknowledged a hundred at a time, as the cheapest reader would."""
    connection = await aiormq.connect(url)
    channel = await connection.channel()
    await channel.basic_qos(prefetch_count=PREFETCH)
    done, seen, began = asyncio.Event(), 0, 0.0

    async def on_message(message: DeliveredMessage) -> None:
        nonlocal seen, began
        began = began or time.perf_counter()
        seen += 1
        if seen % 100 == 0 or seen == records:
            assert message.delivery_tag is not None
            await channel.basic_ack(message.delivery_tag, multiple=True)
        if seen == records:
            done.set()

    await channel.basic_consume(STREAM, on_message, arguments={"x-stream-offset": "first"})
    await done.wait()
    took = time.perf_counter() - began
    await connection.close()
    return records / took


def with_fnrunner(installation: Installation, records: int, name: str, factor: int) -> float:
    """Records a second between the first batch's end and the last's."""
    log = installation.directory / f"{name}.log"
    installation.deploy(name, FUNCTION, Timeout=30, Environment={"Variables": {"LOG": str(log)}})
    client = installation.client()
    uuid = client.create_event_source_mapping(
        FunctionName=name,
        EventSourceArn=f"arn:aws:kinesis:us-east-1:000000000000:stream/{STREAM}",
        StartingPosition="TRIM_HORIZON",
        BatchSize=100,
        ParallelizationFactor=factor,
    )["UUID"]

    def lines() -> list[tuple[int, float]]:
        rows = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
        return [(int(row[0]), float(row[1])) for row in rows]

    eventually(lambda: sum(count for count, _ in lines()) >= records, within_s=300)
    rows = lines()
    if sum(count for count, _ in rows) != records:
        raise RuntimeError("records were repeated")
    client.delete_event_source_mapping(UUID=uuid)
    first, last = min(at for _, at in rows), max(at for _, at in rows)
    return (records - rows[0][0]) / max(last - first, 1e-9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        server = RabbitMQServer(Path(directory) / "rabbitmq")
        server.start()
        try:
            measure(server.url, Path(directory), arguments.records, arguments.rounds)
        finally:
            server.close()


def measure(url: str, directory: Path, records: int, rounds: int) -> None:
    readers: dict[str, Callable[[str, int], Coroutine[Any, Any, float]]] = {
        "aiormq": with_aiormq,
        "aio-pika": with_aio_pika,
    }
    rates: dict[str, list[float]] = {}
    with Installation(directory, url) as installation:
        installation.start("api")
        for worker in ("worker-1", "worker-2"):
            installation.start("worker", worker)
        installation.start("sources")
        installation.http.put(f"/fnrunner/v1/streams/{STREAM}", json={}).raise_for_status()
        asyncio.run(fill(url, records))
        for number in range(rounds):
            for name, reader in readers.items():
                rates.setdefault(name, []).append(asyncio.run(reader(url, records)))
            for factor in (1, 4):
                rate = with_fnrunner(installation, records, f"f{factor}-{number}", factor)
                rates.setdefault(f"fnrunner, ParallelizationFactor {factor}", []).append(rate)
    load = " ".join(f"{one:.1f}" for one in os.getloadavg())
    print(f"{records} records of 200 bytes, {rounds} rounds, medians; load {load}")
    base = statistics.median(rates["aio-pika"])
    for name, found in rates.items():
        middle = statistics.median(found)
        print(f"  {name:38} {middle:9,.0f} records/s   {middle / base:5.2f} of aio-pika alone")


if __name__ == "__main__":
    main()
