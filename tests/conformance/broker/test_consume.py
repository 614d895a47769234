"""Prefetch, order, settlement, redelivery: what a consumer may rely on."""

from __future__ import annotations

import asyncio
import logging

import pytest

from broker.broker import Broker, Delivery
from broker.errors import AlreadySettled, Closed, DeliveryLost, QueueNotFound
from broker.message import Message
from broker.topology import Binding, Exchange, Queue, QueueKind
from tests.conformance.broker.conftest import BrokerFactory, Declare
from tests.conformance.broker.inbox import PATIENCE_S, Inbox, eventually


async def fill(broker: Broker, queue: str, count: int) -> None:
    for n in range(count):
        await broker.publish(Message(b"%d" % n), routing_key=queue)


def numbers(deliveries: list[Delivery]) -> list[int]:
    return [int(d.message.body) for d in deliveries]


async def until_ready(broker: Broker, queue: str, ready: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while (await broker.depth(queue)).ready != ready:
            await asyncio.sleep(0.01)


async def test_one_consumer_with_prefetch_one_gets_first_in_first_out(broker: Broker, either_queue: str) -> None:
    await fill(broker, either_queue, 30)
    inbox, seen = Inbox(), []
    await broker.subscribe(either_queue, inbox, prefetch=1)
    for _ in range(30):
        delivery = await inbox.next()
        seen.append(int(delivery.message.body))
        await delivery.ack()
    assert seen == list(range(30))


async def test_no_more_than_prefetch_are_unsettled(broker: Broker, either_queue: str) -> None:
    await fill(broker, either_queue, 10)
    inbox = Inbox()
    await broker.subscribe(either_queue, inbox, prefetch=3)
    held = await inbox.take(3)
    assert await inbox.is_quiet()
    await held[0].ack()
    await inbox.next()
    assert await inbox.is_quiet()
    await until_ready(broker, either_queue, 6)


async def test_messages_published_later_are_delivered_too(broker: Broker, either_queue: str) -> None:
    inbox = Inbox()
    await broker.subscribe(either_queue, inbox, prefetch=10)
    await fill(broker, either_queue, 3)
    assert numbers(await inbox.take(3)) == [0, 1, 2]


async def test_two_consumers_share_the_work(broker: Broker, broker_factory: BrokerFactory, either_queue: str) -> None:
    other = await broker_factory.another()
    one, two = Inbox(), Inbox()
    await broker.subscribe(either_queue, one, prefetch=2)
    await other.subscribe(either_queue, two, prefetch=2)
    await fill(broker, either_queue, 4)
    assert sorted(numbers(await one.take(2) + await two.take(2))) == [0, 1, 2, 3]


async def test_an_acknowledged_message_is_gone(
    broker: Broker, broker_factory: BrokerFactory, either_queue: str
) -> None:
    other = await broker_factory.another()
    inbox = Inbox()
    await other.subscribe(either_queue, inbox, prefetch=1)
    await fill(broker, either_queue, 1)
    delivery = await inbox.next()
    await delivery.ack()
    assert delivery.settled
    await other.close()
    assert await broker.get(either_queue) is None


async def test_a_requeued_message_comes_again_and_says_so(broker: Broker, either_queue: str) -> None:
    await fill(broker, either_queue, 1)
    inbox = Inbox()
    await broker.subscribe(either_queue, inbox, prefetch=1)
    first = await inbox.next()
    await first.requeue()
    second = await inbox.next()
    assert (first.redelivered, second.redelivered) == (False, True)
    assert second.message.body == first.message.body
    await second.ack()


async def test_a_requeued_message_goes_to_the_front_of_a_classic_queue(
    broker: Broker, declare: Declare, name: str
) -> None:
    await declare(Queue(name, QueueKind.CLASSIC))
    await fill(broker, name, 3)
    first = await broker.get(name)
    assert first is not None
    await first.requeue()
    seen = []
    while delivery := await broker.get(name):
        seen.append(int(delivery.message.body))
        await delivery.ack()
    assert seen == [0, 1, 2]


async def test_a_rejected_message_goes_to_the_dead_letter_exchange(broker: Broker, declare: Declare, name: str) -> None:
    dead = f"{name}-dead"
    await declare(Exchange(dead), Queue(name, dead_letter_exchange=dead), Queue(dead), Binding(dead, dead, name))
    await broker.publish(Message(b"bad", message_id="m", headers={"h": 1}), routing_key=name)
    delivery = await broker.get(name)
    assert delivery is not None
    await delivery.reject()
    inbox = Inbox()
    await broker.subscribe(dead, inbox, prefetch=1)
    letter = await inbox.next()
    assert (letter.message.body, letter.message.message_id, letter.message.headers["h"]) == (b"bad", "m", 1)
    assert letter.message.headers["x-death"][0]["reason"] == "rejected"
    assert letter.routing_key == name


async def test_a_rejected_message_is_dropped_where_there_is_no_dead_letter_exchange(
    broker: Broker, broker_factory: BrokerFactory, either_queue: str
) -> None:
    other = await broker_factory.another()
    await fill(broker, either_queue, 1)
    delivery = await other.get(either_queue)
    assert delivery is not None
    await delivery.reject()
    await other.close()
    assert await broker.get(either_queue) is None


@pytest.mark.parametrize("second", ["ack", "requeue", "reject"])
@pytest.mark.parametrize("first", ["ack", "requeue", "reject"])
async def test_a_delivery_is_settled_once(broker: Broker, queue: str, first: str, second: str) -> None:
    await fill(broker, queue, 1)
    delivery = await broker.get(queue)
    assert delivery is not None
    await getattr(delivery, first)()
    with pytest.raises(AlreadySettled):
        await getattr(delivery, second)()


async def test_what_a_lost_consumer_held_is_delivered_again(
    broker: Broker, broker_factory: BrokerFactory, either_queue: str
) -> None:
    other = await broker_factory.another()
    lost, inbox = Inbox(), Inbox()
    await other.subscribe(either_queue, lost, prefetch=5)
    await fill(broker, either_queue, 3)
    held = await lost.take(3)
    await held[0].ack()
    await other.close()
    await broker.subscribe(either_queue, inbox, prefetch=5)
    again = await inbox.take(2)
    assert sorted(numbers(again)) == [1, 2]
    assert all(d.redelivered for d in again)
    assert await inbox.is_quiet()


async def test_a_delivery_of_a_closed_client_is_lost(broker: Broker, broker_factory: BrokerFactory, queue: str) -> None:
    other = await broker_factory.another()
    await fill(broker, queue, 1)
    delivery = await other.get(queue)
    assert delivery is not None
    await other.close()
    with pytest.raises(DeliveryLost):
        await delivery.ack()


async def test_a_paused_subscription_gets_nothing_until_it_is_resumed(broker: Broker, either_queue: str) -> None:
    inbox = Inbox()
    subscription = await broker.subscribe(either_queue, inbox, prefetch=0)
    await fill(broker, either_queue, 2)
    assert await inbox.is_quiet()
    await subscription.set_prefetch(1)
    await inbox.next()
    assert await inbox.is_quiet()
    assert (subscription.queue, subscription.prefetch) == (either_queue, 1)


async def test_pausing_leaves_deliveries_that_are_out_valid(broker: Broker, either_queue: str) -> None:
    await fill(broker, either_queue, 4)
    inbox = Inbox()
    subscription = await broker.subscribe(either_queue, inbox, prefetch=2)
    held = await inbox.take(2)
    await subscription.set_prefetch(0)
    for delivery in held:
        await delivery.ack()
    assert await inbox.is_quiet()
    await until_ready(broker, either_queue, 2)
    await subscription.set_prefetch(2)
    assert numbers(await inbox.take(2)) == [2, 3]


async def test_raising_the_prefetch_counts_what_is_out(broker: Broker, either_queue: str) -> None:
    await fill(broker, either_queue, 10)
    inbox = Inbox()
    subscription = await broker.subscribe(either_queue, inbox, prefetch=2)
    held = await inbox.take(2)
    await subscription.set_prefetch(5)
    held += await inbox.take(3)
    assert await inbox.is_quiet()
    for delivery in held:
        await delivery.ack()
    assert len(await inbox.take(5)) == 5


async def test_lowering_the_prefetch_counts_what_is_out(broker: Broker, either_queue: str) -> None:
    await fill(broker, either_queue, 12)
    inbox = Inbox()
    subscription = await broker.subscribe(either_queue, inbox, prefetch=5)
    held = await inbox.take(5)
    await subscription.set_prefetch(2)
    for delivery in held[:3]:
        await delivery.ack()
    assert await inbox.is_quiet()
    await held[3].ack()
    held.append(await inbox.next())
    assert await inbox.is_quiet()
    for delivery in held[4:]:
        await delivery.ack()
    assert len(await inbox.take(2)) == 2
    assert await inbox.is_quiet()


async def test_after_growing_and_shrinking_all_that_is_out_counts(broker: Broker, either_queue: str) -> None:
    await fill(broker, either_queue, 8)
    inbox = Inbox()
    subscription = await broker.subscribe(either_queue, inbox, prefetch=1)
    held = await inbox.take(1)
    await subscription.set_prefetch(4)
    held += await inbox.take(3)
    await subscription.set_prefetch(1)
    for delivery in held[:3]:
        await delivery.ack()
        assert await inbox.is_quiet()
    await held[3].ack()
    await inbox.next()
    assert await inbox.is_quiet()


async def test_the_prefetch_holds_while_it_changes_under_load(broker: Broker, either_queue: str) -> None:
    total, unsettled, most, done = 200, 0, 0, 0
    limit = 1
    finished = asyncio.Event()
    excess: list[tuple[int, int]] = []
    work: set[asyncio.Task[None]] = set()

    async def process(delivery: Delivery) -> None:
        nonlocal unsettled, done
        await asyncio.sleep(0.001)
        unsettled -= 1
        await delivery.ack()
        done += 1
        if done == total:
            finished.set()

    def on_delivery(delivery: Delivery) -> None:
        nonlocal unsettled, most
        unsettled += 1
        most = max(most, unsettled)
        if unsettled > limit:
            excess.append((unsettled, limit))
        task = asyncio.create_task(process(delivery))
        work.add(task)
        task.add_done_callback(work.discard)

    await asyncio.gather(*(broker.publish(Message(b"%d" % n), routing_key=either_queue) for n in range(total)))
    subscription = await broker.subscribe(either_queue, on_delivery, prefetch=1)
    async with asyncio.timeout(60):
        for prefetch in (4, 2, 8, 1, 0, 3, 6) * 3:
            # A lower limit counts from the moment the call returns, a higher one from the moment it starts.
            limit = max(limit, prefetch)
            await subscription.set_prefetch(prefetch)
            await eventually(lambda prefetch=prefetch: unsettled <= prefetch)  # type: ignore[misc]
            limit = prefetch
            await asyncio.sleep(0.01)
        limit = 10
        await subscription.set_prefetch(10)
        await finished.wait()
    assert excess == []
    assert most > 1


async def test_changing_the_prefetch_delivers_nothing_twice(broker: Broker, either_queue: str) -> None:
    inbox = Inbox()
    subscription = await broker.subscribe(either_queue, inbox, prefetch=5)
    publishing = asyncio.gather(*(broker.publish(Message(b"%d" % n), routing_key=either_queue) for n in range(100)))
    seen = []
    for n in range(100):
        delivery = await inbox.next()
        seen.append(int(delivery.message.body))
        await delivery.ack()
        if n % 10 == 0:
            await subscription.set_prefetch(1 + n % 7)
    await publishing
    assert sorted(seen) == list(range(100))


async def test_a_cancelled_subscription_takes_no_more_and_its_deliveries_stay_valid(
    broker: Broker, broker_factory: BrokerFactory, either_queue: str
) -> None:
    other = await broker_factory.another()
    inbox = Inbox()
    subscription = await other.subscribe(either_queue, inbox, prefetch=1)
    await fill(broker, either_queue, 2)
    delivery = await inbox.next()
    await subscription.cancel()
    await subscription.cancel()
    await delivery.ack()
    assert await inbox.is_quiet()
    await other.close()
    left = await broker.get(either_queue)
    assert left is not None
    assert left.message.body == b"1"
    await left.ack()
    assert await broker.get(either_queue) is None


async def test_a_callback_that_raises_is_logged_and_the_delivery_requeued(
    broker: Broker, either_queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    inbox = Inbox()

    def fails_once(delivery: Delivery) -> None:
        inbox(delivery)
        if len(inbox.all) == 1:
            raise RuntimeError("the callback is broken")

    await broker.subscribe(either_queue, fails_once, prefetch=1)
    with caplog.at_level(logging.ERROR):
        await fill(broker, either_queue, 1)
        first, second = await inbox.take(2)
    assert (first.settled, second.redelivered) == (True, True)
    assert "the callback is broken" in caplog.text
    await second.ack()


async def test_a_queue_that_does_not_exist_is_not_found(broker: Broker, name: str) -> None:
    inbox = Inbox()
    with pytest.raises(QueueNotFound):
        await broker.subscribe(name, inbox, prefetch=1)
    with pytest.raises(QueueNotFound):
        await broker.get(name)
    with pytest.raises(QueueNotFound):
        await broker.depth(name)
    with pytest.raises(QueueNotFound):
        await broker.purge(name)


async def test_an_empty_queue_has_nothing_to_get(broker: Broker, either_queue: str) -> None:
    assert await broker.get(either_queue) is None


async def test_depth_counts_what_is_ready_and_who_consumes(broker: Broker, either_queue: str) -> None:
    await fill(broker, either_queue, 3)
    await until_ready(broker, either_queue, 3)
    assert (await broker.depth(either_queue)).consumers == 0
    inbox = Inbox()
    await broker.subscribe(either_queue, inbox, prefetch=1)
    await inbox.next()
    await until_ready(broker, either_queue, 2)
    depth = await broker.depth(either_queue)
    assert depth.consumers == 1
    assert depth.unsettled in (None, 1)


async def test_the_depths_of_many_queues_leave_out_those_that_do_not_exist(
    broker: Broker, declare: Declare, name: str
) -> None:
    await declare(*(Queue(f"{name}-{n}", QueueKind.CLASSIC) for n in range(3)))
    await fill(broker, f"{name}-1", 2)
    await until_ready(broker, f"{name}-1", 2)
    asked = [f"{name}-0", f"{name}-missing", f"{name}-1", f"{name}-2", f"{name}-gone"]
    found = await broker.depths(asked)
    assert {queue: depth.ready for queue, depth in found.items()} == {f"{name}-0": 0, f"{name}-1": 2, f"{name}-2": 0}
    assert await broker.depths([]) == {}


async def test_purge_drops_what_is_ready_and_says_how_many(broker: Broker, either_queue: str) -> None:
    await fill(broker, either_queue, 4)
    held = await broker.get(either_queue)
    assert held is not None
    assert await broker.purge(either_queue) == 3
    assert await broker.get(either_queue) is None
    await held.requeue()
    async with asyncio.timeout(PATIENCE_S):
        while (again := await broker.get(either_queue)) is None:
            await asyncio.sleep(0.01)
    assert again.message.body == b"0"


async def test_a_closed_client_consumes_nothing(broker_factory: BrokerFactory, queue: str) -> None:
    other = await broker_factory.another()
    await other.close()
    with pytest.raises(Closed):
        await other.subscribe(queue, Inbox(), prefetch=1)
    with pytest.raises(Closed):
        await other.get(queue)


async def test_a_delivery_limit_is_a_backstop_against_endless_loss(
    broker: Broker, broker_factory: BrokerFactory, declare: Declare, name: str
) -> None:
    dead = f"{name}-dead"
    await declare(
        Exchange(dead),
        Queue(name, dead_letter_exchange=dead, delivery_limit=2),
        Queue(dead),
        Binding(dead, dead, name),
    )
    letters = Inbox()
    await broker.subscribe(dead, letters, prefetch=1)
    await fill(broker, name, 1)
    deliveries = 0
    for _ in range(3):
        client, inbox = await broker_factory.another(), Inbox()
        await client.subscribe(name, inbox, prefetch=1)
        await inbox.next()
        deliveries += 1
        await client.close()
    letter = await letters.next()
    assert deliveries == 3
    assert letter.message.headers["x-death"][0]["reason"] == "delivery_limit"
