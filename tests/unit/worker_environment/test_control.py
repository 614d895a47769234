"""The worker's end of the control socket, with the other end in the test's hands."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator

import pytest

from fnrunner.model import limits
from fnrunner.runtimes.frames import LARGEST, BadFrame, Kind, header
from fnrunner.sandbox.control import Control

Seen = list[tuple[Kind, int, bytes]]


class Ends:
    """Both ends, and what was handed over."""

    def __init__(self) -> None:
        self.seen: Seen = []
        self.lost: list[BadFrame | None] = []
        self.control = Control(lambda *frame: self.seen.append(frame), self.lost.append)
        self.theirs = socket.socket(fileno=os.dup(self.control.their_fd))
        self.control.hand_over()

    def send(self, kind: Kind, payload: bytes = b"", sequence: int = 1) -> None:
        self.theirs.sendall(header(kind, sequence, 0, len(payload)) + payload)

    def close(self) -> None:
        self.theirs.close()
        self.control.close()


@pytest.fixture
async def ends() -> Iterator[Ends]:  # type: ignore[misc]
    made = Ends()
    yield made
    made.close()


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_paused_control_hands_over_nothing_until_it_goes_on(ends: Ends) -> None:
    ends.control.pause()
    ends.send(Kind.STREAM_START, b"text/plain")
    ends.send(Kind.CHUNK, b"one")
    await turns()
    assert ends.seen == []
    ends.control.resume()
    await turns()
    assert ends.seen == [(Kind.STREAM_START, 1, b"text/plain"), (Kind.CHUNK, 1, b"one")]


async def test_frames_that_came_with_the_one_that_made_it_pause_wait_too_and_keep_their_order() -> None:
    ends = Ends()

    def pause_after_each(kind: Kind, sequence: int, payload: bytes) -> None:
        ends.seen.append((kind, sequence, payload))
        ends.control.pause()

    ends.control._on_frame = pause_after_each
    for text in (b"1", b"2", b"3"):
        ends.send(Kind.CHUNK, text)
    for expected in range(1, 4):
        await turns()
        assert len(ends.seen) == expected
        ends.control.resume()
    assert [payload for _, _, payload in ends.seen] == [b"1", b"2", b"3"]
    ends.close()


async def test_the_other_end_is_held_back_by_a_paused_control(ends: Ends) -> None:
    ends.control.pause()
    ends.theirs.setblocking(False)
    frame = header(Kind.CHUNK, 1, 0, limits.STREAMED_FRAME_BYTES) + bytes(limits.STREAMED_FRAME_BYTES)
    for _ in range(10_000):
        try:
            ends.theirs.send(frame)
        except BlockingIOError:
            break
        await asyncio.sleep(0)
    else:
        pytest.fail("the socket takes everything")
    assert ends.seen == []


async def test_what_a_dead_process_has_sent_is_read_to_the_end_although_paused(ends: Ends) -> None:
    ends.control.pause()
    for text in (b"1", b"2"):
        ends.send(Kind.CHUNK, text)
    ends.theirs.close()
    ends.control.read_rest()
    assert [payload for _, _, payload in ends.seen] == [b"1", b"2"]
    assert ends.lost == [None]


async def test_what_follows_an_unsent_rest_is_sent_after_it(ends: Ends) -> None:
    large = bytes(range(256)) * 8192
    ends.control.send(b"head", large)
    ends.control.send(b"next", b"!")
    got = bytearray()
    ends.theirs.setblocking(False)
    while not got.endswith(b"next!"):
        await asyncio.sleep(0)
        try:
            got += ends.theirs.recv(1 << 20)
        except BlockingIOError:
            continue
    assert got == b"head" + large + b"next!"


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        (Kind.INVOKE, 0),
        (Kind.CANCEL, 0),
        (Kind.CHUNK, LARGEST[Kind.CHUNK] + 1),
        (Kind.STREAM_START, LARGEST[Kind.STREAM_START] + 1),
        (Kind.STREAM_END, 1),
        (Kind.RESULT, limits.RESPONSE_PAYLOAD_BYTES + 1),
    ],
)
async def test_a_frame_that_a_bootstrap_never_sends_ends_it(ends: Ends, kind: Kind, size: int) -> None:
    ends.theirs.sendall(header(kind, 1, 0, size))
    await turns()
    assert [type(error) for error in ends.lost] == [BadFrame]
