"""A connection that comes back: who needs one waits for a :class:`Session`, uses it until it is lost, and asks again."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine
from datetime import timedelta
from itertools import cycle
from typing import Any, TypeVar

import aiormq
from aiormq.abc import AbstractChannel
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_random_exponential

from broker.errors import BrokerError, Denied, Unavailable
from broker.rabbitmq.address import Address
from broker.rabbitmq.failure import Border
from broker.rabbitmq.tap import Tap, TapFactory

T = TypeVar("T")

log = logging.getLogger(__name__)

ATTEMPT_S = 10.0
CLOSE_S = 5.0
PATIENCE_S = 30.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0


async def end(task: asyncio.Task[None] | None) -> None:
    """Cancel a task and wait for its end."""
    while task is not None and not task.done():
        task.cancel()
        await asyncio.wait((task,), timeout=CLOSE_S)


async def whole(order: Coroutine[Any, Any, T]) -> T:
    """Carry out an order to the broker to its end, and only then be cancelled.

    aiormq closes the channel of a call that is cancelled, with all its deliveries, and when that meets an error of the
    broker, the connection as well.
    """
    task = asyncio.ensure_future(order)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if not task.done():
            await asyncio.wait((task,), timeout=CLOSE_S)
        if task.done() and not task.cancelled():
            task.exception()
        raise


class Session:
    """One connection from its opening to its loss."""

    def __init__(self, connection: aiormq.Connection, tap: Tap, lost: asyncio.Event) -> None:
        self.connection = connection
        self.tap = tap
        self.lost = lost

    async def channel(self) -> AbstractChannel:
        """Raises Lost."""
        async with Border():
            return await self.connection.channel(publisher_confirms=False)
        raise AssertionError("unreachable")

    @property
    def frame_room(self) -> int:
        """How many bytes of a body fit in one frame."""
        return (self.connection.connection_tune.frame_max or 131_072) - 8

    async def close(self) -> None:
        self.tap.flush()
        self.lost.set()
        try:
            async with asyncio.timeout(CLOSE_S):
                await self.connection.close()
        except (TimeoutError, Exception):
            log.debug("the connection did not close in an orderly way", exc_info=True)


class Link:
    """Keeps one connection open. ``reason`` says in words why there is none, ``blocked`` why it takes no messages."""

    def __init__(self, address: Address, purpose: str) -> None:
        self.address = address.named(purpose)
        self.reason = "not started"
        self.blocked: str | None = None
        self.reconnects = 0
        self.unblocked = asyncio.Event()
        self.unblocked.set()
        self._purpose = purpose
        self._urls = cycle(self.address.urls)
        self._session: Session | None = None
        self._ready = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None

    @property
    def session(self) -> Session | None:
        """The connection there is now."""
        return self._session

    async def connected(self) -> Session:
        """Wait for a connection, as long as it takes."""
        while (session := self._session) is None:
            await self._ready.wait()
        return session

    async def connected_soon(self) -> Session:
        """Wait for a connection. Raises Unavailable after a while."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await self.connected()
        except TimeoutError:
            raise Unavailable(f"{self.reason}. Try again when it is back") from None

    async def open(self, timeout: timedelta) -> None:
        """Connect for the first time, trying every host again and again. Raises Unavailable, Denied."""
        try:
            async with asyncio.timeout(timeout.total_seconds()):
                await self._first()
        except TimeoutError:
            raise Unavailable(self._remedy(timeout, self.reason)) from None
        self._keeper = asyncio.create_task(self._keep(), name=f"rabbitmq {self._purpose}")

    async def _first(self) -> None:
        retrying = AsyncRetrying(
            retry=retry_if_exception(lambda e: isinstance(e, Unavailable) and not isinstance(e, Denied)),
            wait=wait_random_exponential(multiplier=FIRST_PAUSE_S, max=LONGEST_PAUSE_S),
            before_sleep=self._note,
            reraise=True,
        )
        async for attempt in retrying:
            with attempt:
                await self._connect()

    def _note(self, state: RetryCallState) -> None:
        if state.outcome is not None and (error := state.outcome.exception()) is not None:
            self.reason = str(error)

    def _remedy(self, timeout: timedelta, why: str) -> str:
        return (
            f"no RabbitMQ answers at {self.address!r} within {timeout.total_seconds():g} s ({why}). "
            "Start it, or correct the broker URL"
        )

    async def _connect(self) -> None:
        url = next(self._urls)
        lost = asyncio.Event()
        factory = TapFactory(self._on_blocked, lost.set)
        connection = aiormq.Connection(url, transport_factory=factory)
        try:
            async with asyncio.timeout(ATTEMPT_S), Border():
                await connection.connect()
        except TimeoutError:
            await connection.close()
            raise Unavailable(f"{url.host}:{url.port or ''} accepts connections but does not answer") from None
        except Denied as denied:
            raise Denied(
                f"RabbitMQ at {self.address!r} refuses the login: {denied}. Correct the broker URL"
            ) from denied
        assert factory.tap is not None
        connection.closing.add_done_callback(lambda _: lost.set())
        self._session = Session(connection, factory.tap, lost)
        self.reason = ""
        self._ready.set()

    async def _keep(self) -> None:
        while True:
            session = await self.connected()
            await session.lost.wait()
            self._session = None
            self._ready.clear()
            self._on_blocked(None)
            self.reason = f"the connection to {self.address!r} was lost"
            log.warning("%s; connecting again", self.reason)
            await session.close()
            await self._reconnect()
            self.reconnects += 1
            log.info("connected to %r again", self.address)

    async def _reconnect(self) -> None:
        pause = FIRST_PAUSE_S
        while True:
            try:
                await self._connect()
                return
            except BrokerError as error:
                self.reason = f"no connection to {self.address!r}: {error}"
            except Exception:
                self.reason = f"no connection to {self.address!r}"
                log.exception("connecting failed in an unexpected way")
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311
            pause = min(pause * 2, LONGEST_PAUSE_S)

    def _on_blocked(self, reason: str | None) -> None:
        self.blocked = reason
        if reason is None:
            self.unblocked.set()
        else:
            self.unblocked.clear()
            log.warning("RabbitMQ takes no messages: %s", reason)

    async def close(self) -> None:
        await end(self._keeper)
        session, self._session = self._session, None
        self._ready.clear()
        self.reason = "closed"
        if session is not None:
            await session.close()


class Attachment:
    """Something that must be set up on every new connection, and again whenever its channel goes.

    ``attach`` sets it up and returns the event that tells of its loss. ``trouble`` says why it is not set up now.
    """

    def __init__(self, link: Link, attach: Callable[[Session], Coroutine[Any, Any, asyncio.Event]], what: str) -> None:
        self.trouble = ""
        self._link = link
        self._attach = attach
        self._what = what
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Set it up once, letting its errors through; then keep it in the background."""
        lost = await whole(self._attach(await self._link.connected_soon()))
        self._task = asyncio.create_task(self._keep(lost), name=f"rabbitmq keep {self._what}")

    async def _keep(self, lost: asyncio.Event) -> None:
        while True:
            await lost.wait()
            self.trouble = f"{self._what} is being set up again"
            lost = await self._again()
            self.trouble = ""

    async def _again(self) -> asyncio.Event:
        pause = FIRST_PAUSE_S
        while True:
            session = await self._link.connected()
            try:
                return await whole(self._attach(session))
            except BrokerError as error:
                self.trouble = f"{self._what}: {error}"
                log.warning("%s; trying again", self.trouble)
            except Exception:
                self.trouble = f"{self._what} fails in an unexpected way"
                log.exception(self.trouble)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311
            pause = min(pause * 2, LONGEST_PAUSE_S)

    async def stop(self) -> None:
        self.trouble = ""
        await end(self._task)
        self._task = None
