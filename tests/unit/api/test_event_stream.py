"""Event stream frames, read back by botocore's decoder."""

from __future__ import annotations

import base64
import json

import pytest
from botocore.eventstream import ChecksumMismatch, EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from fnrunner.api import event_stream


def decoded(data: bytes) -> list[tuple[dict[str, str], bytes]]:
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    return [(message.headers, message.payload) for message in buffer]


@given(st.lists(st.binary(max_size=300)), st.integers(1, 50))
def test_chunks_are_decoded_to_what_was_encoded_however_they_are_cut(chunks: list[bytes], step: int) -> None:
    wire = b"".join(map(event_stream.payload_chunk, chunks))
    buffer, got = EventStreamBuffer(), []
    for start in range(0, len(wire), step):
        buffer.add_data(wire[start : start + step])
        got += [message.payload for message in buffer]
    assert got == chunks


def test_a_chunk_has_the_headers_that_lambda_gives_it() -> None:
    assert decoded(event_stream.payload_chunk(b"x")) == [
        (
            {
                ":message-type": "event",
                ":event-type": "PayloadChunk",
                ":content-type": "application/octet-stream",
            },
            b"x",
        )
    ]


def test_the_end_without_an_error_or_a_log_is_an_empty_document() -> None:
    ((headers, payload),) = decoded(event_stream.invoke_complete())
    assert headers == {
        ":message-type": "event", ":event-type": "InvokeComplete", ":content-type": "application/json",
    }  # fmt: skip
    assert json.loads(payload) == {}


def test_the_end_tells_the_error_and_the_log() -> None:
    ((_, payload),) = decoded(event_stream.invoke_complete("Unhandled", b'{"errorType":"E"}', b"START\n"))
    assert json.loads(payload) == {
        "ErrorCode": "Unhandled",
        "ErrorDetails": '{"errorType":"E"}',
        "LogResult": base64.b64encode(b"START\n").decode(),
    }


@given(st.integers(0, 200))
def test_a_damaged_frame_is_noticed(position: int) -> None:
    wire = bytearray(event_stream.payload_chunk(bytes(150)))
    at = 12 + position % (len(wire) - 12)
    wire[at] ^= 1
    with pytest.raises(ChecksumMismatch):
        decoded(bytes(wire))
