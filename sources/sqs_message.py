"""A message of a RabbitMQ queue as a function sees one of SQS. Pure.

=================================  ===================================================================================
of the message                     in the record
=================================  ===================================================================================
``message_id`` property            ``messageId``; without one, a UUID made of queue and content, the same each time: give
                                   messages with equal content ids, if they are to be told apart
body                               ``body``, when it is UTF-8; otherwise base64, and the message attribute
                                   ``Content-Transfer-Encoding`` says ``base64``
``timestamp`` property             ``SentTimestamp``; without one, when it was first received. RabbitMQ's
                                   ``timestamp_in_ms`` header is more exact and comes first
``user_id`` property               ``SenderId``; without one, the account
headers                            ``messageAttributes``: text, time, true and false as String, numbers as Number, bytes as
                                   Binary, tables and lists as JSON text of type ``String.json``; null is left out
``message-group-id`` header        ``MessageGroupId`` (also ``MessageGroupId``); then ``SequenceNumber`` is there too
``message-deduplication-id``       ``MessageDeduplicationId`` (also ``MessageDeduplicationId``); without one, the SHA-256 of
header                             the body
``AWSTraceHeader`` header          ``AWSTraceHeader``; without one, made of ``traceparent``
=================================  ===================================================================================

Source: Amazon SQS developer guide, message attributes and the calculation of their MD5 digest; W3C Trace Context and the
X-Ray trace header, which name the same trace.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from struct import Struct
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from broker.message import Message
from sources.mapping import EPOCH

COUNT_HEADER = "x-fnrunner-receive-count"
"""Of a copy: how often the message was received before."""
FIRST_HEADER = "x-fnrunner-first-received-ms"
SENDER_HEADER = "x-fnrunner-user-id"
"""Of a copy: the ``user_id`` property, which RabbitMQ accepts only from that user's connections."""
GROUP_HEADERS = ("message-group-id", "MessageGroupId")
DEDUPLICATION_HEADERS = ("message-deduplication-id", "MessageDeduplicationId")
TRACE_HEADERS = ("AWSTraceHeader", "X-Amzn-Trace-Id")
SENT_HEADER = "timestamp_in_ms"
ENCODING_ATTRIBUTE = "Content-Transfer-Encoding"
DEFAULT_GROUP = "default"
"""The group of messages without one in a FIFO queue."""

_HIDDEN = {*GROUP_HEADERS, *DEDUPLICATION_HEADERS, *TRACE_HEADERS, SENT_HEADER}
_BROKERS = re.compile(r"x-(fnrunner-|death$|(first|last)-death-|delivery-count$|acquired-count$)")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{8})([0-9a-f]{24})-([0-9a-f]{16})-([0-9a-f]{2})")
_LENGTH = Struct(">I")
_MILLISECOND = timedelta(milliseconds=1)

Attribute = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the queue knows of a message: how often it was received, this time included, and when for the first time.
    ``sequence`` orders the messages of a group."""

    id: str
    count: int
    first: datetime
    sequence: int


@dataclass(frozen=True, slots=True)
class Queue:
    """Where it was received: ``arn``, ``region`` and ``account`` as the record has them."""

    name: str
    arn: str
    region: str
    account: str
    fifo: bool = False


def record(message: Message, receipt: Receipt, queue: Queue) -> dict[str, Any]:
    """The record, JSON-able."""
    body, encoded = body_of(message)
    attributes = attributes_of(message.headers)
    if encoded:
        attributes[ENCODING_ATTRIBUTE] = _string("base64")
    handle = f"{queue.name}/{receipt.id}/{receipt.sequence}/{receipt.count}"
    found: dict[str, Any] = {
        "messageId": receipt.id,
        "receiptHandle": base64.b64encode(handle.encode("utf-8", "replace")).decode(),
        "body": body,
        "attributes": _system(message, receipt, queue),
        "messageAttributes": attributes,
        "md5OfBody": _md5(body.encode("utf-8", "surrogatepass")),
    }
    if attributes:
        found["md5OfMessageAttributes"] = digest_of(attributes)
    return {**found, "eventSource": "aws:sqs", "eventSourceARN": queue.arn, "awsRegion": queue.region}


def body_of(message: Message) -> tuple[str, bool]:
    """The body as text, and whether that is base64."""
    try:
        return message.body.decode("utf-8"), False
    except UnicodeDecodeError:
        return base64.b64encode(message.body).decode(), True


def id_of(message: Message, queue: str) -> str:
    """Its own id, or one that is the same whenever this content comes from this queue."""
    if message.message_id:
        return message.message_id
    own = {name: value for name, value in message.headers.items() if not _BROKERS.match(name)}
    about = [queue, sorted(own.items()), message.content_type, message.correlation_id, message.type, message.app_id,
             message.timestamp]  # fmt: skip
    content = hashlib.sha256(message.body).hexdigest() + json.dumps(about, default=repr, sort_keys=True)
    return str(uuid5(NAMESPACE_OID, content))


def group_of(message: Message, *, fifo: bool) -> str:
    """Its message group; empty when it has none and the queue asks for none."""
    return _first(message.headers, GROUP_HEADERS) or (DEFAULT_GROUP if fifo else "")


def count_of(headers: Mapping[str, Any]) -> int:
    """How often it was received before this copy was made."""
    count = headers.get(COUNT_HEADER)
    return count if isinstance(count, int) and not isinstance(count, bool) and count > 0 else 0


def first_of(headers: Mapping[str, Any]) -> datetime | None:
    """When it was first received, if a copy says so."""
    return _time(headers.get(FIRST_HEADER))


def copy_headers(headers: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """The headers of a copy: the sender's and ``more``, without what brokers and earlier copies left."""
    return {**{name: value for name, value in headers.items() if not _BROKERS.match(name)}, **more}


def milliseconds(moment: datetime) -> int:
    """Since the epoch.

    >>> milliseconds(datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC))
    1000
    """
    return (moment - EPOCH) // _MILLISECOND


def _system(message: Message, receipt: Receipt, queue: Queue) -> dict[str, str]:
    sent = _time(message.headers.get(SENT_HEADER)) or message.timestamp or receipt.first
    found = {
        "ApproximateReceiveCount": str(receipt.count),
        "SentTimestamp": str(milliseconds(sent)),
        "SenderId": message.user_id or _first(message.headers, (SENDER_HEADER,)) or queue.account,
        "ApproximateFirstReceiveTimestamp": str(milliseconds(receipt.first)),
    }
    if group := group_of(message, fifo=queue.fifo):
        found["SequenceNumber"] = f"{receipt.sequence:020d}"
        found["MessageGroupId"] = group
        given = _first(message.headers, DEDUPLICATION_HEADERS)
        found["MessageDeduplicationId"] = given or hashlib.sha256(message.body).hexdigest()
    if trace := _first(message.headers, TRACE_HEADERS) or xray_of(message.headers.get("traceparent")):
        found["AWSTraceHeader"] = trace
    return found


def xray_of(traceparent: Any) -> str:
    """The same trace in X-Ray's form; empty for what is no traceparent.

    >>> xray_of("00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01")
    'Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1'
    """
    if not isinstance(traceparent, str) or not (found := _TRACEPARENT.fullmatch(traceparent)):
        return ""
    seconds, rest, parent, flags = found.groups()
    return f"Root=1-{seconds}-{rest};Parent={parent};Sampled={int(flags, 16) & 1}"


# Message attributes


def attributes_of(headers: Mapping[str, Any]) -> dict[str, Attribute]:
    """The sender's headers as message attributes."""
    found = {}
    for name, value in headers.items():
        if name not in _HIDDEN and not _BROKERS.match(name) and (made := _attribute(value)) is not None:
            found[name] = made
    return found


def _attribute(value: Any) -> Attribute | None:
    if value is None:
        return None
    if isinstance(value, bytes | bytearray):
        encoded = base64.b64encode(value).decode()
        return {"binaryValue": encoded, "stringListValues": [], "binaryListValues": [], "dataType": "Binary"}
    return _string(*_as_text(value))


def _as_text(value: Any) -> tuple[str, str]:
    """And the type of the attribute."""
    match value:
        case str():
            return value, "String"
        case bool():
            return ("true" if value else "false"), "String"
        case int() | float() | Decimal():
            return str(value), "Number"
        case datetime():
            return value.isoformat(), "String"
        case _:
            return json.dumps(value, default=_plain, ensure_ascii=False), "String.json"


def _string(value: str, kind: str = "String") -> Attribute:
    return {"stringValue": value, "stringListValues": [], "binaryListValues": [], "dataType": kind}


def _plain(value: Any) -> Any:
    if isinstance(value, bytes | bytearray):
        return base64.b64encode(value).decode()
    return value.isoformat() if isinstance(value, datetime) else str(value)


def digest_of(attributes: Mapping[str, Attribute]) -> str:
    """``md5OfMessageAttributes``: over name, type, kind of value and value of each, in the order of names.

    >>> digest_of({"k": {"stringValue": "v", "dataType": "String"}})
    '0a77b0642718c3d9dd47090567d11e0d'
    """
    parts = []
    for name, attribute in sorted(attributes.items()):
        binary = "binaryValue" in attribute
        value = base64.b64decode(attribute["binaryValue"]) if binary else _utf8(attribute["stringValue"])
        parts += [_sized(_utf8(name)), _sized(_utf8(attribute["dataType"])), b"\2" if binary else b"\1", _sized(value)]
    return _md5(b"".join(parts))


def _sized(data: bytes) -> bytes:
    return _LENGTH.pack(len(data)) + data


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def _first(headers: Mapping[str, Any], names: tuple[str, ...]) -> str:
    return next((value for name in names if isinstance(value := headers.get(name), str) and value), "")


def _time(value: Any) -> datetime | None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        return None
    try:
        return datetime.fromtimestamp(value / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return None
