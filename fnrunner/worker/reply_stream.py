"""A streamed answer on its way from an environment to whoever asked: one chunk after the other, no faster than it is taken."""

from __future__ import annotations

import asyncio

from broker import reply
from broker.broker import Broker
from broker.errors import AskerGone, BrokerError
from broker.message import Message
from broker.reply import Reply, ReplyKind
from fnrunner.sandbox.connection import DISCONNECTED
from fnrunner.sandbox.incoming import Chunk, ChunkRefused


class ReplyStream:
    """The chunks of one request's answer. Its last reply, which says how it ended, is the settlement's."""

    def __init__(self, broker: Broker, request: Message, version: str) -> None:
        self._broker = broker
        self._request = request
        self._version = version
        self._first = True
        self.gone: asyncio.Event = broker.abandoned(request)
        """Set when whoever asked wants no more."""

    async def send(self, chunk: Chunk) -> None:
        """Returns when there is room for the next one. Raises ChunkRefused when nobody can take it any more."""
        version, self._first = (self._version if self._first else ""), False
        piece = Reply(chunk.data, ReplyKind.CHUNK, version, content_type=chunk.content_type)
        try:
            await self._broker.reply(self._request, Message(reply.encode(piece), persistent=False), last=False)
        except AskerGone as error:
            raise ChunkRefused(DISCONNECTED) from error
        except BrokerError as error:
            raise ChunkRefused(f"The response could not be delivered: {error}") from error
