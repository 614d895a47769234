"""What a worker consumes: for each function its events and its requests, as many at a time as can run here.

``prefetch`` is decided purely; a change of the catalogue changes subscriptions, never a delivery that is out.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass

from broker import names
from broker.broker import Broker, Delivery, Subscription
from broker.errors import BrokerError, DeliveryLost
from broker.topology import function_queues
from fnrunner.model.function import Function
from fnrunner.worker.execution import Kind

log = logging.getLogger(__name__)

RETURN_AFTER_S = 1.0
CANCEL_PATIENCE_S = 5.0

Execute = Callable[[Delivery, Kind], Coroutine[None, None, None]]


SOON_S = 0.02
"""A function that takes less than this is quick: what waits for one of its slots starts soon."""

AHEAD = 4

BUDGET = 4
"""All busy functions together hold at most about this many times the capacity."""


def prefetch(
    reserved_concurrency: int | None, capacity: int, duration_s: float | None = None, *, rivals: int = 0
) -> int:
    """How many deliveries of one queue may be here at once: what could run now, and one at least, to be refused.

    ``rivals`` is how many other functions want the same room: what is held and cannot start soon would count against the
    consumer timeout, and would all be suspect after a crash.

    ``duration_s`` is how long the function takes on average, where that is known. While a quick function's attempt is
    written down and acknowledged its slot would idle, so deliveries of those are taken ahead: they start within
    milliseconds. Capped functions take none ahead, since another worker may have a slot for them.

    >>> prefetch(None, 16), prefetch(5, 16), prefetch(100, 16), prefetch(0, 16)
    (16, 5, 16, 1)
    >>> prefetch(None, 16, 0.001), prefetch(None, 16, 3.0), prefetch(5, 16, 0.001)
    (64, 16, 5)
    >>> prefetch(None, 16, rivals=3), prefetch(None, 16, rivals=7), prefetch(None, 16, rivals=1000)
    (16, 8, 2)
    """
    share = max(2, BUDGET * capacity // (1 + rivals))
    if reserved_concurrency is not None:
        return max(1, min(reserved_concurrency, capacity, share))
    quick = duration_s is not None and duration_s < SOON_S
    return min(capacity * AHEAD if quick else capacity, share)


@dataclass(slots=True)
class _Pair:
    events: Subscription
    requests: Subscription
    reserved_concurrency: int | None


@dataclass(frozen=True, slots=True)
class Holding:
    """What this worker has of one queue: how many may be here, how many are, how many ever came."""

    function: str
    prefetch: int
    held: int
    received: int


class Intake:
    """Subscribes, and starts one task for each delivery. ``execute`` must settle it or leave it to be redelivered."""

    def __init__(
        self, broker: Broker, execute: Execute, *, capacity: int, unreserved: Callable[[], int] | None = None
    ) -> None:
        """``unreserved`` says how many of the functions without a reservation may run here now; all that fit without it."""
        self._broker = broker
        self._execute = execute
        self._capacity = capacity
        self._unreserved = unreserved
        self._pairs: dict[str, _Pair] = {}
        self._tasks: dict[asyncio.Task[None], Delivery] = {}
        self._returning: set[asyncio.Task[None]] = set()
        self._received: Counter[str] = Counter()
        self._closing = False
        self._changing = asyncio.Lock()

    async def follow(self, functions: Iterable[Function], former: Iterable[str] = ()) -> None:
        """Consume for these functions, and for ``former`` ones that are gone: their events are given up, not left lying.

        Raises BrokerError when the broker cannot be asked now; call it again then.
        """
        async with self._changing:
            wanted = dict.fromkeys(former) | {f.name: f.reserved_concurrency for f in functions}
            for name, reserved_concurrency in wanted.items():
                if self._closing:
                    return
                pair = self._pairs.get(name)
                if pair is None:
                    self._pairs[name] = await self._open(name, reserved_concurrency)
                elif pair.reserved_concurrency != reserved_concurrency:
                    pair.reserved_concurrency = reserved_concurrency
                    # requests are answered within moments, whatever the cap is: they always have the same room
                    await pair.events.set_prefetch(prefetch(reserved_concurrency, self._room(reserved_concurrency)))

    async def adjust(self, durations_s: Mapping[str, float]) -> None:
        """Share the room among the functions that are busy now, and take more ahead of those that are quick.

        Raises BrokerError when the broker cannot be asked now.
        """
        async with self._changing:
            busy = self.count()
            for name, pair in self._pairs.items():
                if self._closing:
                    return
                rivals = len(busy) - 1 if name in busy else len(self._pairs)
                wanted = prefetch(
                    pair.reserved_concurrency,
                    self._room(pair.reserved_concurrency),
                    durations_s.get(name),
                    rivals=rivals,
                )
                if pair.events.prefetch != wanted:
                    await pair.events.set_prefetch(wanted)
                requests = self._room(pair.reserved_concurrency)
                if pair.requests.prefetch != requests:
                    await pair.requests.set_prefetch(requests)

    async def _open(self, name: str, reserved_concurrency: int | None) -> _Pair:
        wanted = prefetch(reserved_concurrency, self._room(reserved_concurrency), rivals=len(self._pairs))
        await self._broker.declare(function_queues(name))
        events = await self._broker.subscribe(
            names.events(name), lambda delivery: self._begin(delivery, Kind.EVENT), prefetch=wanted
        )
        try:
            requests = await self._broker.subscribe(
                names.requests(name),
                lambda delivery: self._begin(delivery, Kind.REQUEST),
                # they start or are answered soon, whatever others do: they always have all the room
                prefetch=self._room(reserved_concurrency),
            )
        except BaseException:
            # the next try subscribes to both again
            await events.cancel()
            raise
        return _Pair(events, requests, reserved_concurrency)

    def _room(self, reserved_concurrency: int | None) -> int:
        """How many can run here, one at least: what has no room is here to be refused."""
        if self._unreserved is None or reserved_concurrency is not None:
            return self._capacity
        return max(1, min(self._capacity, self._unreserved()))

    def _begin(self, delivery: Delivery, kind: Kind) -> None:
        self._received[delivery.queue] += 1
        task = asyncio.create_task(self._execute(delivery, kind))
        self._tasks[task] = delivery
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        delivery = self._tasks.pop(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a delivery of %s could not be handled", delivery.queue, exc_info=error)
            returning = asyncio.create_task(self._return(delivery))
            self._returning.add(returning)
            returning.add_done_callback(self._returning.discard)

    async def _return(self, delivery: Delivery) -> None:
        """Give it back after a pause; the broker's delivery limit ends what can never be handled."""
        await asyncio.sleep(RETURN_AFTER_S)
        if not delivery.settled:
            try:
                await delivery.requeue()
            except BrokerError:
                log.info("a delivery of %s was lost with its channel; it comes again", delivery.queue)

    def count(self) -> dict[str, int]:
        """How many deliveries of each function are in hand."""
        counts = Counter(names.function_of(delivery.queue) or delivery.queue for delivery in self._tasks.values())
        return dict(counts)

    def holdings(self) -> dict[str, Holding]:
        """What there is of each queue that is consumed, by the queue's name. Once it stops no more may come."""
        held = Counter(delivery.queue for delivery in self._tasks.values())
        return {
            s.queue: Holding(name, 0 if self._closing else s.prefetch, held[s.queue], self._received[s.queue])
            for name, pair in self._pairs.items()
            for s in (pair.events, pair.requests)
        }

    async def renew(self, name: str) -> None:
        """Consume a function's queues anew, because nothing comes by the old way. What is in hand can still be settled.

        Raises BrokerError; the old way is kept then.
        """
        async with self._changing:
            former = self._pairs.get(name)
            if former is None or self._closing:
                return
            self._pairs[name] = await self._open(name, former.reserved_concurrency)
        for subscription in (former.events, former.requests):
            try:
                async with asyncio.timeout(CANCEL_PATIENCE_S):
                    await subscription.cancel()
            except (TimeoutError, BrokerError) as error:
                log.info("the former consumer of %s could not be cancelled: %s", subscription.queue, error)

    @property
    def functions(self) -> list[str]:
        return list(self._pairs)

    async def stop(self) -> None:
        """Take no more. What is here goes on. Idempotent."""
        self._closing = True
        async with self._changing:
            for pair in self._pairs.values():
                for subscription in (pair.events, pair.requests):
                    try:
                        await subscription.cancel()
                    except BrokerError as error:
                        log.info("could not cancel the consumer of %s: %s", subscription.queue, error)

    async def drained(self, timeout_s: float) -> bool:
        """Wait until nothing is in hand; False when the time is over first."""
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=timeout_s)
        return not self._tasks

    async def give_back(self) -> int:
        """Stop what is still in hand and return its deliveries to the broker, uncharged. How many there were."""
        left = dict(self._tasks)
        ending = [*left, *self._returning]
        for task in ending:
            task.cancel()
        if ending:
            await asyncio.wait(ending)
        for delivery in left.values():
            if not delivery.settled:
                try:
                    await delivery.requeue()
                except DeliveryLost:
                    continue
        return len(left)
