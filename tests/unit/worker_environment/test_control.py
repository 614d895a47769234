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


async def arrived(ends: Ends, count: int) -> None:
    async with asyncio.timeout(20):
        while len(ends.seen) < count:
            await asyncio.sleep(0)


async def test_megabytes_arrive_whole_and_what_follows_them_too(ends: Ends) -> None:
    ends.theirs.setblocking(False)
    payload = os.urandom(3 << 20)
    parts = ((1, payload), (2, b"next"), (3, payload))
    data = b"".join(header(Kind.RESULT, number, 0, len(part)) + part for number, part in parts)
    sending = asyncio.create_task(asyncio.get_running_loop().sock_sendall(ends.theirs, data))
    await arrived(ends, 3)
    await sending
    assert ends.seen == [(Kind.RESULT, number, part) for number, part in parts]
    assert ends.lost == []


async def test_a_large_frame_can_be_paused_in_its_middle(ends: Ends) -> None:
    ends.theirs.setblocking(False)
    payload = os.urandom(1 << 20)
    data = header(Kind.RESULT, 1, 0, len(payload)) + payload
    sending = asyncio.create_task(asyncio.get_running_loop().sock_sendall(ends.theirs, data))
    await turns(3)
    ends.control.pause()
    await turns(20)
    assert ends.seen == []
    ends.control.resume()
    await arrived(ends, 1)
    await sending
    assert ends.seen == [(Kind.RESULT, 1, payload)]


async def test_a_process_that_ends_in_the_middle_of_a_large_frame_is_lost(ends: Ends) -> None:
    ends.theirs.sendall(header(Kind.RESULT, 1, 0, 1 << 20) + b"x" * 100_000)
    await turns(3)
    ends.theirs.shutdown(socket.SHUT_RDWR)
    await turns()
    assert (ends.seen, ends.lost) == ([], [None])
