"""The replies of this client to the requests it serves, in order, and no faster than an asker with a window takes them.

What is known of one stream of replies is dropped with its last reply. When the asker goes before that, only its id is kept, so
that later replies are refused as well, for the last thousand streams that ended so.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace

from broker import names
from broker.errors import AskerGone, Closed, Unavailable
from broker.message import Message
from broker.rabbitmq.connection import end
from broker.rabbitmq.large import OneAtATime
from broker.rabbitmq.publisher import Publisher
from broker.rabbitmq.request import LAST_HEADER, NO_MORE, PROBE_HEADER, SEQUENCE_HEADER, YIELDED_HEADER
from broker.window import Window, size_of

log = logging.getLogger(__name__)

STREAMS_REMEMBERED = 10_000
ENDS_REMEMBERED = 1_000

PROBE_S = 2.0
"""How long nothing may be heard of an asker before it is asked whether it is still there."""


class Stream(Window):
    """A window, where its asker hears, and whether it was heard since the last probe."""

    __slots__ = ("heard", "reply_to")

    def __init__(self, size: int, reply_to: str) -> None:
        super().__init__(size)
        self.reply_to = reply_to
        self.heard = True


class Replies:
    """Numbers the replies to each request, and holds them back where it has a window."""

    def __init__(self, node: str, publisher: Publisher, hears: Callable[[], bool]) -> None:
        self._node = node
        self._publisher = publisher
        self._hears = hears
        self._numbers: OrderedDict[str, int] = OrderedDict()
        self._streams: dict[str, Stream] = {}
        self._ended: OrderedDict[str, asyncio.Event] = OrderedDict()
        self._prober: asyncio.Task[None] | None = None
        self._large = OneAtATime(publisher.drained)
        publisher.on_return = self._returned

    async def stop(self) -> None:
        """Whoever waits for room gets Closed."""
        await end(self._prober)
        for stream in self._streams.values():
            stream.fail(Closed())

    async def send(self, to: Message, message: Message, last: bool) -> None:
        """See :meth:`broker.broker.Broker.reply`."""
        if to.reply_to is None or to.correlation_id is None:
            log.debug("a message that asks for no reply was answered; the answer is dropped")
        elif names.WINDOW_HEADER in to.headers and size_of(to.headers):
            await self._send_in_window(to, to.reply_to, message, last)
        else:
            async with self._large.turn(len(message.body)):
                await self._publisher.send(self._numbered(to.correlation_id, message, last), to.reply_to)

    def _numbered(self, correlation_id: str, message: Message, last: bool) -> Message:
        number = self._numbers.pop(correlation_id, 0)
        if not last:
            self._numbers[correlation_id] = number + 1
            if len(self._numbers) > STREAMS_REMEMBERED:
                self._numbers.popitem(last=False)
        headers = {**message.headers, SEQUENCE_HEADER: number, LAST_HEADER: last}
        return replace(message, correlation_id=correlation_id, headers=headers)

    # With a window

    def abandoned(self, to: Message) -> asyncio.Event:
        """See :meth:`broker.broker.Broker.abandoned`. The asker learns where to say so before the first reply."""
        if to.reply_to is None or to.correlation_id is None or not size_of(to.headers):
            return asyncio.Event()
        if (ended := self._ended.get(to.correlation_id)) is not None:
            return ended
        known = to.correlation_id in self._streams
        stream = self._stream(to, to.reply_to)
        if not known:
            self._probe(to.correlation_id, stream, wants_answer=False)
        return stream.abandoned

    def _stream(self, to: Message, reply_to: str) -> Stream:
        """Raises AskerGone where the stream has ended."""
        correlation_id = to.correlation_id or ""
        if (stream := self._streams.get(correlation_id)) is not None:
            return stream
        if correlation_id in self._ended:
            raise AskerGone
        stream = self._streams[correlation_id] = Stream(size_of(to.headers), reply_to)
        if self._prober is None or self._prober.done():
            self._prober = asyncio.create_task(self._probe_all(), name="rabbitmq probe askers")
        return stream

    async def _send_in_window(self, to: Message, reply_to: str, message: Message, last: bool) -> None:
        stream = self._stream(to, reply_to)
        if not last:
            await stream.room()
        headers = {**message.headers, SEQUENCE_HEADER: stream.sent, LAST_HEADER: last}
        if not last:
            headers[names.NODE_HEADER] = self._node
        numbered = replace(message, correlation_id=to.correlation_id, headers=headers)
        self._publisher.send_now(numbered, reply_to, mandatory=True)
        stream.sent += 1
        if last:
            self._streams.pop(to.correlation_id or "", None)
            stream.fail(AskerGone("the last reply was sent while this one waited"))
        await self._publisher.drained()

    def heard(self, word: Message) -> None:
        """An asker says how many replies it has yielded, or that it wants no more."""
        stream = self._streams.get(word.correlation_id or "")
        if stream is None:
            return
        yielded = word.headers[YIELDED_HEADER]
        if yielded == NO_MORE:
            self._end(word.correlation_id)
        else:
            stream.heard = True
            stream.allow(int(yielded))

    def _returned(self, message: Message) -> None:
        """The queue of whoever asked is gone, and its process with it."""
        self._end(message.correlation_id)

    def _end(self, correlation_id: str | None) -> None:
        if correlation_id is None or (stream := self._streams.pop(correlation_id, None)) is None:
            return
        self._ended[correlation_id] = stream.abandoned
        if len(self._ended) > ENDS_REMEMBERED:
            self._ended.popitem(last=False)
        stream.abandon()

    async def _probe_all(self) -> None:
        while self._streams:
            await asyncio.sleep(PROBE_S)
            self._look_around()

    def _look_around(self) -> None:
        for correlation_id, stream in tuple(self._streams.items()):
            self._look_at(correlation_id, stream)

    def _look_at(self, correlation_id: str, stream: Stream) -> None:
        if not (self._hears() and self._publisher.usable):
            stream.fail(Unavailable("the connection was lost while a reply waited for room. It was not sent"))
        elif stream.heard:
            stream.heard = False
        else:
            self._probe(correlation_id, stream, wants_answer=True)

    def _probe(self, correlation_id: str, stream: Stream, *, wants_answer: bool) -> None:
        headers = {names.NODE_HEADER: self._node, PROBE_HEADER: wants_answer}
        probe = Message(b"", correlation_id=correlation_id, headers=headers, persistent=False)
        try:
            self._publisher.send_now(probe, stream.reply_to, mandatory=True)
        except Unavailable:
            log.debug("an asker is probed again later", exc_info=True)
