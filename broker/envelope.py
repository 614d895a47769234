"""One event on its way through fnrunner: a versioned msgpack map round a payload of opaque bytes.

The layout is additive: a reader ignores no key it does not know but carries it along (``extra``), so that two releases
can run side by side. Version 1 changes only in additions; a higher version is refused as
:class:`~broker.errors.EnvelopeTooNew`.

>>> e = Envelope(id="1", function="f", payload=b'{"a": 1}', accepted_at_ms=0)
>>> decode(encode(e)) == e
True
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import msgpack

from broker.errors import EnvelopeMalformed, EnvelopeTooNew, MessageTooLarge
from broker.message import Headers, Message

VERSION = 1
CONTENT_TYPE = "application/vnd.fnrunner.envelope+msgpack"
SYNC_LIMIT_BYTES = 6 * 1024 * 1024
MAX_ATTEMPTS_KEPT = 20
MAX_ERROR_CHARS = 1024
MAX_TYPE_CHARS = 255

TRACE_HEADERS = ("traceparent", "tracestate")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt that failed: when it ended (epoch milliseconds), how, where, and under which span it ran."""

    number: int
    at_ms: int
    error_type: str
    error_message: str
    worker: str = ""
    duration_ms: float = 0.0
    traceparent: str = ""
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Envelope:
    """``id`` is the request id, the same for every attempt. ``attempt`` counts attempts charged so far; ``throttles``
    counts throttles and system errors, which charge nothing. ``suspect``: it was in flight when a worker died.
    ``redrives`` counts redrives from the dead letters. ``invoked_arn`` is the ARN the caller named. ``source``
    says where it came from (``api``, ``s3:BUCKET``), ``trigger`` is OpenTelemetry's ``faas.trigger``.
    ``client_context`` is the decoded JSON text. ``trace`` holds the W3C headers, ``xray`` Lambda's own.
    ``streamed``: whoever asked takes the answer in pieces as they come (see :mod:`broker.reply`); a worker that does not
    know this field answers whole, which is an answer too.
    """

    id: str
    function: str
    payload: bytes
    accepted_at_ms: int
    qualifier: str = ""
    invoked_arn: str = ""
    attempt: int = 0
    throttles: int = 0
    redrives: int = 0
    suspect: bool = False
    source: str = "api"
    trigger: str = "other"
    client_context: str = ""
    log_tail: bool = False
    streamed: bool = False
    xray: str = ""
    trace: Mapping[str, str] = field(default_factory=dict)
    attempts: tuple[Attempt, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)


_FIELDS = {f.name: f for f in fields(Envelope) if f.name not in ("attempts", "extra")}
_ATTEMPT_FIELDS = tuple(f.name for f in fields(Attempt))
_TYPES: dict[str, type | tuple[type, ...]] = {
    "id": str, "function": str, "payload": bytes, "accepted_at_ms": int, "qualifier": str, "invoked_arn": str,
    "attempt": int, "throttles": int, "redrives": int, "suspect": bool, "source": str, "trigger": str,
    "client_context": str, "log_tail": bool, "streamed": bool, "xray": str, "trace": dict,
}  # fmt: skip


def encode(envelope: Envelope) -> bytes:
    """Values that equal their default are left out. Raises MessageTooLarge over 6 MB of payload."""
    if len(envelope.payload) > SYNC_LIMIT_BYTES:
        raise MessageTooLarge(f"the payload has {len(envelope.payload)} bytes; the limit is {SYNC_LIMIT_BYTES}")
    wire: dict[str, Any] = {"v": VERSION, **envelope.extra}
    for name, spec in _FIELDS.items():
        value = getattr(envelope, name)
        if name == "trace":
            if value:
                wire[name] = dict(value)
        elif value != spec.default:
            wire[name] = value
    if envelope.attempts:
        wire["attempts"] = [[getattr(a, n) for n in _ATTEMPT_FIELDS] for a in envelope.attempts]
    return msgpack.packb(wire, use_bin_type=True)  # type: ignore[no-any-return]


def decode(body: bytes) -> Envelope:
    """Raises EnvelopeMalformed (not ours, or damaged) and EnvelopeTooNew."""
    try:
        wire = msgpack.unpackb(body, raw=False, strict_map_key=True)
    except (ValueError, msgpack.UnpackException, RecursionError, TypeError) as error:
        raise EnvelopeMalformed(f"not a msgpack map: {error}") from error
    if not isinstance(wire, dict) or not isinstance(version := wire.pop("v", None), int):
        raise EnvelopeMalformed("not an envelope: it has no version")
    if version > VERSION:
        raise EnvelopeTooNew(f"envelope version {version}; this release reads up to {VERSION}")
    attempts = wire.pop("attempts", ())
    # a newer release's keys are carried along; usually there are none
    extra = {} if wire.keys() <= _TYPES.keys() else {name: wire.pop(name) for name in wire.keys() - _TYPES.keys()}
    for name, value in wire.items():
        if not isinstance(value, _TYPES[name]):
            raise EnvelopeMalformed(f"{name} has the type {type(value).__name__}")
    try:
        return Envelope(**wire, attempts=tuple(Attempt(*row) for row in attempts), extra=extra)
    except TypeError as error:
        raise EnvelopeMalformed(f"fields are missing or of the wrong shape: {error}") from error


def failed(envelope: Envelope, attempt: Attempt) -> Envelope:
    """The envelope after one more charged attempt, which can be encoded whatever its texts are; the error's type is cut
    to 255 characters and its message to 1024, the newest attempts are kept.
    """
    cut = replace(
        attempt,
        error_type=_encodable(attempt.error_type[:MAX_TYPE_CHARS]),
        error_message=_encodable(attempt.error_message[:MAX_ERROR_CHARS]),
        worker=_encodable(attempt.worker),
        traceparent=_encodable(attempt.traceparent),
        digest=_encodable(attempt.digest),
    )
    return replace(envelope, attempt=envelope.attempt + 1, attempts=(*envelope.attempts, cut)[-MAX_ATTEMPTS_KEPT:])


def _encodable(text: str) -> str:
    """Without lone surrogates, which a function may well raise and UTF-8 does not have."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def to_message(envelope: Envelope, *, persistent: bool = True, headers: Headers | None = None) -> Message:
    """The message that carries it; trace context is repeated in the headers, where other tools look for it."""
    return Message(
        encode(envelope),
        message_id=envelope.id,
        headers={**{k: envelope.trace[k] for k in TRACE_HEADERS if k in envelope.trace}, **(headers or {})},
        content_type=CONTENT_TYPE,
        persistent=persistent,
        type="event",
    )
