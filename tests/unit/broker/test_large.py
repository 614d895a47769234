"""Large messages take turns; small ones never wait for one."""

from __future__ import annotations

import asyncio

import pytest

from broker.rabbitmq.large import LARGE_BYTES, OneAtATime


class Socket:
    """What was sent, in order; ``taken`` says that the peer has taken it."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.taken = asyncio.Event()
        self.taken.set()

    async def drained(self) -> None:
        await self.taken.wait()

    async def send(self, turns: OneAtATime, name: str, size_bytes: int) -> None:
        async with turns.turn(size_bytes):
            self.sent.append(name)
            if size_bytes >= LARGE_BYTES:
                self.taken.clear()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_large_message_waits_for_the_one_before_and_small_ones_pass() -> None:
    socket = Socket()
    turns = OneAtATime(socket.drained)
    async with asyncio.TaskGroup() as sending:
        for name, size_bytes in (("first", LARGE_BYTES), ("second", LARGE_BYTES), ("small", LARGE_BYTES - 1)):
            sending.create_task(socket.send(turns, name, size_bytes))
        await settle()
        assert socket.sent == ["first", "small"]
        socket.taken.set()
        await settle()
        assert socket.sent == ["first", "small", "second"]
        socket.taken.set()


async def test_one_that_fails_gives_its_turn_away() -> None:
    socket = Socket()
    turns = OneAtATime(socket.drained)
    with pytest.raises(ConnectionError):
        async with turns.turn(LARGE_BYTES):
            raise ConnectionError
    await socket.send(turns, "next", 0)
    async with turns.turn(LARGE_BYTES):
        socket.sent.append("large")
    assert socket.sent == ["next", "large"]
