"""The frames of ``application/vnd.amazon.eventstream`` that an answer is made of. Pure.

========================= =========================================
bytes, big-endian         meaning
========================= =========================================
4                         length of the whole frame
4                         length of the headers
4                         CRC-32 of these first eight bytes
…                         headers: name length (1), name, type 7 (1), value length (2), value
…                         payload
4                         CRC-32 of everything before
========================= =========================================

Source: Smithy, Amazon event stream specification.

>>> len(encode("InvokeComplete", "application/json", b"{}"))
102
"""

from __future__ import annotations

import base64
import json
import struct
from functools import cache
from zlib import crc32

CONTENT_TYPE = b"application/vnd.amazon.eventstream"

_LENGTHS = struct.Struct(">II")
_CRC = struct.Struct(">I")
_STRING = 7
_OVERHEAD = _LENGTHS.size + 2 * _CRC.size


def encode(event_type: str, content_type: str, payload: bytes) -> bytes:
    """One event as a frame."""
    headers = _headers(event_type, content_type)
    lengths = _LENGTHS.pack(_OVERHEAD + len(headers) + len(payload), len(headers))
    before = lengths + _CRC.pack(crc32(lengths)) + headers
    return b"".join((before, payload, _CRC.pack(crc32(payload, crc32(before)))))


def payload_chunk(data: bytes) -> bytes:
    """A piece of the answer."""
    return encode("PayloadChunk", "application/octet-stream", data)


def invoke_complete(error_code: str = "", error_details: bytes = b"", log_tail: bytes | None = None) -> bytes:
    """The end of the answer. What is empty is left out; the log, where it was asked for, is in base64."""
    told = {}
    if error_code:
        told["ErrorCode"] = error_code
        told["ErrorDetails"] = error_details.decode("utf-8", "replace")
    if log_tail is not None:
        told["LogResult"] = base64.b64encode(log_tail).decode()
    return encode("InvokeComplete", "application/json", json.dumps(told, separators=(",", ":")).encode())


@cache
def _headers(event_type: str, content_type: str) -> bytes:
    """The headers as Lambda has them; there are two kinds of events."""
    pairs = ((":message-type", "event"), (":event-type", event_type), (":content-type", content_type))
    return b"".join(_header(name.encode(), value.encode()) for name, value in pairs)


def _header(name: bytes, value: bytes) -> bytes:
    return bytes((len(name),)) + name + struct.pack(">BH", _STRING, len(value)) + value
