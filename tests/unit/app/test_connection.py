"""When a connection is given up, with a clock and a transport that the tests move."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from fnrunner.app.connection import Connection


class Clock:
    """A loop's clock and its one timer."""

    def __init__(self) -> None:
        self.now = 0.0
        self.later: Any = None

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Any, *_: Any) -> asyncio.TimerHandle:
        self.later = (self.now + delay, callback)
        return asyncio.TimerHandle(self.now + delay, lambda: None, (), asyncio.get_running_loop())

    def pass_(self, seconds: float) -> None:
        end = self.now + seconds
        while self.later is not None and self.later[0] <= end:
            self.now, callback = self.later
            self.later = None
            callback()
        self.now = end


class Transport:
    """Takes everything and sends as much as the test lets it."""

    def __init__(self) -> None:
        self.unsent = 0
        self.closed = self.aborted = False
        self.written = b""

    def get_extra_info(self, _: str) -> None:
        return None

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def is_closing(self) -> bool:
        return self.closed

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


@pytest.fixture
async def clock() -> Clock:
    return Clock()


@pytest.fixture
async def transport() -> Transport:
    return Transport()


@pytest.fixture
async def connection(clock: Clock, transport: Transport) -> Connection:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.Event().wait()

    config = uvicorn.Config(app, http=Connection, ws="none", lifespan="off", log_config=None)
    config.load()
    made = Connection(config=config, server_state=ServerState(), app_state={}, _loop=clock)
    made.connection_made(transport)  # type: ignore[arg-type]
    return made


async def test_a_silent_client_is_given_up_after_a_minute_or_a_little_later(
    connection: Connection, clock: Clock, transport: Transport
) -> None:
    clock.pass_(59)
    assert not transport.closed
    clock.pass_(16)
    assert transport.closed
    assert transport.written.startswith(b"HTTP/1.1 408 ")


async def test_a_response_that_moves_is_not_given_up(
    connection: Connection, clock: Clock, transport: Transport
) -> None:
    """It is as long at every look, since as much is added as is taken away."""
    connection.cycle = type("Cycle", (), {"response_complete": False, "more_body": False})()
    transport.unsent = 65536
    for _ in range(100):
        connection.pause_writing()
        clock.pass_(15)
        connection.resume_writing()
    assert not transport.closed
    connection.pause_writing()
    clock.pass_(299)
    assert not transport.closed
    clock.pass_(32)
    assert transport.aborted


async def test_a_response_that_shrinks_is_not_given_up(
    connection: Connection, clock: Clock, transport: Transport
) -> None:
    connection.cycle = type("Cycle", (), {"response_complete": False, "more_body": False})()
    connection.pause_writing()
    for left in range(100, 0, -1):
        transport.unsent = left * 65536
        clock.pass_(60)
    assert not transport.closed


async def test_what_is_left_of_a_closed_connection_is_given_up(
    connection: Connection, clock: Clock, transport: Transport
) -> None:
    connection.cycle = type("Cycle", (), {"response_complete": True, "more_body": False})()
    transport.unsent = 100
    transport.close()
    clock.pass_(331)
    assert transport.aborted


async def test_nothing_is_watched_after_the_end(connection: Connection, clock: Clock, transport: Transport) -> None:
    connection.connection_lost(None)
    watch: Any = connection._watch
    assert watch is None
