"""One subscription to a stream of the broker: what it delivers, in order, held within bounds until it is taken.

::

    broker ── at most PREFETCH unacknowledged ──► held ── take ──► the reader
                    ▲                              │
                    └── acknowledge while there is room ◄──┘

An acknowledgement only asks for more: a stream keeps its records, and what was read is remembered elsewhere. So records
are acknowledged on arrival while little is held, and later otherwise. Records may turn out large after their number was
granted, and RabbitMQ delivers whole chunks: when too much arrives all the same, the subscription ends, the rest is
dropped unread, and whoever reads begins another one behind what was held.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence

from broker.broker import Broker, Delivery, Offset, Subscription
from broker.errors import BrokerError
from sources.stream_message import size

log = logging.getLogger(__name__)

PREFETCH = 256
ENOUGH = 2_000
"""So many records are held before acknowledging waits."""

ENOUGH_BYTES = 6 << 20
"""So many bytes are held before acknowledging waits: a batch cannot be larger."""

GLANCE_S = 0.5
"""How often whoever waits looks whether the subscription was lost, of which nobody tells."""

MOST_BYTES = 16 << 20
"""From here on what arrives is dropped, to be read again later."""


class StreamIntake:
    """Open it with :meth:`open`, take from it, and close it. ``prefetch`` that fits what was seen is :attr:`fitting`."""

    def __init__(self, broker: Broker, *, prefetch: int = PREFETCH) -> None:
        self.prefetch = prefetch
        self.overflowed = False
        self._broker = broker
        self._reconnects = broker.status.reconnects
        self._subscription: Subscription | None = None
        self._held: deque[tuple[Delivery, int]] = deque()
        self._bytes = 0
        self._largest = 1
        self._granted: list[Delivery] = []
        self._waiting: list[Delivery] = []
        self._news = asyncio.Event()
        self._due = asyncio.Event()
        self._granting: asyncio.Task[None] | None = None
        self._closed = False

    @classmethod
    async def open(cls, broker: Broker, stream: str, offset: Offset, *, prefetch: int = PREFETCH) -> StreamIntake:
        """Subscribed when this returns. Raises what ``Broker.subscribe`` raises."""
        intake = cls(broker, prefetch=prefetch)
        intake._subscription = await broker.subscribe(stream, intake.hear, prefetch=prefetch, offset=offset)
        intake._granting = asyncio.create_task(intake._grant_always(), name=f"granting of {stream}")
        return intake

    @property
    def lost(self) -> bool:
        """What comes now need not follow what came before: the stream is gone, or the connection was."""
        gone = self._subscription is not None and self._subscription.lost != ""
        return gone or self._broker.status.reconnects != self._reconnects

    @property
    def over(self) -> bool:
        """There is nothing to take that is sure to be in order, and nothing will come."""
        stuck = self._granting is not None and self._granting.done()
        return self._closed or self.lost or stuck or (self.overflowed and not self._held)

    @property
    def fitting(self) -> int:
        """A prefetch with which what has been seen would not have been too much."""
        return max(1, min(self.prefetch, ENOUGH_BYTES // self._largest))

    def hear(self, delivery: Delivery) -> None:
        """What the subscription calls for each delivery."""
        if self.overflowed or self._closed:
            self._granted.append(delivery)  # or the broker would keep it for us for ever
            self._due.set()
            return
        weight = size(delivery.message)
        self._held.append((delivery, weight))
        self._waiting.append(delivery)
        self._bytes += weight
        self._largest = max(self._largest, weight)
        self.overflowed = self._bytes > MOST_BYTES
        self._grant()
        self._news.set()

    def peek(self) -> Delivery | None:
        """The next one, which stays."""
        return self._held[0][0] if self._held else None

    def take(self, limit: int) -> list[Delivery]:
        """The next ones, at most ``limit``, in order."""
        taken: list[Delivery] = []
        while self._held and len(taken) < limit:
            delivery, weight = self._held.popleft()
            self._bytes -= weight
            taken.append(delivery)
        self._grant()
        return taken

    def put_back(self, taken: Sequence[Delivery]) -> None:
        """They were taken last, and come first again."""
        for delivery in reversed(taken):
            weight = size(delivery.message)
            self._held.appendleft((delivery, weight))
            self._bytes += weight

    async def news(self, wait_s: float) -> bool:
        """Wait until there is something to take or it is over; False when that took longer than ``wait_s``."""
        loop = asyncio.get_running_loop()
        until = loop.time() + wait_s
        while not (self._held or self.over):
            self._news.clear()
            if (left := until - loop.time()) <= 0:
                return False
            try:
                async with asyncio.timeout(min(left, GLANCE_S)):
                    await self._news.wait()
            except TimeoutError:
                continue
        return True

    async def close(self) -> None:
        """Take no more; idempotent."""
        self._closed = True
        self._held.clear()
        self._bytes = 0
        self._granted += self._waiting
        self._waiting = []
        self._news.set()
        if self._granting is not None:
            self._granting.cancel()
            await asyncio.wait((self._granting,))
        await self._unsubscribe()
        await self._acknowledge()

    def _grant(self) -> None:
        """Let as many come as have been delivered, unless enough is held."""
        room = len(self._held) < ENOUGH and self._bytes < ENOUGH_BYTES
        if self._waiting and (room or self.overflowed):
            self._granted += self._waiting
            self._waiting = []
            self._due.set()

    async def _grant_always(self) -> None:
        while True:
            await self._due.wait()
            self._due.clear()
            await self._acknowledge()
            if self.overflowed:
                await self._unsubscribe()

    async def _unsubscribe(self) -> None:
        if self._subscription is None:
            return
        try:
            await self._subscription.cancel()
        except BrokerError:
            log.debug("a subscription to %s ended with its broker", self._subscription.queue, exc_info=True)

    async def _acknowledge(self) -> None:
        granted, self._granted = self._granted, []
        for delivery in granted:
            try:
                await delivery.ack()
            except BrokerError:
                pass  # It belonged to a connection that has gone, and nothing depends on it.
