"""The command line's reading of an event stream."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fnrunner.api import event_stream
from fnrunner.cli.error import ServerUnreachable
from fnrunner.cli.invoke_stream import Ending, events


@given(st.lists(st.binary(max_size=100)), st.integers(1, 60))
def test_chunks_and_the_ending_are_read_however_the_bytes_arrive(chunks: list[bytes], step: int) -> None:
    wire = b"".join(map(event_stream.payload_chunk, chunks)) + event_stream.invoke_complete("E", b"{}", b"log")
    pieces = (wire[start : start + step] for start in range(0, len(wire), step))
    assert list(events(pieces)) == [*chunks, Ending("E", "{}", "log")]


def test_an_ending_without_an_error_is_empty() -> None:
    assert list(events(iter([event_stream.invoke_complete()]))) == [Ending()]


def test_what_is_no_event_stream_is_refused() -> None:
    with pytest.raises(ServerUnreachable, match="is not an event stream"):
        list(events(iter([b"<html>" + bytes(100)])))
