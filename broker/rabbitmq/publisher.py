"""Publishing with confirms: every message on its way has a future, and one write carries many of them."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from datetime import timedelta
from struct import Struct
from typing import NamedTuple

from aiormq.abc import AbstractChannel
from tenacity import AsyncRetrying, retry_if_exception, stop_after_delay, wait_random_exponential

from broker.errors import Blocked, BrokerError, MessageTooLarge, Refused, Unavailable, Unroutable
from broker.message import Message
from broker.rabbitmq import wire
from broker.rabbitmq.attachment import Attachment
from broker.rabbitmq.connection import Link, Session, end
from broker.rabbitmq.failure import Border, Lost, Nacked

log = logging.getLogger(__name__)

LIMIT_BYTES = 16 * 1024 * 1024
"""The default ``max_message_size`` of RabbitMQ 4, kept with every version."""

WATCH_S = 0.25
STALLED_S, STALLED_AFTER_RECOVERY_S = 5.0, 1.0
"""A confirm that takes longer is not coming, and doubly so each time that this was wrong."""

MOST_STALLS = 4
RECOVERY_S = 15.0
"""How long after a reconnection a broker may still be starting its queues."""

NACKS_S = 20.0
"""For how long a message is sent again that a cluster does not take: a quorum queue refuses what is on its way when it
loses its leader, and has another when the nodes have noticed. A full queue refuses all the time."""

STARTING_S = 1.0
"""The same for a single node. A quorum queue that is being declared by somebody can be seen before its process has started:
RabbitMQ 3 refuses what comes in that moment, and says the queue is declared to a second who declares it."""

RENEWED_S = 2.0
"""RabbitMQ 3 goes on asking the lost leader on a channel that began with it: how soon a refusal needs another channel."""

PROBE_S = 1.0
"""So often something is published whatever else is: RabbitMQ tells a connection of its alarm when it publishes."""

NOWHERE = "fnrunner.nowhere"
"""A queue that nobody declares: what is sent there and is not mandatory is dropped by the broker."""

_PROBE = wire.properties(Message(b"", persistent=False))
_TAG = Struct(">QB")
_NO_EXCHANGE = re.compile(r"no exchange '(.*)' in vhost")
_TOO_LARGE = re.compile(r"message size (\d+)")


class Pending(NamedTuple):
    """A message on its way: to whom it matters, and what it was."""

    confirmed: asyncio.Future[None]
    exchange: str
    routing_key: str
    head: bytes
    sent_at: float


class Confirms:
    """The sink of one channel in confirm mode: matches what comes back to what was sent."""

    def __init__(self, session: Session, channel: AbstractChannel) -> None:
        self.lost = asyncio.Event()
        self._tap = session.tap
        self._number = channel.number
        self._room = session.frame_room
        self._loop = asyncio.get_running_loop()
        self.since = self._loop.time()
        self._last = 0
        self._pending: dict[int, Pending] = {}
        channel.closing.add_done_callback(self._on_closing)

    def send(self, exchange: str, routing_key: str, head: bytes, body: bytes, mandatory: bool) -> asyncio.Future[None]:
        """Raises Lost when the channel has gone already; the future raises Unroutable, Refused, Lost."""
        if self.lost.is_set():
            raise Lost
        frames = wire.publish(self._number, exchange, routing_key, mandatory, head, body, self._room)
        confirmed: asyncio.Future[None] = self._loop.create_future()
        self._last += 1
        self._pending[self._last] = Pending(confirmed, exchange, routing_key, head, self._loop.time())
        self._tap.send(frames)
        return confirmed

    def oldest_s(self) -> float:
        """For how long the oldest message on its way has been waiting for its confirm."""
        oldest = next(iter(self._pending.values()), None)
        return 0.0 if oldest is None else self._loop.time() - oldest.sent_at

    def settled(self, method: int, arguments: bytes) -> None:
        tag, multiple = _TAG.unpack_from(arguments)
        refused = None if method == wire.ACK else Nacked
        if not multiple & 1:
            if pending := self._pending.pop(tag, None):
                _resolve(pending, refused and refused())
            return
        # Tags are in the order of sending, so everything up to this one is at the front.
        for first in list(self._pending):
            if first > tag:
                break
            _resolve(self._pending.pop(first), refused and refused())

    def content(self, method: int, arguments: bytes, head: bytes, body: bytes) -> None:
        if method != wire.RETURN:
            return
        reason, at = wire.text(arguments, 2)
        exchange, at = wire.text(arguments, at)
        routing_key, _ = wire.text(arguments, at)
        # A return names no tag. It comes before its own confirm, and in the order of sending: the first message on its
        # way with the same address and properties is the one, or its equal.
        same = [p for p in self._pending.values() if p.exchange == exchange and p.routing_key == routing_key]
        for pending in [p for p in same if p.head == head] or same:
            if not pending.confirmed.done():
                _resolve(pending, Unroutable(f"no queue takes {routing_key!r} from exchange {exchange!r}: {reason}"))
                return

    def closed(self, reason: str) -> None:
        self.close(reason)

    def _on_closing(self, _: asyncio.Future[None]) -> None:
        self.close()

    def close(self, reason: str = "") -> None:
        """The channel has gone: fail whose fault it was with the reason, and let the others be sent again."""
        self.lost.set()
        self._tap.detach(self._number, self)
        pending, self._pending = self._pending, {}
        for each in pending.values():
            _resolve(each, _verdict(each, reason))


def _resolve(pending: Pending, error: BrokerError | None) -> None:
    if pending.confirmed.done():
        return
    if error is None:
        pending.confirmed.set_result(None)
    else:
        pending.confirmed.set_exception(error)


def _verdict(pending: Pending, said: str) -> BrokerError:
    if missing := _NO_EXCHANGE.search(said):
        return Unroutable(f"{said}. Declare it") if pending.exchange == missing[1] else Lost()
    if large := _TOO_LARGE.search(said):
        size = int.from_bytes(pending.head[4:12], "big")
        return MessageTooLarge(said) if size >= int(large[1]) else Lost()
    if any(word in said for word in ("PRECONDITION_FAILED", "ACCESS_REFUSED", "NOT_ALLOWED")):
        return Refused(said)
    return Lost()


class Returns:
    """The sink of the channel without confirms: what is sent there and finds no queue comes back."""

    def __init__(self, on_return: Callable[[Message], None]) -> None:
        self._on_return = on_return

    def content(self, method: int, arguments: bytes, head: bytes, body: bytes) -> None:
        if method == wire.RETURN:
            self._on_return(wire.message(head, b""))

    def settled(self, method: int, arguments: bytes) -> None:
        return None

    def closed(self, reason: str) -> None:
        log.warning("RabbitMQ closes the channel of replies: %s", reason)


class Publisher:
    """Publishes on its own connection, which an alarm of the broker may block without harm to consumers.

    ``on_return`` hears of what was sent without confirm and found no queue, without its body. ``probes`` off: nothing is
    sent but what is asked for, and an alarm is noticed with the first message that meets it.
    """

    def __init__(self, link: Link, *, probes: bool = True) -> None:
        self.on_return: Callable[[Message], None] = lambda _: None
        self._link = link
        self._probes = probes
        self._probed_at = 0.0
        self._loop = asyncio.get_running_loop()
        self._confirms: Confirms | None = None
        self._ready = asyncio.Event()
        self._plain: tuple[Session, int] | None = None
        self._channel: AbstractChannel | None = None
        self._replies: AbstractChannel | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._stalls = 0
        self._recovered_at = -RECOVERY_S
        self._watcher: asyncio.Task[None] | None = None
        self._attachment = Attachment(link, self._attach, "publishing")

    @property
    def trouble(self) -> str:
        return self._attachment.trouble

    async def start(self) -> None:
        await self._attachment.start()
        self._watcher = asyncio.create_task(self._watch(), name="rabbitmq watch confirms")

    async def stop(self) -> None:
        await end(self._watcher)
        for ending in tuple(self._ending):
            await end(ending)
        await self._attachment.stop()
        if self._confirms is not None:
            self._confirms.close()

    async def _attach(self, session: Session) -> asyncio.Event:
        self._ready.clear()
        if self._plain is not None and self._plain[0] is not session:
            self._recovered_at = self._loop.time()
        if self._channel is not None and not self._channel.is_closed:
            # A channel that waits for a queue may take long to close: nobody needs to wait for it.
            self._end(self._channel)
        channel = self._channel = await session.channel()
        async with Border():
            await channel.confirm_delivery()
        if self._replies is not None and not self._replies.is_closed:
            self._end(self._replies)
        replies = self._replies = await session.channel()
        confirms = Confirms(session, channel)
        session.tap.sinks[channel.number] = confirms
        session.tap.sinks[replies.number] = returns = Returns(self._tell_of_return)
        replies.closing.add_done_callback(lambda _: session.tap.detach(replies.number, returns))
        replies.closing.add_done_callback(lambda _: confirms.close())
        self._confirms = confirms
        self._plain = (session, replies.number)
        self._ready.set()
        return confirms.lost

    def _end(self, channel: AbstractChannel) -> None:
        ending = asyncio.create_task(_close(channel), name="rabbitmq end of a channel")
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

    def _tell_of_return(self, message: Message) -> None:
        self.on_return(message)

    async def _watch(self) -> None:
        """Begin again on a fresh channel when confirms do not come.

        A RabbitMQ that has just started may take a message for a quorum queue whose leader is not there yet, and then never
        say a word about it.
        """
        while True:
            await asyncio.sleep(WATCH_S)
            confirms = self._confirms
            if confirms is None or confirms.lost.is_set() or self._link.blocked is not None:
                continue
            self._probe()
            recovering = self._loop.time() - self._recovered_at < RECOVERY_S
            limit = (STALLED_AFTER_RECOVERY_S if recovering else STALLED_S) * 2**self._stalls
            if (waited := confirms.oldest_s()) > limit:
                log.warning("no confirm for %.1f s; publishing again on another channel", waited)
                self._stalls = min(self._stalls + 1, MOST_STALLS)
                confirms.close()
            elif waited == 0.0:
                self._stalls = 0

    def _probe(self) -> None:
        if self._probes and self._loop.time() - self._probed_at >= PROBE_S:
            self._probed_at = self._loop.time()
            self._send_plain(NOWHERE, _PROBE, b"", mandatory=False)

    async def publish(
        self, message: Message, exchange: str, routing_key: str, timeout: timedelta, *, mandatory: bool = True
    ) -> None:
        """Raises Unroutable, Refused, MessageTooLarge, Blocked, Unavailable."""
        if len(message.body) > LIMIT_BYTES:
            raise MessageTooLarge(f"the message has {len(message.body)} bytes; a broker takes {LIMIT_BYTES}")
        head = wire.properties(message)
        deadline = self._loop.time() + timeout.total_seconds()
        confirms = self._confirms
        if confirms is not None and not confirms.lost.is_set() and self._link.blocked is None:
            try:
                await self._confirmed(confirms.send(exchange, routing_key, head, message.body, mandatory), deadline)
                return
            except (Lost, Nacked):
                pass
        await self._insist(message.body, exchange, routing_key, head, deadline, mandatory)

    async def _insist(
        self, body: bytes, exchange: str, routing_key: str, head: bytes, deadline: float, mandatory: bool
    ) -> None:
        retrying = AsyncRetrying(
            retry=retry_if_exception(self._worth_again()),
            wait=wait_random_exponential(multiplier=0.02, max=0.5),
            stop=stop_after_delay(max(0.0, deadline - self._loop.time())),
            reraise=True,
        )
        try:
            async for attempt in retrying:
                with attempt:
                    confirms = await self._usable(deadline)
                    try:
                        await self._confirmed(confirms.send(exchange, routing_key, head, body, mandatory), deadline)
                    except Nacked:
                        self._renew_after_nack(confirms)
                        raise
        except Lost as lost:
            raise self._too_late() from lost

    def _renew_after_nack(self, confirms: Confirms) -> None:
        if self._link.address.cluster and self._loop.time() - confirms.since > RENEWED_S and not confirms.lost.is_set():
            log.info("the cluster refuses a message; publishing again on another channel")
            confirms.close()

    def _worth_again(self) -> Callable[[BaseException], bool]:
        patient_until: float | None = None

        def worth_again(error: BaseException) -> bool:
            nonlocal patient_until
            if isinstance(error, Nacked):
                patience_s = NACKS_S if self._link.address.cluster else STARTING_S
                patient_until = patient_until or self._loop.time() + patience_s
                return self._loop.time() < patient_until
            return isinstance(error, Lost)

        return worth_again

    async def _usable(self, deadline: float) -> Confirms:
        try:
            async with asyncio.timeout_at(deadline):
                while (confirms := self._confirms) is None or confirms.lost.is_set() or self._link.blocked is not None:
                    # Nothing is written while an alarm is on: what is not sent has surely not been taken.
                    await (self._link.unblocked.wait() if self._link.blocked is not None else self._again(confirms))
                return confirms
        except TimeoutError:
            raise self._too_late() from None

    async def _again(self, confirms: Confirms | None) -> None:
        if confirms is not None and confirms.lost.is_set():
            self._ready.clear()
        if self._confirms is confirms:
            await self._ready.wait()

    async def _confirmed(self, confirmed: asyncio.Future[None], deadline: float) -> None:
        timer = self._loop.call_at(deadline, self._expire, confirmed)
        try:
            await confirmed
        finally:
            timer.cancel()

    def _expire(self, confirmed: asyncio.Future[None]) -> None:
        if not confirmed.done():
            confirmed.set_exception(self._too_late())

    def _too_late(self) -> Unavailable:
        if self._link.blocked is not None:
            return Blocked(f"the broker takes no messages: {self._link.blocked}. Free memory or disk on it")
        return Unavailable(
            f"no confirm in time. {self._link.reason}. Publish again with the same message id: it may have been accepted"
        )

    def start_request(self, message: Message, routing_key: str) -> asyncio.Future[None]:
        """Send without waiting; the future tells of Unroutable and Lost. Raises Blocked, Unavailable at once."""
        if self._link.blocked is not None or self._confirms is None:
            raise self._too_late()
        confirms = self._confirms
        try:
            sent = confirms.send("", routing_key, wire.properties(message), message.body, True)
        except Lost as lost:
            raise Unavailable(self._link.reason or None) from lost
        sent.add_done_callback(lambda done: self._renew_if_nacked(done, confirms))
        return sent

    def _renew_if_nacked(self, sent: asyncio.Future[None], confirms: Confirms) -> None:
        if not sent.cancelled() and isinstance(sent.exception(), Nacked):
            self._renew_after_nack(confirms)

    async def send(self, message: Message, routing_key: str) -> None:
        """To a queue, without confirm; dropped where there is no such queue. Raises Unavailable."""
        self.send_now(message, routing_key, mandatory=False)
        await self.drained()

    def send_now(self, message: Message, routing_key: str, *, mandatory: bool) -> None:
        """``send`` for callers that cannot wait. What is mandatory and finds no queue comes back to ``on_return``."""
        if not self.usable:
            raise Unavailable(self._link.reason or None)
        self._send_plain(routing_key, wire.properties(message), message.body, mandatory=mandatory)

    def _send_plain(self, routing_key: str, head: bytes, body: bytes, *, mandatory: bool) -> None:
        if self._plain is not None:
            session, number = self._plain
            session.tap.send(wire.publish(number, "", routing_key, mandatory, head, body, session.frame_room))

    async def drained(self) -> None:
        """Return when the broker keeps up with what was sent, or the connection is gone."""
        if self._plain is not None and self._plain[0].tap.paused:
            await self._plain[0].tap.drained()

    @property
    def usable(self) -> bool:
        """What is sent now goes to the broker."""
        return self._plain is not None and not self._plain[0].lost.is_set()


async def _close(channel: AbstractChannel) -> None:
    try:
        await channel.close()
    except Exception:
        log.debug("a channel did not close in an orderly way", exc_info=True)
