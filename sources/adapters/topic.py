"""A subscription to an SNS topic: what is published to the topic exchange of its name on the own broker invokes a function.

::

    publisher ──► exchange TOPIC ──► queue of the subscription ──► filter policy ──► accept ──► ack
                                       (quorum, bound with #)          └─► ack        └─► dead letter, then ack

What is promised
    A message is acknowledged only when the function's queue has it, when the filter policy does not want it, or when it is
    filed as a dead letter with the reason, because the acceptor refuses it for good. Where its publisher gave it an id,
    a message that is delivered again has the same event id. No order is promised, as with SNS.

When things die
    The acceptor is away: messages are held, at most ``prefetch`` of them, and offered again with backoff; after a while
    they are given back to the queue. The broker is away: its client comes back by itself. The queue or the exchange is
    deleted: it is declared again. The process dies: its messages are delivered to the next one. Every process consumes;
    nobody needs to own the subscription.
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import Task
from collections import Counter
from time import monotonic
from typing import Any

from broker import names
from broker.broker import Delivery, State, Subscription
from broker.errors import BrokerError, DeliveryLost, TopologyConflict
from broker.topology import Queue, Topology
from sources import topic_event
from sources.errors import Misconfigured, NotAccepted, Refused
from sources.pending import Backoff
from sources.source import Adapter, Condition, Health, Services, SourceEvent
from sources.topic import TopicWatch, given_up, topic_arn, topology
from sources.topic_event import Notification

log = logging.getLogger(__name__)
_STARTING_S = 10.0


async def forget(subscription: str, services: Services) -> None:
    """Delete the queue of a subscription that is no more, with what is in it. The exchange stays.

    Close this process's source of it first; every process that had one forgets it, since a consumer that is still there
    would have the queue made again. Raises BrokerError.
    """
    await services.broker.delete(Topology(queues=(Queue(names.topic(subscription)),)))


class TopicSource:
    """Consumes one subscription. Any number may, in any number of processes."""

    def __init__(self, watch: TopicWatch, services: Services) -> None:
        self._watch = watch
        self._policy = watch.policy()
        self._services = services
        self._counters: Counter[str] = Counter()
        self._reason = "it has not been started"
        self._withheld = ""
        self._subscription: Subscription | None = None
        self._task: Task[None] | None = None
        self._working: set[Task[None]] = set()
        self._settled = asyncio.Event()
        self._stopping = asyncio.Event()
        self._closed = False

    @property
    def name(self) -> str:
        return f"sns:{self._watch.topic}:{self._watch.id}"

    async def start(self) -> None:
        """Returns when messages are consumed, or :meth:`health` says why they are not yet."""
        if self._task is None and not self._stopping.is_set():
            self._task = asyncio.create_task(self._run(), name=self.name)
        try:
            async with asyncio.timeout(_STARTING_S):
                await self._settled.wait()
        except TimeoutError:
            log.warning("%s takes long to start", self.name)

    async def close(self) -> None:
        """Take no more, finish what was taken for a bounded time, and leave the rest to the queue. Idempotent."""
        self._stopping.set()
        if (task := self._task) is not None:
            _, late = await asyncio.wait([task], timeout=self._watch.pace.closing.total_seconds())
            if late:  # a broker that does not answer has no say in when this ends
                task.cancel()
                await asyncio.wait([task])
                await self._cancel()
        if self._working:
            _, late = await asyncio.wait(self._working, timeout=self._watch.pace.closing.total_seconds())
            for each in late:
                each.cancel()
            if late:
                await asyncio.wait(late)
        self._closed = True
        self._settled.set()

    async def reconfigure(self, configuration: Any) -> None:
        """Follow another TopicWatch of the same subscription: its qualifier and its filter policy, from now on."""
        watch: TopicWatch = configuration
        if (watch.id, watch.topic, watch.function) != (self._watch.id, self._watch.topic, self._watch.function):
            raise Misconfigured(
                f"{self.name}: topic and function of a subscription do not change: remove it and make another one"
            )
        policy = watch.policy()
        if self._subscription is not None and watch.prefetch != self._watch.prefetch:
            await self._subscription.set_prefetch(watch.prefetch)
        self._watch, self._policy = watch, policy

    def health(self) -> Health:
        counters = dict(self._counters)
        if self._closed:
            return Health(Condition.CLOSED, (), counters)
        if self._task is None or not self._settled.is_set():
            return Health(Condition.STARTING, (), counters)
        status = self._services.broker.status
        reason = self._reason or (status.reason or "the broker is away" if status.state is State.DISCONNECTED else "")
        if reason:
            return Health(Condition.OUTAGE, (reason,), counters)
        if self._withheld:
            return Health(Condition.LAGGING, (self._withheld,), counters)
        return Health(Condition.WATCHING, (), counters)

    async def _run(self) -> None:
        """Keep what must exist in existence, and consume. The loop top: whatever fails is tried again."""
        backoff, failures = self._backoff(), 0
        while not self._stopping.is_set():
            try:
                await self._services.broker.declare(topology(self._watch))
                if self._subscription is None:
                    self._subscription = await self._services.broker.subscribe(
                        names.topic(self._watch.id), self._take, prefetch=self._watch.prefetch
                    )
                failures, reason = 0, ""
            except TopologyConflict as error:
                failures, reason = failures + 1, (
                    f"an exchange {self._watch.topic!r} exists that is no durable topic exchange, or a queue "
                    f"{names.topic(self._watch.id)!r} with other arguments: delete it, or choose another name: {error}"
                )  # fmt: skip
            except BrokerError as error:
                failures, reason = failures + 1, str(error)
            except Exception as error:
                log.exception("%s failed; it is tried again", self.name)
                failures, reason = failures + 1, f"it failed and is tried again: {error or type(error).__name__}"
            self._say(reason)
            await self._pause(backoff.delay(failures) if failures else self._watch.pace.look.total_seconds())
        await self._cancel()

    async def _cancel(self) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription is None:
            return
        try:
            async with asyncio.timeout(self._watch.pace.closing.total_seconds()):
                await subscription.cancel()
        except (BrokerError, TimeoutError) as error:
            log.info("%s: its consumer went with the connection: %s", self.name, error or "no answer in time")

    def _say(self, reason: str) -> None:
        if reason != self._reason and reason:
            log.warning("%s: %s", self.name, reason)
        self._reason = reason
        self._settled.set()

    def _take(self, delivery: Delivery) -> None:
        task = asyncio.create_task(self._work(delivery))
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    async def _work(self, delivery: Delivery) -> None:
        """The loop top for one message: it is settled, or its settling is lost and it is delivered again."""
        try:
            await self._hand_on(delivery)
        except DeliveryLost:
            self._counters["lost"] += 1
            log.info("%s: a message could not be settled; it is delivered again", self.name)
        except Exception:
            log.exception("%s: a message could not be handed on; it is given back", self.name)
            await self._pause(self._services.retry_first.total_seconds())
            await self._give_back(delivery)
        except asyncio.CancelledError:
            await self._give_back(delivery)
            raise

    async def _hand_on(self, delivery: Delivery) -> None:
        services, message = self._services, delivery.message
        found = topic_event.notification(
            message, subscription=self._watch.id, topic_arn=topic_arn(self._watch, services), now=services.clock()
        )
        if self._policy is not None and not self._policy.accepts(found.attributes, message.body):
            await delivery.ack()
            self._counters["filtered"] += 1
            return
        event = SourceEvent(
            function=self._watch.function,
            qualifier=self._watch.qualifier,
            payload=found.payload,
            source=f"sns:{self._watch.topic}",
            trigger="pubsub",
            event_id=found.event_id,
        )
        # accept before ack: a crash between the two hands it on again, under the same event id
        if await self._insist(found, event):
            await delivery.ack()
        else:
            await self._give_back(delivery)

    async def _insist(self, found: Notification, event: SourceEvent) -> bool:
        """Offer it until it is taken or filed. False when it is to go back to the queue: too long, or closing."""
        backoff, attempts, since = self._backoff(), 0, monotonic()
        while True:
            try:
                async with asyncio.timeout(self._watch.pace.accept_timeout.total_seconds()):
                    await self._offer(found, event)
            except (NotAccepted, TimeoutError) as error:
                reason = str(error) or "no answer in time"
            except Exception as error:
                log.exception("%s: the acceptor failed on event %s", self.name, event.event_id)
                reason = str(error) or type(error).__name__
            else:
                self._withheld = ""
                return True
            attempts += 1
            self._counters["retried"] += 1
            self._withhold(reason)
            if self._stopping.is_set() or monotonic() - since > self._watch.pace.hold.total_seconds():
                return False
            await self._pause(backoff.delay(attempts))

    async def _offer(self, found: Notification, event: SourceEvent) -> None:
        """Accepted, or else filed. Raises NotAccepted for neither."""
        try:
            await self._services.acceptor.accept(event)
        except Refused as error:
            log.error("%s: event %s refused: %s; it is filed as a dead letter", self.name, event.event_id, error)
            await self._services.letters.give_up(given_up(self._watch, self._services, found, str(error)))
            self._counters["refused"] += 1
        else:
            self._counters["announced"] += 1

    def _withhold(self, reason: str) -> None:
        if not self._withheld:
            log.warning("%s: messages are not accepted: %s; they are offered again", self.name, reason)
        self._withheld = f"messages are not accepted: {reason}"

    async def _give_back(self, delivery: Delivery) -> None:
        if delivery.settled:
            return
        try:
            await delivery.requeue()
        except BrokerError as error:
            log.info("%s: a message goes back with its connection: %s", self.name, error)

    async def _pause(self, seconds: float) -> None:
        """Wait, unless it is closed."""
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return

    def _backoff(self) -> Backoff:
        return Backoff(self._services.retry_first.total_seconds(), self._watch.pace.retry_longest.total_seconds())


ADAPTER = Adapter(name="topic", configuration=TopicWatch, make=TopicSource)
