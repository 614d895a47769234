"""The broker port on three RabbitMQ nodes: what is kept on more than one, and what a client does when its node is lost."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from time import monotonic
from uuid import uuid4

import pytest

from broker import names
from broker.broker import Delivery
from broker.errors import BrokerError, DeliveryLost, RequestReturned
from broker.message import Message
from broker.rabbitmq import RabbitMQBroker
from broker.topology import Queue, QueueKind, Topology, function_queues
from tests.rabbitmq_cluster import ClusterNode, RabbitMQCluster

PATIENCE_S = 60.0
SOON_S = 15.0
"""A few seconds, and more on a busy machine; without moving a client would wait for the end of the partition."""

pytestmark = pytest.mark.slow

Connect = Callable[[str], AsyncIterator[RabbitMQBroker]]


class Clients:
    """Clients of the cluster, closed after the test."""

    def __init__(self, cluster: RabbitMQCluster) -> None:
        self.cluster = cluster
        self._made: list[RabbitMQBroker] = []

    async def make(self, url: str | None = None) -> RabbitMQBroker:
        client = RabbitMQBroker(url or self.cluster.url)
        self._made.append(client)
        await client.start()
        return client

    async def close(self) -> None:
        for client in self._made:
            await client.close()

    def node_of(self, client: RabbitMQBroker) -> ClusterNode:
        """Where its consumers are."""
        session = client._consuming.session
        assert session is not None
        return next(node for node in self.cluster.nodes if node.port == session.host.port)


@pytest.fixture
async def clients(rabbitmq_cluster: RabbitMQCluster) -> AsyncIterator[Clients]:
    found = Clients(rabbitmq_cluster)
    yield found
    await found.close()


@pytest.fixture
def function() -> str:
    return f"f-{uuid4().hex[:8]}"


class Consumer:
    """Acknowledges everything and remembers the bodies."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self._work: set[asyncio.Task[None]] = set()

    def __call__(self, delivery: Delivery) -> None:
        self.seen.add(delivery.message.body)
        task = asyncio.create_task(self._ack(delivery))
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    @staticmethod
    async def _ack(delivery: Delivery) -> None:
        with contextlib.suppress(DeliveryLost):
            await delivery.ack()

    async def until_seen(self, body: bytes, within_s: float = PATIENCE_S) -> None:
        async with asyncio.timeout(within_s):
            while body not in self.seen:
                await asyncio.sleep(0.02)


async def ask(client: RabbitMQBroker, function: str) -> bytes:
    request = client.request(
        Message(b"?"), queue=names.requests(function), room=timedelta(0), timeout=timedelta(seconds=10)
    )
    async with contextlib.aclosing(request) as replies:
        return await anext(reply.body async for reply in replies)


async def ask_until_answered(client: RabbitMQBroker, function: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with contextlib.suppress(BrokerError):
                assert await ask(client, function) == b"!"
                return
            await asyncio.sleep(0.1)


async def answer(client: RabbitMQBroker, function: str) -> None:
    """Serve its requests."""
    work: set[asyncio.Task[None]] = set()

    async def reply(delivery: Delivery) -> None:
        with contextlib.suppress(BrokerError):
            await client.reply(delivery.message, Message(b"!"))
            await delivery.ack()

    def on_delivery(delivery: Delivery) -> None:
        task = asyncio.create_task(reply(delivery))
        work.add(task)
        task.add_done_callback(work.discard)

    await client.subscribe(names.requests(function), on_delivery, prefetch=5)


async def test_what_a_function_needs_and_streams_are_on_all_nodes(clients: Clients, function: str) -> None:
    client = await clients.make()
    stream = f"stream-{function}"
    await client.declare(function_queues(function) + Topology(queues=(Queue(stream, QueueKind.STREAM),)))
    for queue in (names.events(function), names.requests(function), names.dead(function), stream):
        assert len(await asyncio.to_thread(clients.cluster.members, queue)) == 3, queue


async def test_a_client_of_one_host_and_one_of_three_take_the_queue_of_the_other(clients: Clients) -> None:
    one, three = await clients.make(clients.cluster.url_of(clients.cluster.nodes[0])), await clients.make()
    classic, quorum = function_queues(f"c-{uuid4().hex[:8]}"), function_queues(f"q-{uuid4().hex[:8]}")
    await one.declare(classic)
    await three.declare(quorum)
    await three.declare(classic)
    await one.declare(quorum)


async def test_a_request_without_room_comes_back_at_once_and_one_with_room_is_answered(
    clients: Clients, function: str
) -> None:
    client = await clients.make()
    await client.declare(function_queues(function))
    with pytest.raises(RequestReturned):
        await ask(client, function)
    await answer(client, function)
    for _ in range(20):
        assert await ask(client, function) == b"!"


async def test_clients_of_a_killed_node_go_on_with_another(clients: Clients, function: str) -> None:
    client, publisher = await clients.make(), await clients.make()
    await client.declare(function_queues(function))
    consumer = Consumer()
    await client.subscribe(names.events(function), consumer, prefetch=5)
    await answer(client, function)
    await publisher.publish(Message(b"before"), routing_key=names.events(function))
    await consumer.until_seen(b"before")
    node = clients.node_of(client)
    await asyncio.to_thread(node.kill)
    try:
        await publisher.publish(Message(b"after"), routing_key=names.events(function))
        await consumer.until_seen(b"after", SOON_S)
        assert clients.node_of(client) is not node
        await ask_until_answered(publisher, function)
    finally:
        await asyncio.to_thread(node.start)
        await asyncio.to_thread(clients.cluster.wait_joined)


async def test_a_node_that_is_up_and_cut_off_is_left_by_publishers_and_consumers(
    clients: Clients, function: str
) -> None:
    client, publisher = await clients.make(), await clients.make()
    await client.declare(function_queues(function))
    consumer = Consumer()
    await client.subscribe(names.events(function), consumer, prefetch=5)
    await answer(client, function)
    await publisher.publish(Message(b"before"), routing_key=names.events(function))
    await consumer.until_seen(b"before")
    node, cut = clients.node_of(client), monotonic()
    with clients.cluster.partition(node):
        await publisher.publish(Message(b"during"), routing_key=names.events(function))
        await consumer.until_seen(b"during")
        print(f"\npublished and consumed {monotonic() - cut:.1f} s after the cut")
        assert clients.node_of(client) is not node
        await ask_until_answered(publisher, function)
        print(f"a request was answered {monotonic() - cut:.1f} s after the cut")
    await asyncio.to_thread(clients.cluster.wait_joined)
    await publisher.publish(Message(b"healed"), routing_key=names.events(function))
    await consumer.until_seen(b"healed")
