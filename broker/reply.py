"""What a worker answers to a synchronous request: a versioned msgpack map, like the envelope.

A request that asks for a stream is answered by any number of CHUNK replies and then one of the other kinds, which is the
last and says how it ended: ANSWER with an empty payload, or ERROR with the error's JSON. A worker may also answer such a
request at once by a single ANSWER with the whole payload. Only whoever asks for a stream ever gets a CHUNK.

>>> decode(encode(Reply(payload=b"1", version="$LATEST"))).payload
b'1'
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import Enum
from typing import Any

import msgpack

from broker.errors import EnvelopeMalformed, EnvelopeTooNew

VERSION = 1


class ReplyKind(Enum):
    """ANSWER: the function answered; CHUNK: a piece of its answer, more follows; ERROR: the function failed;
    THROTTLED: no slot; FAULT: fnrunner failed.
    """

    ANSWER = "answer"
    CHUNK = "chunk"
    ERROR = "error"
    THROTTLED = "throttled"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Reply:
    """``payload`` is what the client sees. ``code`` is the throttle's reason or the error's or fault's type, ``message``
    its text. ``version`` is the version that ran; ``log_tail`` the last 4 KB of its log when that was asked for.
    ``content_type`` is what the function said of a streamed answer. Of the chunks only the first tells version and type.
    """

    payload: bytes = b""
    kind: ReplyKind = ReplyKind.ANSWER
    version: str = ""
    code: str = ""
    message: str = ""
    log_tail: bytes = b""
    content_type: str = ""


_TYPES: dict[str, type] = {
    "payload": bytes, "version": str, "code": str, "message": str, "log_tail": bytes, "content_type": str,
}  # fmt: skip
_DEFAULTS = {f.name: f.default for f in fields(Reply)}


def encode(reply: Reply) -> bytes:
    wire: dict[str, Any] = {"v": VERSION, "kind": reply.kind.value}
    for name in _TYPES:
        if (value := getattr(reply, name)) != _DEFAULTS[name]:
            wire[name] = value
    packed: bytes = msgpack.packb(wire, use_bin_type=True)
    return packed


def decode(body: bytes) -> Reply:
    """Raises EnvelopeMalformed and EnvelopeTooNew."""
    try:
        wire = msgpack.unpackb(body, raw=False)
    except (ValueError, msgpack.UnpackException, RecursionError, TypeError) as error:
        raise EnvelopeMalformed(f"not a reply: {error}") from error
    if not isinstance(wire, dict) or not isinstance(wire.get("v"), int):
        raise EnvelopeMalformed("not a reply: it has no version")
    if wire["v"] > VERSION:
        raise EnvelopeTooNew(f"reply version {wire['v']}; this release reads up to {VERSION}")
    known = {name: wire[name] for name in _TYPES if name in wire}
    if any(not isinstance(value, _TYPES[name]) for name, value in known.items()):
        raise EnvelopeMalformed("a field of the reply has the wrong type")
    try:
        return Reply(kind=ReplyKind(wire.get("kind")), **known)
    except ValueError as error:
        raise EnvelopeMalformed(str(error)) from error
