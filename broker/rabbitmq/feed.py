"""A queue of one's own, heard without acknowledgement: replies, and control events."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from aiormq.abc import AbstractChannel

from broker.message import Message
from broker.rabbitmq import wire
from broker.rabbitmq.attachment import Attachment
from broker.rabbitmq.connection import Link, Session
from broker.rabbitmq.declaration import bind, declare_queue
from broker.rabbitmq.failure import Border
from broker.topology import Binding, Queue, QueueKind

log = logging.getLogger(__name__)


class Feed:
    """Declares its exclusive queue and binding on every new connection. ``on_lost`` hears when messages may be missed."""

    def __init__(
        self,
        link: Link,
        queue: str,
        binding: Binding,
        on_message: Callable[[Message], None],
        on_lost: Callable[[], None],
    ) -> None:
        self.queue = queue
        self._binding = binding
        self._on_message = on_message
        self._on_lost = on_lost
        self._ear: Ear | None = None
        self._attachment = Attachment(link, self._attach, f"hearing {queue!r}")

    @property
    def trouble(self) -> str:
        return self._attachment.trouble

    @property
    def heard(self) -> bool:
        """Messages reach it now."""
        return self._ear is not None and not self._ear.lost.is_set()

    async def start(self) -> None:
        await self._attachment.start()

    async def stop(self) -> None:
        await self._attachment.stop()
        if self._ear is not None:
            self._ear.close()

    async def _attach(self, session: Session) -> asyncio.Event:
        channel = await session.channel()
        ear = Ear(session, channel, self._on_message, self._on_lost)
        async with Border():
            await declare_queue(channel, Queue(self.queue, QueueKind.CLASSIC, exclusive=True))
            await bind(channel, self._binding)
            await channel.basic_consume(self.queue, _never, no_ack=True, consumer_tag="feed")
        self._ear = ear
        return ear.lost


class Ear:
    """The sink of the channel."""

    def __init__(
        self,
        session: Session,
        channel: AbstractChannel,
        on_message: Callable[[Message], None],
        on_lost: Callable[[], None],
    ) -> None:
        self.lost = asyncio.Event()
        self._tap = session.tap
        self._channel = channel
        self._on_message = on_message
        self._on_lost = on_lost
        self._tap.sinks[channel.number] = self
        channel.closing.add_done_callback(self._on_closing)
        channel.on_consumer_cancel_callbacks.add(self._on_cancel)

    def content(self, method: int, arguments: bytes, head: bytes, body: bytes) -> None:
        if method != wire.DELIVER:
            return
        try:
            self._on_message(wire.message(head, body))
        except Exception:
            log.exception("a message could not be taken and is passed over")

    def settled(self, method: int, arguments: bytes) -> None:
        return None

    def closed(self, reason: str) -> None:
        log.warning("RabbitMQ closes a channel of messages: %s", reason)
        self.close()

    def _on_closing(self, _: asyncio.Future[None]) -> None:
        self.close()

    async def _on_cancel(self, _: object) -> None:
        self.close()

    def close(self) -> None:
        if not self.lost.is_set():
            self.lost.set()
            self._tap.detach(self._channel.number, self)
            self._on_lost()


async def _never(_: object) -> None:
    """Messages go past aiormq; a callback is asked for all the same."""
