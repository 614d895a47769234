"""Back-pressure of streamed replies: nobody is ahead of a slow asker by more than its window, or waits for one that left."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path

import pytest

from broker import names
from broker.broker import Broker, Delivery
from broker.errors import AskerGone, Closed, DeliveryLost, NoReply
from broker.message import Message
from broker.topology import Queue, QueueKind
from broker.window import Window
from tests.conformance.broker.conftest import BrokerFactory, Declare
from tests.conformance.broker.inbox import PATIENCE_S, QUIET_S, Inbox, eventually

LATER = timedelta(seconds=PATIENCE_S)
SOON = timedelta(milliseconds=300)
KIB_64 = 64 * 1024
MANY = 10_000
STREAMS = 2_000


@pytest.fixture
async def requests(declare: Declare, name: str) -> str:
    """A queue of requests, as every function has one."""
    queue = names.requests(name)
    await declare(Queue(queue, QueueKind.CLASSIC, dead_letter_exchange=names.RETURNED))
    return queue


@pytest.fixture
async def replier(broker: Broker, broker_factory: BrokerFactory) -> Broker:
    """Another client than ``broker``, which is there first."""
    return await broker_factory.another()


def ask(broker: Broker, queue: str, window: int, *, timeout: timedelta = LATER) -> AsyncGenerator[Message]:
    room = LATER if timeout is LATER else timedelta(0)
    return broker.request(Message(b""), queue=queue, room=room, timeout=timeout, window=window)


def reply_of(number: int) -> Message:
    return Message(b"%d" % number, persistent=False)


class Server:
    """Carries out ``answer`` for every request, and remembers what went wrong."""

    def __init__(self, answer: Callable[[Message], Coroutine[None, None, None]]) -> None:
        self._answer = answer
        self._work: set[asyncio.Task[None]] = set()
        self.errors: list[type[Exception]] = []

    def __call__(self, delivery: Delivery) -> None:
        task = asyncio.create_task(self._serve(delivery))
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    async def _serve(self, delivery: Delivery) -> None:
        try:
            await self._answer(delivery.message)
        except Exception as error:
            self.errors.append(type(error))
        await delivery.ack()

    async def done(self) -> None:
        await eventually(lambda: not self._work)


class Counting:
    """Replies ``count`` times and a last time, and knows how far it ever was ahead of what the asker has taken."""

    def __init__(self, broker: Broker, count: int) -> None:
        self._broker = broker
        self._count = count
        self.sent = self.taken = self.most = 0

    async def __call__(self, asked: Message) -> None:
        for number in range(self._count):
            await self._broker.reply(asked, reply_of(number), last=False)
            self.sent += 1
            self.most = max(self.most, self.sent - self.taken)
        await self._broker.reply(asked, reply_of(self._count))


@pytest.fixture
async def asked(
    broker: Broker, replier: Broker, requests: str
) -> AsyncIterator[tuple[AsyncGenerator[Message], Message]]:
    """A request with a window of two whose first reply was yielded, and what the replier got."""
    inbox = Inbox()
    await replier.subscribe(requests, inbox, prefetch=1)
    async with aclosing(ask(broker, requests, 2)) as replies:
        first = asyncio.ensure_future(anext(replies))
        delivery = await inbox.next()
        await replier.reply(delivery.message, reply_of(0), last=False)
        await first
        yield replies, delivery.message
        with contextlib.suppress(DeliveryLost):
            await delivery.ack()


async def fill(replier: Broker, to: Message) -> asyncio.Task[None]:
    """Reply until a reply waits for room; that one is returned."""
    for number in range(1, 100):
        waiting = asyncio.create_task(replier.reply(to, reply_of(number), last=False))
        done, _ = await asyncio.wait((waiting,), timeout=QUIET_S)
        if not done:
            return waiting
        await waiting
    raise AssertionError("the window never filled")


@pytest.mark.parametrize("window", [1, 2, 7, 16])
async def test_a_replier_is_never_ahead_of_a_slow_asker_by_more_than_the_window(
    broker: Broker, replier: Broker, requests: str, window: int
) -> None:
    counting = Counting(replier, 200)
    await replier.subscribe(requests, Server(counting), prefetch=1)
    bodies = []
    async for reply in ask(broker, requests, window):
        counting.taken += 1
        bodies.append(int(reply.body))
        if counting.taken in (1, 50):
            await asyncio.sleep(QUIET_S)  # the replier runs as far ahead as it is let
            assert window // 2 <= counting.sent - counting.taken <= window
    assert bodies == list(range(201))
    assert counting.most <= window


async def test_a_reply_waits_for_room_and_goes_on_when_there_is_some(
    replier: Broker, asked: tuple[AsyncGenerator[Message], Message]
) -> None:
    replies, to = asked
    waiting = await fill(replier, to)
    await anext(replies)
    await anext(replies)
    async with asyncio.timeout(PATIENCE_S):
        await waiting


async def test_the_last_reply_never_waits_for_room(
    replier: Broker, asked: tuple[AsyncGenerator[Message], Message]
) -> None:
    replies, to = asked
    waiting = await fill(replier, to)
    waiting.cancel()
    await asyncio.wait((waiting,))
    async with asyncio.timeout(PATIENCE_S):
        await replier.reply(to, Message(b"end"))
    assert [r.body async for r in replies][-1] == b"end"


async def test_an_asker_that_closes_makes_a_waiting_reply_raise(
    replier: Broker, asked: tuple[AsyncGenerator[Message], Message]
) -> None:
    replies, to = asked
    abandoned = replier.abandoned(to)
    waiting = await fill(replier, to)
    assert not abandoned.is_set()
    await replies.aclose()
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(AskerGone):
            await waiting
    assert abandoned.is_set()
    for last in (False, True):
        with pytest.raises(AskerGone):
            await replier.reply(to, Message(b"too late"), last=last)


async def test_an_asker_that_closes_between_replies_is_known_to_be_gone(
    replier: Broker, asked: tuple[AsyncGenerator[Message], Message]
) -> None:
    replies, to = asked
    abandoned = replier.abandoned(to)
    await replies.aclose()
    async with asyncio.timeout(PATIENCE_S):
        await abandoned.wait()
    with pytest.raises(AskerGone):
        await replier.reply(to, Message(b"too late"), last=False)


async def test_an_asker_that_closes_before_the_first_reply_is_known_to_be_gone(
    broker: Broker, replier: Broker, requests: str
) -> None:
    inbox = Inbox()
    await replier.subscribe(requests, inbox, prefetch=1)
    replies = ask(broker, requests, 2)
    first = asyncio.ensure_future(anext(replies))
    delivery = await inbox.next()
    abandoned = replier.abandoned(delivery.message)
    await asyncio.sleep(QUIET_S)
    assert not abandoned.is_set()
    first.cancel()
    await asyncio.wait((first,))
    async with asyncio.timeout(PATIENCE_S):
        await abandoned.wait()
    await delivery.ack()


async def test_whoever_asks_after_the_asker_has_gone_learns_so(broker: Broker, replier: Broker, requests: str) -> None:
    inbox = Inbox()
    await replier.subscribe(requests, inbox, prefetch=1)
    with pytest.raises(NoReply):
        await anext(ask(broker, requests, 2, timeout=SOON))
    delivery = await inbox.next()
    async with asyncio.timeout(PATIENCE_S):
        await replier.abandoned(delivery.message).wait()
        with pytest.raises(AskerGone):
            await fill(replier, delivery.message)
    await delivery.ack()


async def test_an_asker_whose_time_is_up_makes_a_waiting_reply_raise(
    broker: Broker, replier: Broker, requests: str
) -> None:
    inbox = Inbox()
    await replier.subscribe(requests, inbox, prefetch=1)
    replies = ask(broker, requests, 1, timeout=SOON)
    first = asyncio.ensure_future(anext(replies))
    delivery = await inbox.next()
    await replier.reply(delivery.message, reply_of(0), last=False)
    await first
    with pytest.raises(NoReply):
        await anext(replies)
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(AskerGone):
            await fill(replier, delivery.message)
    await delivery.ack()


async def test_an_asker_whose_client_closes_makes_a_waiting_reply_raise(
    broker: Broker, broker_factory: BrokerFactory, requests: str
) -> None:
    asker, inbox = await broker_factory.another(), Inbox()
    await broker.subscribe(requests, inbox, prefetch=1)
    replies = ask(asker, requests, 2)
    first = asyncio.ensure_future(anext(replies))
    delivery = await inbox.next()
    await broker.reply(delivery.message, reply_of(0), last=False)
    await first
    waiting = await fill(broker, delivery.message)
    await asker.close()
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(AskerGone):
            await waiting
    assert broker.abandoned(delivery.message).is_set()
    await delivery.ack()
    await replies.aclose()


async def test_a_replier_whose_client_closes_waits_no_more(
    replier: Broker, asked: tuple[AsyncGenerator[Message], Message]
) -> None:
    waiting = await fill(replier, asked[1])
    closing = asyncio.create_task(replier.close())
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(Closed):
            await waiting
    await closing


async def test_one_client_may_ask_and_reply_itself(broker: Broker, requests: str) -> None:
    counting = Counting(broker, 50)
    await broker.subscribe(requests, Server(counting), prefetch=1)
    assert [int(r.body) async for r in ask(broker, requests, 4)] == list(range(51))


async def test_without_a_window_no_reply_waits_and_nobody_counts_as_gone(
    broker: Broker, replier: Broker, requests: str
) -> None:
    inbox = Inbox()
    await replier.subscribe(requests, inbox, prefetch=1)
    async with aclosing(ask(broker, requests, 0)) as replies:
        first = asyncio.ensure_future(anext(replies))
        delivery = await inbox.next()
        async with asyncio.timeout(PATIENCE_S):
            for number in range(500):
                await replier.reply(delivery.message, reply_of(number), last=False)
        await first
    await replier.reply(delivery.message, Message(b"dropped"))
    assert not replier.abandoned(delivery.message).is_set()
    await delivery.ack()


async def test_a_stalled_asker_holds_up_nobody_else(broker: Broker, replier: Broker, requests: str) -> None:
    server = Server(Counting(replier, 1_000))
    await replier.subscribe(requests, server, prefetch=2)
    async with aclosing(ask(broker, requests, 4)) as stalled:
        assert (await anext(stalled)).body == b"0"
        async with asyncio.timeout(PATIENCE_S):
            assert [int(r.body) async for r in ask(broker, requests, 4)] == list(range(1_001))
        assert [int((await anext(stalled)).body) for _ in range(8)] == list(range(1, 9))
    await server.done()
    assert server.errors == [AskerGone]


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def test_ten_thousand_large_replies_to_a_slow_asker_take_no_memory(
    broker: Broker, replier: Broker, requests: str
) -> None:
    body = bytes(KIB_64)

    async def answer(asked: Message) -> None:
        for number in range(MANY):
            await replier.reply(asked, Message(body, persistent=False), last=number == MANY - 1)

    await replier.subscribe(requests, Server(answer), prefetch=1)
    taken, before, most = 0, resident_bytes(), 0
    async for reply in ask(broker, requests, 8):
        taken += 1
        assert len(reply.body) == KIB_64
        if taken % 1_000 == 1:
            await asyncio.sleep(QUIET_S)  # time enough to pile up thousands of replies
            most = max(most, resident_bytes())
    assert taken == MANY
    assert most - before < 48 * 1024 * 1024


def windows() -> int:
    gc.collect()
    return sum(isinstance(thing, Window) for thing in gc.get_objects())


async def test_thousands_of_streams_leave_nothing_behind(broker: Broker, replier: Broker, requests: str) -> None:
    server = Server(Counting(replier, 4))
    await replier.subscribe(requests, server, prefetch=50)
    before = windows()

    async def whole() -> int:
        return len([r async for r in ask(broker, requests, 2)])

    async def early() -> int:
        async with aclosing(ask(broker, requests, 1)) as replies:
            await anext(replies)
        return 1

    for _ in range(STREAMS // 100):
        lengths = await asyncio.gather(*(kind() for kind in (whole, early) for _ in range(50)))
        assert lengths == [5] * 50 + [1] * 50
    await server.done()
    assert set(server.errors) == {AskerGone}
    assert windows() == before
    assert await whole() == 5
