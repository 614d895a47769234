"""An environment's output: read in slices, so that who floods its log waits instead of the others."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from datetime import timedelta

import pytest

from fnrunner.sandbox import output
from fnrunner.sandbox.output import BoundedLog, Output

KB = 1024


@pytest.fixture
async def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[Output]:  # type: ignore[misc]
    """Its slice is 64 KB."""
    monkeypatch.setattr(output, "SLICE_BYTES", 64 * KB)
    made = Output(BoundedLog())
    os.set_blocking(made.write_fd, False)
    yield made
    made.end()


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def fill(pipe: Output) -> int:
    """Write until the pipe is full: how many bytes it took."""
    written = 0
    try:
        while True:
            written += os.write(pipe.write_fd, b"x" * 4 * KB)
    except BlockingIOError:
        return written


async def test_after_its_slice_a_flood_is_left_in_the_pipe_until_the_next_one(
    pipe: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "SLICE_INTERVAL", timedelta(hours=1))
    assert fill(pipe) >= 64 * KB
    await turns()
    assert fill(pipe) > 0, "it was read"
    await turns()
    assert fill(pipe) == 0, "the writer waits"
    pipe._next_slice()
    await turns()
    assert fill(pipe) > 0, "and goes on with the next slice"


async def test_the_next_slice_comes_by_itself(pipe: Output) -> None:
    fill(pipe)
    await turns()
    fill(pipe)
    async with asyncio.timeout(10):
        while not fill(pipe):
            await asyncio.sleep(0.001)


async def test_what_the_pipe_holds_when_the_invocation_ends_is_taken_all_the_same(pipe: Output) -> None:
    written = fill(pipe)
    await turns(3)
    written += fill(pipe)
    logs, dropped = pipe.take()
    assert (len(logs), dropped) == (written, 0)


async def test_a_pipe_can_end_while_it_waits_for_its_next_slice(pipe: Output) -> None:
    written = fill(pipe)
    await turns(3)
    pipe.end()
    await asyncio.sleep(2 * output.SLICE_INTERVAL.total_seconds())
    assert len(pipe.take()[0]) == written


async def test_what_is_left_out_of_a_flood_is_told_to_who_follows(pipe: Output) -> None:
    seen: list[bytes] = []
    pipe.follow(seen.append)
    pipe.write(b"y" * (output.KEPT_BYTES + 1000))
    pipe.take()
    [shown] = seen
    assert shown == b"y" * output.KEPT_BYTES + b"\n... 1000 bytes of output are left out here\n"


async def test_nothing_is_said_where_nothing_is_left_out(pipe: Output) -> None:
    seen: list[bytes] = []
    pipe.follow(seen.append)
    pipe.write(b"line\n")
    pipe.take()
    assert seen == [b"line\n"]
