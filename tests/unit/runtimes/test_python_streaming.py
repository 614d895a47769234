"""The stream that a handler writes to, over a socket whose other end is the test's; and the library beside it."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import select
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from fnrunner.model import limits
from fnrunner.runtimes import python
from fnrunner.runtimes.frames import HEADER, Kind, header, split_header

HERE = Path(python.__file__).parent
Frame = tuple[Kind, bytes]


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem + "_under_test", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


BOOTSTRAP = load(HERE / "python_bootstrap.py")
STREAMING = load(HERE / "python_streaming.py")
AWSLAMBDA = load(HERE / "python_library" / "awslambda.py")


class Wire:
    """A stream of invocation 7, and what came of it at the other end."""

    def __init__(self) -> None:
        self.ours, theirs = socket.socketpair()
        self.ours.settimeout(10)
        self.control = BOOTSTRAP.Control(theirs.detach())
        self.stream = STREAMING.ResponseStream(self.control, 7)
        os.set_blocking(self.control.fd, False)  # as ``run`` does, for writes that are made without it
        self._data = bytearray()

    def frames(self) -> list[Frame]:
        """Every whole frame that has arrived since the last time."""
        data = self._data
        self.ours.setblocking(False)
        try:
            while piece := self.ours.recv(1 << 20):
                data += piece
        except BlockingIOError:
            pass
        finally:
            self.ours.settimeout(10)
        found = []
        while len(data) >= HEADER.size:
            kind, sequence, fields, size = split_header(data)
            assert (sequence, fields) == (7, 0)
            if len(data) < HEADER.size + size:
                break
            found.append((kind, bytes(data[HEADER.size : HEADER.size + size])))
            del data[: HEADER.size + size]
        return found

    def cancel(self, sequence: int = 7) -> None:
        self.ours.sendall(header(Kind.CANCEL, sequence, 0, 0))

    def close(self) -> None:
        assert not self._data, "half a frame is no protocol"
        self.ours.close()
        os.close(self.control.fd)


@pytest.fixture
def wire() -> Iterator[Wire]:
    made = Wire()
    yield made
    made.close()


def test_the_numbers_are_those_of_the_frames() -> None:
    assert (STREAMING.STREAM_START, STREAMING.CHUNK) == (Kind.STREAM_START, Kind.CHUNK)
    assert HEADER.size == STREAMING.HEADER_SIZE
    assert STREAMING.FRAME_BYTES == limits.STREAMED_FRAME_BYTES
    assert STREAMING.CONTENT_TYPE_CHARS == limits.CONTENT_TYPE_CHARS


def test_a_generator_is_sent_piece_by_piece(wire: Wire) -> None:
    wire.stream.run(iter(["é", b"", b"b", bytearray(b"c"), memoryview(b"d")]))
    assert wire.frames() == [
        (Kind.STREAM_START, b"application/octet-stream"),
        (Kind.CHUNK, "é".encode()),
        (Kind.CHUNK, b"b"),
        (Kind.CHUNK, b"c"),
        (Kind.CHUNK, b"d"),
    ]


def test_a_stream_without_content_has_a_start_all_the_same(wire: Wire) -> None:
    wire.stream.run(iter([]))
    assert wire.frames() == [(Kind.STREAM_START, b"application/octet-stream")]


def test_a_large_piece_is_split(wire: Wire) -> None:
    whole = os.urandom(2 * limits.STREAMED_FRAME_BYTES + 5)
    got: list[Frame] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            got.extend(wire.frames())

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    wire.stream.run(iter([whole]))
    done.set()
    reader.join()
    got += wire.frames()
    chunks = [payload for kind, payload in got if kind is Kind.CHUNK]
    assert [len(chunk) for chunk in chunks] == [limits.STREAMED_FRAME_BYTES] * 2 + [5]
    assert b"".join(chunks) == whole


def test_an_asynchronous_generator_is_one_task_to_its_end(wire: Wire) -> None:
    tasks = set()

    async def pieces() -> AsyncIterator[str]:
        for number in range(3):
            await asyncio.sleep(0)
            tasks.add(asyncio.current_task())
            yield str(number)

    wire.stream.run(pieces())
    assert [payload for kind, payload in wire.frames() if kind is Kind.CHUNK] == [b"0", b"1", b"2"]
    assert len(tasks) == 1


def test_a_handler_writes_and_may_say_the_type_first(wire: Wire) -> None:
    def handler(event: object, stream: Any, context: object) -> str:
        assert (event, context) == ("event", "context")
        stream.set_content_type("text/plain")
        assert stream.write("abc") == 3
        stream.end(b"d")
        stream.end()
        return "passed over"

    wire.stream.run_handler(handler, "event", "context")
    assert wire.frames() == [(Kind.STREAM_START, b"text/plain"), (Kind.CHUNK, b"abc"), (Kind.CHUNK, b"d")]


def test_a_handler_may_be_a_coroutine(wire: Wire) -> None:
    async def handler(event: object, stream: Any, context: object) -> None:
        await asyncio.sleep(0)
        stream.write("x")

    wire.stream.run_handler(handler, None, None)
    assert wire.frames()[-1] == (Kind.CHUNK, b"x")


def test_a_write_after_the_end_is_refused(wire: Wire) -> None:
    wire.stream.end()
    with pytest.raises(ValueError, match="write after end"):
        wire.stream.write("x")
    with pytest.raises(ValueError, match="write after end"):
        wire.stream.end("x")


def test_a_thread_that_is_left_behind_writes_nothing_any_more(wire: Wire) -> None:
    kept: list[Any] = []
    wire.stream.run_handler(lambda event, stream, context: kept.append(stream), None, None)
    with pytest.raises(ValueError, match="write after end"):
        kept[0].write("x")


@pytest.mark.parametrize("value", [1, None, ["x"], {"a": 1}])
def test_what_is_neither_bytes_nor_text_is_refused(wire: Wire, value: object) -> None:
    with pytest.raises(TypeError, match=f"takes bytes or str, not {type(value).__name__}"):
        wire.stream.write(value)
    assert not wire.stream.started


@pytest.mark.parametrize("content_type", ["", "x" * 257, "a\r\nb: c", "é"])
def test_a_content_type_that_is_no_header_is_refused(wire: Wire, content_type: str) -> None:
    with pytest.raises(ValueError, match="printable ASCII"):
        wire.stream.set_content_type(content_type)


def test_the_content_type_comes_before_the_first_write(wire: Wire) -> None:
    wire.stream.write("x")
    with pytest.raises(ValueError, match="before the first write"):
        wire.stream.set_content_type("text/plain")


def test_a_wrapped_handler_must_not_yield(wire: Wire) -> None:
    with pytest.raises(TypeError, match="must not yield"):
        wire.stream.run_handler(lambda *_: iter(["x"]), None, None)


def test_a_generator_is_closed_where_it_stands_when_the_client_goes(wire: Wire) -> None:
    seen: list[object] = []

    def pieces() -> Iterator[str]:
        try:
            yield "one"
            wire.cancel()
            yield "two"
            seen.append("went on")
        except GeneratorExit:
            seen.append("closed")
            raise

    with pytest.raises(BrokenPipeError, match="client has disconnected"):
        wire.stream.run(pieces())
    assert seen == ["closed"]
    assert wire.stream.gone
    assert [payload for kind, payload in wire.frames() if kind is Kind.CHUNK] == [b"one"]


def test_a_write_that_waits_for_room_ends_when_the_client_goes_and_leaves_a_whole_frame(wire: Wire) -> None:
    raised: list[BaseException] = []

    def write() -> None:
        try:
            wire.stream.run(iter([bytes(limits.STREAMED_FRAME_BYTES)] * 100))
        except BrokenPipeError as error:
            raised.append(error)

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    assert select.select([wire.ours], [], [], 10)[0], "something is written before it is cancelled"
    wire.cancel()
    got: list[Frame] = []
    while writer.is_alive():
        got += wire.frames()
    writer.join()
    got += wire.frames()
    assert len(raised) == 1
    assert len(got) < 100
    assert all(len(payload) == limits.STREAMED_FRAME_BYTES for kind, payload in got if kind is Kind.CHUNK)


def test_the_end_of_another_invocation_means_nothing(wire: Wire) -> None:
    wire.cancel(sequence=6)
    wire.stream.run(iter(["x"]))
    assert not wire.stream.gone


def test_a_cancel_that_comes_too_late_is_passed_over_by_the_next_invocation(wire: Wire) -> None:
    os.set_blocking(wire.control.fd, True)
    wire.cancel()
    wire.ours.sendall(header(Kind.INVOKE, 8, 2, 3) + b"abxyz")
    wire.ours.sendall(header(Kind.CANCEL, 8, 0, 0))
    sequence, fields, payload = wire.control.receive()
    assert (sequence, fields, bytes(payload)) == (8, "ab", b"xyz")
    stream = STREAMING.ResponseStream(wire.control, 8)
    with pytest.raises(BrokenPipeError):
        stream.run(iter(["x"]))


def test_a_prelude_is_yielded_first(wire: Wire) -> None:
    wire.stream.run(iter([AWSLAMBDA.http_prelude({"statusCode": 201}), "body"]))
    assert wire.frames() == [
        (Kind.STREAM_START, b"application/vnd.awslambda.http-integration-response"),
        (Kind.CHUNK, b'{"statusCode": 201}' + bytes(8)),
        (Kind.CHUNK, b"body"),
    ]


def test_a_prelude_after_the_body_is_refused(wire: Wire) -> None:
    with pytest.raises(ValueError, match="before the first write"):
        wire.stream.run(iter(["body", AWSLAMBDA.http_prelude({})]))


def test_a_prelude_waits_for_the_first_write_so_that_an_error_before_it_has_a_status_of_its_own(wire: Wire) -> None:
    metadata = {"statusCode": 404, "headers": {"x": "y\0"}, "cookies": ["a=b"]}
    stream = AWSLAMBDA.HttpResponseStream.from_(wire.stream, metadata)
    assert wire.frames() == []
    stream.write("x")
    start, prelude, body = wire.frames()
    assert start == (Kind.STREAM_START, b"application/vnd.awslambda.http-integration-response")
    assert json.loads(prelude[1].removesuffix(bytes(8))) == metadata
    assert body == (Kind.CHUNK, b"x")


@pytest.mark.parametrize("metadata", ["text", {"headers": object()}])
def test_metadata_that_is_none_is_refused(metadata: Any) -> None:
    with pytest.raises(TypeError):
        AWSLAMBDA.http_prelude(metadata)


def test_a_wrapped_handler_keeps_its_name_and_is_marked() -> None:
    @AWSLAMBDA.streamify_response
    def handler(event: object, stream: object, context: object) -> str:
        """Mine."""
        return f"{event}{stream}{context}"

    assert (handler.__name__, handler.__doc__, handler.streams_response) == ("handler", "Mine.", True)
    assert handler(1, 2, 3) == "123"
