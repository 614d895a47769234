"""Start, status, close."""

from __future__ import annotations

import asyncio

import pytest

from broker import names
from broker.broker import Broker, State
from broker.errors import Closed
from broker.message import Message
from broker.topology import Topology
from tests.conformance.broker.conftest import BrokerFactory
from tests.conformance.broker.inbox import Inbox, eventually


async def test_a_started_client_is_connected(broker: Broker) -> None:
    assert broker.status.state is State.CONNECTED
    assert broker.status.reconnects == 0


async def test_two_clients_have_different_names(broker: Broker, broker_factory: BrokerFactory) -> None:
    other = await broker_factory.another()
    assert broker.node
    assert broker.node != other.node


async def test_start_declares_the_foundation(broker: Broker) -> None:
    assert (await broker.depth(names.ORPHANS)).ready >= 0


async def test_closing_twice_and_at_once_is_harmless(broker_factory: BrokerFactory, queue: str) -> None:
    other = await broker_factory.another()
    await other.subscribe(queue, Inbox(), prefetch=1)
    await asyncio.gather(other.close(), other.close())
    await other.close()
    assert other.status.state is State.CLOSED


async def test_a_closed_client_takes_no_orders(broker_factory: BrokerFactory, queue: str) -> None:
    other = await broker_factory.another()
    await other.close()
    with pytest.raises(Closed):
        await other.declare(Topology())
    with pytest.raises(Closed):
        await other.delete(Topology())
    with pytest.raises(Closed):
        await other.depth(queue)
    with pytest.raises(Closed):
        await other.purge(queue)


async def test_closing_stops_intake_before_anything_else(
    broker: Broker, broker_factory: BrokerFactory, queue: str
) -> None:
    other, inbox = await broker_factory.another(), Inbox()
    await other.subscribe(queue, inbox, prefetch=1)
    for n in range(5):
        await broker.publish(Message(b"%d" % n), routing_key=queue)
    await inbox.next()
    await other.close()
    heard = len(inbox.all)
    assert await inbox.is_quiet()
    assert len(inbox.all) == heard == 1


async def test_closing_one_client_leaves_the_others_at_work(
    broker: Broker, broker_factory: BrokerFactory, queue: str
) -> None:
    inbox = Inbox()
    await broker.subscribe(queue, inbox, prefetch=1)
    other = await broker_factory.another()
    await other.close()
    await broker.publish(Message(b"x"), routing_key=queue)
    delivery = await inbox.next()
    await delivery.ack()


async def test_closing_leaves_no_task_behind(broker_factory: BrokerFactory, queue: str) -> None:
    before = asyncio.all_tasks()
    other = await broker_factory.another()
    await other.subscribe(queue, Inbox(), prefetch=1)
    await other.publish(Message(b"x"), routing_key=queue)
    await other.close()
    await eventually(lambda: asyncio.all_tasks() <= before)
