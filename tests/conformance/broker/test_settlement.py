"""Copy before ack: a settlement that publishes loses nothing, wherever it fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from time import monotonic

import pytest

from broker import names
from broker.broker import Broker, Delivery
from broker.errors import AlreadySettled, DelayUnknown, QueueNotFound, Unroutable
from broker.message import Message
from broker.topology import Binding, Queue, QueueKind, Topology, delay_queue
from tests.conformance.broker.conftest import LONG, MEDIUM, SHORT, BrokerFactory, Declare
from tests.conformance.broker.inbox import PATIENCE_S, Inbox

UNKNOWN = timedelta(seconds=77)


@pytest.fixture
async def retried(declare: Declare, name: str) -> str:
    """A queue to which what is due comes back."""
    await declare(Queue(name), Binding(names.DUE, name, name))
    return name


async def one(broker: Broker, queue: str, body: bytes = b"work") -> Delivery:
    await broker.publish(Message(body, message_id="m-1", headers={"attempt": 1}), routing_key=queue)
    delivery = await broker.get(queue)
    assert delivery is not None
    return delivery


async def test_a_retry_comes_back_after_its_delay_as_the_copy(broker: Broker, retried: str) -> None:
    delivery = await one(broker, retried)
    inbox, started = Inbox(), monotonic()
    await broker.subscribe(retried, inbox, prefetch=10)
    await delivery.retry_later(replace(delivery.message, headers={"attempt": 2}), MEDIUM)
    assert delivery.settled
    again = await inbox.next()
    assert monotonic() - started >= MEDIUM.total_seconds() * 0.95
    assert again.message.body == b"work"
    assert again.message.message_id == "m-1"
    assert again.message.headers["attempt"] == 2
    assert again.redelivered is False
    assert await inbox.is_quiet()


async def test_a_retry_without_delay_comes_back_now(broker: Broker, retried: str) -> None:
    delivery = await one(broker, retried)
    inbox = Inbox()
    await broker.subscribe(retried, inbox, prefetch=10)
    await delivery.retry_later(replace(delivery.message, headers={"attempt": 2}), timedelta(0))
    again = await inbox.next()
    assert again.message.headers["attempt"] == 2
    assert await inbox.is_quiet()


async def test_a_retry_may_be_retried_again(broker: Broker, retried: str) -> None:
    delivery = await one(broker, retried)
    inbox = Inbox()
    await broker.subscribe(retried, inbox, prefetch=1)
    for attempt in range(2, 6):
        await delivery.retry_later(replace(delivery.message, headers={"attempt": attempt}), SHORT)
        delivery = await inbox.next()
        assert delivery.message.headers["attempt"] == attempt


async def test_a_delay_that_no_queue_has_leaves_the_delivery_unsettled(broker: Broker, retried: str) -> None:
    delivery = await one(broker, retried)
    with pytest.raises(DelayUnknown):
        await delivery.retry_later(delivery.message, UNKNOWN)
    with pytest.raises(DelayUnknown):
        await broker.publish_later(delivery.message, queue=retried, delay=UNKNOWN)
    assert not delivery.settled
    await delivery.ack()


async def test_a_delay_is_known_once_its_queue_was_declared_and_unknown_once_it_was_deleted(
    broker: Broker, retried: str
) -> None:
    delay = timedelta(milliseconds=731)
    delivery = await one(broker, retried)
    inbox, started = Inbox(), monotonic()
    await broker.subscribe(retried, inbox, prefetch=10)
    with pytest.raises(DelayUnknown):
        await delivery.retry_later(delivery.message, delay)
    await broker.declare(delay_queue(delay))
    await delivery.retry_later(replace(delivery.message, body=b"retried"), delay)
    await broker.publish_later(Message(b"published"), queue=retried, delay=delay)
    assert sorted([(await inbox.next()).message.body, (await inbox.next()).message.body]) == [b"published", b"retried"]
    assert monotonic() - started >= delay.total_seconds() * 0.95
    await broker.delete(delay_queue(delay))
    with pytest.raises(DelayUnknown):
        await broker.publish_later(Message(b""), queue=retried, delay=delay)


@pytest.mark.parametrize("kind", [QueueKind.QUORUM, QueueKind.CLASSIC], ids=["quorum", "classic"])
async def test_the_way_back_to_a_queue_of_another_needs_only_its_name(
    broker: Broker, broker_factory: BrokerFactory, declare: Declare, name: str, kind: QueueKind
) -> None:
    await declare(Queue(name, kind, max_length=100))
    other = await broker_factory.another()
    back = Topology(bindings=(Binding(names.DUE, name, name),))
    await other.declare(back)
    await other.declare(back)
    await other.publish_later(Message(b"due"), queue=name, delay=SHORT)
    inbox = Inbox()
    await other.subscribe(name, inbox, prefetch=1)
    assert (await inbox.next()).message.body == b"due"
    assert await inbox.is_quiet()
    # The queue is as it was: declaring it with its own arguments is no conflict.
    await broker.declare(Topology(queues=(Queue(name, kind, max_length=100),)))


async def test_a_way_back_to_a_queue_that_is_not_there_is_refused(broker: Broker, name: str) -> None:
    with pytest.raises(QueueNotFound):
        await broker.declare(Topology(bindings=(Binding(names.DUE, name, name),)))


async def test_what_is_due_for_a_queue_without_a_way_back_ends_with_the_orphans(broker: Broker, queue: str) -> None:
    await broker.publish_later(Message(b"due", message_id=queue), queue=queue, delay=SHORT)
    async with asyncio.timeout(PATIENCE_S):
        while (orphan := await broker.get(names.ORPHANS)) is None or orphan.message.message_id != queue:
            if orphan is None:
                await asyncio.sleep(0.01)
            else:
                await orphan.ack()
    await orphan.ack()
    assert await broker.get(queue) is None


async def test_a_shorter_delay_does_not_wait_behind_a_longer(broker: Broker, retried: str) -> None:
    inbox, started = Inbox(), monotonic()
    await broker.subscribe(retried, inbox, prefetch=10)
    for delay in (LONG, MEDIUM, SHORT):
        await broker.publish_later(Message(str(delay).encode()), queue=retried, delay=delay)
    for delay in (SHORT, MEDIUM, LONG):
        delivery = await inbox.next()
        assert delivery.message.body == str(delay).encode()
        assert monotonic() - started >= delay.total_seconds() * 0.95


async def test_published_later_without_delay_is_published_now(broker: Broker, queue: str) -> None:
    await broker.publish_later(Message(b"now"), queue=queue, delay=timedelta(0))
    delivery = await broker.get(queue)
    assert delivery is not None
    assert delivery.message.body == b"now"


async def test_a_message_that_waited_for_a_deleted_queue_ends_with_the_orphans(
    broker: Broker, declare: Declare, name: str
) -> None:
    while True:
        topology = await declare(Queue(name), Binding(names.DUE, name, name))
        began = monotonic()
        await broker.publish_later(Message(b"orphan", message_id=name), queue=name, delay=LONG)
        await broker.delete(topology)
        if monotonic() - began < LONG.total_seconds():
            break  # otherwise it may have been due first, and was deleted with its queue
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if (orphan := await broker.get(names.ORPHANS)) is None:
                await asyncio.sleep(0.01)
                continue
            await orphan.ack()
            if orphan.message.message_id == name:
                break
    assert orphan.message.body == b"orphan"


async def test_a_dead_letter_is_filed_under_its_routing_key(broker: Broker, declare: Declare, name: str) -> None:
    dead = names.dead(name)
    await declare(Queue(name), Queue(dead), Binding(names.DEAD, dead, name))
    delivery = await one(broker, name)
    await delivery.dead_letter(replace(delivery.message, headers={"reason": "it failed"}), name)
    assert delivery.settled
    letter = await broker.get(dead)
    assert letter is not None
    assert letter.message.headers["reason"] == "it failed"
    assert (letter.exchange, letter.routing_key) == (names.DEAD, name)
    assert await broker.get(name) is None


async def test_a_dead_letter_that_nobody_files_ends_with_the_orphans(broker: Broker, queue: str) -> None:
    delivery = await one(broker, queue, queue.encode())
    await delivery.dead_letter(delivery.message, f"{queue}-nobody")
    async with asyncio.timeout(PATIENCE_S):
        while (orphan := await broker.get(names.ORPHANS)) is None or orphan.message.body != queue.encode():
            if orphan is not None:
                await orphan.ack()
    await orphan.ack()


async def test_a_forwarded_message_is_there_before_the_delivery_is_gone(
    broker: Broker, declare: Declare, name: str
) -> None:
    target = f"{name}-target"
    await declare(Queue(name), Queue(target))
    delivery = await one(broker, name)
    await delivery.forward(replace(delivery.message, body=b"result"), exchange="", routing_key=target)
    assert delivery.settled
    forwarded = await broker.get(target)
    assert forwarded is not None
    assert forwarded.message.body == b"result"
    assert await broker.get(name) is None


async def test_a_forward_that_fails_leaves_the_delivery_to_be_settled_again(
    broker: Broker, queue: str, name: str
) -> None:
    delivery = await one(broker, queue)
    for exchange, key in (("", f"{name}-none"), (f"{name}-none", "key")):
        with pytest.raises(Unroutable):
            await delivery.forward(delivery.message, exchange=exchange, routing_key=key)
        assert not delivery.settled
    await delivery.requeue()
    assert delivery.settled


async def test_a_forward_that_fails_loses_nothing_when_the_consumer_is_lost(
    broker: Broker, broker_factory: BrokerFactory, queue: str, name: str
) -> None:
    other = await broker_factory.another()
    delivery = await one(other, queue)
    with pytest.raises(Unroutable):
        await delivery.forward(delivery.message, exchange="", routing_key=f"{name}-none")
    await other.close()
    inbox = Inbox()
    await broker.subscribe(queue, inbox, prefetch=1)
    assert (await inbox.next()).redelivered


@pytest.mark.parametrize("second", ["ack", "retry_later", "dead_letter", "forward"])
async def test_a_settled_delivery_publishes_no_copy(broker: Broker, declare: Declare, name: str, second: str) -> None:
    await declare(
        Queue(name), Queue(f"{name}-copy"), Binding(names.DUE, name, name), Binding(names.DEAD, f"{name}-copy", name)
    )
    delivery = await one(broker, name)
    await delivery.ack()
    copies: dict[str, Callable[[], Awaitable[None]]] = {
        "ack": delivery.ack,
        "retry_later": lambda: delivery.retry_later(delivery.message, timedelta(0)),
        "dead_letter": lambda: delivery.dead_letter(delivery.message, name),
        "forward": lambda: delivery.forward(delivery.message, exchange="", routing_key=f"{name}-copy"),
    }
    with pytest.raises(AlreadySettled):
        await copies[second]()
    assert await broker.get(name) is None
    assert await broker.get(f"{name}-copy") is None


async def test_two_settlements_at_once_are_one_and_a_bug(broker: Broker, declare: Declare, name: str) -> None:
    target = f"{name}-target"
    await declare(Queue(name), Queue(target))
    delivery = await one(broker, name)
    results = await asyncio.gather(
        delivery.forward(delivery.message, exchange="", routing_key=target),
        delivery.forward(delivery.message, exchange="", routing_key=target),
        return_exceptions=True,
    )
    assert sorted(type(r).__name__ for r in results) == ["AlreadySettled", "NoneType"]
    copy = await broker.get(target)
    assert copy is not None
    await copy.ack()
    assert await broker.get(target) is None
