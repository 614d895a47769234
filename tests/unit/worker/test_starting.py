"""The line of those who may not start an environment yet."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from fnrunner.concurrency.scaling import Starts
from fnrunner.worker.starting import StartLine

LONG = timedelta(seconds=30)


async def test_an_environment_that_is_free_again_goes_to_whoever_waits_longest() -> None:
    line = StartLine(Starts(1), lambda: 0.0)
    assert line.take("f")
    assert not line.take("f")
    first = asyncio.create_task(line.wait("f", LONG))
    second = asyncio.create_task(line.wait("f", LONG))
    await asyncio.sleep(0)
    line.freed("f")
    assert await first
    assert not second.done()
    line.freed("other")
    line.freed("f")
    assert await second


async def test_who_waits_too_long_is_told_so_and_leaves_nothing_behind() -> None:
    line = StartLine(Starts(1), lambda: 0.0)
    assert line.take("f")
    assert not await line.wait("f", timedelta(milliseconds=5))
    assert not await line.wait("f", timedelta(0))
    assert (line._lines, line._timers) == ({}, {})


async def test_a_token_that_is_back_lets_as_many_go_as_there_are_tokens() -> None:
    now = [0.0]
    line = StartLine(Starts(2), lambda: now[0])
    assert [line.take("f"), line.take("f")] == [True, True]
    now[0] = 9.99
    waiting = [asyncio.create_task(line.wait("f", LONG)) for _ in range(4)]
    await asyncio.sleep(0)
    now[0] = 10.0
    await asyncio.wait(waiting[:2], timeout=20)
    assert [task.done() for task in waiting] == [True, True, False, False]
    assert [line.take("f"), line.take("f"), line.take("f")] == [True, True, False]
    for task in waiting[2:]:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_a_turn_whose_waiter_was_cancelled_goes_to_the_next() -> None:
    line = StartLine(Starts(1), lambda: 0.0)
    assert line.take("f")
    first = asyncio.create_task(line.wait("f", LONG))
    second = asyncio.create_task(line.wait("f", LONG))
    await asyncio.sleep(0)
    line.freed("f")
    first.cancel()
    assert await second
