"""Chunks as replies: what each says, and what a broker's errors mean to the function."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from broker import reply
from broker.broker import Broker
from broker.errors import AskerGone, BrokerError, Unavailable
from broker.message import Message
from broker.reply import Reply, ReplyKind
from fnrunner.sandbox.incoming import Chunk, ChunkRefused
from fnrunner.worker.reply_stream import ReplyStream

REQUEST = Message(b"", correlation_id="1")


class RememberingBroker:
    def __init__(self, error: BrokerError | None = None) -> None:
        self.error = error
        self.event = asyncio.Event()
        self.sent: list[tuple[Message, Reply, bool]] = []

    def abandoned(self, to: Message) -> asyncio.Event:
        assert to is REQUEST
        return self.event

    async def reply(self, to: Message, message: Message, *, last: bool = True) -> None:
        if self.error:
            raise self.error
        assert not message.persistent
        self.sent.append((to, reply.decode(message.body), last))


def made(broker: RememberingBroker) -> ReplyStream:
    return ReplyStream(cast("Broker", broker), REQUEST, "7")


async def test_only_the_first_chunk_tells_version_and_type_and_none_is_the_last_reply() -> None:
    broker = RememberingBroker()
    stream = made(broker)
    await stream.send(Chunk(b"a", "text/plain"))
    await stream.send(Chunk(b"b"))
    assert broker.sent == [
        (REQUEST, Reply(b"a", ReplyKind.CHUNK, "7", content_type="text/plain"), False),
        (REQUEST, Reply(b"b", ReplyKind.CHUNK), False),
    ]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (AskerGone(), "The client disconnected before the response was complete"),
        (Unavailable("cut"), "The response could not be delivered: cut"),
    ],
)
async def test_a_chunk_that_nobody_takes_is_refused_with_the_reason(error: BrokerError, text: str) -> None:
    with pytest.raises(ChunkRefused, match=f"^{text}$"):
        await made(RememberingBroker(error)).send(Chunk(b"a"))


async def test_it_is_gone_when_the_broker_says_so() -> None:
    broker = RememberingBroker()
    stream = made(broker)
    assert not stream.gone.is_set()
    broker.event.set()
    assert stream.gone.is_set()
