"""A dead letter on the wire: an envelope with headers that say why, and how any message becomes a row. Pure.

A message on a dead-letter queue is one of four: a letter that the pipeline wrote; an envelope that the broker itself
gave up (``x-death``); an envelope that no queue took any more (orphans); or bytes that are no envelope. Each becomes a
:class:`FiledLetter` that says so, so that nothing on these queues is ever dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from broker import names
from broker.envelope import SYNC_LIMIT_BYTES, Envelope, decode, encode, to_message
from broker.errors import EnvelopeError
from broker.message import Message
from fnrunner.delivery.text import storable

REASON = "x-fnrunner-reason"
ERROR_TYPE = "x-fnrunner-error-type"
ERROR_MESSAGE = "x-fnrunner-error-message"
DIGEST = "x-fnrunner-digest"
AT_MS = "x-fnrunner-at-ms"

UNDECODABLE = "Undecodable"
ORPHANED = "Orphaned"
DELIVERY_LIMIT = "DeliveryLimit"
_BROKER_REASONS = {"delivery_limit": DELIVERY_LIMIT, "rejected": "Rejected", "maxlen": "QueueFull", "expired": ORPHANED}
_WORDS = {
    DELIVERY_LIMIT: "The broker delivered it too often without an answer: its consumers kept dying or giving it back",
    "Rejected": "A consumer rejected it without saying why",
    "QueueFull": "The queue was full",
    ORPHANED: "No queue took it any more: its function was deleted while it was on its way",
}

ORIGINAL_PAYLOAD = "original_payload"
"""Key of ``Envelope.extra`` in a row whose payload was edited; it is left out when the letter is redriven."""

DESTINATION_ERRORS = "destination_errors"
"""Key of ``Envelope.extra``: which destinations could not be told, as a list of texts."""

NO_FUNCTION = "$orphans"
"""The function under which letters are filed that name none. No function can have this name."""

MAX_ERROR_CHARS = 1024


@dataclass(frozen=True, slots=True)
class FiledLetter:
    """A row of ``dead_letter`` before it has an id and a state. ``envelope`` is an encoded envelope; or the bare bytes
    of a foreign message that is too large for one."""

    event_id: str
    redrives: int
    function: str
    reason: str
    error_type: str
    error_message: str
    at_ms: int
    envelope: bytes
    digest: str = ""
    traceparent: str = ""


def dead_message(
    envelope: Envelope, reason: str, error_type: str, error_message: str, digest: str = "", *, at_ms: int | None = None
) -> Message:
    """The message that goes to :data:`broker.names.DEAD` with the function's name as routing key.

    ``reason`` is a :class:`fnrunner.delivery.retry.Reason` value. ``at_ms`` is when it was given up.
    """
    headers: dict[str, Any] = {
        REASON: reason,
        ERROR_TYPE: storable(error_type, 255),
        ERROR_MESSAGE: storable(error_message, MAX_ERROR_CHARS),
        DIGEST: digest,
    }
    if at_ms is not None:
        headers[AT_MS] = at_ms
    return to_message(envelope, headers=headers)


def read_dead_message(message: Message, queue: str, now_ms: int, routing_key: str = "") -> FiledLetter:
    """What a message found on ``queue`` is filed as. Never raises: what cannot be read is filed as it is."""
    try:
        envelope = decode(message.body)
    except EnvelopeError as error:
        return _foreign(message, _function(queue, routing_key, message.headers), now_ms, str(error))
    if not _fits(envelope):
        why = "its id, function or count of redrives is not one that fnrunner gives"
        return _foreign(message, _function(queue, routing_key, message.headers), now_ms, why)
    reason, error_type, words = _why(message.headers, envelope)
    return FiledLetter(
        event_id=storable(envelope.id, 64),
        redrives=envelope.redrives,
        function=storable(envelope.function, 64),
        reason=reason,
        error_type=error_type,
        error_message=words,
        at_ms=_number(message.headers.get(AT_MS), now_ms),
        envelope=message.body,
        digest=_text(message.headers.get(DIGEST), 64),
        traceparent=_text(envelope.trace.get("traceparent"), 64),
    )


def foreign_id(body: bytes, queue: str) -> str:
    """The id of a message without a usable one: the same bytes on the same queue always get the same.

    >>> foreign_id(b"x", "q") == foreign_id(b"x", "q") != foreign_id(b"y", "q")
    True
    """
    return str(uuid5(NAMESPACE_OID, f"{queue}/{sha256(body).hexdigest()}"))


def opened(event_id: str, function: str, stored: bytes, at_ms: int) -> Envelope:
    """The envelope in a row; bare bytes are wrapped. Inverse of what is filed."""
    try:
        return decode(stored)
    except EnvelopeError:
        return Envelope(id=event_id, function=function, payload=stored, accepted_at_ms=at_ms, source="foreign")


def original_payload(envelope: Envelope) -> bytes:
    """The payload before anybody edited it."""
    original = envelope.extra.get(ORIGINAL_PAYLOAD)
    return original if isinstance(original, bytes) else envelope.payload


def renamed(letter: FiledLetter, event_id: str) -> FiledLetter:
    """The same foreign message under another id, for when its own belongs to somebody else."""
    envelope = opened(letter.event_id, letter.function, letter.envelope, letter.at_ms)
    return replace(letter, event_id=event_id, envelope=_wrapped(replace(envelope, id=event_id)))


def _fits(envelope: Envelope) -> bool:
    return 0 < len(envelope.id) <= 64 and 0 < len(envelope.function) <= 64 and 0 <= envelope.redrives < 2**31


def _foreign(message: Message, function: str, now_ms: int, why: str) -> FiledLetter:
    usable = message.message_id and len(message.message_id) <= 64 and message.message_id.isprintable()
    event_id = message.message_id if usable and message.message_id else foreign_id(message.body, function)
    at_ms = _number(message.headers.get(AT_MS), now_ms)
    trace = {k: v for k in ("traceparent", "tracestate") if isinstance(v := message.headers.get(k), str)}
    envelope = Envelope(
        id=event_id, function=function, payload=message.body, accepted_at_ms=at_ms, source="foreign", trace=trace
    )
    return FiledLetter(
        event_id=event_id,
        redrives=0,
        function=function,
        reason=UNDECODABLE,
        error_type=_text(message.headers.get(ERROR_TYPE), 255) or "Envelope",
        error_message=storable(why, MAX_ERROR_CHARS),
        at_ms=at_ms,
        envelope=_wrapped(envelope),
        traceparent=_text(trace.get("traceparent"), 64),
    )


def _wrapped(envelope: Envelope) -> bytes:
    return encode(envelope) if len(envelope.payload) <= SYNC_LIMIT_BYTES else envelope.payload


def _why(headers: Mapping[str, Any], envelope: Envelope) -> tuple[str, str, str]:
    if reason := _text(headers.get(REASON), 64):
        return reason, _text(headers.get(ERROR_TYPE), 255), _text(headers.get(ERROR_MESSAGE), MAX_ERROR_CHARS)
    deaths = _deaths(headers)
    cause = _BROKER_REASONS.get(_text(deaths[0].get("reason"), 64), ORPHANED) if deaths else ORPHANED
    last = f"; its last error was {envelope.attempts[-1].error_message}" if envelope.attempts else ""
    return cause, f"Broker.{cause}", storable(_WORDS[cause] + last, MAX_ERROR_CHARS)


def _function(queue: str, routing_key: str, headers: Mapping[str, Any]) -> str:
    """Whose it was, from the queue it lies in, the key it came with, or the queue it died in."""
    deaths = [_text(death.get("queue"), 255) for death in _deaths(headers)]
    for name in (queue, routing_key, *deaths):
        if (function := names.function_of(name)) and len(function) <= 64:
            return storable(function, 64)
    return NO_FUNCTION


def _deaths(headers: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """RabbitMQ's ``x-death``, newest first; empty when it is absent or not what RabbitMQ writes."""
    deaths = headers.get("x-death")
    return [death for death in deaths if isinstance(death, Mapping)] if isinstance(deaths, list | tuple) else []


def _text(value: object, limit: int) -> str:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return storable(value, limit) if isinstance(value, str) else ""


def _number(value: object, default: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else default
