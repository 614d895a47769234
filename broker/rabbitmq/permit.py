"""Permits: messages in a queue, held by not acknowledging them.

How the total stays true
    The queue ``permits(NAME)`` holds one message for each permit. Taking one is ``basic.get``; waiting for one is a consumer
    with prefetch 1 that ends with its delivery. The broker gives back what a lost connection held. So as many can be held as
    there are messages, and only a count that is written under a lock (:mod:`broker.rabbitmq.permit_count`) makes or
    removes some. Shrinking takes what is released, before any acquirer, by consumer priority.

How a permit comes back
    Released: it is rejected, and its queue is its own dead-letter exchange, so that it returns like new. Lost: the broker
    requeues it, and marks it so. Whoever takes a marked one first waits for :data:`~broker.broker.PERMIT_PAUSE`, in which
    the former holder, who hears of the loss in the same moment, stops what ran. Neither is a publish, which an alarm would
    stop, and the acknowledgements of this connection with it. On a cluster, where dead letters may be lost with a node, a
    release is a requeue like a loss; but there a loss takes longer to be noticed than its holder takes to hear of it.

What happens when it dies
    *The holder*: its permits return. *Whoever shrinks*: the next ``resize``, of anyone, goes on with it. *A broker of one
    node*: permits and count are gone with all that was held; each client asks again for what it asked for last.
    *The queue, by somebody's hand*: likewise; what still runs under the former ones ends in its own time.

    *The network, silently*: RabbitMQ gives a connection up after no less than two heartbeats without a sign of it. While
    permits are held this client asks for an answer every :data:`PROOF_EVERY_S`. When the newest answered question is nearly two
    heartbeats old, the permits are lost here, before they are free there. (So are those of a process that was stopped for so
    long, in the moment when it goes on.) A node that is cut off from its cluster answers, but not what needs the others,
    which the connection asks it all the time: without that for :data:`CLUSTER_FENCE_S`, the permits are lost.

A permit held long would run into RabbitMQ's consumer timeout, which closes the channel. So after :data:`RENEW_AFTER` it is
exchanged: a consumer with the highest priority waits, then the permit is requeued, and comes back to that consumer.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import count

from broker.broker import PERMIT_PAUSE
from broker.errors import BrokerError, QueueNotFound, Unavailable
from broker.rabbitmq.connection import Link, Session, end, whole
from broker.rabbitmq.delivery import Copier, Delivery, Intake, Lane
from broker.rabbitmq.failure import Border, Lost
from broker.rabbitmq.permit_count import CountQueue, flushed, following, never, signal

log = logging.getLogger(__name__)

RENEW_AFTER = timedelta(minutes=10)
EXCHANGE_S = 5.0
PROOF_EVERY_S = 2.0
FENCE_MARGIN_S = 2.0
"""How long before RabbitMQ gives up a silent connection its permits are lost here."""

CLUSTER_FENCE_S = 6.0
"""How long a node may be cut off. The others give its permits away after three quarters of their ``net_ticktime``, which
:file:`deploy` sets to 10 s (RabbitMQ's default is 60), at the earliest."""

CLUSTER_PROOF_EVERY_S = 0.5

FIRST, BEFORE_OTHERS, URGENT = 100, 50, 10
"""Consumer priorities: of an exchange, which must get back what it gave, of a removal, of urgent acquirers. Others have 0."""


def fence_s(heartbeat_s: float) -> float | None:
    """How old the newest answer of the broker may be while permits are held, in seconds.

    None without heartbeats: then only the network's own end of the connection frees anything.

    >>> fence_s(10), fence_s(1), fence_s(0)
    (18.0, 1.0, None)
    """
    return max(2.0 * heartbeat_s - FENCE_MARGIN_S, float(heartbeat_s)) if heartbeat_s else None


class Permit:
    """See :class:`broker.broker.Permit`."""

    __slots__ = ("_delivery", "_owner", "exchanging", "lost", "rests", "since")

    def __init__(self, delivery: Delivery, owner: Permits) -> None:
        self._delivery: Delivery | None = delivery
        self._owner = owner
        self.exchanging = False
        self.lost = asyncio.Event()
        self.rests = delivery.redelivered and not owner.cluster
        """Its former holder was lost, and the pause is not over."""
        self.since = asyncio.get_running_loop().time()

    @property
    def valid(self) -> bool:
        return self._delivery is not None and (self.exchanging or self._delivery.valid)

    async def release(self) -> None:
        delivery, self._delivery = self._delivery, None
        self._owner.forget(self)
        if delivery is not None and delivery.valid:
            self._owner.put_back(delivery, clean=not self.rests)

    def lose(self) -> None:
        """The broker has it again, or will have soon."""
        if self._delivery is not None:
            self._delivery = None
            self.lost.set()

    def exchange(self, delivery: Delivery) -> None:
        """Hold ``delivery`` instead."""
        self._delivery = delivery
        self.since = asyncio.get_running_loop().time()

    @property
    def delivery(self) -> Delivery | None:
        return self._delivery


class Permits:
    """See :class:`broker.broker.Permits`. They are held on the consuming connection and counted on the publishing one."""

    def __init__(
        self,
        name: str,
        consuming: Link,
        publishing: Link,
        copier: Copier,
        renew_after: timedelta = RENEW_AFTER,
        pause: timedelta = PERMIT_PAUSE,
    ) -> None:
        self.cluster = consuming.address.cluster
        self._queues = CountQueue(name, copier, cluster=self.cluster)
        self._queue = self._queues.permits
        self._link = consuming
        self._counting = publishing
        self._copier = copier
        self._renew_after = renew_after.total_seconds()
        self._pause_s = pause.total_seconds()
        self._session: Session | None = None
        self._intake: Intake | None = None
        self._wanted: tuple[int, int] | None = None
        self._opening = asyncio.Lock()
        self._resizing = asyncio.Lock()
        self._tags = count(1)
        self._held: dict[Permit, None] = {}
        self._removing: asyncio.Task[None] | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._losing: asyncio.Task[None] | None = None
        self._exchanging: asyncio.Task[None] | None = None
        self._shutting: asyncio.Task[None] | None = None
        self._proven = 0.0

    def forget(self, permit: Permit) -> None:
        self._held.pop(permit, None)

    async def close(self) -> None:
        await end(self._removing)
        await end(self._keeping)
        await end(self._exchanging)
        await end(self._shutting)
        if self._intake is not None:
            self._intake.close()
        self._lose_all()
        await end(self._losing)

    async def _channel(self) -> Intake:
        return await whole(self._open_channel())

    async def _open_channel(self) -> Intake:
        async with self._opening:
            if self._intake is None or self._intake.lost.is_set():
                self._lose_all()
                session = await self._link.connected_soon()
                if self._wanted is not None:
                    # a broker that was restarted has forgotten all permits, and a queue may have been deleted
                    async with self._resizing:
                        await self._make_true()
                intake = Intake(session, await session.channel(), self._copier)
                async with Border():
                    await intake.channel.queue_declare(self._queue, durable=True, arguments=self._queues.arguments)
                self._session, self._intake = session, intake
                await end(self._losing)
                self._losing = asyncio.create_task(self._lose(intake), name=f"rabbitmq watch {self._queue}")
            return self._intake

    async def _lose(self, intake: Intake) -> None:
        await intake.lost.wait()
        self._lose_all()

    def _lose_all(self) -> None:
        held, self._held = self._held, {}
        for permit in held:
            permit.lose()

    # Taking

    async def acquire(self, timeout: timedelta, *, urgent: bool = False) -> Permit | None:
        intake = await self._channel()
        asked = asyncio.get_running_loop().time()
        delivery = await intake.get(self._queue)
        self._proven = max(self._proven, asked)
        if delivery is None and timeout > timedelta(0):
            delivery = await self._wait(intake, timeout.total_seconds(), URGENT if urgent else 0)
        if delivery is None:
            return None
        if not delivery.valid:
            raise Unavailable("the connection was lost in the moment when the permit came")
        permit = Permit(delivery, self)
        self._held[permit] = None
        if self._keeping is None or self._keeping.done():
            self._keeping = asyncio.create_task(self._keep(), name=f"rabbitmq keep {self._queue}")
        if permit.rests:
            await self._rest(permit)
        return permit

    async def _rest(self, permit: Permit) -> None:
        try:
            async with asyncio.timeout(self._pause_s):
                await permit.lost.wait()
        except TimeoutError:
            permit.rests = False
        except BaseException:
            await permit.release()
            raise
        else:
            raise Unavailable("the connection was lost before the permit could be used")

    async def _wait(self, intake: Intake, seconds: float, priority: int) -> Delivery | None:
        given: asyncio.Future[Delivery] = asyncio.get_running_loop().create_future()
        try:
            async with self._consumer(intake, given, priority):
                lost = asyncio.ensure_future(intake.lost.wait())
                await asyncio.wait((given, lost), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
                lost.cancel()
                if intake.lost.is_set():
                    raise Unavailable("the connection was lost while waiting for a permit")
        except BaseException:
            self._turn_away(given)
            raise
        # A permit may have come while the consumer was ending.
        return given.result() if given.done() else None

    @asynccontextmanager
    async def _consumer(self, intake: Intake, given: asyncio.Future[Delivery], priority: int) -> AsyncIterator[None]:
        def on_delivery(delivery: Delivery) -> None:
            if given.done():
                self.put_back(delivery, clean=not delivery.redelivered)
            else:
                given.set_result(delivery)

        lane = Lane(f"permit.{next(self._tags)}", self._queue, 1, on_delivery)
        try:
            await whole(self._consume(intake, lane, priority))
            yield
        finally:
            asked = asyncio.get_running_loop().time()
            if await whole(_stop(intake, lane)):
                self._proven = max(self._proven, asked)

    async def _consume(self, intake: Intake, lane: Lane, priority: int) -> None:
        intake.lanes[lane.tag] = lane
        async with Border():
            await intake.channel.basic_qos(prefetch_count=lane.limit)
            await intake.channel.basic_consume(
                self._queue, never, consumer_tag=lane.tag, arguments={"x-priority": priority}
            )

    def put_back(self, delivery: Delivery, *, clean: bool) -> None:
        """For whoever comes next, who must wait unless it is ``clean``: nothing runs under it any more."""
        if clean and not self.cluster:
            delivery.reject_now()
        else:
            delivery.give_back()

    def _turn_away(self, given: asyncio.Future[Delivery]) -> None:
        """Nobody waits any more for what may have come."""
        if not given.done():
            given.cancel()
        elif not given.cancelled() and (delivery := given.result()).valid:
            self.put_back(delivery, clean=not delivery.redelivered)

    # Resizing

    async def resize(self, total: int, generation: int = 0) -> None:
        if total < 0:
            raise ValueError("there cannot be fewer than zero permits")
        async with self._resizing:
            if self._wanted is None or generation >= self._wanted[1]:
                self._wanted = total, generation
            await self._make_true()

    async def _make_true(self) -> None:
        assert self._wanted is not None
        session = await self._counting.connected_soon()
        total, generation = self._wanted
        async with self._queues.locked(session) as counted:
            count = counted.count
            exists = count.exists if await self._is_there(session, made=count.version > 0) else 0
            if generation < count.generation:
                if total != count.total:
                    log.info("%s stays at %d: another process knows more of the cap", self._queue, count.total)
                total, generation = count.total, count.generation
            if missing := max(0, total - exists):
                exists = total
            if missing or (total, exists) != (count.total, count.exists) or count.version == 0:
                await counted.write(total, exists, generation, new=missing)
        await self._shrink(exists - total)

    async def _is_there(self, session: Session, *, made: bool) -> bool:
        """Whether the permits are, that were counted; the queue is there in any case afterwards. The lock is held."""
        if made:
            channel = await session.channel()
            try:
                async with Border():
                    await channel.queue_declare(self._queue, passive=True)
                    await channel.close()
                return True
            except QueueNotFound:
                log.warning("the permits in %s are gone with their queue, and made anew", self._queue)
        channel = await session.channel()
        async with Border():
            # permits that nobody has counted may lie here
            await channel.queue_delete(self._queue)
            await channel.queue_declare(self._queue, durable=True, arguments=self._queues.arguments)
            await channel.close()
        return False

    async def _shrink(self, surplus: int) -> None:
        await end(self._removing)
        if surplus > 0:
            waiting = asyncio.Event()
            self._removing = asyncio.create_task(self._remove(surplus, waiting), name=f"rabbitmq shrink {self._queue}")
            # From now on what is released reaches nobody else first.
            await waiting.wait()

    async def _remove(self, surplus: int, waiting: asyncio.Event) -> None:
        """Take what is released, before any acquirer, until as many exist as shall be."""
        while True:
            try:
                await self._remove_all(surplus, waiting)
                return
            except BrokerError:
                log.debug("shrinking %s begins again", self._queue, exc_info=True)
            waiting.set()
            await asyncio.sleep(0.2)

    async def _remove_all(self, surplus: int, waiting: asyncio.Event) -> None:
        session = await self._counting.connected()
        intake = Intake(session, await session.channel(), self._copier)
        arrivals: asyncio.Queue[Delivery | None] = asyncio.Queue()
        watch = asyncio.create_task(signal(intake.lost, arrivals))
        lane = Lane("surplus", self._queue, surplus, arrivals.put_nowait)
        try:
            await self._consume(intake, lane, BEFORE_OTHERS)
            waiting.set()
            taken, more = [await following(arrivals)], True
            while more:
                taken, more = await self._remove_some(session, taken, arrivals)
                if more and not taken:
                    taken = [await following(arrivals)]
            # only now, or they would come here again
            await _stop(intake, lane)
            for permit in (*taken, *_waiting(arrivals)):
                self.put_back(permit, clean=not permit.redelivered)
        finally:
            watch.cancel()
            await intake.shut()

    async def _remove_some(
        self, session: Session, taken: list[Delivery], arrivals: asyncio.Queue[Delivery | None]
    ) -> tuple[list[Delivery], bool]:
        """Remove what has come, as far as it is too many, at once: a turn at the lock for each would keep acquirers waiting.

        What is left of it, and whether there are more to remove.
        """
        async with self._queues.locked(session) as counted:
            taken = [*taken, *_waiting(arrivals)]
            count = counted.count
            surplus = max(0, count.exists - count.total)
            removed, left = taken[:surplus], taken[surplus:]
            if removed:
                await counted.write(count.total, count.exists - len(removed), count.generation, removed=removed)
            return left, counted.count.exists > counted.count.total

    # Keeping

    async def _keep(self) -> None:
        """While something is held: prove that the broker hears this process, and exchange what was held long."""
        while self._held and (intake := self._intake) is not None:
            await self._prove(intake)
            if self._exchanging is None or self._exchanging.done():
                self._exchanging = asyncio.create_task(self._exchange_old(), name=f"rabbitmq renew {self._queue}")
            every = CLUSTER_PROOF_EVERY_S if self.cluster else min(PROOF_EVERY_S, (self._fence() or math.inf) / 4)
            await asyncio.sleep(min(every, self._renew_after / 2))

    async def _exchange_old(self) -> None:
        for permit in tuple(self._held):
            if asyncio.get_running_loop().time() - permit.since >= self._renew_after:
                await self._exchange(permit)

    async def _prove(self, intake: Intake) -> None:
        loop = asyncio.get_running_loop()
        if self.cluster:
            assert self._session is not None
            if (silent := loop.time() - self._session.proven_at) > CLUSTER_FENCE_S:
                log.error("the node has been cut off for %.0f s: what runs under permits stops", silent)
                self._give_up(intake)
            return
        asked, fence = loop.time(), self._fence()
        proof = asyncio.ensure_future(flushed(intake, 1))
        proof.add_done_callback(_look_at)
        # a probe that was sent while the process was stopped proves nothing about the time before
        left = None if fence is None else max(0.0, self._proven + fence - asked)
        await asyncio.wait((proof,), timeout=left)
        if not proof.done():
            log.error(
                "the broker has not answered for %.0f s: what runs under permits stops", loop.time() - self._proven
            )
            self._give_up(intake)
        elif proof.exception() is None:
            self._proven = asked

    def _give_up(self, intake: Intake) -> None:
        """Everything held by this channel is lost now. Where the connection lives, the broker gets it back at once."""
        intake.close()
        self._shutting = asyncio.create_task(intake.shut(), name=f"rabbitmq give up {self._queue}")

    def _fence(self) -> float | None:
        return fence_s(self._session.heartbeat_s) if self._session is not None else None

    async def _exchange(self, permit: Permit) -> None:
        intake, old = self._intake, permit.delivery
        if intake is None or old is None or not old.valid:
            self.forget(permit)
            permit.lose()
            return
        given: asyncio.Future[Delivery] = asyncio.get_running_loop().create_future()
        permit.exchanging = True
        try:
            async with self._consumer(intake, given, FIRST), asyncio.timeout(EXCHANGE_S):
                if not given.done() and old.valid:
                    old.give_back()
                await asyncio.shield(given)
        except (BrokerError, TimeoutError):
            log.warning("a permit of %s could not be renewed in time", self._queue, exc_info=True)
        finally:
            permit.exchanging = False
        if permit not in self._held:
            self._turn_away(given)
        elif not given.done():
            self.forget(permit)
            permit.lose()
        else:
            if old.valid:
                old.give_back()
            permit.exchange(given.result())


async def _stop(intake: Intake, lane: Lane) -> bool:
    """Whether the broker has answered."""
    if intake.lost.is_set():
        return False
    answered = True
    try:
        await intake.channel.basic_cancel(lane.tag)
    except Exception:
        log.debug("a consumer of permits ended with its channel", exc_info=True)
        answered = False
    intake.lanes.pop(lane.tag, None)
    return answered


def _waiting(arrivals: asyncio.Queue[Delivery | None]) -> list[Delivery]:
    """What has come already. Raises Lost."""
    found = []
    while not arrivals.empty():
        if (permit := arrivals.get_nowait()) is None:
            raise Lost
        found.append(permit)
    return found


def _look_at(proof: asyncio.Future[None]) -> None:
    if not proof.cancelled() and (error := proof.exception()) is not None:
        log.debug("a proof ended with its channel: %s", error)
