"""How often a message was delivered in vain, as a consumer sees it."""

from __future__ import annotations

import asyncio

import pytest

from broker.broker import Broker, Delivery
from broker.message import Message
from broker.topology import Binding, Exchange, Queue, QueueKind
from tests.conformance.broker.conftest import BrokerFactory, Declare
from tests.conformance.broker.inbox import PATIENCE_S, Inbox


async def got(broker: Broker, queue: str) -> Delivery:
    async with asyncio.timeout(PATIENCE_S):
        while (delivery := await broker.get(queue)) is None:
            await asyncio.sleep(0.01)
        return delivery


async def test_the_first_delivery_has_no_failures(broker: Broker, either_queue: str) -> None:
    await broker.publish(Message(b"x"), routing_key=either_queue)
    delivery = await got(broker, either_queue)
    assert (delivery.failures, delivery.redelivered) == (0, False)


async def test_a_quorum_queue_counts_what_is_given_back(broker: Broker, queue: str) -> None:
    await broker.publish(Message(b"x", headers={"mine": 1}), routing_key=queue)
    inbox = Inbox()
    await broker.subscribe(queue, inbox, prefetch=1)
    for failures in range(5):
        delivery = await inbox.next()
        assert delivery.failures == failures
        assert delivery.message.headers == {"mine": 1}
        await delivery.requeue()


async def test_a_quorum_queue_counts_lost_consumers(broker: Broker, broker_factory: BrokerFactory, queue: str) -> None:
    await broker.publish(Message(b"x"), routing_key=queue)
    for failures in range(3):
        other, inbox = await broker_factory.another(), Inbox()
        await other.subscribe(queue, inbox, prefetch=1)
        assert (await inbox.next()).failures == failures
        await other.close()
    delivery = await got(broker, queue)
    assert (delivery.failures, delivery.redelivered) == (3, True)


async def test_a_classic_queue_says_no_more_than_that_it_was_delivered_before(
    broker: Broker, declare: Declare, name: str
) -> None:
    await declare(Queue(name, QueueKind.CLASSIC))
    await broker.publish(Message(b"x"), routing_key=name)
    inbox = Inbox()
    await broker.subscribe(name, inbox, prefetch=1)
    for failures in (0, 1, 1, 1):
        delivery = await inbox.next()
        assert delivery.failures == failures
        await delivery.requeue()


async def test_the_count_belongs_to_the_message_and_not_to_the_queue(broker: Broker, queue: str) -> None:
    await broker.publish(Message(b"1"), routing_key=queue)
    await (await got(broker, queue)).requeue()
    first = await got(broker, queue)
    await broker.publish(Message(b"2"), routing_key=queue)
    second = await got(broker, queue)
    assert (first.failures, second.failures) == (1, 0)


@pytest.mark.parametrize("how", ["copy", "reject"])
async def test_a_message_that_comes_anew_starts_at_none_or_with_what_it_had_where_it_died(
    broker: Broker, declare: Declare, name: str, how: str
) -> None:
    target = f"{name}-target"
    await declare(
        Exchange(name),
        Queue(name, dead_letter_exchange=name, dead_letter_routing_key=target),
        Queue(target),
        Binding(name, target, target),
    )
    await broker.publish(Message(b"x"), routing_key=name)
    await (await got(broker, name)).requeue()
    delivery = await got(broker, name)
    assert delivery.failures == 1
    if how == "copy":
        await delivery.forward(delivery.message, exchange="", routing_key=target)
        assert (await got(broker, target)).failures == 0
    else:
        await delivery.reject()
        # RabbitMQ 4.0 lets the count of the queue where it died come along.
        assert (await got(broker, target)).failures in (0, 1)
