"""LocalPermits: waiting, timing out and being cancelled never leak or double a slot."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from fnrunner.concurrency.permits import LocalLease, LocalPermits
from fnrunner.model.invocation import Throttled, ThrottleReason

LONG = timedelta(seconds=60)
SHORT = timedelta(milliseconds=5)
CAPACITY = Throttled(ThrottleReason.CAPACITY)
RESERVED = Throttled(ThrottleReason.RESERVED)


async def lease(permits: LocalPermits, function: str = "a", wait: timedelta = LONG) -> LocalLease:
    got = await permits.acquire(function, wait)
    assert isinstance(got, LocalLease)
    return got


async def lined_up(permits: LocalPermits, task: asyncio.Task[object], function: str = "a") -> None:
    """Until the task stands in the function's line."""
    before = permits.slots.waiting(function)
    while permits.slots.waiting(function) == before and not task.done():
        await asyncio.sleep(0)


async def test_a_lease_is_given_back_once_however_often_it_is_released() -> None:
    permits = LocalPermits(capacity=1)
    first = await lease(permits)
    assert first.valid
    await first.release()
    await first.release()
    first.give_back()
    assert not first.valid
    assert permits.slots.total == 0


async def test_without_a_wait_the_refusal_comes_at_once_and_names_the_reason() -> None:
    permits = LocalPermits(capacity=2, caps={"a": 1})
    held = await lease(permits)
    assert await permits.acquire("a") == RESERVED
    other = await lease(permits, "b")
    assert await permits.acquire("b") == CAPACITY
    await held.release()
    await other.release()


async def test_a_waiter_gets_the_slot_that_is_released() -> None:
    permits = LocalPermits(capacity=1)
    first = await lease(permits)
    waiter = asyncio.create_task(permits.acquire("a", LONG))
    await lined_up(permits, waiter)
    await first.release()
    second = await waiter
    assert isinstance(second, LocalLease)
    assert second.valid
    await second.release()
    assert permits.slots.total == 0


async def test_a_waiter_is_throttled_when_its_wait_is_over() -> None:
    permits = LocalPermits(capacity=1)
    first = await lease(permits)
    assert await permits.acquire("a", SHORT) == CAPACITY
    assert permits.slots.waiting("a") == 0
    await first.release()


async def test_a_cancelled_waiter_leaves_the_line() -> None:
    permits = LocalPermits(capacity=1)
    first = await lease(permits)
    waiter = asyncio.create_task(permits.acquire("a", LONG))
    await lined_up(permits, waiter)
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert permits.slots.waiting("a") == 0
    await first.release()
    assert permits.slots.total == 0


@pytest.mark.parametrize("cancel_first", [True, False])
async def test_a_slot_granted_in_the_instant_of_the_cancellation_goes_to_the_next(cancel_first: bool) -> None:
    permits = LocalPermits(capacity=1)
    first = await lease(permits)
    unlucky = asyncio.create_task(permits.acquire("a", LONG))
    await lined_up(permits, unlucky)
    lucky = asyncio.create_task(permits.acquire("a", LONG))
    await lined_up(permits, lucky)
    if cancel_first:
        unlucky.cancel()
        first.give_back()
    else:
        first.give_back()
        unlucky.cancel()
    with pytest.raises(asyncio.CancelledError):
        await unlucky
    got = await lucky
    assert isinstance(got, LocalLease)
    await got.release()
    assert (permits.slots.total, permits.slots.waiting("a")) == (0, 0)


async def test_a_cap_of_zero_refuses_who_comes_and_who_waits() -> None:
    permits = LocalPermits(capacity=1)
    first = await lease(permits)
    waiter = asyncio.create_task(permits.acquire("a", LONG))
    await lined_up(permits, waiter)
    await permits.set_cap("a", 0)
    assert await waiter == RESERVED
    assert await permits.acquire("a", LONG) == RESERVED
    await first.release()
    await permits.set_cap("a", None)
    await (await lease(permits)).release()


async def test_growing_the_capacity_starts_who_waits() -> None:
    permits = LocalPermits(capacity=0)
    waiters = [asyncio.create_task(permits.acquire("a", LONG)) for _ in range(3)]
    for _ in range(3):
        await asyncio.sleep(0)
    permits.resize(2)
    done, pending = await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.sleep(0)
    assert permits.slots.total == 2
    for task in [*done, *pending]:
        got = await task
        assert isinstance(got, LocalLease)
        await got.release()


async def test_under_a_storm_of_waiters_the_cap_holds_and_every_slot_comes_back() -> None:
    permits = LocalPermits(capacity=5, caps={"a": 2})
    peaks: dict[str, int] = {"a": 0, "b": 0}

    async def one(index: int) -> None:
        function = "ab"[index % 2]
        got = await permits.acquire(function, LONG)
        assert isinstance(got, LocalLease)
        peaks[function] = max(peaks[function], permits.slots.running(function))
        assert permits.slots.total <= 5
        await asyncio.sleep(0)
        await got.release()

    tasks = [asyncio.create_task(one(index)) for index in range(400)]
    for task in tasks[100:150]:
        await asyncio.sleep(0)
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert [t.exception() for t in tasks if not t.cancelled() and t.exception()] == []
    assert peaks["a"] <= 2
    assert permits.slots.total == 0
