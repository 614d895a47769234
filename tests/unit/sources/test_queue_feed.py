"""A queue's consumer that is dead while its connection lives is noticed, and the queue is consumed anew."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any, cast

import pytest

from broker.broker import Broker, OnDelivery, QueueDepth
from sources.errors import SourceSilent
from sources.queue_feed import QueueFeed

TICK = timedelta(milliseconds=5)
LONG = timedelta(seconds=20)


class Subscription:
    def __init__(self, on_delivery: OnDelivery, prefetch: int) -> None:
        self.on_delivery = on_delivery
        self.prefetch = prefetch
        self.cancelled = False

    async def set_prefetch(self, prefetch: int) -> None:
        self.prefetch = prefetch

    async def cancel(self) -> None:
        self.cancelled = True


class Queue:
    """A broker of one queue with ``ready`` messages, of which none is delivered but by ``deliver``."""

    def __init__(self) -> None:
        self.ready = 0
        self.looks = 0
        self.subscriptions: list[Subscription] = []

    async def subscribe(self, queue: str, on_delivery: OnDelivery, *, prefetch: int) -> Subscription:
        self.subscriptions.append(Subscription(on_delivery, prefetch))
        return self.subscriptions[-1]

    async def depth(self, queue: str) -> QueueDepth:
        self.looks += 1
        return QueueDepth(self.ready, None, 1)

    def deliver(self) -> None:
        self.subscriptions[-1].on_delivery(cast(Any, object()))

    async def connect(self) -> Broker:
        return cast(Broker, self)


async def test_messages_that_do_not_come_are_told_and_the_next_receive_consumes_anew() -> None:
    queue = Queue()
    queue.ready = 3
    feed = QueueFeed(queue.connect, "jobs", look_every=TICK)
    with pytest.raises(SourceSilent, match="connected but not consuming the queue jobs: 3 that wait"):
        await feed.receive(5, LONG)
    assert queue.subscriptions[0].cancelled
    assert queue.looks == 2
    receiving = asyncio.create_task(feed.receive(5, LONG))
    while len(queue.subscriptions) < 2:
        await asyncio.sleep(0)
    queue.deliver()
    assert len(await receiving) == 1


async def test_an_empty_queue_is_silent_for_a_good_reason() -> None:
    queue = Queue()
    feed = QueueFeed(queue.connect, "jobs", look_every=TICK)
    assert await feed.receive(5, 10 * TICK) == []
    assert queue.looks > 2
    assert len(queue.subscriptions) == 1


async def test_what_comes_between_two_looks_clears_the_suspicion() -> None:
    queue = Queue()
    queue.ready = 100
    feed = QueueFeed(queue.connect, "jobs", look_every=TICK)
    for _ in range(5):
        looks = queue.looks
        receiving = asyncio.create_task(feed.receive(50, LONG))
        while queue.looks == looks:
            await asyncio.sleep(0)
        queue.deliver()
        assert len(await receiving) == 1
    assert len(queue.subscriptions) == 1
