"""crun or runc, as a program: create a container, start it, delete it."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fnrunner.sandbox.cgroups import MOUNT
from fnrunner.sandbox.oci.errors import ContainersUnavailable

PATIENCE_S = 30.0
FIRST_FD = 3
FLAGS = {"crun": ("--cgroup-manager=disabled",), "runc": ()}
"""In the order of preference. Limits are those of the environment's own control group: crun makes none."""
REMEDY = "Install one that runs here (apt-get install crun, or runc)"


class EngineFailed(Exception):
    """The OCI runtime refused a step; the text is what it said."""


@dataclass(frozen=True, slots=True)
class Engine:
    """``state`` is a directory of its own for each container."""

    path: str

    @property
    def name(self) -> str:
        return Path(self.path).name

    def state_in(self, directory: Path) -> Path:
        """Where it keeps what it knows of the container of this environment."""
        return directory / f"state-{self.name}"

    async def create(self, name: str, *, bundle: Path, state: Path, output_fd: int, descriptors: Sequence[int]) -> int:
        """A container whose first process has not begun; its pid. ``descriptors`` become 3, 4, … inside.

        Raises EngineFailed, OSError.
        """
        pid_file = bundle / "pid"
        options = ["--bundle", str(bundle), "--pid-file", str(pid_file), "--preserve-fds", str(len(descriptors))]
        await self._run(state, "create", *options, name, output_fd=output_fd, descriptors=descriptors)
        return int(pid_file.read_text())

    async def start(self, name: str, state: Path) -> None:
        """Raises EngineFailed, OSError."""
        await self._run(state, "start", name)

    async def delete(self, name: str, state: Path) -> None:
        """What is left of it, also where nothing is. Never raises."""
        with contextlib.suppress(EngineFailed, OSError):
            await self._run(state, "delete", "--force", name)
        await asyncio.to_thread(_remove_groups, name)

    def delete_now(self, name: str, state: Path) -> None:
        """The same, blocking, for a container of somebody who is dead. Never raises."""
        command = [self.path, "--root", str(state), *FLAGS[self.name], "delete", "--force", name]
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(command, capture_output=True, timeout=PATIENCE_S, check=False)
        _remove_groups(name)

    async def _run(
        self, state: Path, *arguments: str, output_fd: int | None = None, descriptors: Sequence[int] = ()
    ) -> None:
        log = state.parent / "engine.log"
        log.write_bytes(b"")
        command = [self.path, "--root", str(state), "--log", str(log), *FLAGS[self.name], *arguments]
        running = asyncio.ensure_future(_ended(command, output_fd, descriptors))
        try:
            code = await asyncio.shield(running)
        except asyncio.CancelledError:
            # what it makes can be deleted only when it has made it
            await settled(running)
            raise
        if code:
            said = log.read_text("utf-8", "replace").strip().splitlines() or [f"exit status {code}"]
            raise EngineFailed(f"{self.name} {arguments[0]}: {said[-1][:500]}")


def engines() -> list[Engine]:
    """Those that are installed, the preferred one first."""
    found = (shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") for name in FLAGS)
    return [Engine(path) for path in found if path]


def require_any() -> None:
    """Raises ContainersUnavailable."""
    if not engines():
        raise ContainersUnavailable(f"container images need an OCI runtime, which this host does not have. {REMEDY}")


def _remove_groups(name: str) -> None:
    """Where both versions of control groups are mounted, runc leaves an empty one of version 2."""
    for group in (MOUNT / name, *MOUNT.glob(f"*/{name}")):
        with contextlib.suppress(OSError):
            group.rmdir()


async def settled(running: asyncio.Future[Any]) -> None:
    """Wait until it has ended in any way, however often this task is cancelled meanwhile."""
    while not running.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait((running,))


async def _ended(command: Sequence[str], output_fd: int | None, descriptors: Sequence[int]) -> int:
    """Its exit status; one that takes too long is killed."""
    pid = _spawned(command, output_fd, descriptors)
    waiting = asyncio.ensure_future(asyncio.to_thread(os.waitpid, pid, 0))
    done, _ = await asyncio.wait((waiting,), timeout=PATIENCE_S)
    if not done:
        os.kill(pid, signal.SIGKILL)
    _, status = await waiting
    return os.waitstatus_to_exitcode(status)


def _spawned(command: Sequence[str], output_fd: int | None, descriptors: Sequence[int]) -> int:
    """The pid. Raises OSError."""
    nothing = os.open(os.devnull, os.O_RDWR)
    # above all their new numbers, so that none is overwritten before it is copied
    copies = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, FIRST_FD + len(descriptors)) for descriptor in descriptors]
    output = nothing if output_fd is None else output_fd
    try:
        moves = [(nothing, 0), (output, 1), (output, 2)]
        moves += [(copy, FIRST_FD + number) for number, copy in enumerate(copies)]
        actions = [(os.POSIX_SPAWN_DUP2, of, to) for of, to in moves]
        return os.posix_spawn(command[0], list(command), {"PATH": "/usr/bin:/bin"}, file_actions=actions, setsid=True)
    finally:
        for descriptor in (nothing, *copies):
            os.close(descriptor)
