"""Requests and their replies, and the events that every process hears.

A request carries ``correlation_id`` and ``reply_to``; each reply repeats the id and adds its place and whether it is the
last. A request that the broker could not hand to anybody comes back to the same queue with an ``x-death`` header.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from itertools import count

from broker import names
from broker.errors import NoReply, RequestReturned, Unavailable, Unroutable
from broker.message import Message
from broker.rabbitmq.publisher import Publisher

log = logging.getLogger(__name__)

SEQUENCE_HEADER = "x-fnrunner-sequence"
LAST_HEADER = "x-fnrunner-last"
STREAMS_REMEMBERED = 10_000

Arrival = Message | Exception


class Requests:
    """The requests of this client that wait for replies."""

    def __init__(self, node: str, publisher: Publisher) -> None:
        self._node = node
        self._publisher = publisher
        self._numbers = count(1)
        self._waiting: dict[str, asyncio.Queue[Arrival]] = {}

    def arrived(self, message: Message) -> None:
        """A reply or a returned request came."""
        arrivals = self._waiting.get(message.correlation_id or "")
        if arrivals is None:
            return
        if SEQUENCE_HEADER in message.headers:
            arrivals.put_nowait(message)
        elif deaths := message.headers.get("x-death"):
            arrivals.put_nowait(RequestReturned(str(deaths[0].get("reason", "expired"))))

    def fail_all(self) -> None:
        """The queue of replies has gone, and replies with it."""
        for arrivals in self._waiting.values():
            arrivals.put_nowait(Unavailable("the connection was lost while waiting for a reply; it may have been sent"))

    async def ask(
        self, message: Message, queue: str, room: timedelta, timeout: timedelta, heard: Callable[[], bool]
    ) -> AsyncIterator[Message]:
        """See :meth:`broker.broker.Broker.request`."""
        if not heard():
            raise Unavailable("the connection for replies is being set up again. Ask again")
        correlation_id = f"{self._node}.{next(self._numbers)}"
        arrivals: asyncio.Queue[Arrival] = asyncio.Queue()
        self._waiting[correlation_id] = arrivals
        asked = replace(
            message,
            correlation_id=correlation_id,
            reply_to=names.replies(self._node),
            expiration=max(room, timedelta(0)),
            persistent=False,
            headers={**message.headers, names.NODE_HEADER: self._node},
        )
        try:
            sent = self._publisher.start_request(asked, queue)
            sent.add_done_callback(lambda done: _tell(done, arrivals))
            async for reply in _replies(arrivals, timeout):
                yield reply
        finally:
            del self._waiting[correlation_id]


def _tell(sent: asyncio.Future[None], arrivals: asyncio.Queue[Arrival]) -> None:
    if sent.cancelled() or (error := sent.exception()) is None:
        return
    if isinstance(error, Unroutable):
        arrivals.put_nowait(RequestReturned("unroutable"))
    else:
        arrivals.put_nowait(error if isinstance(error, Exception) else Unavailable())


async def _replies(arrivals: asyncio.Queue[Arrival], timeout: timedelta) -> AsyncIterator[Message]:
    for expected in count():
        try:
            async with asyncio.timeout(timeout.total_seconds()):
                reply = await arrivals.get()
        except TimeoutError:
            raise NoReply from None
        if isinstance(reply, Exception):
            raise reply
        if reply.headers[SEQUENCE_HEADER] != expected:
            raise NoReply(f"reply {expected} was lost: the next to arrive was {reply.headers[SEQUENCE_HEADER]}")
        yield reply
        if reply.headers[LAST_HEADER]:
            return


class Replies:
    """Numbers the replies of this client to each request it serves."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._streams: OrderedDict[str, int] = OrderedDict()

    async def send(self, to: Message, message: Message, last: bool) -> None:
        if to.reply_to is None or to.correlation_id is None:
            log.debug("a message that asks for no reply was answered; the answer is dropped")
            return
        number = self._streams.pop(to.correlation_id, 0)
        if not last:
            self._streams[to.correlation_id] = number + 1
            if len(self._streams) > STREAMS_REMEMBERED:
                self._streams.popitem(last=False)
        headers = {**message.headers, SEQUENCE_HEADER: number, LAST_HEADER: last}
        await self._publisher.send(replace(message, correlation_id=to.correlation_id, headers=headers), to.reply_to)


class Listeners:
    """Everyone in this process who hears control events, behind one queue."""

    def __init__(self) -> None:
        self._listeners: dict[Listener, None] = {}

    def heard(self, message: Message) -> None:
        for listener in tuple(self._listeners):
            listener.tell(message)

    def add(self, on_message: Callable[[Message], None], queue: str) -> Listener:
        listener = Listener(on_message, queue, lambda gone: self._listeners.pop(gone, None))
        self._listeners[listener] = None
        return listener


class Listener:
    """See :class:`broker.broker.Subscription`. Events are not acknowledged, so its prefetch only pauses: 0 is deaf."""

    def __init__(self, on_message: Callable[[Message], None], queue: str, forget: Callable[[Listener], object]) -> None:
        self.queue = queue
        self.prefetch = 1
        self._on_message = on_message
        self._forget = forget

    def tell(self, message: Message) -> None:
        if self.prefetch == 0:
            return
        try:
            self._on_message(message)
        except Exception:
            log.exception("a listener failed on a control event")

    async def set_prefetch(self, prefetch: int) -> None:
        self.prefetch = prefetch

    async def cancel(self) -> None:
        self._forget(self)
