"""Asks a spawner, or a keeper, for processes: one end of the conversation, and those who wait beforehand."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import marshal
import os
import signal
import socket
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from fnrunner.sandbox import host_memory
from fnrunner.sandbox.ahead import PLAIN, WAITING_S, Ahead, Waiter
from fnrunner.sandbox.conversation import DROP, EARLY, KEEP, LEARN, MAKE, MOST_BYTES, START
from fnrunner.sandbox.home import Home, MakeHome

log = logging.getLogger(__name__)

BUSY_S = 0.002
PATIENCE_S = 30.0
PREPARE_S = 0.01
"""Whoever has been started now goes first."""

EARLY_S = 0.05
"""To begin a runtime takes as much of the processor as to start one: it must not meet the function that has just begun."""


class SpawnFailed(Exception):
    """A process could not be made, or what makes processes did not start."""


@dataclass(frozen=True, slots=True)
class Spawned:
    """A process that has begun in its home. ``pidfd`` is that of its init process, ``function_fd`` of the process itself
    where that is no child of it, otherwise -1; ``status_fd`` tells how it ended. They are the receiver's to close.
    """

    home: Home
    pidfd: int
    status_fd: int
    function_fd: int = -1

    def discard(self) -> None:
        """End a process that nobody wants. What it has on the host is left."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        self.close()

    def close(self) -> None:
        for descriptor in (self.pidfd, self.status_fd, self.function_fd):
            if descriptor >= 0:
                os.close(descriptor)


class Asking:
    """Made in any thread; used in the event loop after ``attach``. ``lost``: the other end has gone."""

    def __init__(self, channel: socket.socket, make_home: MakeHome, *, ahead: int) -> None:
        """``ahead``: how many wait before anybody asks, once ``prepare`` was called."""
        self._channel, self._make_home = channel, make_home
        self._number = 0
        self._ahead = Ahead(ahead)
        self._look: asyncio.TimerHandle | None = None
        self._asked: dict[int, tuple[asyncio.Future[Spawned], Home, int]] = {}
        self._preparing: asyncio.Task[None] | None = None
        self._removals: set[asyncio.Future[None]] = set()
        self.lost = False

    def attach(self) -> None:
        self._channel.setblocking(False)
        asyncio.get_running_loop().add_reader(self._channel, self._heard)

    async def start(
        self,
        descriptors: Sequence[int],
        limit: Callable[[Home], None],
        *,
        keeper_fd: int = -1,
        early: bytes = PLAIN,
    ) -> Spawned:
        """A process that reads its plan from the first descriptor, in a home that ``limit`` was called with.

        ``early`` is a plan too, as ``marshal`` writes it: what is the same for all of its kind. One that has begun with that
        takes its place if there is one, and from now on there will be.

        Raises: SpawnFailed, OSError.
        """
        loop = asyncio.get_running_loop()
        if early:
            self._ahead.want(early, loop.time())
        try:
            while not self.lost and (waiter := self._ahead.take(early)) is not None:
                number, home = waiter.number, waiter.home
                if loop.time() - waiter.since > WAITING_S:
                    await self._surely(self._drop(number, home))
                    continue
                try:
                    return await self._begin(number, home, descriptors, limit, keeper_fd)
                except SpawnFailed as error:
                    log.debug("a process that waited is not used: %s", error)
            number, home = await self._make()
            return await self._begin(number, home, descriptors, limit, keeper_fd)
        finally:
            self.prepare()

    def start_now(self, descriptors: Sequence[int], home: Home) -> Spawned:
        """The first of all, without an event loop and before ``attach``. Raises SpawnFailed, OSError."""
        status_fd, told = os.pipe()
        self._number += 1
        try:
            self._tell_made(self._number, home)
            self._tell(START, self._number, None, (descriptors[0], told, *descriptors[1:]))
        finally:
            os.close(told)
        message, fds, _, _ = socket.recv_fds(self._channel, MOST_BYTES, 2)
        return _spawned(message, fds, home, status_fd)

    def prepare(self) -> None:
        """Requests will follow: let some wait for them."""
        if not self.lost and (self._preparing is None or self._preparing.done()):
            self._preparing = asyncio.get_running_loop().create_task(self._prepare())

    def learn(self, script: tuple[str, str]) -> bool:
        """Whether it could be told now."""
        try:
            return self._told(lambda: self._tell(LEARN, 0, script))
        except SpawnFailed:
            return False  # it has ended, and is replaced when it is needed

    async def forget(self) -> None:
        """Those who wait are not good enough any more."""
        for waiter in list(self._ahead.all(PLAIN)):
            await self._drop(waiter.number, waiter.home)

    async def close(self) -> None:
        """Hang up. Those who waited end, and what they had is removed. Idempotent."""
        self._lose()
        if self._preparing is not None:
            self._preparing.cancel()
            await asyncio.wait([self._preparing])
        self._channel.close()
        if self._look is not None:
            self._look.cancel()
        for waiter in list(self._ahead.all()):
            await self._surely(waiter.home.remove())
        # who was given up, and is being removed
        while self._removals:
            await asyncio.wait(self._removals)

    def close_now(self) -> None:
        """The same where nothing was asked in an event loop."""
        self._lose()
        self._channel.close()

    async def _prepare(self) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(PREPARE_S)
        for waiter in self._ahead.superfluous(loop.time()):
            await self._surely(self._drop(waiter.number, waiter.home))
        while not self.lost and (kind := self._ahead.missing()) is not None:
            if kind:
                await asyncio.sleep(EARLY_S)
                # meanwhile others may have been taken
                kind = self._ahead.missing()
            if kind is None or (kind and host_memory.is_scarce()):
                break
            try:
                number, home = await self._make(kind)
            except (OSError, SpawnFailed) as error:
                log.warning("no process can be made beforehand: %s", error)
                return
            self._ahead.add(kind, Waiter(number, home, loop.time()))
        if self._look is not None:
            self._look.cancel()
        if not self.lost and (after_s := self._ahead.next_look_s(loop.time())) is not None:
            self._look = loop.call_later(after_s + 1, self.prepare)

    async def _make(self, early: bytes = PLAIN) -> tuple[int, Home]:
        """Somebody who waits. Raises SpawnFailed, OSError."""
        made = asyncio.ensure_future(asyncio.to_thread(self._make_home))
        try:
            home = await asyncio.shield(made)
        except asyncio.CancelledError:
            self._keep(_remove_when_made(made))
            raise
        try:
            self._number += 1
            number = self._number
            while not self._told(lambda: self._tell_made(number, home, early)):  # noqa: ASYNC110 - it takes one after the other
                await asyncio.sleep(BUSY_S)
        except BaseException:
            await self._surely(home.remove())
            raise
        return number, home

    async def _begin(
        self, number: int, home: Home, descriptors: Sequence[int], limit: Callable[[Home], None], keeper_fd: int
    ) -> Spawned:
        """Where it does not begin, nothing is left of it."""
        try:
            return await self._begun(number, home, descriptors, limit, keeper_fd)
        except BaseException:
            await self._surely(self._drop(number, home))
            raise

    async def _begun(
        self, number: int, home: Home, descriptors: Sequence[int], limit: Callable[[Home], None], keeper_fd: int
    ) -> Spawned:
        limit(home)
        status_fd, told = os.pipe()
        future: asyncio.Future[Spawned] = asyncio.get_running_loop().create_future()
        self._asked[number] = future, home, status_fd
        kind, more = (START, ()) if keeper_fd < 0 else (KEEP, (keeper_fd,))
        sent = (descriptors[0], told, *more, *descriptors[1:])
        try:
            while not self._told(lambda: self._tell(kind, number, None, sent)):  # noqa: ASYNC110
                await asyncio.sleep(BUSY_S)
        except BaseException:
            if self._asked.pop(number, None) is not None:
                os.close(status_fd)
            raise
        finally:
            os.close(told)
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await asyncio.shield(future)
        except TimeoutError:
            future.add_done_callback(_abandon)
            raise SpawnFailed("the process that starts functions does not answer") from None
        except asyncio.CancelledError:
            future.add_done_callback(_abandon)
            raise

    async def _surely(self, removal: Coroutine[Any, Any, None]) -> None:
        """Wait for it. It goes on when nobody waits any more, and ``close`` waits for it."""
        await asyncio.shield(self._keep(removal))

    def _keep(self, removal: Coroutine[Any, Any, None]) -> asyncio.Future[None]:
        task = asyncio.ensure_future(removal)
        self._removals.add(task)
        task.add_done_callback(self._removals.discard)
        return task

    async def _drop(self, number: int, home: Home) -> None:
        with contextlib.suppress(OSError, SpawnFailed):
            self._tell(DROP, number, None)
        await home.remove()

    def _told(self, tell: Callable[[], None]) -> bool:
        """Whether it could be told now. Raises SpawnFailed."""
        if self.lost:
            raise SpawnFailed("the process that starts functions ended")
        try:
            tell()
        except BlockingIOError:
            return False
        except (BrokenPipeError, ConnectionError) as error:
            raise SpawnFailed("the process that starts functions ended") from error
        return True

    def _tell_made(self, number: int, home: Home, early: bytes = PLAIN) -> None:
        with home.entrances() as entrances:
            if early:
                self._tell(EARLY, number, (home.temporary, early), entrances)
            else:
                self._tell(MAKE, number, home.temporary, entrances)

    def _tell(
        self, kind: int, number: int, argument: str | tuple[str, str | bytes] | None, descriptors: Sequence[int] = ()
    ) -> None:
        socket.send_fds(self._channel, [marshal.dumps((kind, number, argument))], list(descriptors))

    def _heard(self) -> None:
        while not self.lost:
            try:
                message, fds, _, _ = socket.recv_fds(self._channel, MOST_BYTES, 2)
            except BlockingIOError:
                return
            except OSError:
                message, fds = b"", []
            if not message:
                self._lose()
                return
            number = marshal.loads(message)[0]  # noqa: S302 - the other end is fnrunner's
            future, home, status_fd = self._asked.pop(number)
            try:
                spawned = _spawned(message, fds, home, status_fd)
            except SpawnFailed as error:
                if not future.done():
                    future.set_exception(error)
            else:
                future.set_result(spawned)

    def _lose(self) -> None:
        if self.lost:
            return
        self.lost = True
        with contextlib.suppress(RuntimeError):  # no loop was there yet
            asyncio.get_running_loop().remove_reader(self._channel)
        asked, self._asked = self._asked, {}
        for future, _, status_fd in asked.values():
            os.close(status_fd)
            if not future.done():
                future.set_exception(SpawnFailed("the process that starts functions ended"))


def _spawned(message: bytes, fds: list[int], home: Home, status_fd: int) -> Spawned:
    """Raises SpawnFailed, and then closes what there is."""
    try:
        _, error = marshal.loads(message)  # noqa: S302 - the other end is fnrunner's
    except (EOFError, ValueError, TypeError):
        error = "the process that starts functions ended"
    if error or not fds:
        os.close(status_fd)
        raise SpawnFailed(error or "the process ended at once")
    return Spawned(home, fds[0], status_fd, fds[1] if len(fds) > 1 else -1)


async def _remove_when_made(making: asyncio.Future[Home]) -> None:
    with contextlib.suppress(OSError):
        home = await making
        await home.remove()


def _abandon(future: asyncio.Future[Spawned]) -> None:
    """Nobody waits for it any more."""
    if not future.cancelled() and future.exception() is None:
        future.result().discard()
