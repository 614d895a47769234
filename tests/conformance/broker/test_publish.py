"""Confirm, mandatory, refused: what a publisher may rely on."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from broker import names
from broker.broker import Broker
from broker.errors import Closed, MessageTooLarge, Refused, Unroutable
from broker.message import Message
from broker.topology import Binding, Exchange, ExchangeKind, Queue
from tests.conformance.broker.conftest import BrokerFactory, Declare
from tests.conformance.broker.inbox import Inbox

EVERY_TYPE = {
    "text": "grüße 🐇",
    "empty": "",
    "bytes": b"\x00\xff\xfe",
    "small": 1,
    "negative": -5,
    "large": 2**62,
    "smallest": -(2**63),
    "float": 0.1,
    "yes": True,
    "no": False,
    "nothing": None,
    "when": datetime(2026, 8, 1, 12, 30, 15, tzinfo=UTC),
    "list": ["a", 1, True, None, ["nested"], {"k": "v"}],
    "table": {"a": 1, "b": {"c": [1, 2]}, "d": "text"},
}


async def test_a_confirmed_message_is_in_the_queue(broker: Broker, either_queue: str) -> None:
    await broker.publish(Message(b"hello"), routing_key=either_queue)
    delivery = await broker.get(either_queue)
    assert delivery is not None
    assert delivery.message.body == b"hello"
    await delivery.ack()


async def test_many_publishes_at_once_are_each_confirmed(broker: Broker, either_queue: str) -> None:
    await asyncio.gather(*(broker.publish(Message(b"%d" % n), routing_key=either_queue) for n in range(500)))
    inbox = Inbox()
    await broker.subscribe(either_queue, inbox, prefetch=500)
    bodies = [int(d.message.body) for d in await inbox.take(500)]
    assert sorted(bodies) == list(range(500))


async def test_a_message_keeps_every_property(broker: Broker, queue: str) -> None:
    sent = Message(
        b"\x00\x01body",
        message_id="m-1",
        headers={"h": "v"},
        content_type="application/x-test",
        content_encoding="identity",
        correlation_id="c-1",
        reply_to="nobody",
        expiration=timedelta(minutes=5),
        persistent=True,
        priority=3,
        timestamp=datetime(2026, 8, 1, 12, 30, 15, tzinfo=UTC),
        type="event",
        app_id="fnrunner",
    )
    await broker.publish(sent, routing_key=queue)
    delivery = await broker.get(queue)
    assert delivery is not None
    assert delivery.message == sent
    assert (delivery.queue, delivery.exchange, delivery.routing_key) == (queue, "", queue)
    assert (delivery.redelivered, delivery.offset, delivery.settled) == (False, None, False)


async def test_a_message_without_properties_comes_without_properties(broker: Broker, queue: str) -> None:
    await broker.publish(Message(b""), routing_key=queue)
    delivery = await broker.get(queue)
    assert delivery is not None
    received = delivery.message
    assert (received.body, dict(received.headers), received.persistent) == (b"", {}, True)
    assert received.message_id is None
    assert (received.content_type, received.correlation_id, received.reply_to, received.expiration) == (None,) * 4
    assert (received.priority, received.timestamp, received.type, received.app_id, received.user_id) == (None,) * 5


@pytest.mark.parametrize("header", EVERY_TYPE)
async def test_headers_of_every_type_come_back_equal(broker: Broker, queue: str, header: str) -> None:
    await broker.publish(Message(b"", headers={header: EVERY_TYPE[header]}), routing_key=queue)
    delivery = await broker.get(queue)
    assert delivery is not None
    received = delivery.message.headers[header]
    assert received == EVERY_TYPE[header]
    assert type(received) is type(EVERY_TYPE[header])


async def test_a_transient_message_is_delivered_as_transient(broker: Broker, queue: str) -> None:
    await broker.publish(Message(b"", persistent=False), routing_key=queue)
    delivery = await broker.get(queue)
    assert delivery is not None
    assert delivery.message.persistent is False


async def test_a_payload_of_six_megabytes_arrives_whole(broker: Broker, either_queue: str) -> None:
    body = bytes(range(256)) * (6 * 4096)
    await broker.publish(Message(body), routing_key=either_queue)
    inbox = Inbox()
    await broker.subscribe(either_queue, inbox, prefetch=1)
    delivery = await inbox.next()
    assert delivery.message.body == body
    await delivery.ack()


async def test_a_message_over_sixteen_megabytes_is_too_large(broker: Broker, queue: str) -> None:
    with pytest.raises(MessageTooLarge):
        await broker.publish(Message(bytes(16 * 1024 * 1024 + 1)), routing_key=queue)
    await broker.publish(Message(b"and the client still works"), routing_key=queue)


async def test_a_message_that_no_queue_takes_is_unroutable(broker: Broker, name: str) -> None:
    with pytest.raises(Unroutable):
        await broker.publish(Message(b""), routing_key=name)


async def test_a_message_to_an_exchange_that_does_not_exist_is_unroutable(
    broker: Broker, queue: str, name: str
) -> None:
    with pytest.raises(Unroutable):
        await broker.publish(Message(b""), exchange=f"{name}-none", routing_key=queue)
    await broker.publish(Message(b""), routing_key=queue)


async def test_one_missing_exchange_harms_no_other_publish(broker: Broker, queue: str, name: str) -> None:
    good = [broker.publish(Message(b"", message_id=str(n)), routing_key=queue) for n in range(50)]
    bad = broker.publish(Message(b""), exchange=f"{name}-none", routing_key=queue)
    results = await asyncio.gather(*good[:25], bad, *good[25:], return_exceptions=True)
    assert isinstance(results.pop(25), Unroutable)
    assert results == [None] * 50


async def test_one_unroutable_copy_does_not_mark_another_of_the_same_id(broker: Broker, queue: str, name: str) -> None:
    copies = [
        broker.publish(Message(b"", message_id="same"), routing_key=key)
        for key in (queue, f"{name}-a", queue, f"{name}-b")
    ]
    results = await asyncio.gather(*copies, return_exceptions=True)
    assert [isinstance(r, Unroutable) for r in results] == [False, True, False, True]


async def test_a_full_queue_that_rejects_refuses_the_message(broker: Broker, declare: Declare, name: str) -> None:
    # A dead-letter exchange gives the queue `reject-publish`; without one it would drop its oldest.
    await declare(Queue(name, dead_letter_exchange=names.DEAD, dead_letter_routing_key=name, max_length=2))
    taken = refused = 0
    while refused < 2:
        try:
            await broker.publish(Message(b""), routing_key=name)
            taken += 1
        except Refused:
            refused += 1
        assert taken < 20
    assert (await broker.depth(name)).ready == taken


async def test_an_exchange_with_two_queues_gives_each_a_copy(broker: Broker, declare: Declare, name: str) -> None:
    await declare(
        Exchange(name, ExchangeKind.FANOUT),
        Queue(f"{name}-a"),
        Queue(f"{name}-b"),
        Binding(name, f"{name}-a"),
        Binding(name, f"{name}-b"),
    )
    await broker.publish(Message(b"x"), exchange=name, routing_key="any")
    for queue in (f"{name}-a", f"{name}-b"):
        delivery = await broker.get(queue)
        assert delivery is not None
        assert (delivery.exchange, delivery.routing_key) == (name, "any")


@pytest.mark.parametrize(
    ("pattern", "key", "matches"),
    [
        ("a.*.c", "a.b.c", True),
        ("a.*.c", "a.b.b.c", False),
        ("a.#", "a", True),
        ("a.#", "a.b.c", True),
        ("#", "anything.at.all", True),
        ("*", "two.words", False),
        ("#.z", "x.y.z", True),
    ],
)
async def test_a_topic_exchange_matches_words(
    broker: Broker, declare: Declare, name: str, pattern: str, key: str, matches: bool
) -> None:
    await declare(Exchange(name, ExchangeKind.TOPIC), Queue(name), Binding(name, name, pattern))
    publish = broker.publish(Message(b""), exchange=name, routing_key=key)
    if matches:
        await publish
        assert await broker.get(name) is not None
    else:
        with pytest.raises(Unroutable):
            await publish


@pytest.mark.parametrize(
    ("arguments", "headers", "matches"),
    [
        ({"k": "v"}, {"k": "v", "other": 1}, True),
        ({"k": "v"}, {"k": "w"}, False),
        ({"k": "v", "l": 1}, {"k": "v"}, False),
        ({"x-match": "any", "k": "v", "l": 1}, {"l": 1}, True),
        ({"x-match": "any", "k": "v", "l": 1}, {"m": 1}, False),
    ],
)
async def test_a_headers_exchange_matches_headers(
    broker: Broker,
    declare: Declare,
    name: str,
    arguments: dict[str, object],
    headers: dict[str, object],
    matches: bool,
) -> None:
    await declare(Exchange(name, ExchangeKind.HEADERS), Queue(name), Binding(name, name, arguments=arguments))
    publish = broker.publish(Message(b"", headers=headers), exchange=name, routing_key="")
    if matches:
        await publish
        assert await broker.get(name) is not None
    else:
        with pytest.raises(Unroutable):
            await publish


async def test_what_an_exchange_cannot_route_goes_to_its_alternate(broker: Broker, declare: Declare, name: str) -> None:
    alternate = f"{name}-alternate"
    await declare(
        Exchange(alternate, ExchangeKind.FANOUT),
        Exchange(name, ExchangeKind.DIRECT, alternate=alternate),
        Queue(alternate),
        Binding(alternate, alternate),
    )
    await broker.publish(Message(b"lost"), exchange=name, routing_key="nobody")
    delivery = await broker.get(alternate)
    assert delivery is not None
    assert delivery.routing_key == "nobody"


async def test_an_expired_message_goes_to_the_dead_letter_exchange(broker: Broker, declare: Declare, name: str) -> None:
    dead, back = f"{name}-dead", f"{name}-back"
    await declare(
        Exchange(dead),
        Queue(name, dead_letter_exchange=dead, dead_letter_routing_key=back),
        Queue(back),
        Binding(dead, back, back),
    )
    inbox = Inbox()
    await broker.subscribe(back, inbox, prefetch=1)
    await broker.publish(Message(b"late", expiration=timedelta(milliseconds=50)), routing_key=name)
    delivery = await inbox.next()
    assert delivery.message.body == b"late"
    assert delivery.message.expiration is None
    death = delivery.message.headers["x-death"][0]
    assert (death["queue"], death["reason"], death["count"]) == (name, "expired", 1)


async def test_an_expired_message_vanishes_where_there_is_no_dead_letter_exchange(
    broker: Broker, declare: Declare, name: str
) -> None:
    await declare(Queue(name, ttl=timedelta(milliseconds=50)))
    await broker.publish(Message(b"late"), routing_key=name)
    depths: list[int] = []

    async def watch() -> None:
        while not depths or depths[-1]:
            depths.append((await broker.depth(name)).ready)

    await asyncio.wait_for(watch(), 20)
    assert await broker.get(name) is None


async def test_a_closed_client_publishes_nothing(broker: Broker, broker_factory: BrokerFactory, queue: str) -> None:
    other = await broker_factory.another()
    await other.close()
    with pytest.raises(Closed):
        await other.publish(Message(b""), routing_key=queue)
    assert await broker.get(queue) is None
