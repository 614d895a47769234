"""A message of a topic exchange as SNS hands it to a function. Pure.

Any AMQP client publishes: the body is the Message, the header ``subject`` the Subject, the message id the MessageId, and
the other headers are the MessageAttributes:

=====================  ==================================================================================
header value           attribute
=====================  ==================================================================================
text, true, false      ``String``
number                 ``Number``
bytes                  ``Binary``, in base64
list                   ``String.Array``: a JSON array of strings, numbers, booleans and nulls
time, table            ``String``: ISO 8601 in UTC, JSON
nothing                none
=====================  ==================================================================================

Headers that brokers and fnrunner add (``x-death``, ``traceparent`` …) are not the publisher's, and are left out.

A body that is not UTF-8 cannot be a Message: it is given in base64, with the attribute ``x-fnrunner-encoding`` ``base64``.
Signatures have nobody to sign them: Signature, SigningCertUrl and UnsubscribeUrl are empty.
Source: Lambda developer guide, "Using AWS Lambda with Amazon SNS"; SNS developer guide, "Amazon SNS message attributes".
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import NAMESPACE_OID, uuid4, uuid5

from broker.message import Headers, Message
from sources.filter_policy import Attribute
from sources.object_event import iso_millis

SUBJECT = "subject"
ENCODING = "x-fnrunner-encoding"
_OTHERS = (
    "x-death",
    "x-first-death-",
    "x-last-death-",
    "x-delivery-count",
    "x-acquired-count",
    "x-opt-",
    "x-fnrunner-",
)
_TRACE = ("traceparent", "tracestate", "baggage")


@dataclass(frozen=True, slots=True)
class Notification:
    """``event_id`` is the same each time the broker delivers the message, where its publisher gave it an id."""

    event_id: str
    attributes: Mapping[str, Attribute]
    payload: bytes


def notification(message: Message, *, subscription: str, topic_arn: str, now: datetime) -> Notification:
    """What the subscription's function gets.

    A message without an id gets a random one, another each time that it is delivered: nothing in it tells a message that
    was delivered twice from two messages that are alike, and taking them for one would lose one.
    """
    message_id = message.message_id or str(uuid4())
    attributes = attributes_of(message.headers)
    text, encoded = _text(message.body)
    if encoded:
        attributes[ENCODING] = ("String", "base64")
    subject = message.headers.get(SUBJECT)
    record = {
        "EventVersion": "1.0",
        "EventSubscriptionArn": f"{topic_arn}:{subscription}",
        "EventSource": "aws:sns",
        "Sns": {
            "Type": "Notification",
            "MessageId": message_id,
            "TopicArn": topic_arn,
            "Subject": subject if isinstance(subject, str) else None,
            "Message": text,
            "Timestamp": iso_millis((message.timestamp or now).astimezone(UTC)),
            "SignatureVersion": "1",
            "Signature": "",
            "SigningCertUrl": "",
            "UnsubscribeUrl": "",
            "MessageAttributes": {name: {"Type": kind, "Value": value} for name, (kind, value) in attributes.items()},
        },
    }
    return Notification(
        event_id=str(uuid5(NAMESPACE_OID, f"{subscription}/{message_id}")),
        attributes=attributes,
        payload=json.dumps({"Records": [record]}, separators=(",", ":")).encode(),
    )


def attributes_of(headers: Headers) -> dict[str, Attribute]:
    """The headers as attributes: name to type and value.

    >>> attributes_of({"store": "north", "price": 1.5, "tags": ["a", 1], "raw": b"hi", "none": None, "subject": "s"})
    {'store': ('String', 'north'), 'price': ('Number', '1.5'), 'tags': ('String.Array', '["a",1]'), 'raw': ('Binary', 'aGk=')}
    """
    return {
        name: attribute
        for name, value in headers.items()
        if name != SUBJECT and name not in _TRACE and not name.startswith(_OTHERS) and (attribute := _attribute(value))
    }


def _attribute(value: Any) -> Attribute | None:
    kind, text = "String", value
    match value:
        case None:
            return None
        case list() | tuple():
            kind, text = "String.Array", [_element(each) for each in value]
        case bytes() | bytearray():
            kind = "Binary"
        case int() | float() | Decimal() if not isinstance(value, bool):
            kind, text = "Number", str(value)
    plain = _plain(text)
    return kind, plain if isinstance(plain, str) else _json(plain)


def _element(value: Any) -> Any:
    """What a String.Array may have; anything else as the JSON that it would be."""
    plain = _plain(value)
    return _json(plain) if isinstance(plain, list | dict) else plain


def _plain(value: Any) -> Any:
    """The value as JSON has it."""
    plain: Any = str(value)
    match value:
        case None | str() | bool() | int() | float():
            plain = value
        case bytes() | bytearray():
            plain = base64.b64encode(value).decode()
        case datetime():
            plain = iso_millis(value.astimezone(UTC))
        case Mapping():
            plain = {str(key): _plain(each) for key, each in value.items()}
        case list() | tuple():
            plain = [_plain(each) for each in value]
    return plain


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _text(body: bytes) -> tuple[str, bool]:
    try:
        return body.decode("utf-8"), False
    except UnicodeDecodeError:
        return base64.b64encode(body).decode(), True
