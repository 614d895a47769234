"""Queues of the own broker as those of SQS: the queue NAME, to which any AMQP client publishes.

Messages without a group
    One that failed is copied, with the number of its receives in a header, into the queue of the fixed delay that the
    visibility timeout is, which leads back to NAME; then the original is acknowledged. So a crash in between makes two of
    it, never none.

Message groups (FIFO)
    A copy would be overtaken by later messages of its group. So a message that failed stays here, unacknowledged, until the
    visibility timeout is over (at most ten minutes), and so do those that follow it in its group. Other groups go on, as
    long as not more than 1,000 messages rest. How often it was received is remembered in this process only: after a crash
    the broker's count goes on from what it saw.

After its queue's ``max_receive_count`` a message goes to the dead-letter queue instead of the function. Source: Amazon SQS
developer guide, visibility timeout, dead-letter queues, FIFO delivery logic.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from broker import names
from broker.errors import BrokerError, DeliveryLost, Unroutable
from broker.message import Message
from broker.topology import Binding, Topology, delay_queue
from sources import sqs_message
from sources.errors import CheckpointsUnavailable, Misconfigured, SourceMissing, SourceUnavailable
from sources.inbox import InboxAdapter, Received
from sources.mapping import EventSourceMapping, Kind, account_of
from sources.message_groups import RestingGroups
from sources.queue_attributes import QueueAttributes
from sources.queue_feed import QueueFeed, Taken, border
from sources.source import Services
from sources.sqs_message import Queue, Receipt
from sources.stream import records_payload

ATTRIBUTES_FOR_S = 10.0
"""So long attributes are taken for what they were."""
LONGEST_REST = timedelta(minutes=10)
MOST_RESTING = 1000
HELD_FOR_S = 900.0
"""What rests longer is given back and received anew: brokers take back what is not settled in 30 minutes."""
RETRY_BURYING = timedelta(seconds=10)
MOST_REMEMBERED = 10_000
COPIES_AT_ONCE = 100
NOTHING = timedelta(0)
REASON_HEADER = "x-fnrunner-last-failure"


@dataclass(slots=True)
class _Held:
    """One message that was received and is not settled. ``count`` is its receives, the next time included."""

    taken: Taken
    id: str
    group: str
    count: int
    first: datetime
    reason: str = ""
    resting: bool = False

    @property
    def message(self) -> Message:
        return self.taken.delivery.message


class QueueInbox:
    """See :class:`sources.inbox.Inbox`."""

    def __init__(self, mapping: EventSourceMapping, services: Services) -> None:
        self._mapping = mapping
        self._services = services
        self._name = mapping.source_name
        self._attributes = QueueAttributes()
        self._read_at: float | None = None
        self._queue = Queue(self._name, mapping.source_arn, services.region, services.account)
        self._feed = QueueFeed(self._own_broker, self._name)
        self._rest = RestingGroups[_Held]()
        self._counts: OrderedDict[str, int] = OrderedDict()
        self._first_sequence = 0
        self.trouble = ""

    async def _own_broker(self) -> Any:
        return self._services.broker

    @property
    def visibility(self) -> timedelta:
        return self._attributes.visibility_timeout

    async def start(self) -> None:
        # Later than that of any process before, so that the numbers of a group grow.
        self._first_sequence = sqs_message.milliseconds(self._services.clock()) * 1_000_000

    async def close(self) -> None:
        self._rest.clear()
        await self._feed.close()

    def payload(self, messages: Sequence[Received]) -> bytes:
        return records_payload([message.event for message in messages], {})

    # Receiving

    async def receive(self, limit: int, wait: timedelta) -> Sequence[Received]:
        await self._read_attributes()
        loop = asyncio.get_running_loop()
        until = loop.time() + wait.total_seconds()
        await self._give_back_old()
        while True:
            taken = await self._some(limit, until)
            found = [received for held in taken if (received := await self._handed_out(held)) is not None]
            if found or limit <= 0 or loop.time() >= until:
                return found

    async def _some(self, limit: int, until: float) -> list[_Held]:
        """Those whose rest is over come first: they are older than what the queue has."""
        now = asyncio.get_running_loop().time()
        if rested := self._rest.take(now, limit):
            return rested
        due = self._rest.due()
        wait = timedelta(seconds=max(0.0, (until if due is None else min(until, due)) - now))
        room = min(limit, MOST_RESTING - len(self._rest))
        if room <= 0 < limit:
            await asyncio.sleep(min(wait.total_seconds(), 1.0))  # the queue waits for the groups at rest
            return []
        admitted = [self._admitted(taken) for taken in await self._feed.receive(room, wait)]
        return [held for held in admitted if held is not None]

    def _admitted(self, taken: Taken) -> _Held | None:
        """None: it joins its group, which rests."""
        message = taken.delivery.message
        identity = sqs_message.id_of(message, self._name)
        group = sqs_message.group_of(message, fifo=self._attributes.fifo)
        count = sqs_message.count_of(message.headers) + taken.delivery.failures + 1
        if group:
            count = max(count, self._counts.get(identity, 0) + 1)
        first = sqs_message.first_of(message.headers) or self._services.clock()
        held = _Held(taken, identity, group, count, first, str(message.headers.get(REASON_HEADER, "")))
        if group and self._rest.blocks(group):
            self._rest.put(group, taken.place, held, until=0.0)
            return None
        return held

    async def _handed_out(self, held: _Held) -> Received | None:
        """None: it was received too often, and does not go to the function any more."""
        most = self._attributes.max_receive_count
        if most is not None and held.count > most:
            await self._bury(held)
            return None
        held.resting = False
        if held.group:
            self._remember(held)
        receipt = Receipt(held.id, held.count, held.first, self._first_sequence + held.taken.place)
        traceparent = held.message.headers.get("traceparent")
        return Received(
            id=held.id,
            event=sqs_message.record(held.message, receipt, replace(self._queue, fifo=self._attributes.fifo)),
            data=held.message.body,
            receive_count=held.count,
            handle=held,
            group=held.group,
            traceparent=traceparent if isinstance(traceparent, str) else "",
        )

    def _remember(self, held: _Held) -> None:
        self._counts[held.id] = held.count
        self._counts.move_to_end(held.id)
        if len(self._counts) > MOST_REMEMBERED:
            self._counts.popitem(last=False)

    async def _give_back_old(self) -> None:
        """All that rests and waits, in order, when some of it has been here for too long."""
        now = asyncio.get_running_loop().time()
        if any(now - held.taken.arrived >= HELD_FOR_S for held in self._rest):
            # Nothing may come between those that go back and those behind them: consuming stops first.
            waiting = await self._feed.pause()
            resting = [held.taken for held in self._rest]
            self._rest.clear()
            await self._feed.give_back([*resting, *waiting])

    async def _read_attributes(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._read_at is not None and now - self._read_at < ATTRIBUTES_FOR_S:
            return
        try:
            self._attributes = await self._services.queue_attributes(self._name)
        except CheckpointsUnavailable as error:
            if self._read_at is None:
                raise SourceUnavailable(f"the attributes of {self._name} cannot be read: {error}") from error
        self._read_at = now

    # Settling

    async def delete(self, messages: Sequence[Received]) -> None:
        for message in messages:
            held: _Held = message.handle
            await self._feed.ack(held.taken)
            self._counts.pop(held.id, None)

    async def release(self, messages: Sequence[Received], *, failed: bool, reason: str = "") -> None:
        several: list[_Held] = [message.handle for message in messages if self._feed.is_out(message.handle.taken)]
        for held in several:
            held.reason = reason or held.reason
        self._let_rest([held for held in several if held.group], failed)
        if copied := [held for held in several if not held.group]:
            await self._copy_all(copied, failed)

    def _let_rest(self, several: Sequence[_Held], failed: bool) -> None:
        rest = min(self.visibility, LONGEST_REST) if failed else NOTHING
        until = asyncio.get_running_loop().time() + rest.total_seconds()
        for held in (held for held in several if not held.resting):
            held.count += failed
            held.resting = True
            self._rest.put(held.group, held.taken.place, held, until=until)
        if several:
            self._feed.wake()

    async def _copy_all(self, several: Sequence[_Held], failed: bool) -> None:
        delay = self.visibility if failed else NOTHING
        if delay:
            await self._lead_back(delay)
        errors: list[SourceUnavailable] = []
        for start in range(0, len(several), COPIES_AT_ONCE):
            copies = [self._copy(held, delay, failed) for held in several[start : start + COPIES_AT_ONCE]]
            errors += [error for error in await asyncio.gather(*copies) if error is not None]
        if errors:
            raise errors[0]

    async def _lead_back(self, delay: timedelta) -> None:
        """Make the delay and its way back. Every time: a queue that was made again has lost its bindings."""
        back = Topology(bindings=(Binding(names.DUE, self._name, self._name),))
        broker = await self._feed.broker()
        try:
            async with border(self._name):
                await broker.declare(delay_queue(delay) + back)
        except SourceMissing:
            pass  # what was received went with the queue, which settling it finds

    async def _copy(self, held: _Held, delay: timedelta, failed: bool) -> SourceUnavailable | None:
        """What could not be done, if anything: then the message is still held."""
        delivery = held.taken.delivery
        try:
            await delivery.retry_later(self._copied(held, delay, failed), delay)
        except DeliveryLost:
            pass  # the broker delivers it again
        except BrokerError as error:
            if failed:
                return SourceUnavailable(f"a message of {self._name} cannot be put off: {error}")
            # No copy can be made, which would not count: let the broker have it back, which counts.
            try:
                await self._feed.give_back([held.taken])
            except SourceUnavailable as also:
                return also
        self._feed.settled(held.taken)
        return None

    def _copied(self, held: _Held, delay: timedelta, failed: bool) -> Message:
        message = held.message
        received = held.count if failed else held.count - 1
        more: dict[str, Any] = {
            sqs_message.COUNT_HEADER: received,
            sqs_message.FIRST_HEADER: sqs_message.milliseconds(held.first),
            **({REASON_HEADER: held.reason} if held.reason else {}),
        }
        # A delayed copy must not expire on the way.
        return replace(self._resent(held, more), expiration=None if delay else message.expiration)

    def _resent(self, held: _Held, more: dict[str, Any]) -> Message:
        """The message with other headers, for this connection to publish."""
        message = held.message
        sender = message.user_id or message.headers.get(sqs_message.SENDER_HEADER)
        if sender:
            more = {**more, sqs_message.SENDER_HEADER: sender}
        headers = sqs_message.copy_headers(message.headers, more)
        return replace(message, headers=headers, message_id=held.id, user_id=None)

    async def _bury(self, held: _Held) -> None:
        """Into the dead-letter queue. While there is none, it stays here and nothing else waits for it but its group."""
        dead, delivery = self._attributes.dead_letter_queue, held.taken.delivery
        more = {
            "x-fnrunner-source-queue": self._name,
            "x-fnrunner-receives": held.count - 1,
            "x-fnrunner-mapping": self._mapping.uuid,
            "x-fnrunner-function": self._mapping.function,
            "x-fnrunner-reason": held.reason or "it was received so often without being settled",
        }
        message = replace(self._resent(held, more), expiration=None)
        try:
            await delivery.forward(message, exchange="", routing_key=dead)
        except DeliveryLost:
            pass  # it comes again, and is counted
        except BrokerError as error:
            why = "does not exist" if isinstance(error, Unroutable) else f"takes no message: {error}"
            self.trouble = (
                f"{dead}, the dead-letter queue of {self._name}, {why}. Create it: fnrunner queue create {dead}"
            )
            until = asyncio.get_running_loop().time() + RETRY_BURYING.total_seconds()
            self._rest.put(held.group, held.taken.place, held, until=until)
            return
        self.trouble = ""
        self._feed.settled(held.taken)
        self._counts.pop(held.id, None)


def serves(mapping: EventSourceMapping, services: Services) -> bool:
    """Queues of the own account are on the own broker."""
    return mapping.kind is Kind.SQS and account_of(mapping.source_arn) == services.account


def open_inbox(mapping: EventSourceMapping, services: Services) -> QueueInbox:
    """Raises Misconfigured for a queue that is fnrunner's own or the broker's."""
    if mapping.source_name.startswith(("fnrunner.", "amq.")):
        raise Misconfigured(f"{mapping.source_name} is fnrunner's or the broker's own queue; name one of yours")
    return QueueInbox(mapping, services)


ADAPTER = InboxAdapter(name="queue", serves=serves, open=open_inbox)
