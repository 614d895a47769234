"""The frames that every message costs, as bytes: publish, deliver, acknowledge, and the properties of a message.

Everything rare goes through aiormq. These few are written out because one message of a busy function is made of them and
nothing else. Source: AMQP 0-9-1 with RabbitMQ's field types (signed ``l``, byte array ``x``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from struct import Struct, error
from typing import Any

from broker.errors import MessageTooLarge
from broker.message import Message

END = b"\xce"
FRAME = Struct(">BHI")
HEARTBEAT = b"\x08\x00\x00\x00\x00\x00\x00\xce"
METHOD, HEADER, BODY = 1, 2, 3

DELIVER, RETURN, ACK, NACK, GET_OK, GET_EMPTY = 0x3C003C, 0x3C0032, 0x3C0050, 0x3C0078, 0x3C0047, 0x3C0048
BLOCKED, UNBLOCKED, CHANNEL_CLOSE = 0x0A003C, 0x0A003D, 0x140028

_U16, _U32, _U64 = Struct(">H"), Struct(">I"), Struct(">Q")
_CONTENT = Struct(">HHQH")
_SETTLE = Struct(">BHIIQBB")
_PUBLISH = Struct(">IH")
_MILLISECOND = timedelta(milliseconds=1)

_CONTENT_TYPE, _CONTENT_ENCODING, _HEADERS, _DELIVERY_MODE, _PRIORITY = 0x8000, 0x4000, 0x2000, 0x1000, 0x0800
_CORRELATION_ID, _REPLY_TO, _EXPIRATION, _MESSAGE_ID, _TIMESTAMP = 0x0400, 0x0200, 0x0100, 0x0080, 0x0040
_TYPE, _USER_ID, _APP_ID = 0x0020, 0x0010, 0x0008


class Malformed(ValueError):
    """The peer sent bytes that are not AMQP 0-9-1."""


def short_string(text: str) -> bytes:
    """Raises MessageTooLarge over 255 bytes."""
    raw = text.encode()
    if len(raw) > 255:
        raise MessageTooLarge(f"{text[:40]!r}… has {len(raw)} bytes; a name or property may have 255")
    return bytes((len(raw),)) + raw


def _integer(value: int) -> bytes:
    # The widths are pamqp's: a headers exchange compares the type as well, and aiormq encodes the bindings.
    if -128 <= value <= 127:
        return b"b" + value.to_bytes(1, "big", signed=True)
    if -32768 <= value <= 32767:
        return b"s" + value.to_bytes(2, "big", signed=True)
    if 0 <= value <= 65535:
        return b"u" + value.to_bytes(2, "big")
    if -(2**31) <= value < 2**31:
        return b"I" + value.to_bytes(4, "big", signed=True)
    if 0 <= value < 2**32:
        return b"i" + value.to_bytes(4, "big")
    return b"l" + value.to_bytes(8, "big", signed=True)


def _bytes(tag: bytes, raw: bytes) -> bytes:
    return tag + _U32.pack(len(raw)) + raw


_DOUBLE = Struct(">d")
_ENCODE: tuple[tuple[type | tuple[type, ...], Callable[[Any], bytes]], ...] = (
    (str, lambda value: _bytes(b"S", value.encode())),
    (bool, lambda value: b"t\x01" if value else b"t\x00"),
    (int, _integer),
    (float, lambda value: b"d" + _DOUBLE.pack(value)),
    (type(None), lambda _: b"V"),
    ((bytes, bytearray), lambda value: _bytes(b"x", bytes(value))),
    (datetime, lambda value: b"T" + _U64.pack(int(value.timestamp()))),
    (Mapping, lambda value: b"F" + table(value)),
    ((list, tuple), lambda value: _bytes(b"A", b"".join(map(_value, value)))),
)


def _value(value: Any) -> bytes:
    for kind, encode in _ENCODE:
        if isinstance(value, kind):
            return encode(value)
    raise TypeError(f"a header cannot be a {type(value).__name__}")


def table(values: Mapping[str, Any]) -> bytes:
    """Raises TypeError for a value that AMQP does not have, OverflowError for an integer over 64 bits."""
    raw = b"".join([short_string(key) + _value(value) for key, value in values.items()])
    return _U32.pack(len(raw)) + raw


def properties(message: Message) -> bytes:
    """The payload of the content header frame."""
    flags, parts = _DELIVERY_MODE, []
    if message.content_type is not None:
        flags |= _CONTENT_TYPE
        parts.append(short_string(message.content_type))
    if message.content_encoding is not None:
        flags |= _CONTENT_ENCODING
        parts.append(short_string(message.content_encoding))
    if message.headers:
        flags |= _HEADERS
        parts.append(table(message.headers))
    parts.append(b"\x02" if message.persistent else b"\x01")
    if message.priority is not None:
        flags |= _PRIORITY
        parts.append(bytes((message.priority,)))
    expiration = None if message.expiration is None else str(message.expiration // _MILLISECOND)
    for flag, text in (
        (_CORRELATION_ID, message.correlation_id),
        (_REPLY_TO, message.reply_to),
        (_EXPIRATION, expiration),
        (_MESSAGE_ID, message.message_id),
    ):
        if text is not None:
            flags |= flag
            parts.append(short_string(text))
    if message.timestamp is not None:
        flags |= _TIMESTAMP
        parts.append(_U64.pack(int(message.timestamp.timestamp())))
    for flag, text in ((_TYPE, message.type), (_USER_ID, message.user_id), (_APP_ID, message.app_id)):
        if text is not None:
            flags |= flag
            parts.append(short_string(text))
    return _CONTENT.pack(60, 0, len(message.body), flags) + b"".join(parts)


def publish(
    channel: int, exchange: str, routing_key: str, mandatory: bool, head: bytes, body: bytes, room: int
) -> bytes:
    """Publish, content header and body frames in one piece; ``room`` is what one frame may carry."""
    method = _PUBLISH.pack(0x3C0028, 0) + short_string(exchange) + short_string(routing_key)
    method += b"\x01" if mandatory else b"\x00"
    parts = [FRAME.pack(METHOD, channel, len(method)), method, END, FRAME.pack(HEADER, channel, len(head)), head, END]
    if len(body) <= room:
        if body:
            parts += (FRAME.pack(BODY, channel, len(body)), body, END)
    else:
        for start in range(0, len(body), room):
            piece = body[start : start + room]
            parts += (FRAME.pack(BODY, channel, len(piece)), piece, END)
    return b"".join(parts)


def ack(channel: int, tag: int, multiple: bool) -> bytes:
    return _SETTLE.pack(METHOD, channel, 13, ACK, tag, multiple, 0xCE)


def nack(channel: int, tag: int, requeue: bool) -> bytes:
    return _SETTLE.pack(METHOD, channel, 13, NACK, tag, requeue << 1, 0xCE)


def get(channel: int, queue: str) -> bytes:
    method = _PUBLISH.pack(0x3C0046, 0) + short_string(queue) + b"\x00"
    return FRAME.pack(METHOD, channel, len(method)) + method + END


def text(data: bytes, at: int) -> tuple[str, int]:
    """A short string and where the next field starts."""
    end = at + 1 + data[at]
    return data[at + 1 : end].decode("utf-8", "surrogateescape"), end


def _long(data: bytes, at: int) -> tuple[bytes, int]:
    (size,) = _U32.unpack_from(data, at)
    end = at + 4 + size
    if end > len(data):
        raise Malformed("a field is cut off")
    return data[at + 4 : end], end


def _string_value(data: bytes, at: int) -> tuple[str | bytes, int]:
    raw, end = _long(data, at)
    try:
        return raw.decode(), end
    except UnicodeDecodeError:
        return raw, end


def _time(data: bytes, at: int) -> tuple[datetime, int]:
    seconds = _U64.unpack_from(data, at)[0]
    try:
        return datetime.fromtimestamp(seconds, UTC), at + 8
    except (ValueError, OverflowError, OSError) as error:
        raise Malformed(f"no such time: {seconds} s") from error


def _decimal(data: bytes, at: int) -> tuple[Decimal, int]:
    return Decimal(int.from_bytes(data[at + 1 : at + 5], "big", signed=True)).scaleb(-data[at]), at + 5


def _array(data: bytes, at: int) -> tuple[list[Any], int]:
    raw, end = _long(data, at)
    values, position = [], 0
    while position < len(raw):
        value, position = _decode_value(raw, position)
        values.append(value)
    return values, end


def decode_table(data: bytes, at: int) -> tuple[dict[str, Any], int]:
    """A field table and where the next field starts."""
    raw, end = _long(data, at)
    values: dict[str, Any] = {}
    position = 0
    while position < len(raw):
        key, position = text(raw, position)
        values[key], position = _decode_value(raw, position)
    return values, end


def _fixed(layout: str) -> Callable[[bytes, int], tuple[Any, int]]:
    struct = Struct(layout)
    return lambda data, at: (struct.unpack_from(data, at)[0], at + struct.size)


_DECODE: dict[int, Callable[[bytes, int], tuple[Any, int]]] = {
    ord("S"): _string_value, ord("x"): _long, ord("T"): _time, ord("F"): decode_table, ord("A"): _array,
    ord("D"): _decimal, ord("V"): lambda _, at: (None, at), ord("t"): _fixed(">?"), ord("b"): _fixed(">b"),
    ord("B"): _fixed(">B"), ord("s"): _fixed(">h"), ord("u"): _fixed(">H"), ord("I"): _fixed(">i"),
    ord("i"): _fixed(">I"), ord("l"): _fixed(">q"), ord("L"): _fixed(">q"), ord("f"): _fixed(">f"),
    ord("d"): _fixed(">d"),
}  # fmt: skip


def _decode_value(data: bytes, at: int) -> tuple[Any, int]:
    return _DECODE[data[at]](data, at + 1)


def message(head: bytes, body: bytes) -> Message:
    """A message from the payload of its content header frame. Raises Malformed."""
    try:
        return _message(head, body)
    except (IndexError, KeyError, error, UnicodeDecodeError, OverflowError, OSError) as broken:
        raise Malformed(f"damaged properties: {broken!r}") from broken


def _message(head: bytes, body: bytes) -> Message:
    (flags,) = _U16.unpack_from(head, 12)
    at = 14
    fields: dict[str, Any] = {}
    for flag, name, decode in _PROPERTIES:
        if flags & flag:
            fields[name], at = decode(head, at)
    fields["persistent"] = fields.get("persistent") == 2
    if "expiration" in fields:
        fields["expiration"] = _expiration(fields["expiration"])
    return Message(body, **fields)


def _expiration(digits: str) -> timedelta | None:
    return timedelta(milliseconds=int(digits)) if digits.isdecimal() and len(digits) < 13 else None


def _octet(data: bytes, at: int) -> tuple[int, int]:
    return data[at], at + 1


_PROPERTIES: tuple[tuple[int, str, Callable[[bytes, int], tuple[Any, int]]], ...] = (
    (_CONTENT_TYPE, "content_type", text),
    (_CONTENT_ENCODING, "content_encoding", text),
    (_HEADERS, "headers", decode_table),
    (_DELIVERY_MODE, "persistent", _octet),
    (_PRIORITY, "priority", _octet),
    (_CORRELATION_ID, "correlation_id", text),
    (_REPLY_TO, "reply_to", text),
    (_EXPIRATION, "expiration", text),
    (_MESSAGE_ID, "message_id", text),
    (_TIMESTAMP, "timestamp", _time),
    (_TYPE, "type", text),
    (_USER_ID, "user_id", text),
    (_APP_ID, "app_id", text),
)
