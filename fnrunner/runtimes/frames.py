"""The frames between a worker and a bootstrap: 13 bytes of header, then fields, then the payload.

========== ===== =======================================================
offset     bytes meaning (big-endian)
========== ===== =======================================================
0          1     kind, a :class:`Kind`
1          4     sequence: the invocation it belongs to, 0 for none
5          4     size of the fields
9          4     size of the payload
========== ===== =======================================================

The fields of an INVOKE are texts joined by NUL, the client context last because it is the only free text. Only an INVOKE
has fields. An invocation is answered by one RESULT, ERROR or TOO_LARGE, or by a stream: STREAM_START, any number of CHUNK,
and one STREAM_END or STREAM_ERROR. A FAULT ends either. A RESTED may follow.

>>> split_header(header(Kind.RESULT, 7, 0, 2))
(<Kind.RESULT: 4>, 7, 0, 2)
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType
from typing import Final

from fnrunner.model import limits
from fnrunner.model.invocation import Invocation

HEADER: Final = struct.Struct(">BIII")


class Kind(IntEnum):
    """INVOKE and CANCEL go to the bootstrap, the others come from it.

    HELLO: the bootstrap runs; the payload is the interpreter's version. READY: the handler is loaded. INIT_ERROR: it is
    not; error JSON. RESULT: the answer. ERROR: the handler's error JSON. TOO_LARGE: the answer's size in decimal.
    STREAM_START: the answer comes in pieces; its content type. CHUNK: a piece, never empty and at most 64 KiB.
    STREAM_END: that was all of it. STREAM_ERROR: the handler failed in mid-stream; error JSON. CANCEL: nobody wants the
    rest: end the stream soon. It may arrive when the invocation has ended, and means nothing then. NOT_STARTED: the
    environment ends, and the function has not seen this invocation. RESTED: after the answer, runtime and extensions wait
    for the next invocation; FAULT: the platform's own error JSON instead of an answer, or of the rest of one, and the
    environment ends. Both from the Runtime API alone.
    """

    HELLO = 1
    READY = 2
    INIT_ERROR = 3
    RESULT = 4
    ERROR = 5
    TOO_LARGE = 6
    INVOKE = 7
    STREAM_START = 8
    CHUNK = 9
    STREAM_END = 10
    STREAM_ERROR = 11
    CANCEL = 12
    NOT_STARTED = 13
    RESTED = 14
    FAULT = 15


TO_BOOTSTRAP: Final = frozenset((Kind.INVOKE, Kind.CANCEL))

LARGEST: Final[Mapping[Kind, int]] = MappingProxyType(
    {
        **dict.fromkeys(Kind, limits.RESPONSE_PAYLOAD_BYTES),
        **dict.fromkeys(TO_BOOTSTRAP, -1),
        Kind.STREAM_START: limits.CONTENT_TYPE_CHARS,
        Kind.CHUNK: limits.STREAMED_FRAME_BYTES,
        Kind.STREAM_END: 0,
        Kind.NOT_STARTED: 0,
        Kind.RESTED: 0,
    }
)
"""The largest payload that a bootstrap may send with each kind, in bytes."""


class BadFrame(ValueError):
    """What came over the control socket is not a frame. The function wrote to a file descriptor that is not its own."""


def header(kind: Kind, sequence: int, fields_bytes: int, payload_bytes: int) -> bytes:
    return HEADER.pack(kind, sequence, fields_bytes, payload_bytes)


def split_header(data: bytes | bytearray | memoryview) -> tuple[Kind, int, int, int]:
    """Kind, sequence, size of the fields, size of the payload.

    Raises: BadFrame for an unknown kind.
    """
    kind, sequence, fields_bytes, payload_bytes = HEADER.unpack_from(data)
    try:
        return Kind(kind), sequence, fields_bytes, payload_bytes
    except ValueError as error:
        raise BadFrame(f"kind {kind} is unknown") from error


def invoke_head(invocation: Invocation, sequence: int) -> bytes:
    """Header and fields of an INVOKE; the payload follows as it is, uncopied."""
    fields = "\0".join(
        (
            invocation.request_id,
            str(invocation.deadline_ms),
            invocation.invoked_arn,
            invocation.xray,
            invocation.traceparent,
            invocation.tracestate,
            invocation.client_context,
        )
    ).encode("utf-8", "surrogateescape")
    return HEADER.pack(Kind.INVOKE, sequence, len(fields), len(invocation.payload)) + fields
