"""What a message on a stream of the broker says of itself: its key, its time, its identity and its trace.

Anybody may publish to a stream, so nothing here is taken for granted: what is not what it should be counts as not there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any

from broker.message import Message

KEY_HEADER = "partition-key"
TIME_HEADER = "timestamp_in_ms"
"""Set by RabbitMQ's message timestamp interceptor, together with the ``timestamp`` property, which has whole seconds."""

TRACE_HEADER = "traceparent"
OVERHEAD_BYTES = 1_000
"""What a message of nothing takes in memory, roughly."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_TRACE = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def key(message: Message, exchange: str, routing_key: str) -> str:
    """The header ``partition-key``, where it is text or a number; else the routing key, where it came through an
    exchange of its own; else nothing.

    >>> key(Message(b"", headers={"partition-key": 7}), "", "clicks"), key(Message(b""), "orders", "paid")
    ('7', 'paid')
    >>> key(Message(b"", headers={"partition-key": {"a": 1}}), "", "clicks")
    ''
    """
    given = message.headers.get(KEY_HEADER)
    if isinstance(given, bytes | bytearray):
        return bytes(given).decode("utf-8", "replace")
    if isinstance(given, int | float) and not isinstance(given, bool):
        return str(given)
    return clean(given if isinstance(given, str) else routing_key if exchange else "")


def clean(text: str) -> str:
    """Text without halves of surrogate pairs, which stand for bytes that are not UTF-8.

    >>> clean("caf\\udce9"), clean("café")
    ('caf\ufffd', 'café')
    """
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def arrived(message: Message, now: datetime) -> datetime:
    """When the message was published, as far as it says: its property, its header, else ``now``; never later than that.

    >>> now = datetime(2026, 1, 1, tzinfo=UTC)
    >>> arrived(Message(b"", headers={"timestamp_in_ms": 1500}), now).isoformat()
    '1970-01-01T00:00:01.500000+00:00'
    """
    second, precise = message.timestamp, message.headers.get(TIME_HEADER)
    time = None
    if isinstance(precise, int) and not isinstance(precise, bool) and 0 <= precise < 2**48:
        time = _EPOCH + timedelta(milliseconds=precise)
    if second is not None and (time is None or not timedelta(0) <= time - second < _SECOND):
        time = second
    return now if time is None else min(time, now)


def is_before(arrived: datetime, moment: datetime) -> bool:
    """Whether a record of that time came before the moment. A time in whole seconds may mean any moment of its second:
    passing over too few repeats a record, passing over too many would lose one.

    >>> half_past = datetime(2026, 1, 1, 0, 0, 5, 500_000, tzinfo=UTC)
    >>> [is_before(half_past.replace(second=s, microsecond=us), half_past) for s, us in ((4, 0), (5, 0), (5, 400_000))]
    [True, False, True]
    """
    return arrived < (moment if arrived.microsecond else moment.replace(microsecond=0))


def identity(message: Message) -> str:
    """A digest of the body and the message id: 16 hexadecimal digits.

    >>> identity(Message(b"a", message_id="1")) == identity(Message(b"a", message_id="2"))
    False
    """
    digest = blake2b(message.body, digest_size=8)
    if message.message_id is not None:
        digest.update(b"\0" + message.message_id.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def traceparent(message: Message) -> str:
    """The W3C trace context of its publisher; empty where there is none that is well formed."""
    given = message.headers.get(TRACE_HEADER)
    return given if isinstance(given, str) and _TRACE.fullmatch(given) else ""


def size(message: Message) -> int:
    """About how many bytes of memory it takes.

    >>> size(Message(b"12345", headers={"a": "xyz", "b": [b"12"]})) - OVERHEAD_BYTES
    10
    """
    return OVERHEAD_BYTES + len(message.body) + sum(map(_size, message.headers.values()))


def _size(value: Any) -> int:
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, Mapping):
        return sum(len(name) + _size(inner) for name, inner in value.items())
    return sum(map(_size, value)) if isinstance(value, list | tuple) else 0
