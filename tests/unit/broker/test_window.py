"""A window lets so many replies out and no more, whatever order its words come in."""

from __future__ import annotations

import asyncio

import pytest

from broker import names
from broker.errors import AskerGone, Unavailable
from broker.window import Window, size_of, step


@pytest.mark.parametrize(("value", "size"), [(1, 1), (16, 16), (0, 0), (-3, 0), ("8", 0), (2.0, 0), (None, 0)], ids=str)
def test_only_a_positive_whole_number_is_a_window(value: object, size: int) -> None:
    assert size_of({names.WINDOW_HEADER: value}) == size


def test_a_request_without_the_header_has_no_window() -> None:
    assert size_of({}) == 0


@pytest.mark.parametrize(("size", "expected"), [(1, 1), (2, 1), (3, 1), (8, 4), (9, 4)])
def test_the_asker_speaks_before_the_window_is_used_up(size: int, expected: int) -> None:
    assert step(size) == expected
    assert step(size) <= size


async def test_a_late_word_takes_no_room_away() -> None:
    window = Window(2)
    window.allow(4)
    window.allow(1)
    window.sent = 5
    assert window.has_room
    window.sent = 6
    assert not window.has_room


async def test_room_is_given_to_whoever_waits_and_only_as_much_as_there_is() -> None:
    window = Window(1)

    async def send() -> None:
        await window.room()
        window.sent += 1

    senders = [asyncio.create_task(send()) for _ in range(3)]
    await asyncio.wait(senders, timeout=0.01)
    assert window.sent == 1
    window.allow(1)
    await asyncio.wait(senders, timeout=0.01)
    assert window.sent == 2
    window.allow(2)
    await asyncio.gather(*senders)
    assert window.sent == 3


async def test_abandoning_ends_waiting_and_every_later_wait() -> None:
    window = Window(1)
    window.sent = 1
    waiting = asyncio.create_task(window.room())
    await asyncio.sleep(0)
    window.abandon()
    with pytest.raises(AskerGone):
        await waiting
    window.allow(10)
    with pytest.raises(AskerGone):
        await window.room()


async def test_a_failure_ends_waiting_but_not_the_window() -> None:
    window = Window(1)
    window.sent = 1
    waiting = asyncio.create_task(window.room())
    await asyncio.sleep(0)
    window.fail(Unavailable())
    with pytest.raises(Unavailable):
        await waiting
    assert not window.abandoned.is_set()
    window.allow(1)
    await window.room()


async def test_whoever_is_cancelled_while_waiting_takes_no_room() -> None:
    window = Window(1)
    window.sent = 1
    waiting, other = (asyncio.create_task(window.room()) for _ in range(2))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait((waiting,))
    window.allow(1)
    await other
    assert waiting.cancelled()
