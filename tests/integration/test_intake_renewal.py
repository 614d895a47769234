"""Consuming a function anew leaves what is in hand valid, and what comes afterwards comes once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from broker import names
from broker.broker import Delivery
from broker.embedded import EmbeddedBroker
from broker.errors import Unavailable
from broker.message import Message
from fnrunner.catalogue import NO_CODE
from fnrunner.model.function import Function
from fnrunner.worker.execution import Kind
from fnrunner.worker.intake import Intake

FUNCTION = Function(name="f", runtime="python3.12", handler="app.handler", code=NO_CODE, role="role")


class Executor:
    """Acknowledges each delivery when a test lets it."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.go = asyncio.Event()

    async def __call__(self, delivery: Delivery, kind: Kind) -> None:
        self.bodies.append(delivery.message.body)
        await self.go.wait()
        await delivery.ack()


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[EmbeddedBroker]:
    broker = EmbeddedBroker(tmp_path / "broker", delays=[])
    await broker.start()
    yield broker
    await broker.close()


async def until(intake: Intake, held: int) -> None:
    async with asyncio.timeout(20):
        while sum(holding.held for holding in intake.holdings().values()) != held:
            await asyncio.sleep(0.01)


async def test_what_is_in_hand_is_settled_and_new_events_come_once(broker: EmbeddedBroker) -> None:
    executor = Executor()
    intake = Intake(broker, executor, capacity=4)
    await intake.follow([FUNCTION])
    queue = names.events("f")
    await broker.publish(Message(b"before"), routing_key=queue)
    await until(intake, 1)
    await intake.renew("f")
    await broker.publish(Message(b"after"), routing_key=queue)
    await until(intake, 2)
    executor.go.set()
    await until(intake, 0)
    depth = await broker.depth(queue)
    assert (executor.bodies, depth.ready, depth.unsettled, depth.consumers) == ([b"before", b"after"], 0, 0, 1)
    assert intake.holdings()[queue].received == 2
    await intake.renew("unknown")
    await intake.stop()
    assert intake.holdings()[queue].prefetch == 0
    await intake.renew("f")
    assert (await broker.depth(queue)).consumers == 0


async def test_when_it_cannot_be_consumed_anew_the_old_way_is_kept(
    broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = Executor()
    executor.go.set()
    intake = Intake(broker, executor, capacity=4)
    await intake.follow([FUNCTION])

    async def away(*_: object, **__: object) -> None:
        raise Unavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(broker, "subscribe", away)
        with pytest.raises(Unavailable):
            await intake.renew("f")
    await broker.publish(Message(b"later"), routing_key=names.events("f"))
    async with asyncio.timeout(20):
        while executor.bodies != [b"later"]:
            await asyncio.sleep(0.01)
    await intake.stop()
