"""A connection that comes back: who needs one waits for a :class:`Session`, uses it until it is lost, and asks again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, Protocol, TypeVar

import aiormq
from aiormq.abc import AbstractChannel
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_random_exponential
from yarl import URL

from broker.errors import BrokerError, Denied, Unavailable
from broker.rabbitmq.address import Address
from broker.rabbitmq.failure import Border, Lost
from broker.rabbitmq.hosts import Hosts
from broker.rabbitmq.tap import Tap, TapFactory

T = TypeVar("T")

log = logging.getLogger(__name__)

CLOSE_S = 5.0
PATIENCE_S = 30.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0

PULSE_S = 1.0
"""How often a node of a cluster is asked for a sign that it reaches the others."""

DOUBT_S = 4.0
"""How long the answer may take before another node is tried; twice as long each time that a node was left."""

MOST_DOUBTS = 3
TRUSTED_S = 60.0
"""A node that was stayed with for so long was not left in vain."""


async def end(task: asyncio.Task[Any] | None) -> None:
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
    """One connection from its opening to its loss, to one host.

    ``proven_at`` is when its node of a cluster last answered what it cannot answer alone, on the clock of the event loop.
    """

    def __init__(self, connection: aiormq.Connection, tap: Tap, lost: asyncio.Event, host: URL) -> None:
        self.connection = connection
        self.tap = tap
        self.lost = lost
        self.host = host
        self.since = self.proven_at = asyncio.get_running_loop().time()

    async def channel(self) -> AbstractChannel:
        """Raises Lost."""
        if self.lost.is_set() or self.connection.is_closed:
            raise Lost
        async with Border():
            return await self.connection.channel(publisher_confirms=False)
        raise AssertionError("unreachable")

    @property
    def frame_room(self) -> int:
        """How many bytes of a body fit in one frame."""
        return (self.connection.connection_tune.frame_max or 131_072) - 8

    @property
    def heartbeat_s(self) -> float:
        """The heartbeat that was agreed on, in seconds; 0 for none."""
        return float(self.connection.connection_tune.heartbeat or 0)

    async def close(self) -> None:
        self.tap.flush()
        self.lost.set()
        try:
            async with asyncio.timeout(CLOSE_S):
                await self.connection.close()
        except (TimeoutError, Exception):
            log.debug("the connection did not close in an orderly way", exc_info=True)


class Pulse(Protocol):
    """See :class:`broker.rabbitmq.pulse.Pulse`."""

    async def beats(self, patience_s: float) -> bool: ...
    async def stop(self) -> None: ...


class Link:
    """Keeps one connection open. ``reason`` says in words why there is none, ``blocked`` why it takes no messages.

    With several hosts and a ``pulse``, a node that is there and does not reach the others is left as soon as another one
    answers; until then ``reason`` says so.
    """

    def __init__(self, address: Address, purpose: str, pulse: Callable[[Session], Pulse] | None = None) -> None:
        self.address = address.named(purpose)
        self.reason = "not started"
        self.blocked: str | None = None
        self.reconnects = 0
        self.unblocked = asyncio.Event()
        self.unblocked.set()
        self._purpose = purpose
        self._hosts = Hosts(self.address.urls)
        self._pulse = pulse if self.address.cluster else None
        self._doubts = 0
        self._session: Session | None = None
        self._ready = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def session(self) -> Session | None:
        """The connection there is now."""
        return self._session

    async def connected(self) -> Session:
        """Wait for a connection, as long as it takes."""
        while (session := self._session) is None or session.lost.is_set():
            self._ready.clear()
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
        self._use(await self._dial())

    def _use(self, session: Session) -> None:
        self._session = session
        self.reason = ""
        self._ready.set()

    async def _dial(self) -> Session:
        """A connection to the next host."""
        host = self._hosts.next(self._now())
        try:
            session = await self._dial_host(host)
        except BaseException:
            self._hosts.failed(host, self._now())
            raise
        self._hosts.reached(host)
        return session

    async def _dial_host(self, host: URL) -> Session:
        lost = asyncio.Event()
        factory = TapFactory(self._on_blocked, lost.set)
        connection = aiormq.Connection(host, transport_factory=factory)
        try:
            async with asyncio.timeout(self._hosts.attempt_s(host)), Border():
                await connection.connect()
        except TimeoutError:
            await connection.close()
            raise Unavailable(f"{host.host}:{host.port or ''} accepts connections but does not answer") from None
        except Denied as denied:
            raise Denied(
                f"RabbitMQ at {self.address!r} refuses the login: {denied}. Correct the broker URL"
            ) from denied
        assert factory.tap is not None
        connection.closing.add_done_callback(lambda _: lost.set())
        return Session(connection, factory.tap, lost, host)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    async def _keep(self) -> None:
        while (session := self._session) is not None:
            better = await self._until_lost_or_better(session)
            self._session = None
            self._ready.clear()
            self._on_blocked(None)
            self._hosts.failed(session.host, self._now())
            self.reason = f"the connection to {self.address!r} was lost"
            self._leave(session)
            if better is not None:
                self._use(better)
            else:
                log.warning("%s; connecting again", self.reason)
                await self._reconnect()
            self.reconnects += 1
            log.info("connected to %r again", self.address)

    def _leave(self, session: Session) -> None:
        """Nobody waits for what it may still say: a node that is cut off answers to nothing."""
        session.lost.set()
        session.tap.abort()
        closing = asyncio.create_task(session.close(), name=f"rabbitmq end of {self._purpose}")
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def _until_lost_or_better(self, session: Session) -> Session | None:
        """Wait for the loss of this connection, or return another to a node that answers where this one's does not."""
        if self._pulse is None:
            await session.lost.wait()
            return None
        pulse = self._pulse(session)
        try:
            while not session.lost.is_set():
                if await pulse.beats(DOUBT_S * 2**self._doubts) or self.blocked is not None:
                    self.reason = ""
                    if self._now() - session.since > TRUSTED_S:
                        self._doubts = 0
                    await _wait(session.lost, PULSE_S)
                elif not session.lost.is_set() and (better := await self._find_better(session)) is not None:
                    self._doubts = min(self._doubts + 1, MOST_DOUBTS)
                    return better
        finally:
            await pulse.stop()
        return None

    async def _find_better(self, doubted: Session) -> Session | None:
        assert self._pulse is not None
        self.reason = (
            f"the node at {doubted.host.host}:{doubted.host.port or ''} does not reach the rest of its cluster"
        )
        log.warning("%s; trying another", self.reason)
        self._hosts.failed(doubted.host, self._now())
        try:
            session = await self._dial()
        except BrokerError as error:
            log.warning("no other node is there: %s", error)
            return None
        except Exception:
            log.exception("connecting to another node failed in an unexpected way")
            return None
        pulse = self._pulse(session)
        try:
            if await pulse.beats(DOUBT_S):
                return session
        except BaseException:
            self._leave(session)
            raise
        finally:
            await pulse.stop()
        self._hosts.failed(session.host, self._now())
        self._leave(session)
        return None

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
        if self._closing:
            await asyncio.wait(self._closing)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
