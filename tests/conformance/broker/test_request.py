"""Requests and streamed replies: throttled by the broker itself, answered in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import timedelta
from time import monotonic

import pytest

from broker import names
from broker.broker import Broker, Delivery
from broker.errors import NoReply, RequestReturned
from broker.message import Message
from broker.topology import Queue, QueueKind, Topology
from tests.conformance.broker.conftest import BrokerFactory, Declare
from tests.conformance.broker.inbox import PATIENCE_S, Inbox

AT_ONCE = timedelta(0)
LATER = timedelta(seconds=PATIENCE_S)
SOON = timedelta(milliseconds=300)


@pytest.fixture
async def requests(declare: Declare, name: str) -> str:
    """A queue of requests, as every function has one."""
    queue = names.requests(name)
    await declare(Queue(queue, QueueKind.CLASSIC, dead_letter_exchange=names.RETURNED))
    return queue


def ask(
    broker: Broker, queue: str, body: bytes, *, room: timedelta = AT_ONCE, timeout: timedelta = LATER
) -> AsyncGenerator[Message]:
    return broker.request(Message(body, message_id="r"), queue=queue, room=room, timeout=timeout)


async def bodies(replies: AsyncGenerator[Message]) -> list[bytes]:
    return [reply.body async for reply in replies]


class Server:
    """Answers every request with the bytes of its body, one reply for each, then acknowledges."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._work: set[asyncio.Task[None]] = set()
        self.served: list[Message] = []

    def __call__(self, delivery: Delivery) -> None:
        task = asyncio.create_task(self._answer(delivery))
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    async def _answer(self, delivery: Delivery) -> None:
        asked = delivery.message
        self.served.append(asked)
        for n, byte in enumerate(asked.body, 1):
            await self._broker.reply(asked, Message(bytes([byte]), persistent=False), last=n == len(asked.body))
        await delivery.ack()


async def test_a_request_is_answered(broker: Broker, requests: str) -> None:
    await broker.subscribe(requests, Server(broker), prefetch=1)
    assert await bodies(ask(broker, requests, b"x")) == [b"x"]


async def test_a_request_to_another_client_is_answered(
    broker: Broker, broker_factory: BrokerFactory, requests: str
) -> None:
    other = await broker_factory.another()
    await other.subscribe(requests, Server(other), prefetch=1)
    assert await bodies(ask(broker, requests, b"x")) == [b"x"]


async def test_streamed_replies_arrive_in_order_and_end_with_the_last(
    broker: Broker, broker_factory: BrokerFactory, requests: str
) -> None:
    other = await broker_factory.another()
    await other.subscribe(requests, Server(other), prefetch=1)
    sent = bytes(range(256)) * 2
    assert b"".join(await bodies(ask(broker, requests, sent))) == sent


async def test_many_requests_at_once_each_get_their_own_replies(
    broker: Broker, broker_factory: BrokerFactory, requests: str
) -> None:
    other = await broker_factory.another()
    await other.subscribe(requests, Server(other), prefetch=10)
    questions = [f"question {n}".encode() for n in range(50)]
    answers = await asyncio.gather(*(bodies(ask(broker, requests, q, room=LATER)) for q in questions))
    assert [b"".join(a) for a in answers] == questions


async def test_a_reply_carries_headers_and_properties(broker: Broker, requests: str) -> None:
    inbox = Inbox()
    await broker.subscribe(requests, inbox, prefetch=1)
    replies = ask(broker, requests, b"")
    asking = asyncio.ensure_future(anext(replies))
    delivery = await inbox.next()
    await broker.reply(delivery.message, Message(b"", headers={"status": 200}, content_type="text/plain"))
    await delivery.ack()
    reply = await asking
    assert (reply.headers["status"], reply.content_type) == (200, "text/plain")
    with pytest.raises(StopAsyncIteration):
        await anext(replies)


async def test_a_request_says_who_asks_and_keeps_what_the_caller_set(broker: Broker, requests: str) -> None:
    server = Server(broker)
    await broker.subscribe(requests, server, prefetch=1)
    asked = Message(b"x", message_id="the-id", headers={"traceparent": "t"}, type="event")
    assert await bodies(broker.request(asked, queue=requests, room=LATER, timeout=LATER)) == [b"x"]
    (received,) = server.served
    assert (received.message_id, received.headers["traceparent"], received.type) == ("the-id", "t", "event")
    assert received.headers[names.NODE_HEADER] == broker.node
    assert received.correlation_id
    assert received.reply_to
    assert received.persistent is False


async def test_a_request_that_nobody_consumes_returns_at_once(broker: Broker, requests: str) -> None:
    started = monotonic()
    with pytest.raises(RequestReturned) as returned:
        await bodies(ask(broker, requests, b"x"))
    assert returned.value.reason == "expired"
    assert monotonic() - started < LATER.total_seconds() / 2


async def test_a_request_without_room_returns_while_every_consumer_is_busy(broker: Broker, requests: str) -> None:
    inbox = Inbox()
    await broker.subscribe(requests, inbox, prefetch=1)
    first = asyncio.ensure_future(bodies(ask(broker, requests, b"1")))
    busy = await inbox.next()
    with pytest.raises(RequestReturned) as returned:
        await bodies(ask(broker, requests, b"2"))
    assert returned.value.reason == "expired"
    await broker.reply(busy.message, Message(b"done"))
    await busy.ack()
    assert await first == [b"done"]
    second = asyncio.ensure_future(bodies(ask(broker, requests, b"3", room=LATER)))
    free = await inbox.next()
    await broker.reply(free.message, Message(b"free"))
    await free.ack()
    assert await second == [b"free"]


async def test_a_request_with_room_waits_for_a_consumer(broker: Broker, requests: str) -> None:
    asking = asyncio.ensure_future(bodies(ask(broker, requests, b"x", room=LATER)))
    async with asyncio.timeout(PATIENCE_S):
        while (await broker.depth(requests)).ready == 0:
            await asyncio.sleep(0.01)
    await broker.subscribe(requests, Server(broker), prefetch=1)
    assert await asking == [b"x"]


async def test_a_request_whose_room_ends_returns(broker: Broker, requests: str) -> None:
    started = monotonic()
    with pytest.raises(RequestReturned) as returned:
        await bodies(ask(broker, requests, b"x", room=SOON))
    assert returned.value.reason == "expired"
    assert monotonic() - started >= SOON.total_seconds() * 0.95


async def test_a_rejected_request_returns_to_the_one_who_asked(
    broker: Broker, broker_factory: BrokerFactory, requests: str
) -> None:
    other = await broker_factory.another()
    inbox = Inbox()
    await other.subscribe(requests, inbox, prefetch=1)
    asking = asyncio.ensure_future(bodies(ask(broker, requests, b"x")))
    await (await inbox.next()).reject()
    with pytest.raises(RequestReturned) as returned:
        await asking
    assert returned.value.reason == "rejected"


async def test_a_request_to_no_queue_is_unroutable(broker: Broker, name: str) -> None:
    with pytest.raises(RequestReturned) as returned:
        await bodies(ask(broker, names.requests(name), b"x"))
    assert returned.value.reason == "unroutable"


async def test_a_request_without_a_reply_in_time_has_no_reply(broker: Broker, requests: str) -> None:
    inbox = Inbox()
    await broker.subscribe(requests, inbox, prefetch=1)
    with pytest.raises(NoReply):
        await bodies(ask(broker, requests, b"x", timeout=SOON))
    await (await inbox.next()).ack()


async def test_the_timeout_counts_from_each_reply(broker: Broker, requests: str) -> None:
    inbox = Inbox()
    await broker.subscribe(requests, inbox, prefetch=1)
    replies = ask(broker, requests, b"x", timeout=timedelta(milliseconds=600))
    first = asyncio.ensure_future(anext(replies))
    delivery = await inbox.next()
    await broker.reply(delivery.message, Message(b"1"), last=False)
    assert (await first).body == b"1"
    with pytest.raises(NoReply):
        await anext(replies)
    await delivery.ack()


async def test_a_requester_that_stops_listening_harms_nobody(broker: Broker, requests: str) -> None:
    inbox = Inbox()
    await broker.subscribe(requests, inbox, prefetch=2)
    async with aclosing(ask(broker, requests, b"x")) as replies:
        first = asyncio.ensure_future(anext(replies))
        delivery = await inbox.next()
        await broker.reply(delivery.message, Message(b"1"), last=False)
        await first
    await broker.reply(delivery.message, Message(b"too late"))
    await delivery.ack()
    second = asyncio.ensure_future(bodies(ask(broker, requests, b"y")))
    delivery = await inbox.next()
    await broker.reply(delivery.message, Message(b"in time"))
    await delivery.ack()
    assert await second == [b"in time"]


async def test_a_reply_to_nobody_is_dropped(
    broker: Broker, broker_factory: BrokerFactory, requests: str, name: str
) -> None:
    gone = await broker_factory.another()
    inbox = Inbox()
    await broker.subscribe(requests, inbox, prefetch=1)
    asking = asyncio.ensure_future(bodies(ask(gone, requests, b"x")))
    delivery = await inbox.next()
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await gone.close()
    await broker.reply(delivery.message, Message(b"nobody hears this"))
    await broker.reply(Message(b"no address"), Message(b"nor this"))
    await broker.reply(Message(b"", reply_to=f"{name}-none", correlation_id="c"), Message(b"nor this"))
    await delivery.ack()
    await broker.publish(Message(b"and the client still works"), routing_key=requests)


async def test_a_request_to_a_queue_deleted_and_declared_again_is_answered(broker: Broker, requests: str) -> None:
    topology = Topology(queues=(Queue(requests, QueueKind.CLASSIC, dead_letter_exchange=names.RETURNED),))
    await broker.delete(topology)
    with pytest.raises(RequestReturned):
        await bodies(ask(broker, requests, b"x"))
    await broker.declare(topology)
    await broker.subscribe(requests, Server(broker), prefetch=1)
    assert await bodies(ask(broker, requests, b"x")) == [b"x"]


async def test_a_request_of_six_megabytes_is_answered(broker: Broker, requests: str) -> None:
    inbox, body = Inbox(), bytes(range(256)) * (6 * 4096)
    await broker.subscribe(requests, inbox, prefetch=1)
    asking = asyncio.ensure_future(bodies(ask(broker, requests, body)))
    delivery = await inbox.next()
    assert delivery.message.body == body
    await broker.reply(delivery.message, Message(body))
    await delivery.ack()
    assert await asking == [body]
