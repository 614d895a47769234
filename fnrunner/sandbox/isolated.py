"""A process in namespaces of its own: its init process ends when the function does, and everybody in it with that."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path

from fnrunner.sandbox import process_tree
from fnrunner.sandbox.asking import Spawned
from fnrunner.sandbox.freezer import Freezer
from fnrunner.sandbox.process_tree import PAGE, Entry, members
from fnrunner.sandbox.started import delete_tree


class IsolatedProcess:
    """Implements SandboxProcess. Made in the event loop that waits for it."""

    def __init__(
        self,
        spawned: Spawned,
        *,
        memory_mb: int,
        storage_mb: int,
        vcpus: Fraction | None = None,
        on_initialised: Callable[[], None] | None = None,
        copied: bool = False,
    ) -> None:
        """``vcpus`` as for :class:`~fnrunner.sandbox.started.StartedProcess`; ``copied``: others are forked from it, and count
        for themselves.
        """
        self.memory_mb, self.storage_mb = memory_mb, storage_mb
        self._pidfd, self._status_fd, self._function_fd = spawned.pidfd, spawned.status_fd, spawned.function_fd
        self._init = _pid_of(spawned.pidfd)
        self.home = spawned.home
        self._cgroup = cgroup = spawned.home.group
        self._freezer = Freezer(cgroup, lambda: {self._init, self.pid})
        self._vcpus = vcpus
        self._on_initialised = on_initialised
        self._copied = copied
        self._peak = 0
        self._over_limit = False
        self._returncode: int | None = None
        self._removal: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._exited: asyncio.Future[int] = self._loop.create_future()
        self._gone: asyncio.Future[None] = self._loop.create_future()
        try:
            self._peak_fd = os.open(cgroup.peak_file(), os.O_RDONLY) if cgroup else -1
        except OSError:
            spawned.discard()
            raise
        os.set_blocking(self._status_fd, False)
        self._loop.add_reader(self._status_fd, self._has_ended)
        self._loop.add_reader(self._pidfd, self._is_gone)

    @property
    def pid(self) -> int:
        """Of the function, where it can be told; otherwise of the init process around it."""
        if self._function_fd >= 0:
            return _pid_of(self._function_fd)
        with contextlib.suppress(OSError, ValueError, IndexError):
            children = Path(f"/proc/{self._init}/task/{self._init}/children").read_text().split()
            return int(children[0])
        return self._init

    @property
    def returncode(self) -> int | None:
        return self._returncode

    async def wait(self) -> int:
        return await asyncio.shield(self._exited)

    def terminate(self) -> None:
        self.thaw()
        # where the init process is its parent, that passes it on
        self._signal(signal.SIGTERM, self._pidfd if self._function_fd < 0 else self._function_fd)

    def kill(self) -> None:
        self._signal(signal.SIGKILL, self._pidfd)

    async def kill_tree(self) -> None:
        # the kernel ends a pid namespace with its first process, and that is gone only after the others
        self.kill()
        await asyncio.shield(self._gone)
        await self.wait()

    def freeze(self) -> None:
        if self._returncode is None and not self._gone.done():
            self._freezer.freeze()

    @property
    def at_rest(self) -> bool:
        return self._freezer.frozen

    @property
    def temporary(self) -> Path:
        return Path(self.home.temporary)

    def pids(self) -> set[int]:
        if self._copied:
            return {self.pid} - {0, self._init}
        return self._freezer.pids() if self._returncode is None else set()

    def thaw(self) -> None:
        self._freezer.thaw()

    def initialised(self) -> None:
        if self._on_initialised is not None:
            self._on_initialised()
        if self._cgroup is not None and self._vcpus is not None:
            # gone, when it ends at this moment
            with contextlib.suppress(OSError):
                self._cgroup.limit_cpu(self._vcpus)

    async def gone(self) -> None:
        """Wait until everybody in it has ended."""
        await asyncio.shield(self._gone)

    def memory_peak_bytes(self) -> int:
        with contextlib.suppress(OSError, ValueError, IndexError):
            if self._peak_fd >= 0:
                self._peak = max(self._peak, int(os.pread(self._peak_fd, 64, 0)))
            elif self._cgroup is None and self._returncode is None:
                resident = Path(f"/proc/{self.pid}/statm").read_text().split()[1]
                self._peak = max(self._peak, int(resident) * PAGE)
        return self._peak

    def memory_bytes(self) -> int:
        if self._cgroup is not None:
            return self._cgroup.memory_bytes()
        return process_tree.resident_bytes(self.pid)

    def out_of_memory(self) -> bool:
        return self._over_limit or (self._cgroup is not None and self._cgroup.oom_kills() > 0)

    async def remove(self) -> None:
        if self._removal is None:
            self._removal = asyncio.create_task(self._remove())
        await asyncio.shield(self._removal)

    @property
    def removed(self) -> bool:
        return self._removal is not None

    def observe(self, entries: Mapping[int, Entry]) -> bool:
        """Take the tree's size from a process table. Whether it is over its limit."""
        tree = members(entries, root=self._init, marked=frozenset())
        if self._copied:
            # its descendants are its copies, which count for themselves
            tree &= {self.pid}
        if self._function_fd >= 0:
            tree |= members(entries, root=self.pid, marked=frozenset())
        tree -= {os.getpid(), self._init}
        size = sum(entries[pid].resident_pages for pid in tree) * PAGE
        self._peak = max(self._peak, size)
        self._over_limit = self._over_limit or size > self.memory_mb * 1024 * 1024
        return self._over_limit

    async def _remove(self) -> None:
        await self.kill_tree()
        self.memory_peak_bytes()
        self._over_limit = self.out_of_memory()
        if self._peak_fd >= 0:
            os.close(self._peak_fd)
            self._peak_fd = -1
        for descriptor in (self._pidfd, self._function_fd):
            if descriptor >= 0:
                os.close(descriptor)
        self._pidfd = self._function_fd = -1
        if self._cgroup:
            await self._cgroup.remove()
        await asyncio.to_thread(delete_tree, self.home.directory)

    def _signal(self, number: signal.Signals, pidfd: int) -> None:
        if pidfd >= 0 and not self._gone.done():
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, number)

    def _has_ended(self) -> None:
        """Its status came, or can come no more: then it was killed with all that was around it."""
        try:
            said = os.read(self._status_fd, 16)
        except BlockingIOError:
            return
        self._loop.remove_reader(self._status_fd)
        os.close(self._status_fd)
        self._returncode = os.waitstatus_to_exitcode(int(said)) if said.isdigit() else -signal.SIGKILL
        if not self._exited.done():
            self._exited.set_result(self._returncode)

    def _is_gone(self) -> None:
        self._loop.remove_reader(self._pidfd)
        if not self._gone.done():
            self._gone.set_result(None)


def _pid_of(pidfd: int) -> int:
    """The process behind a descriptor, by its number here; 0 or less when it has ended."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/self/fdinfo/{pidfd}").read_text().splitlines():
            if line.startswith("Pid:"):
                return int(line.split()[1])
    return 0
