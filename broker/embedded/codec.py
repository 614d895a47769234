"""Message and bytes, both ways: one self-delimiting msgpack array for each message in the journal.

The order of the array is the format; new fields go to its end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import msgpack

from broker.delays import milliseconds
from broker.errors import BrokerError
from broker.message import Message


class HeadersNotCarried(BrokerError):
    """A header or property has a type that AMQP does not carry. Send text, numbers, times, lists or tables."""


class Encoder:
    """Encodes messages; owned by one engine, used on its thread only."""

    def __init__(self) -> None:
        self._packer = msgpack.Packer(use_bin_type=True, datetime=True, default=_plain)

    def encode(self, number: int, when_ms: int | None, exchange: str, routing_key: str, message: Message) -> bytes:
        """``number`` is the sequence number or offset, ``when_ms`` the expiry or arrival. Raises HeadersNotCarried."""
        m = message
        expiration = None if m.expiration is None else milliseconds(m.expiration)
        row = [
            number, when_ms, exchange, routing_key, m.body, m.message_id, dict(m.headers) if m.headers else None,
            m.content_type, m.content_encoding, m.correlation_id, m.reply_to, expiration, m.persistent, m.priority,
            m.timestamp, m.type, m.app_id, m.user_id,
        ]  # fmt: skip
        try:
            return self._packer.pack(row)  # type: ignore[no-any-return]
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise HeadersNotCarried(f"the message cannot be written: {error}") from error


def decode_all(rows: bytes) -> Iterator[tuple[int, int | None, str, str, Message]]:
    """The messages of many arrays, one after the other, with what :meth:`Encoder.encode` was given.

    Raises ValueError or a msgpack exception when the bytes are damaged.
    """
    unpacker = msgpack.Unpacker(raw=False, timestamp=3, strict_map_key=False, max_buffer_size=0)
    unpacker.feed(rows)
    for number, when_ms, exchange, routing_key, *rest in unpacker:
        yield number, when_ms, exchange, routing_key, _message(rest)


def _message(row: list[Any]) -> Message:
    body, message_id, headers, kind, encoding, correlation_id, reply_to, expiration, persistent, *rest = row
    priority, timestamp, type_, app_id, user_id = rest[:5]
    return Message(
        body=body,
        message_id=message_id,
        headers=headers or {},
        content_type=kind,
        content_encoding=encoding,
        correlation_id=correlation_id,
        reply_to=reply_to,
        expiration=None if expiration is None else timedelta(milliseconds=expiration),
        persistent=persistent,
        priority=priority,
        timestamp=timestamp,
        type=type_,
        app_id=app_id,
        user_id=user_id,
    )


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not an AMQP type")
