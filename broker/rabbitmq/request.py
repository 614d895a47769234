"""The requests of this client, and the events that every process hears.

A request carries ``correlation_id`` and ``reply_to``; each reply repeats the id and adds its place and whether it is the
last. A request that the broker could not hand to anybody comes back to the same queue with an ``x-death`` header.

With a window (see :mod:`broker.window`) the replier says in each reply where it hears, and this side tells it there how many
replies were yielded, whenever half a window was, and that no more are wanted when the caller stops early::

    asker                                                        replier
      │ request: window                                             │
      │ ──────────────────────────────────────────────────────────► │
      │ ◄─────────────── reply: sequence, last, node ────────────── │  at most a window ahead of what is known as yielded
      │ ─────────────── yielded: 4, or: no more ──────────────────► │
      │ ◄─────────────── probe: node ────────────────────────────── │  when nothing was heard for a while; returned to the
      │ ─────────────── yielded: 4, or: no more ──────────────────► │  replier when the asker's queue is gone
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from datetime import timedelta
from itertools import count

from broker import names
from broker.errors import NoReply, RequestReturned, Unavailable, Unroutable
from broker.message import Message
from broker.rabbitmq.failure import Nacked
from broker.rabbitmq.large import OneAtATime
from broker.rabbitmq.publisher import Publisher
from broker.window import step

log = logging.getLogger(__name__)

SEQUENCE_HEADER = "x-fnrunner-sequence"
LAST_HEADER = "x-fnrunner-last"
YIELDED_HEADER = "x-fnrunner-yielded"
PROBE_HEADER = "x-fnrunner-probe"
NO_MORE = -1

Arrival = Message | Exception


class Inquiry(asyncio.Queue[Arrival]):
    """What has come for one request and was not yielded yet. ``replier`` is the node to tell of what was."""

    def __init__(self) -> None:
        super().__init__()
        self.yielded = 0
        self.replier: str | None = None


class Requests:
    """The requests of this client that wait for replies. ``ready`` raises when none can be asked now."""

    def __init__(self, node: str, publisher: Publisher, ready: Callable[[], None]) -> None:
        self._node = node
        self._publisher = publisher
        self._ready = ready
        self._numbers = count(1)
        self._waiting: dict[str, Inquiry] = {}
        self._large = OneAtATime(publisher.drained)

    def arrived(self, message: Message) -> None:
        """A reply, a returned request or a probe came."""
        inquiry = self._waiting.get(message.correlation_id or "")
        if inquiry is None:
            self._decline(message)
        elif SEQUENCE_HEADER in message.headers:
            inquiry.put_nowait(message)
        elif PROBE_HEADER in message.headers:
            self._answer_probe(inquiry, message)
        elif deaths := message.headers.get("x-death"):
            inquiry.put_nowait(RequestReturned(str(deaths[0].get("reason", "expired"))))

    def _decline(self, message: Message) -> None:
        """Nobody waits for this any more: whoever could go on sending should know."""
        headers = message.headers
        if names.NODE_HEADER in headers and (SEQUENCE_HEADER in headers or PROBE_HEADER in headers):
            self._tell(str(headers[names.NODE_HEADER]), message.correlation_id, NO_MORE)

    def _answer_probe(self, inquiry: Inquiry, probe: Message) -> None:
        inquiry.replier = str(probe.headers.get(names.NODE_HEADER))
        if probe.headers[PROBE_HEADER]:
            self._tell(inquiry.replier, probe.correlation_id, inquiry.yielded)

    def _tell(self, replier: str, correlation_id: str | None, yielded: int) -> None:
        word = Message(b"", correlation_id=correlation_id, headers={YIELDED_HEADER: yielded}, persistent=False)
        try:
            self._publisher.send_now(word, names.replies(replier), mandatory=False)
        except Unavailable:
            log.debug("the replier is told with its next probe", exc_info=True)

    def stop(self) -> None:
        """Tell whoever replies in a window that nothing more is yielded here."""
        for correlation_id, inquiry in self._waiting.items():
            if inquiry.replier is not None:
                self._tell(inquiry.replier, correlation_id, NO_MORE)

    def fail_all(self) -> None:
        """The queue of replies has gone, and replies with it: whoever still sends some is declined from now on."""
        waiting, self._waiting = self._waiting, {}
        for inquiry in waiting.values():
            inquiry.put_nowait(Unavailable("the connection was lost while waiting for a reply; it may have been sent"))

    async def ask(
        self, message: Message, queue: str, room: timedelta, timeout: timedelta, window: int
    ) -> AsyncGenerator[Message]:
        """See :meth:`broker.broker.Broker.request`."""
        self._ready()
        correlation_id = f"{self._node}.{next(self._numbers)}"
        inquiry = self._waiting[correlation_id] = Inquiry()
        headers = {**message.headers, names.NODE_HEADER: self._node}
        if window > 0:
            headers[names.WINDOW_HEADER] = window
        asked = replace(
            message,
            correlation_id=correlation_id,
            reply_to=names.replies(self._node),
            expiration=max(room, timedelta(0)),
            persistent=False,
            headers=headers,
        )
        last = False
        try:
            sent = await self._send(asked, queue, inquiry, timeout)
            sent.add_done_callback(lambda done: _tell_of(done, inquiry))
            while not last:
                reply = await _next(inquiry, timeout)
                last = reply.headers[LAST_HEADER]
                if window > 0 and not last:
                    self._count(inquiry, reply, window)
                yield reply
        finally:
            self._waiting.pop(correlation_id, None)
            if inquiry.replier is not None and not last:
                self._tell(inquiry.replier, correlation_id, NO_MORE)

    async def _send(self, asked: Message, queue: str, inquiry: Inquiry, timeout: timedelta) -> asyncio.Future[None]:
        """Raises Unavailable: it was not sent."""
        try:
            async with asyncio.timeout(timeout.total_seconds()), self._large.turn(len(asked.body)):
                if self._waiting.get(asked.correlation_id or "") is not inquiry:
                    raise Unavailable("the connection for replies was lost before it was sent. Ask again")
                return self._publisher.start_request(asked, queue)
        except TimeoutError:
            raise Unavailable("it could not be sent in time. Ask again") from None

    def _count(self, inquiry: Inquiry, reply: Message, window: int) -> None:
        inquiry.replier = str(reply.headers.get(names.NODE_HEADER))
        if inquiry.yielded % step(window) == 0:
            self._tell(inquiry.replier, reply.correlation_id, inquiry.yielded)


def _tell_of(sent: asyncio.Future[None], inquiry: Inquiry) -> None:
    if sent.cancelled() or (error := sent.exception()) is None:
        return
    if isinstance(error, Unroutable):
        inquiry.put_nowait(RequestReturned("unroutable"))
    elif isinstance(error, Nacked):
        inquiry.put_nowait(Unavailable("the queue of requests did not take it, or lost the node it was on. Ask again"))
    else:
        inquiry.put_nowait(error if isinstance(error, Exception) else Unavailable())


async def _next(inquiry: Inquiry, timeout: timedelta) -> Message:
    try:
        async with asyncio.timeout(timeout.total_seconds()):
            reply = await inquiry.get()
    except TimeoutError:
        raise NoReply from None
    if isinstance(reply, Exception):
        raise reply
    if (number := reply.headers[SEQUENCE_HEADER]) != inquiry.yielded:
        raise NoReply(f"reply {inquiry.yielded} was lost: the next to arrive was {number}")
    inquiry.yielded += 1
    return reply


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
        self.lost = ""
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
