"""A message of a RabbitMQ queue as a function sees one of Amazon MQ. Pure.

Source: Lambda developer guide, "Using Lambda with Amazon MQ", the RabbitMQ record event. Its poller is written in Java, which
shows: texts in headers are bytes with a sign, and times are what Java's default date format makes of them, in UTC.

>>> header_value("value1"), header_value(10), header_value({"a": [True, None]})
({'bytes': [118, 97, 108, 117, 101, 49]}, 10, {'a': [True, None]})
>>> java_time(datetime(1970, 1, 1, 0, 33, 41, tzinfo=UTC))
'Jan 1, 1970, 12:33:41 AM'
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from broker.message import Message

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MILLISECOND = timedelta(milliseconds=1)


def record(message: Message, *, redelivered: bool) -> dict[str, Any]:
    """One entry of ``rmqMessagesByQueue``. What the message does not have is null; ``clusterId`` always is."""
    return {
        "basicProperties": {
            "contentType": message.content_type,
            "contentEncoding": message.content_encoding,
            "headers": {name: header_value(value) for name, value in message.headers.items()},
            "deliveryMode": 2 if message.persistent else 1,
            "priority": message.priority,
            "correlationId": message.correlation_id,
            "replyTo": message.reply_to,
            "expiration": None if message.expiration is None else str(message.expiration // _MILLISECOND),
            "messageId": message.message_id,
            "timestamp": None if message.timestamp is None else java_time(message.timestamp),
            "type": message.type,
            "userId": message.user_id,
            "appId": message.app_id,
            "clusterId": None,
            "bodySize": len(message.body),
        },
        "redelivered": redelivered,
        "data": base64.b64encode(message.body).decode(),
    }


def payload(records: Sequence[Mapping[str, Any]], *, arn: str, queue: str, virtual_host: str) -> bytes:
    """The event of one batch."""
    event = {
        "eventSource": "aws:rmq",
        "eventSourceArn": arn,
        "rmqMessagesByQueue": {f"{queue}::{virtual_host}": list(records)},
    }
    return json.dumps(event, separators=(",", ":")).encode()


def header_value(value: Any) -> Any:
    """A header's value: texts and bytes as ``{"bytes": [signed]}``, numbers, true, false and null as they are."""
    match value:
        case Mapping():
            return {name: header_value(each) for name, each in value.items()}
        case list() | tuple():
            return [header_value(each) for each in value]
        case str():
            return {"bytes": _signed(value.encode("utf-8", "surrogateescape"))}
        case bytes() | bytearray():
            return {"bytes": _signed(bytes(value))}
        case _:
            return _scalar(value)


def _scalar(value: Any) -> Any:
    match value:
        case datetime():
            return java_time(value)
        case float() | Decimal() if not math.isfinite(value):
            return str(value)  # JSON has none
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case _:
            return value


def _signed(data: bytes) -> list[int]:
    return [byte - 256 if byte > 127 else byte for byte in data]


def java_time(moment: datetime) -> str:
    """``MMM d, yyyy, h:mm:ss a``, whatever the locale of this process is."""
    utc = moment.astimezone(UTC)
    hour, half = utc.hour % 12 or 12, "AM" if utc.hour < 12 else "PM"
    return f"{_MONTHS[utc.month - 1]} {utc.day}, {utc.year}, {hour}:{utc:%M:%S} {half}"
