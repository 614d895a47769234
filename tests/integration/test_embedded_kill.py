"""Nothing that was confirmed is lost when the process is killed, as often as one likes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from broker.broker import Delivery
from broker.embedded import EmbeddedBroker
from broker.errors import Locked, QueueNotFound

ROOT = Path(__file__).parents[2]
PUBLISHER = Path(__file__).with_name("embedded_publisher.py")
KILLS = 10


def publisher(directory: Path, start: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, str(PUBLISHER), str(directory), str(start)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def kill_after(process: subprocess.Popen[bytes], lines: int) -> list[str]:
    """What the process had said when it was killed, some time after that many lines."""
    assert process.stdout is not None
    said = [process.stdout.readline() for _ in range(lines)]
    process.send_signal(signal.SIGKILL)
    said += process.stdout.readlines()
    process.stdout.close()
    process.wait()
    return [line.decode().strip() for line in said if line.endswith(b"\n")]


async def everything_in(directory: Path) -> tuple[list[Delivery], list[int]]:
    """The deliveries of the queue, not acknowledged, and the numbers in the stream."""
    broker = EmbeddedBroker(directory, delays=())
    await broker.start()
    try:
        deliveries: list[Delivery] = []
        with suppress(QueueNotFound):
            while (delivery := await broker.get("q")) is not None:
                deliveries.append(delivery)
        records: list[int] = []
        with suppress(QueueNotFound):
            import asyncio

            depth, complete = (await broker.depth("s")).ready, asyncio.Event()

            def on_record(delivery: Delivery) -> None:
                records.append(int(delivery.message.body))
                if len(records) == depth:
                    complete.set()

            if depth:
                await broker.subscribe("s", on_record, prefetch=10**9, offset="first")
                async with asyncio.timeout(60):
                    await complete.wait()
        return deliveries, records
    finally:
        await broker.close()


async def test_no_confirmed_message_is_lost_by_killing_the_process_ten_times(tmp_path: Path) -> None:
    confirmed: set[int] = set()
    acknowledged: set[int] = set()
    dice = random.Random(20_260)
    for round_ in range(KILLS):
        said = kill_after(publisher(tmp_path, round_ * 1_000_000), dice.randrange(1, 400))
        confirmed |= {int(line) for line in said if line.startswith("+")}
        acknowledged |= {-int(line) for line in said if line.startswith("-")}
        deliveries, records = await everything_in(tmp_path)
        numbers = [int(d.message.body) for d in deliveries]
        assert len(numbers) == len(set(numbers)), "no message is there twice"
        assert confirmed - acknowledged <= set(numbers)
        assert confirmed <= set(records)
    assert len(confirmed) > KILLS


async def test_what_was_delivered_before_the_kill_is_marked(tmp_path: Path) -> None:
    said = kill_after(publisher(tmp_path, 1), 500)
    settled = {-int(line) for line in said if line.startswith("-")}
    deliveries, _ = await everything_in(tmp_path)
    earlier = [d for d in deliveries if int(d.message.body) < max(settled) - 100]
    assert earlier
    assert all(d.redelivered for d in earlier)


async def test_a_second_process_is_locked_out_and_told_by_whom(tmp_path: Path) -> None:
    process = publisher(tmp_path, 0)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(Locked, match=str(process.pid)):
            await EmbeddedBroker(tmp_path, delays=()).start()
    finally:
        kill_after(process, 0)
    broker = EmbeddedBroker(tmp_path, delays=(timedelta(seconds=1),))
    await broker.start()
    await broker.close()
