from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from broker.broker import State, Status
from broker.errors import DeliveryLost
from broker.message import Message
from sources.stream_intake import ENOUGH, ENOUGH_BYTES, MOST_BYTES, StreamIntake


class FakeDelivery:
    def __init__(self, offset: int, size: int, *, lost: bool = False) -> None:
        self.message = Message(b"x" * size)
        self.offset = offset
        self.acked = False
        self._lost = lost

    async def ack(self) -> None:
        if self._lost:
            raise DeliveryLost
        self.acked = True


class FakeSubscription:
    queue = "s"

    def __init__(self) -> None:
        self.lost = ""
        self.cancelled = False

    async def cancel(self) -> None:
        self.cancelled = True


class FakeBroker:
    """Hands deliveries to the one who subscribed."""

    def __init__(self) -> None:
        self.status = Status(State.CONNECTED)
        self.subscription = FakeSubscription()
        self.out: list[FakeDelivery] = []
        self.hear: Callable[[Any], None] = lambda _: None

    async def subscribe(self, queue: str, on_delivery: Any, *, prefetch: int, offset: Any) -> FakeSubscription:
        self.hear = on_delivery
        return self.subscription

    def deliver(self, count: int, size: int = 10, *, lost: bool = False) -> None:
        for _ in range(count):
            self.out.append(FakeDelivery(len(self.out), size, lost=lost))
            self.hear(self.out[-1])

    @property
    def acked(self) -> int:
        return sum(delivery.acked for delivery in self.out)


@pytest.fixture
def broker() -> FakeBroker:
    return FakeBroker()


@pytest.fixture
async def intake(broker: FakeBroker) -> StreamIntake:
    fake: Any = broker
    return await StreamIntake.open(fake, "s", "first")


async def turn() -> None:
    """Let tasks run until nothing is left to do at once."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_arrives_is_acknowledged_at_once_while_little_is_held(
    broker: FakeBroker, intake: StreamIntake
) -> None:
    broker.deliver(10)
    await turn()
    assert broker.acked == 10
    assert [delivery.offset for delivery in intake.take(4)] == [0, 1, 2, 3]
    await intake.close()


async def test_no_more_is_asked_for_when_enough_is_held(broker: FakeBroker, intake: StreamIntake) -> None:
    broker.deliver(ENOUGH + 50)
    await turn()
    assert ENOUGH - 1 <= broker.acked < ENOUGH + 50
    intake.take(100)
    await turn()
    assert broker.acked == ENOUGH + 50
    await intake.close()


async def test_bytes_count_as_much_as_numbers(broker: FakeBroker, intake: StreamIntake) -> None:
    broker.deliver(12, 1 << 20)
    await turn()
    assert broker.acked <= ENOUGH_BYTES >> 20
    assert not intake.overflowed
    await intake.close()


async def test_too_much_ends_the_subscription_and_the_rest_is_dropped(broker: FakeBroker, intake: StreamIntake) -> None:
    broker.deliver(100, 1 << 20)
    await turn()
    assert broker.subscription.cancelled
    assert broker.acked == 100
    held = intake.take(1000)
    assert (MOST_BYTES >> 20) - 1 <= len(held) <= (MOST_BYTES >> 20) + 1
    assert [delivery.offset for delivery in held] == list(range(len(held)))
    assert intake.over
    assert intake.fitting < 10
    await intake.close()


async def test_what_is_put_back_comes_first_again(broker: FakeBroker, intake: StreamIntake) -> None:
    broker.deliver(5)
    taken = intake.take(3)
    intake.put_back(taken[1:])
    assert [delivery.offset for delivery in intake.take(9)] == [1, 2, 3, 4]
    await intake.close()


async def test_a_delivery_of_a_lost_connection_does_no_harm(broker: FakeBroker, intake: StreamIntake) -> None:
    broker.deliver(3, lost=True)
    await turn()
    broker.deliver(1)
    await turn()
    assert broker.acked == 1
    await intake.close()


async def test_waiting_ends_with_the_first_delivery(broker: FakeBroker, intake: StreamIntake) -> None:
    waiting = asyncio.create_task(intake.news(60))
    await turn()
    broker.deliver(1)
    assert await waiting
    await intake.close()


async def test_waiting_ends_when_time_is_up(intake: StreamIntake) -> None:
    assert not await intake.news(0.01)
    await intake.close()


async def test_a_stream_that_is_gone_ends_the_wait(broker: FakeBroker, intake: StreamIntake) -> None:
    broker.subscription.lost = "deleted"
    assert await intake.news(60)
    assert intake.over
    await intake.close()


async def test_after_a_reconnection_nothing_is_taken_for_a_continuation(
    broker: FakeBroker, intake: StreamIntake
) -> None:
    broker.deliver(3)
    broker.status = Status(State.CONNECTED, reconnects=1)
    assert intake.over
    await intake.close()


async def test_closing_twice_is_harmless_and_acknowledges_all(broker: FakeBroker, intake: StreamIntake) -> None:
    broker.deliver(ENOUGH + 10)
    await intake.close()
    await intake.close()
    assert broker.acked == ENOUGH + 10
    assert broker.subscription.cancelled
    assert not intake.take(1)
