"""Pieces of a streamed answer: in order, joined, and never more of them than allowed."""

from __future__ import annotations

import asyncio
import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fnrunner.sandbox import incoming
from fnrunner.sandbox.incoming import Chunk, ChunkRefused, Collected, Held


class Tap:
    def __init__(self) -> None:
        self.paused = False

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False


class Taker:
    """Takes a chunk each time it is let."""

    def __init__(self) -> None:
        self.taken: list[Chunk] = []
        self._let = asyncio.Semaphore(0)
        self.waiting = asyncio.Event()

    async def take(self, chunk: Chunk) -> None:
        self.taken.append(chunk)
        self.waiting.set()
        await self._let.acquire()

    def let(self, count: int = 1) -> None:
        for _ in range(count):
            self._let.release()


def test_the_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(incoming).failed == 0


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=30), st.integers(1, 64))
async def test_what_is_delivered_is_what_came_in_pieces_no_larger_than_allowed(parts: list[bytes], most: int) -> None:
    held = Held(Tap(), most)
    held.start("text/plain")
    taken: list[Chunk] = []

    async def take(chunk: Chunk) -> None:
        taken.append(chunk)

    delivery = asyncio.create_task(held.deliver(take))
    for index, part in enumerate(parts):
        held.put(part)
        if index % 3 == 0:
            await asyncio.sleep(0)
    held.end()
    await delivery
    assert b"".join(chunk.data for chunk in taken) == b"".join(parts)
    assert all(len(chunk.data) <= most for chunk in taken)
    assert [chunk.content_type for chunk in taken] == ["text/plain", *[""] * (len(taken) - 1)]
    assert all(chunk.data for chunk in taken[1:])


async def test_reading_stops_while_nobody_takes_and_goes_on_when_somebody_has() -> None:
    tap, taker = Tap(), Taker()
    held = Held(tap, 4)
    held.start("")
    delivery = asyncio.create_task(held.deliver(taker.take))
    held.put(b"ab")
    await taker.waiting.wait()
    held.put(b"cd")
    assert not tap.paused
    held.put(b"efghij")
    assert tap.paused
    taker.let()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert tap.paused, "as much as is allowed is still here"
    assert [chunk.data for chunk in taker.taken] == [b"ab", b"cdef"]
    taker.let(9)
    held.end()
    await delivery
    assert not tap.paused
    assert [chunk.data for chunk in taker.taken] == [b"ab", b"cdef", b"ghij"]


async def test_a_stream_without_content_is_one_empty_chunk_with_its_type() -> None:
    held, taker = Held(Tap()), Taker()
    taker.let(9)
    held.start("text/html")
    held.end()
    await held.deliver(taker.take)
    assert taker.taken == [Chunk(b"", "text/html")]


async def test_an_answer_that_is_no_stream_is_no_chunk() -> None:
    held, taker = Held(Tap()), Taker()
    held.end()
    await held.deliver(taker.take)
    assert taker.taken == []


async def test_after_a_refusal_what_comes_is_dropped_and_read_on() -> None:
    tap = Tap()
    held = Held(tap, 2)
    held.start("")
    held.put(b"abcd")

    async def refuse(_: Chunk) -> None:
        raise ChunkRefused("gone")

    with pytest.raises(ChunkRefused, match="gone"):
        await held.deliver(refuse)
    held.put(b"efgh")
    assert tap.paused
    held.drop()
    assert not tap.paused
    held.put(b"ijkl")
    assert not tap.paused


@pytest.mark.parametrize(("size", "whole"), [(10, True), (11, False)])
def test_a_collected_answer_is_whole_up_to_the_limit(size: int, whole: bool) -> None:
    collected = Collected(limit=10)
    collected.start("text/plain")
    for _ in range(size):
        collected.put(b"x")
    assert collected.whole == (b"x" * size if whole else None)
    assert collected.size == size
