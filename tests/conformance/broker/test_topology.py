"""Declaring and deleting: idempotent, and honest about conflicts."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from broker import names
from broker.broker import Broker
from broker.errors import QueueNotFound, TopologyConflict, Unroutable
from broker.message import Message
from broker.topology import Binding, Exchange, ExchangeKind, Queue, QueueKind, Topology, foundation, function_queues
from tests.conformance.broker.conftest import DELAYS, BrokerFactory, Declare
from tests.conformance.broker.inbox import PATIENCE_S, Inbox

EVERY_KIND = [
    Queue("", QueueKind.QUORUM),
    Queue("", QueueKind.QUORUM, delivery_limit=5, ttl=timedelta(minutes=1), max_length=10),
    Queue("", QueueKind.QUORUM, dead_letter_exchange=names.DEAD, dead_letter_routing_key="k"),
    Queue("", QueueKind.CLASSIC),
    Queue("", QueueKind.CLASSIC, dead_letter_exchange=names.RETURNED, ttl=timedelta(minutes=1), max_length=10),
    Queue("", QueueKind.STREAM),
    Queue("", QueueKind.STREAM, max_age=timedelta(hours=1), max_size_bytes=10_000_000),
]


def named(queue: Queue, name: str) -> Queue:
    return Queue(name, **{f: getattr(queue, f) for f in Queue.__dataclass_fields__ if f != "name"})


@pytest.mark.parametrize("kind", EVERY_KIND, ids=range(len(EVERY_KIND)))
async def test_declaring_again_changes_nothing(
    broker: Broker, broker_factory: BrokerFactory, declare: Declare, name: str, kind: Queue
) -> None:
    queue = named(kind, name)
    await declare(queue)
    await broker.publish(Message(b"kept"), routing_key=name)
    await declare(queue)
    other = await broker_factory.another()
    await other.declare(Topology(queues=(queue,)))
    inbox = Inbox()
    await broker.subscribe(name, inbox, prefetch=1, offset="first" if queue.kind is QueueKind.STREAM else None)
    assert (await inbox.next()).message.body == b"kept"


@pytest.mark.parametrize(
    "second",
    [
        Queue("", QueueKind.CLASSIC),
        Queue("", QueueKind.QUORUM, ttl=timedelta(seconds=5)),
        Queue("", QueueKind.QUORUM, dead_letter_exchange=names.DEAD),
        Queue("", QueueKind.QUORUM, max_length=5),
    ],
    ids=["kind", "ttl", "dead letters", "length"],
)
async def test_other_arguments_conflict_and_harm_nothing(broker: Broker, queue: str, second: Queue) -> None:
    with pytest.raises(TopologyConflict):
        await broker.declare(Topology(queues=(named(second, queue),)))
    await broker.publish(Message(b"still works"), routing_key=queue)
    assert await broker.get(queue) is not None


async def test_an_exchange_of_another_kind_conflicts(broker: Broker, declare: Declare, name: str) -> None:
    await declare(Exchange(name, ExchangeKind.DIRECT))
    with pytest.raises(TopologyConflict):
        await broker.declare(Topology(exchanges=(Exchange(name, ExchangeKind.FANOUT),)))


async def test_the_foundation_and_the_queues_of_a_function_can_be_declared_again(broker: Broker, name: str) -> None:
    both = foundation(DELAYS) + function_queues(name)
    await broker.declare(both)
    await broker.declare(both)
    for queue in (names.events(name), names.requests(name), names.dead(name)):
        await broker.publish(Message(b""), routing_key=queue)
    await broker.delete(function_queues(name))
    with pytest.raises(QueueNotFound):
        await broker.depth(names.events(name))


async def test_a_rejected_event_of_a_function_is_a_dead_letter_of_it(broker: Broker, name: str) -> None:
    await broker.declare(function_queues(name))
    inbox = Inbox()
    await broker.subscribe(names.dead(name), inbox, prefetch=1)
    await broker.publish(Message(b"bad"), routing_key=names.events(name))
    event = await broker.get(names.events(name))
    assert event is not None
    await event.reject()
    letter = await inbox.next()
    assert (letter.message.body, letter.exchange, letter.routing_key) == (b"bad", names.DEAD, name)
    await letter.ack()
    await broker.delete(function_queues(name))


async def test_deleting_takes_queues_with_what_is_in_them_and_exchanges(broker: Broker, name: str) -> None:
    topology = Topology((Exchange(name),), (Queue(name),), (Binding(name, name, "k"),))
    await broker.declare(topology)
    await broker.publish(Message(b""), exchange=name, routing_key="k")
    await broker.delete(topology)
    with pytest.raises(QueueNotFound):
        await broker.depth(name)
    with pytest.raises(Unroutable):
        await broker.publish(Message(b""), exchange=name, routing_key="k")


async def test_deleting_what_does_not_exist_is_passed_over(broker: Broker, name: str) -> None:
    topology = Topology((Exchange(name),), (Queue(name),))
    await broker.delete(topology)
    await broker.declare(topology)
    await broker.delete(topology)
    await broker.delete(topology)


async def test_a_queue_deleted_and_declared_again_is_empty(broker: Broker, declare: Declare, name: str) -> None:
    topology = await declare(Queue(name))
    await broker.publish(Message(b"old"), routing_key=name)
    await broker.delete(topology)
    await broker.declare(topology)
    assert await broker.get(name) is None
    await broker.publish(Message(b"new"), routing_key=name)
    delivery = await broker.get(name)
    assert delivery is not None
    assert delivery.message.body == b"new"


async def test_a_queue_declared_again_with_other_arguments_after_deletion_is_no_conflict(
    broker: Broker, declare: Declare, name: str
) -> None:
    await broker.delete(await declare(Queue(name)))
    await declare(Queue(name, QueueKind.CLASSIC))
    await broker.publish(Message(b""), routing_key=name)


async def test_a_consumer_whose_queue_is_deleted_and_declared_again_consumes_again(
    broker: Broker, broker_factory: BrokerFactory, declare: Declare, name: str
) -> None:
    topology = await declare(Queue(name))
    other = await broker_factory.another()
    inbox = Inbox()
    await broker.subscribe(name, inbox, prefetch=5)
    await other.delete(topology)
    # RabbitMQ 3 does not tell the consumer of a quorum queue that is made again within the same instant.
    await asyncio.sleep(0.3)
    await other.declare(topology)
    async with asyncio.timeout(PATIENCE_S):
        while (await other.depth(name)).consumers == 0:
            await asyncio.sleep(0.02)
    await other.publish(Message(b"new"), routing_key=name)
    delivery = await inbox.next()
    assert delivery.message.body == b"new"
    await delivery.ack()


async def test_an_exclusive_queue_goes_with_its_client(
    broker: Broker, broker_factory: BrokerFactory, name: str
) -> None:
    other = await broker_factory.another()
    await other.declare(Topology(queues=(Queue(name, QueueKind.CLASSIC, exclusive=True),)))
    await other.publish(Message(b""), routing_key=name)
    await other.close()
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                await broker.publish(Message(b""), routing_key=name)
            except Unroutable:
                break
            await asyncio.sleep(0.02)


async def test_a_topology_with_a_stream_a_classic_and_a_quorum_queue_behind_one_exchange_feeds_all(
    broker: Broker, declare: Declare, name: str
) -> None:
    kinds = {f"{name}-{kind.value}": kind for kind in QueueKind}
    await declare(
        Exchange(name, ExchangeKind.FANOUT),
        *(Queue(queue, kind) for queue, kind in kinds.items()),
        *(Binding(name, queue) for queue in kinds),
    )
    await broker.publish(Message(b"all"), exchange=name, routing_key="")
    for queue, kind in kinds.items():
        inbox = Inbox()
        await broker.subscribe(queue, inbox, prefetch=1, offset="first" if kind is QueueKind.STREAM else None)
        assert (await inbox.next()).message.body == b"all"
