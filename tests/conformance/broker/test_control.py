"""Control events: every listening process hears every event."""

from __future__ import annotations

import asyncio

import pytest

from broker.broker import Broker
from broker.errors import Closed
from broker.message import Message
from tests.conformance.broker.conftest import BrokerFactory
from tests.conformance.broker.inbox import PATIENCE_S, QUIET_S


class Ear:
    def __init__(self) -> None:
        self.heard: asyncio.Queue[Message] = asyncio.Queue()

    def __call__(self, message: Message) -> None:
        self.heard.put_nowait(message)

    async def next(self) -> Message:
        async with asyncio.timeout(PATIENCE_S):
            return await self.heard.get()


async def test_a_broadcast_reaches_every_listener_this_one_included(
    broker: Broker, broker_factory: BrokerFactory
) -> None:
    other, one, two = await broker_factory.another(), Ear(), Ear()
    await broker.listen(one)
    await other.listen(two)
    await broker.broadcast(Message(b"changed", headers={"function": "f"}, type="function.updated", persistent=False))
    for ear in (one, two):
        message = await ear.next()
        assert (message.body, message.headers["function"], message.type) == (b"changed", "f", "function.updated")


async def test_broadcasts_are_heard_in_order(broker: Broker, broker_factory: BrokerFactory) -> None:
    other, ear = await broker_factory.another(), Ear()
    await other.listen(ear)
    for n in range(50):
        await broker.broadcast(Message(b"%d" % n))
    assert [int((await ear.next()).body) for _ in range(50)] == list(range(50))


async def test_a_listener_hears_only_what_comes_after_it(broker: Broker) -> None:
    ear = Ear()
    await broker.broadcast(Message(b"before"))
    await broker.listen(ear)
    await broker.broadcast(Message(b"after"))
    assert (await ear.next()).body == b"after"


async def test_a_broadcast_without_listeners_is_harmless(broker: Broker) -> None:
    await broker.broadcast(Message(b"anybody?"))


async def test_a_cancelled_listener_hears_no_more_and_leaves_the_others(
    broker: Broker, broker_factory: BrokerFactory
) -> None:
    other, one, two = await broker_factory.another(), Ear(), Ear()
    listening = await broker.listen(one)
    await other.listen(two)
    await listening.cancel()
    await listening.cancel()
    await broker.broadcast(Message(b"x"))
    await two.next()
    await asyncio.sleep(QUIET_S)
    assert one.heard.empty()


async def test_a_client_may_listen_again(broker: Broker) -> None:
    for body in (b"1", b"2"):
        ear = Ear()
        listening = await broker.listen(ear)
        await broker.broadcast(Message(body))
        assert (await ear.next()).body == body
        await listening.cancel()


async def test_a_client_may_listen_twice(broker: Broker) -> None:
    one, two = Ear(), Ear()
    first = await broker.listen(one)
    await broker.listen(two)
    await broker.broadcast(Message(b"x"))
    assert ((await one.next()).body, (await two.next()).body) == (b"x", b"x")
    await first.cancel()
    await broker.broadcast(Message(b"y"))
    assert (await two.next()).body == b"y"
    assert one.heard.empty()


async def test_a_listener_that_raises_hears_the_next_one(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    ear = Ear()

    def fails_once(message: Message) -> None:
        ear(message)
        if message.body == b"1":
            raise RuntimeError("the listener is broken")

    await broker.listen(fails_once)
    await broker.broadcast(Message(b"1"))
    await broker.broadcast(Message(b"2"))
    assert [(await ear.next()).body, (await ear.next()).body] == [b"1", b"2"]
    assert "the listener is broken" in caplog.text


async def test_a_closed_client_neither_tells_nor_hears(broker_factory: BrokerFactory) -> None:
    other = await broker_factory.another()
    await other.close()
    with pytest.raises(Closed):
        await other.broadcast(Message(b""))
    with pytest.raises(Closed):
        await other.listen(Ear())
