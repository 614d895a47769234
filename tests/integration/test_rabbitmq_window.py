"""Streamed replies with a window when an end dies or loses its connection: the replier always finds out, within seconds."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import timedelta
from pathlib import Path
from time import monotonic

import pytest

from broker import names
from broker.broker import Delivery
from broker.errors import AskerGone, Unavailable
from broker.message import Message
from broker.rabbitmq import RabbitMQBroker
from broker.topology import Queue, QueueKind, Topology
from tests.rabbitmq_server import RabbitMQServer

ROOT = Path(__file__).parents[2]
PATIENCE_S = 40.0
SECONDS = 10.0
"""Within seconds: a replier may work in vain for no longer."""

QUEUE = names.requests("f")

ASKER = f"""
import asyncio, sys
from datetime import timedelta
from broker.message import Message
from broker.rabbitmq import RabbitMQBroker

async def main():
    broker = RabbitMQBroker(sys.argv[1], delays=())
    await broker.start()
    minute = timedelta(minutes=1)
    async for reply in broker.request(Message(b""), queue={QUEUE!r}, room=minute, timeout=minute, window=2):
        print("reply", flush=True)
        await asyncio.sleep(3600)

asyncio.run(main())
"""


@pytest.fixture
async def replier(private_rabbitmq: RabbitMQServer) -> AsyncIterator[RabbitMQBroker]:
    client = RabbitMQBroker(private_rabbitmq.url, delays=())
    await client.start()
    queue = Queue(QUEUE, QueueKind.CLASSIC, dead_letter_exchange=names.RETURNED)
    await client.declare(Topology(queues=(queue,)))
    yield client
    await client.close()


async def requests_of(replier: RabbitMQBroker) -> asyncio.Queue[Delivery]:
    arrived: asyncio.Queue[Delivery] = asyncio.Queue()
    await replier.subscribe(QUEUE, arrived.put_nowait, prefetch=10)
    return arrived


async def fill(replier: RabbitMQBroker, to: Message) -> asyncio.Task[None]:
    """Reply until a reply waits for room; that one is returned."""
    while True:
        waiting = asyncio.create_task(replier.reply(to, Message(b"more", persistent=False), last=False))
        done, _ = await asyncio.wait((waiting,), timeout=0.3)
        if not done:
            return waiting
        await waiting


async def rest(replies: AsyncGenerator[Message]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        async for _ in replies:
            pass


async def test_a_replier_finds_out_that_its_askers_process_was_killed(
    replier: RabbitMQBroker, private_rabbitmq: RabbitMQServer
) -> None:
    arrived = await requests_of(replier)
    asker = subprocess.Popen(
        [sys.executable, "-c", ASKER, private_rabbitmq.url],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            to = (await arrived.get()).message
            waiting = await fill(replier, to)
        asker.send_signal(signal.SIGKILL)
        killed = monotonic()
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(AskerGone):
                await waiting
        assert monotonic() - killed < SECONDS
        assert replier.abandoned(to).is_set()
    finally:
        asker.kill()
        asker.wait()
        assert asker.stdout is not None
        asker.stdout.close()


async def test_a_replier_at_work_finds_out_that_its_askers_process_was_killed(
    replier: RabbitMQBroker, private_rabbitmq: RabbitMQServer
) -> None:
    arrived = await requests_of(replier)
    asker = subprocess.Popen(
        [sys.executable, "-c", ASKER, private_rabbitmq.url], env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            to = (await arrived.get()).message
        abandoned = replier.abandoned(to)
        asker.send_signal(signal.SIGKILL)
        async with asyncio.timeout(SECONDS):
            await abandoned.wait()
    finally:
        asker.kill()
        asker.wait()


async def test_both_ends_are_told_when_the_connections_are_lost(
    replier: RabbitMQBroker, private_rabbitmq: RabbitMQServer
) -> None:
    arrived = await requests_of(replier)
    asker = RabbitMQBroker(private_rabbitmq.url, delays=())
    await asker.start()
    minute = timedelta(minutes=1)
    replies = asker.request(Message(b""), queue=QUEUE, room=minute, timeout=minute, window=2)
    first = asyncio.ensure_future(anext(replies))
    to = (await arrived.get()).message
    waiting = await fill(replier, to)
    await first
    await asyncio.to_thread(private_rabbitmq.close_connections)
    lost = monotonic()
    with pytest.raises((AskerGone, Unavailable)):
        await waiting
    with pytest.raises(Unavailable):
        await rest(replies)
    assert monotonic() - lost < SECONDS
    await asker.close()


async def test_a_waiting_reply_is_unavailable_while_there_is_no_broker(
    replier: RabbitMQBroker, private_rabbitmq: RabbitMQServer
) -> None:
    arrived = await requests_of(replier)
    minute = timedelta(minutes=1)
    replies = replier.request(Message(b""), queue=QUEUE, room=minute, timeout=minute, window=2)
    first = asyncio.ensure_future(anext(replies))
    to = (await arrived.get()).message
    waiting = await fill(replier, to)
    await first
    await asyncio.to_thread(private_rabbitmq.kill)
    killed = monotonic()
    with pytest.raises(Unavailable):
        await waiting
    assert monotonic() - killed < SECONDS
    with pytest.raises(Unavailable):
        await replier.reply(to, Message(b"nor this"))
    await replies.aclose()


async def test_a_word_of_the_asker_that_got_lost_is_made_good(
    replier: RabbitMQBroker, private_rabbitmq: RabbitMQServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrived = await requests_of(replier)
    asker = RabbitMQBroker(private_rabbitmq.url, delays=())
    await asker.start()
    minute = timedelta(minutes=1)
    replies = asker.request(Message(b""), queue=QUEUE, room=minute, timeout=minute, window=4)
    first = asyncio.ensure_future(anext(replies))
    to = (await arrived.get()).message
    waiting = await fill(replier, to)
    with monkeypatch.context() as patch:
        patch.setattr(asker._requests, "_tell", lambda *_: None)
        await first
        for _ in range(3):
            await anext(replies)
    async with asyncio.timeout(SECONDS):
        await waiting
    await replies.aclose()
    await asker.close()
