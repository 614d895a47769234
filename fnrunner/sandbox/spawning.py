"""The worker's side of the spawners: start one for an interpreter, ask it for processes, replace it when it has ended."""

from __future__ import annotations

import contextlib
import logging
import marshal
import os
import select
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fnrunner.sandbox.asking import Asking, Spawned, SpawnFailed
from fnrunner.sandbox.home import Home, MakeHome
from fnrunner.sandbox.process import memory_file

log = logging.getLogger(__name__)

PROGRAM = Path(__file__).resolve().with_name("spawner.py")
FLAGS = ("-I", "-u", "-B", "-X", "utf8")
"""Those of the runtime, because its processes are forked from this one."""

AHEAD = 2
TRIAL_S = 15.0
_LIBRARIES = "/var/task:/var/task/lib:/opt/lib"
"""Where the dynamic linker looks in every process that is forked: read once, at the start of the interpreter."""


@dataclass(frozen=True, slots=True)
class Base:
    """What is the same for all functions: the directory on which their root is put together, symbolic links in it, and what
    of the host is shown where, with the attributes of its mount. ``network`` is what a spawner is told of it, with the
    descriptors that are meant, see :meth:`fnrunner.sandbox.network.Network.told`.
    """

    stage: str
    links: tuple[tuple[str, str], ...]
    shown: tuple[tuple[str, str, int], ...]
    network: str = ""
    descriptors: tuple[int, ...] = ()


class Spawning:
    """All spawners of a worker. ``spawn`` needs a running event loop."""

    def __init__(self, base: Base, make_home: MakeHome) -> None:
        self._base, self._make_home = base, make_home
        self._spawners: dict[str, _Spawner] = {}

    async def spawn(
        self,
        interpreter: str,
        *,
        descriptors: Sequence[int],
        limit: Callable[[Home], None],
        script: tuple[str, str] | tuple[()] = (),
        keeper_fd: int = -1,
        early: bytes = b"",
    ) -> Spawned:
        """A process that reads its plan from the first descriptor, in a home that ``limit`` was called with. ``script`` may
        be run without starting an interpreter: where it is on the host, and where the function sees it. ``early`` is what
        its kind may know beforehand, as for :meth:`~fnrunner.sandbox.asking.Asking.start`.

        Raises: SpawnFailed, OSError.
        """
        spawner = await self._spawner(interpreter)
        if script and spawner.learn(script):
            await spawner.asking.forget()
        return await spawner.asking.start(descriptors, limit, keeper_fd=keeper_fd, early=early)

    def tried(self, interpreter: str, plan: Mapping[str, Any], home: Home) -> str:
        """What stands in the way of a process with this plan; nothing where it ends well, and then its spawner is kept.

        Blocks for a short while.
        """
        spawner = _Spawner(interpreter, self._base, self._make_home)
        output, said = os.pipe()
        try:
            with memory_file(plan) as file:
                spawned = spawner.asking.start_now((file, said), home)
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
        """Requests with this script will follow: let those spawners that there are get ready. In the event loop."""
        for spawner in self._spawners.values():
            spawner.attach()
            spawner.learn(script)
            spawner.asking.prepare()

    async def wind_down(self) -> None:
        """Those who wait end, and nothing is asked any more."""
        for spawner in self._spawners.values():
            await spawner.asking.close()

    def close(self) -> None:
        for spawner in self._spawners.values():
            spawner.close()
        self._spawners.clear()

    async def _spawner(self, interpreter: str) -> _Spawner:
        """One that answers, attached to the event loop. Raises OSError."""
        spawner = self._spawners.get(interpreter)
        if spawner is not None and spawner.asking.lost:
            log.warning("the process that starts functions of %s ended; starting another", interpreter)
            del self._spawners[interpreter]
            spawner.close()
            await spawner.asking.close()
            spawner = self._spawners.get(interpreter)
        if spawner is None:
            spawner = self._spawners[interpreter] = _Spawner(interpreter, self._base, self._make_home)
        spawner.attach()
        return spawner


class _Spawner:
    """One process of :mod:`fnrunner.sandbox.spawner`."""

    def __init__(self, interpreter: str, base: Base, make_home: MakeHome) -> None:
        """Started at once, in the caller's thread: the kernel's parent death signal follows the thread that forked."""
        channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._attached = False
        self._learned: set[tuple[str, str]] = set()
        try:
            with theirs:
                self._process = subprocess.Popen(
                    [interpreter, *FLAGS, str(PROGRAM), str(theirs.fileno()), str(os.getpid()), base.network],
                    stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(), *base.descriptors), cwd="/", start_new_session=True,
                    env={"LD_LIBRARY_PATH": _LIBRARIES, "LANG": "en_US.UTF-8", "TZ": ":UTC"},
                )  # fmt: skip
        except BaseException:
            channel.close()
            raise
        channel.send(marshal.dumps((base.stage, base.links, base.shown)))
        self.asking = Asking(channel, make_home, ahead=AHEAD)

    def attach(self) -> None:
        """In the event loop, before it is asked. Idempotent."""
        if not self._attached:
            self._attached = True
            self.asking.attach()

    def learn(self, script: tuple[str, str]) -> bool:
        """Whether it is new: those who wait do not know it."""
        if script in self._learned:
            return False
        if self.asking.learn(script):
            self._learned.add(script)
        return True

    def close(self) -> None:
        """Its functions end with it."""
        self.asking.close_now()
        self._process.kill()
        self._process.wait()


def _ended_well(spawned: Spawned, output: int) -> str:
    """Wait for the end of a trial; what it said where it failed."""
    try:
        readable, _, _ = select.select([spawned.status_fd], [], [], TRIAL_S)
        status = os.read(spawned.status_fd, 16) if readable else b""
    finally:
        spawned.discard()
    if status == b"0":
        return ""
    select.select([output], [], [], 1)
    os.set_blocking(output, False)
    with contextlib.suppress(BlockingIOError):
        if said := os.read(output, 4096).decode("utf-8", "replace").strip():
            return said
    return f"a trial ended with {status.decode() or 'nothing'}"
