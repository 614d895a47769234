"""The deliveries of one RabbitMQ queue, as many as somebody asks for and no more.

A consumer's prefetch is what was taken and is not settled, plus what is asked for now. It grows at once and shrinks when
nothing is wanted or half would do, so that a batch that is not full changes nothing on the broker. What came and was not
wanted after all waits here, for a while; then it goes back to the queue.

The queue is looked at whenever nothing came for some time, since a queue that was deleted says nothing by itself, and
neither does, on RabbitMQ 3, a quorum queue that was deleted and made again before that. Where messages are ready at two looks
in a row, with room for them here, and none came between, the consumer is dead: it is said, and the queue is consumed anew.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import count

from broker.broker import Broker, Delivery, QueueDepth, Subscription
from broker.errors import AlreadySettled, BrokerError, DeliveryLost, QueueNotFound
from sources.errors import SourceMissing, SourceSilent, SourceUnavailable

LOOK_EVERY = timedelta(seconds=2)
LINGER_S = 0.002
"""So long a message may wait for others that came with it."""
UNWANTED_S = 300.0
"""So long a delivery may wait here for somebody to want it; brokers take back what is not settled in 30 minutes."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A delivery. ``place`` grows with each that arrives; ``arrived`` is in seconds of the monotonic clock."""

    delivery: Delivery
    place: int
    arrived: float


@asynccontextmanager
async def border(queue: str) -> AsyncIterator[None]:
    """Turns the broker's errors into those of sources."""
    try:
        yield
    except QueueNotFound as error:
        raise SourceMissing(
            f"the queue {queue} does not exist. Create it, or delete the event source mapping"
        ) from error
    except AlreadySettled:
        raise
    except BrokerError as error:
        raise SourceUnavailable(f"the queue {queue} cannot be reached: {error}") from error


class QueueFeed:
    """``connect`` gives a started client of the queue's broker, the same one each time. Nothing is ever declared."""

    def __init__(
        self, connect: Callable[[], Awaitable[Broker]], queue: str, *, look_every: timedelta = LOOK_EVERY
    ) -> None:
        self.queue = queue
        self._connect = connect
        self._look_every = look_every.total_seconds()
        self._subscription: Subscription | None = None
        self._subscribing: asyncio.Task[None] | None = None
        self._waiting: deque[Taken] = deque()
        self._out: dict[int, Taken] = {}
        self._places = count(1)
        self._arrived = asyncio.Event()
        self._woken = False
        self._looked = 0.0
        self._came = 0
        self._suspected: int | None = None

    async def broker(self) -> Broker:
        """Raises SourceUnavailable, Misconfigured."""
        async with border(self.queue):
            return await self._connect()

    async def receive(self, limit: int, wait: timedelta) -> list[Taken]:
        """At most ``limit``, in order; empty when ``wait`` is over, or :meth:`wake` was called.

        A limit of zero says that nothing is wanted for now. Raises SourceUnavailable (SourceSilent when messages do not come:
        the next call consumes anew), SourceMissing, Misconfigured.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + wait.total_seconds()
        async with border(self.queue):
            await self._want(limit)
            if limit <= 0:
                await self._return_unwanted()
                return []
            while not self._waiting and not self._woken and (left := until - loop.time()) > 0:
                await self._arrival(min(left, self._look_every))
                await self._look(self._look_every)
            self._woken = False
            await self._look(min(self._look_every, wait.total_seconds()))
            if 0 < len(self._waiting) < limit:
                await asyncio.sleep(LINGER_S)
            return self._take(limit)

    def wake(self) -> None:
        """Let the one who receives look up, now or when it comes next."""
        self._woken = True
        self._arrived.set()

    def is_out(self, taken: Taken) -> bool:
        """It was taken, and is neither settled nor given up."""
        return taken.place in self._out

    def settled(self, taken: Taken) -> None:
        """It needs nothing more: settled by the caller, or lost with its connection."""
        self._out.pop(taken.place, None)

    async def ack(self, taken: Taken) -> None:
        """Done with; passed over when the broker has taken it back. Raises SourceUnavailable: try again."""
        if not self.is_out(taken):
            return
        async with border(self.queue):
            try:
                await taken.delivery.ack()
            except DeliveryLost:
                pass  # it is delivered again
        self.settled(taken)

    async def give_back(self, several: Iterable[Taken]) -> None:
        """To the queue, in order of place. Passed over when the broker has taken it back already.

        Raises SourceUnavailable: try again.
        """
        for taken in sorted(several, key=lambda each: each.place):
            if self.is_out(taken):
                async with border(self.queue):
                    await _requeue(taken.delivery)
                self.settled(taken)

    async def pause(self) -> list[Taken]:
        """Consume no more until the next :meth:`receive`. What came and was not taken yet is taken now."""
        if self._subscribing is not None:
            await asyncio.wait({self._subscribing})
        await self._forget()
        return self._take(len(self._waiting))

    async def close(self) -> None:
        """All that is not settled goes back, in order. Idempotent; raises nothing."""
        await self.pause()
        for taken in sorted(self._out.values(), key=lambda each: each.place):
            self.settled(taken)
            try:
                await _requeue(taken.delivery)
            except BrokerError:
                pass  # settled in this moment, or the broker takes it back with the connection

    # Deliveries

    def _on_delivery(self, delivery: Delivery) -> None:
        self._came += 1
        self._waiting.append(Taken(delivery, next(self._places), asyncio.get_running_loop().time()))
        self._arrived.set()

    async def _arrival(self, patience: float) -> None:
        self._arrived.clear()
        try:
            async with asyncio.timeout(patience):
                await self._arrived.wait()
        except TimeoutError:
            pass  # the caller looks at the clock

    def _take(self, limit: int) -> list[Taken]:
        taken = [self._waiting.popleft() for _ in range(min(limit, len(self._waiting)))]
        self._out.update((each.place, each) for each in taken)
        return taken

    async def _return_unwanted(self) -> None:
        """All of them and in order, since those behind would otherwise overtake."""
        if self._waiting and asyncio.get_running_loop().time() - self._waiting[0].arrived >= UNWANTED_S:
            await self.give_back(self._take(len(self._waiting)))

    # The consumer

    async def _want(self, limit: int) -> None:
        wanted = len(self._out) + max(0, limit)
        if self._subscription is None:
            if limit > 0:
                await self._subscribe(wanted)
            return
        prefetch = self._subscription.prefetch
        if wanted > prefetch or (wanted < prefetch and (limit <= 0 or wanted * 2 <= prefetch)):
            await self._subscription.set_prefetch(wanted)

    async def _subscribe(self, prefetch: int) -> None:
        """A caller that is cancelled meanwhile leaves no consumer that nobody knows of."""
        if self._subscribing is None:
            self._subscribing = asyncio.create_task(self._begin(prefetch), name=f"consume {self.queue}")
        task = self._subscribing
        try:
            await asyncio.shield(task)
        finally:
            if task.done():
                self._subscribing = None

    async def _begin(self, prefetch: int) -> None:
        broker = await self._connect()
        self._subscription = await broker.subscribe(self.queue, self._on_delivery, prefetch=prefetch)
        self._looked = asyncio.get_running_loop().time()

    async def _look(self, every: float) -> None:
        """Raises QueueNotFound and SourceSilent, after which it is consumed anew, and other BrokerErrors."""
        now = asyncio.get_running_loop().time()
        if self._waiting or now - self._looked < every:
            return
        broker = await self._connect()
        self._looked = now
        try:
            depth = await broker.depth(self.queue)
        except QueueNotFound:
            await self._forget()
            self._waiting.clear()  # gone with the queue: they can be settled no more
            raise
        if self._is_silent(depth):
            await self._forget()
            raise SourceSilent(
                f"connected but not consuming the queue {self.queue}: {depth.ready} that wait in it do not come. It is "
                "consumed anew by itself"
            )

    def _is_silent(self, depth: QueueDepth) -> bool:
        """Nothing came between two looks, although there was something, and room for it."""
        subscription, suspected = self._subscription, self._suspected
        # while a prefetch changes the broker may use less of it than half
        room = subscription is not None and 2 * len(self._out) < subscription.prefetch
        self._suspected = self._came if room and depth.ready and not self._waiting else None
        return suspected is not None and suspected == self._suspected

    async def _forget(self) -> None:
        """Consume anew next time. What was taken can still be settled, if the broker still has it out."""
        subscription, self._subscription = self._subscription, None
        self._suspected = None
        if subscription is not None:
            try:
                await subscription.cancel()
            except BrokerError:
                pass  # its channel has gone, and with it the consumer


async def _requeue(delivery: Delivery) -> None:
    try:
        await delivery.requeue()
    except DeliveryLost:
        pass  # it is back already
