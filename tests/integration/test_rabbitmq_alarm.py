"""An alarm of RabbitMQ is noticed by a client that publishes nothing, and so is its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from time import monotonic

import pytest

from broker.broker import State
from broker.errors import Blocked
from broker.message import Message
from broker.rabbitmq import RabbitMQBroker
from broker.topology import Queue, Topology
from tests.rabbitmq_server import RabbitMQServer

NOTICED_S = 2.0
"""Two seconds of rabbitmqctl's own start are no part of it: the clock begins when the alarm is on."""

PATIENCE_S = 60.0


async def until(broker: RabbitMQBroker, state: State) -> float:
    """Seconds until the client says so."""
    began = monotonic()
    async with asyncio.timeout(PATIENCE_S):
        while broker.status.state is not state:
            await asyncio.sleep(0.02)
    return monotonic() - began


@asynccontextmanager
async def started(url: str, *, guest: bool = False) -> AsyncIterator[RabbitMQBroker]:
    client = RabbitMQBroker(url, guest=guest)
    await client.start()
    try:
        yield client
    finally:
        await client.close()


async def test_clients_that_publish_nothing_know_of_an_alarm_within_two_seconds_and_of_its_end(
    private_rabbitmq: RabbitMQServer,
) -> None:
    url = private_rabbitmq.url
    async with started(url) as idle, started(url, guest=True) as guest:
        await idle.declare(Topology(queues=(Queue("q"),)))
        await asyncio.to_thread(private_rabbitmq.raise_memory_alarm)
        assert await until(idle, State.BLOCKED) < NOTICED_S
        assert "low on memory" in idle.status.reason
        began = monotonic()
        with pytest.raises(Blocked):
            await idle.publish(Message(b"refused"), routing_key="q", timeout=timedelta(milliseconds=50))
        assert monotonic() - began < 1
        async with started(url) as late:
            assert await until(late, State.BLOCKED) < NOTICED_S
            # nothing is sent to a broker that is somebody else's but what is asked for
            assert guest.status.state is State.CONNECTED
            await asyncio.to_thread(private_rabbitmq.clear_memory_alarm)
            assert max(await asyncio.gather(until(idle, State.CONNECTED), until(late, State.CONNECTED))) < NOTICED_S
        await idle.publish(Message(b"taken"), routing_key="q")
        assert (await idle.depth("q")).ready == 1
