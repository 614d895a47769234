"""A started command with its tree of processes, its cgroup and its directory."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

from fnrunner.sandbox import process_tree
from fnrunner.sandbox.cgroups import Cgroup
from fnrunner.sandbox.freezer import Freezer
from fnrunner.sandbox.ownership import start_time
from fnrunner.sandbox.process_tree import PAGE, Entry

_POLL_S = 0.002
_MANY = 2_500


class StartedProcess:
    """Implements SandboxProcess. Made in the event loop that waits for it."""

    def __init__(
        self,
        popen: subprocess.Popen[bytes],
        *,
        directory: Path,
        cgroup: Cgroup | None,
        marker: bytes,
        memory_mb: int,
        storage_mb: int,
        vcpus: Fraction | None = None,
    ) -> None:
        """``marker`` is the ``NAME=value`` that the tree carries in its environment; ``vcpus``, which needs a group with
        the processor, is how much of that it may use once it is initialised.
        """
        self._popen = popen
        self._directory = directory
        self._cgroup = cgroup
        self._marker = marker
        self.memory_mb, self.storage_mb = memory_mb, storage_mb
        self._freezer = Freezer(cgroup, lambda: {popen.pid})
        self._vcpus = vcpus
        self._known: dict[int, int] = {popen.pid: start_time(popen.pid) or 0}
        self._peak = 0
        self._over_limit = False
        self._removal: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._exited: asyncio.Future[int] = self._loop.create_future()
        self._pidfd = os.pidfd_open(popen.pid)
        self._loop.add_reader(self._pidfd, self._has_exited)
        self._peak_fd = os.open(cgroup.peak_file() if cgroup else f"/proc/{popen.pid}/statm", os.O_RDONLY)

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        return self._popen.returncode

    async def wait(self) -> int:
        return await asyncio.shield(self._exited)

    def freeze(self) -> None:
        if self.returncode is None:
            self._freezer.freeze()

    @property
    def at_rest(self) -> bool:
        return self._freezer.frozen

    @property
    def temporary(self) -> Path:
        return self._directory / "tmp"

    def pids(self) -> set[int]:
        return self._freezer.pids() if self.returncode is None else set()

    def thaw(self) -> None:
        self._freezer.thaw()

    def terminate(self) -> None:
        self.thaw()
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._popen.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._popen.kill()

    async def kill_tree(self) -> None:
        self.kill()
        if self._cgroup:
            await self._cgroup.kill()
        else:
            await self._kill_descendants()
        await self.wait()

    def initialised(self) -> None:
        if self._cgroup is not None and self._vcpus is not None:
            # gone, when it ends at this moment
            with contextlib.suppress(OSError):
                self._cgroup.limit_cpu(self._vcpus)

    def memory_peak_bytes(self) -> int:
        if self._peak_fd >= 0:
            with contextlib.suppress(OSError, ValueError, IndexError):
                text = os.pread(self._peak_fd, 64, 0)
                self._peak = max(self._peak, int(text) if self._cgroup else int(text.split()[1]) * PAGE)
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

    async def _remove(self) -> None:
        await self.kill_tree()
        self.memory_peak_bytes()
        self._over_limit = self.out_of_memory()
        os.close(self._peak_fd)
        self._peak_fd = -1
        if self._cgroup:
            await self._cgroup.remove()
        await asyncio.to_thread(delete_tree, self._directory)

    @property
    def removed(self) -> bool:
        return self._removal is not None

    def observe(self, entries: Mapping[int, Entry]) -> bool:
        """Take the tree's size from a process table, and remember who belongs to it. Whether it is over its limit."""
        tree = self._members(entries, frozenset())
        self._known |= {pid: entries[pid].start for pid in tree}
        process_tree.collect(self._known.keys() - entries.keys() - {self.pid})
        size = sum(entries[pid].resident_pages for pid in tree) * PAGE
        self._peak = max(self._peak, size)
        self._over_limit = self._over_limit or size > self.memory_mb * 1024 * 1024
        return self._over_limit

    def _members(self, entries: Mapping[int, Entry], marked: frozenset[int]) -> set[int]:
        still = {pid for pid, start in self._known.items() if pid in entries and entries[pid].start == start}
        return process_tree.members(entries, root=self.pid, marked=marked | still) - {os.getpid()}

    async def _kill_descendants(self) -> None:
        for _ in range(_MANY):
            entries = await asyncio.to_thread(process_tree.table)
            marked = await asyncio.to_thread(process_tree.marked, self._marker, tuple(entries))
            tree = self._members(entries, marked)
            self._known |= {pid: entries[pid].start for pid in tree}
            process_tree.kill(tree)
            process_tree.collect(self._known.keys() - {self.pid})
            if not tree:
                return
            await asyncio.sleep(_POLL_S)

    def _has_exited(self) -> None:
        if self._popen.poll() is None:
            return
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        if not self._exited.done():
            self._exited.set_result(self._popen.returncode)


def delete_tree(directory: Path) -> None:
    """Remove the directory, also where a function has taken permissions away from its files."""
    shutil.rmtree(directory, ignore_errors=True)
    if directory.exists():
        for parent, names, _ in os.walk(directory):
            for name in (".", *names):
                # never through a link: it may lead out
                if not os.path.islink(path := os.path.join(parent, name)):
                    with contextlib.suppress(OSError):
                        os.chmod(path, 0o700)
        shutil.rmtree(directory, ignore_errors=True)
