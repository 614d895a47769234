"""The worker's side of the spawners: start one for an interpreter, ask it for processes, replace it when it has ended."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import marshal
import os
import select
import signal
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fnrunner.sandbox.process import memory_file

log = logging.getLogger(__name__)

PROGRAM = Path(__file__).resolve().with_name("spawner.py")
FLAGS = ("-I", "-u", "-B", "-X", "utf8")
"""Those of the runtime, because its processes are forked from this one."""

START_S = 30.0
TRIAL_S = 15.0
BUSY_S = 0.005
_MESSAGE = 8192
_READY = 0
_LIBRARIES = "/var/task:/var/task/lib:/opt/lib"
"""Where the dynamic linker looks in every process that is forked: read once, at the start of the interpreter."""


class SpawnFailed(Exception):
    """A spawner did not start, or could not make a process."""


@dataclass(frozen=True, slots=True)
class Base:
    """What is the same for all functions: the directory on which their root is put together, symbolic links in it, and what
    of the host is shown where, with the attributes of its mount.
    """

    stage: str
    links: tuple[tuple[str, str], ...]
    shown: tuple[tuple[str, str, int], ...]


@dataclass(frozen=True, slots=True)
class Spawned:
    """A process that has begun. ``pidfd`` is that of its init process, ``status_fd`` tells how the function ended: both
    are the receiver's to close.
    """

    pid: int
    pidfd: int
    status_fd: int


class Spawning:
    """All spawners of a worker. ``spawn`` needs a running event loop."""

    def __init__(self, base: Base) -> None:
        self._base = base
        self._spawners: dict[str, _Spawner] = {}
        self._starting: dict[str, asyncio.Lock] = {}

    async def spawn(
        self,
        interpreter: str,
        *,
        entrances: tuple[str, ...],
        descriptors: tuple[int, ...],
        script: tuple[str, str] | tuple[()] = (),
    ) -> Spawned:
        """A process that reads its plan from the first descriptor. ``script`` may be run without starting an interpreter:
        where it is on the host, and where the function sees it.

        Raises: SpawnFailed, OSError.
        """
        spawner = await self._spawner(interpreter)
        return await spawner.spawn(entrances, descriptors, script)

    def tried(self, interpreter: str, plan: Mapping[str, Any]) -> str:
        """What stands in the way of a process with this plan; nothing where it ends well, and then its spawner is kept.

        Blocks for a short while.
        """
        spawner = _Spawner(interpreter, self._base)
        output, said = os.pipe()
        try:
            spawner.wait_ready()
            with memory_file(plan) as file:
                spawned = spawner.spawn_now((), (file, said))
            os.close(said)
            said = -1
            trouble = _ended_well(spawned, output)
        except (SpawnFailed, OSError) as error:
            trouble = str(error) or type(error).__name__
        finally:
            os.close(output)
            if said >= 0:
                os.close(said)
        if trouble:
            spawner.close()
        else:
            self._spawners[interpreter] = spawner
        return trouble

    def warm(self, script: tuple[str, str]) -> None:
        """Requests with this script will follow: let those spawners that there are get ready."""
        for spawner in self._spawners.values():
            spawner.warm(script)

    def close(self) -> None:
        for spawner in self._spawners.values():
            spawner.close()
        self._spawners.clear()

    async def _spawner(self, interpreter: str) -> _Spawner:
        async with self._starting.setdefault(interpreter, asyncio.Lock()):
            spawner = self._spawners.get(interpreter)
            if spawner is not None and spawner.ended:
                log.warning("the process that starts functions of %s ended; starting another", interpreter)
                spawner.close()
                spawner = None
            if spawner is None:
                spawner = self._spawners[interpreter] = _Spawner(interpreter, self._base)
            try:
                await spawner.attach()
            except BaseException:
                spawner.close()
                self._spawners.pop(interpreter, None)
                raise
            return spawner


class _Spawner:
    """One process of :mod:`fnrunner.sandbox.spawner`."""

    def __init__(self, interpreter: str, base: Base) -> None:
        """Started at once, in the caller's thread: the kernel's parent death signal follows the thread that forked."""
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._waiting: dict[int, tuple[asyncio.Future[Spawned], int]] = {}
        self._number = _READY
        self._ready: asyncio.Future[None] | None = None
        self._was_ready = False
        self.ended = False
        try:
            with theirs:
                self._process = subprocess.Popen(
                    [interpreter, *FLAGS, str(PROGRAM), str(theirs.fileno()), str(os.getpid())],
                    stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(),), cwd="/", start_new_session=True,
                    env={"LD_LIBRARY_PATH": _LIBRARIES, "LANG": "en_US.UTF-8", "TZ": ":UTC"},
                )  # fmt: skip
        except BaseException:
            self._channel.close()
            raise
        self._channel.send(marshal.dumps((base.stage, base.links, base.shown)))

    async def attach(self) -> None:
        """Wait until it can be asked. Raises SpawnFailed."""
        if self._ready is None:
            loop = asyncio.get_running_loop()
            self._channel.setblocking(False)
            self._ready = loop.create_future()
            if self._was_ready:
                self._ready.set_result(None)
            loop.add_reader(self._channel, self._heard)
        try:
            async with asyncio.timeout(START_S):
                await asyncio.shield(self._ready)
        except TimeoutError:
            raise SpawnFailed("the process that starts functions did not come up") from None

    def wait_ready(self) -> None:
        """The same without an event loop, before ``attach``."""
        self._channel.settimeout(START_S)
        try:
            if not self._channel.recv(_MESSAGE):
                raise SpawnFailed("the process that starts functions ended")
            self._was_ready = True
        except TimeoutError:
            raise SpawnFailed("the process that starts functions did not come up") from None

    async def spawn(
        self, entrances: tuple[str, ...], descriptors: tuple[int, ...], script: tuple[str, str] | tuple[()]
    ) -> Spawned:
        status_fd, told = os.pipe()
        future: asyncio.Future[Spawned] = asyncio.get_running_loop().create_future()
        self._number += 1
        number = self._number
        self._waiting[number] = future, status_fd
        try:
            # the spawner takes one after the other
            while not self._ask(number, entrances, (descriptors[0], told, *descriptors[1:]), script):  # noqa: ASYNC110
                await asyncio.sleep(BUSY_S)
        except BaseException:
            if self._waiting.pop(number, None) is not None:
                os.close(status_fd)
            raise
        finally:
            os.close(told)
        try:
            return await future
        except asyncio.CancelledError:
            _abandon(future)
            raise

    def spawn_now(self, entrances: tuple[str, ...], descriptors: tuple[int, ...]) -> Spawned:
        status_fd, told = os.pipe()
        try:
            self._ask(1, entrances, (descriptors[0], told, *descriptors[1:]), ())
        finally:
            os.close(told)
        message, fds, _, _ = socket.recv_fds(self._channel, _MESSAGE, 1)
        return _spawned(message, fds, status_fd)

    def warm(self, script: tuple[str, str]) -> None:
        with contextlib.suppress(OSError):  # it has ended, and is replaced when it is needed
            self._channel.send(marshal.dumps((_READY, (), script)))

    def _ask(
        self,
        number: int,
        entrances: tuple[str, ...],
        descriptors: tuple[int, ...],
        script: tuple[str, str] | tuple[()],
    ) -> bool:
        """Whether it could be told now. Raises SpawnFailed."""
        if self.ended:
            raise SpawnFailed("the process that starts functions ended")
        try:
            socket.send_fds(self._channel, [marshal.dumps((number, entrances, script))], list(descriptors))
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        """Its functions end with it."""
        self._lost()
        self._process.kill()
        self._process.wait()
        self._channel.close()

    def _heard(self) -> None:
        while not self.ended:
            try:
                message, fds, _, _ = socket.recv_fds(self._channel, _MESSAGE, 1)
            except BlockingIOError:
                return
            except OSError:
                message, fds = b"", []
            if not message:
                self._lost()
                return
            number = marshal.loads(message)[0]  # noqa: S302 - the spawner wrote it
            if number == _READY:
                assert self._ready is not None
                if not self._ready.done():
                    self._ready.set_result(None)
                continue
            self._answered(number, message, fds)

    def _answered(self, number: int, message: bytes, fds: list[int]) -> None:
        future, status_fd = self._waiting.pop(number)
        try:
            spawned = _spawned(message, fds, status_fd)
        except SpawnFailed as error:
            if not future.done():
                future.set_exception(error)
            return
        if future.done():
            discard(spawned)
        else:
            future.set_result(spawned)

    def _lost(self) -> None:
        if self.ended:
            return
        self.ended = True
        if self._ready is not None:
            self._ready.get_loop().remove_reader(self._channel)
            if not self._ready.done():
                self._ready.set_exception(SpawnFailed("the process that starts functions ended"))
        waiting, self._waiting = self._waiting, {}
        for future, status_fd in waiting.values():
            os.close(status_fd)
            if not future.done():
                future.set_exception(SpawnFailed("the process that starts functions ended"))


def _spawned(message: bytes, fds: list[int], status_fd: int) -> Spawned:
    """Raises SpawnFailed, and then closes what there is."""
    try:
        _, pid, error = marshal.loads(message)  # noqa: S302 - the spawner wrote it
    except (EOFError, ValueError, TypeError):
        pid, error = 0, "the process that starts functions ended"
    if error or not fds:
        os.close(status_fd)
        raise SpawnFailed(error or "the process ended at once")
    return Spawned(pid, fds[0], status_fd)


def _abandon(future: asyncio.Future[Spawned]) -> None:
    """Nobody waits for it any more: what has come already ends; what comes later is ended when it comes."""
    if future.done() and not future.cancelled() and future.exception() is None:
        discard(future.result())


def discard(spawned: Spawned) -> None:
    """End a process that nobody wants."""
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(spawned.pidfd, signal.SIGKILL)
    os.close(spawned.pidfd)
    os.close(spawned.status_fd)


def _ended_well(spawned: Spawned, output: int) -> str:
    """Wait for the end of a trial; what it said where it failed."""
    try:
        readable, _, _ = select.select([spawned.status_fd], [], [], TRIAL_S)
        status = os.read(spawned.status_fd, 16) if readable else b""
    finally:
        discard(spawned)
    if status == b"0":
        return ""
    select.select([output], [], [], 1)
    os.set_blocking(output, False)
    with contextlib.suppress(BlockingIOError):
        if said := os.read(output, 4096).decode("utf-8", "replace").strip():
            return said
    return f"a trial ended with {status.decode() or 'nothing'}"
