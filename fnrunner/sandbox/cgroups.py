"""Control groups, version 1 and version 2: one for each environment, with a memory and a pids limit.

Source: the kernel's cgroup-v1/memory.rst, cgroup-v1/pids.rst and cgroup-v2.rst. A process's groups are made below the
worker's own, so that limits on the worker hold for its functions. In version 2 a group with processes cannot pass
controllers on: then the worker's parent group is used, or, in a container whose root it is, its processes move into a
leaf of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fnrunner.model.limits import MB
from fnrunner.sandbox import process_tree
from fnrunner.sandbox.ownership import Owner

MOUNT = Path("/sys/fs/cgroup")
WORKER_LEAF = "fnrunner-worker"
_RETRY_S = 0.002
_MANY = 2_500


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """Where groups are made: ``parents`` are one directory in version 2, and memory's and pids' in version 1."""

    version: int
    parents: tuple[Path, ...]
    tops: tuple[Path, ...]

    def create(self, name: str, *, memory_mb: int, processes: int) -> Cgroup:
        """Raises OSError."""
        group = Cgroup(self.version, tuple(parent / name for parent in self.parents))
        try:
            for directory in group.directories:
                directory.mkdir()
            group.limit(memory_mb, processes)
        except OSError:
            group.remove_now()
            raise
        return group

    def abandoned(self, owner: Owner) -> Iterator[Cgroup]:
        """Groups whose worker is dead, wherever on this host they are."""
        for top in self.tops:
            for directory, names, _ in os.walk(top):
                for name in [name for name in names if owner.abandoned(name)]:
                    yield Cgroup(self.version, (Path(directory, name),))


@dataclass(frozen=True, slots=True)
class Cgroup:
    """One environment's group: in version 1 a directory in each controller's hierarchy, memory's first."""

    version: int
    directories: tuple[Path, ...]

    @property
    def memory(self) -> Path:
        return self.directories[0]

    @property
    def entrances(self) -> tuple[str, ...]:
        """The files into which a process writes its pid to join."""
        return tuple(str(directory / "cgroup.procs") for directory in self.directories)

    def limit(self, memory_mb: int, processes: int) -> None:
        size = str(memory_mb * MB)
        if self.version == 1:
            (self.memory / "memory.limit_in_bytes").write_text(size)
            swap = self.memory / "memory.memsw.limit_in_bytes"
            if swap.exists():
                swap.write_text(size)
        else:
            (self.memory / "memory.max").write_text(size)
            if (self.memory / "memory.swap.max").exists():
                (self.memory / "memory.swap.max").write_text("0")
        (self.directories[-1] / "pids.max").write_text(str(processes))

    def peak_file(self) -> Path:
        """The file whose text is the most memory used so far, in bytes; on old kernels, the memory used now."""
        if self.version == 1:
            return self.memory / "memory.max_usage_in_bytes"
        peak = self.memory / "memory.peak"
        return peak if peak.exists() else self.memory / "memory.current"

    def oom_kills(self) -> int:
        """How many processes of the group the kernel has killed for want of memory."""
        file = "memory.oom_control" if self.version == 1 else "memory.events"
        with contextlib.suppress(OSError, ValueError):
            for line in (self.memory / file).read_text().splitlines():
                name, value = line.split()
                if name == "oom_kill":
                    return int(value)
        return 0

    def pids(self) -> set[int]:
        found: set[int] = set()
        for directory in self.directories:
            with contextlib.suppress(OSError):
                found.update(int(line) for line in (directory / "cgroup.procs").read_text().split())
        return found

    async def kill(self) -> None:
        """Kill until the group is empty. No new process can start meanwhile."""
        self.forbid_forks()
        for _ in range(_MANY):
            if not (pids := self.pids()):
                return
            self.kill_once(pids)
            await asyncio.sleep(_RETRY_S)
            process_tree.collect(pids)

    def kill_now(self) -> None:
        """The same without an event loop, for groups of the dead."""
        self.forbid_forks()
        for _ in range(_MANY):
            if not (pids := self.pids()) and self.remove_now():
                return
            self.kill_once(pids)
            time.sleep(_RETRY_S)

    def forbid_forks(self) -> None:
        with contextlib.suppress(OSError):
            (self.directories[-1] / "pids.max").write_text("0")

    def kill_once(self, pids: set[int]) -> None:
        if self.version == 2:
            with contextlib.suppress(OSError):
                (self.memory / "cgroup.kill").write_text("1")
                return
        process_tree.kill(pids)

    async def remove(self) -> None:
        """Remove the empty group. The last of its dead may still be leaving: tried for a few seconds."""
        for _ in range(_MANY):
            if self.remove_now():
                return
            await asyncio.sleep(_RETRY_S)

    def remove_now(self) -> bool:
        """Whether nothing of it is left."""
        for directory in self.directories:
            with contextlib.suppress(OSError):
                directory.rmdir()
        return not any(directory.exists() for directory in self.directories)


def parse_membership(text: str) -> dict[str, str]:
    """The paths of a process's groups by controller, from /proc/PID/cgroup; version 2's is under the empty name.

    >>> parse_membership("4:memory:/a\\n3:cpu,cpuacct:/b\\n0::/c\\n")
    {'memory': '/a', 'cpu': '/b', 'cpuacct': '/b', '': '/c'}
    """
    paths = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        paths.update(dict.fromkeys(controllers.split(","), path))
    return paths


def discover(mount: Path = MOUNT, membership: Path = Path("/proc/self/cgroup")) -> Hierarchy | None:
    """The hierarchy this process can make groups in; None where it cannot."""
    try:
        paths = parse_membership(membership.read_text())
    except (OSError, ValueError):
        return None
    if "memory" in paths and "pids" in paths:
        tops = (mount / "memory", mount / "pids")
        return _usable(Hierarchy(1, tuple(_below(top, paths[top.name]) for top in tops), tops))
    if "" in paths:
        own = _below(mount, paths[""])
        if _passes_on(own):
            return _usable(Hierarchy(2, (own,), (mount,)))
        if own != mount and _has_controllers(own.parent):
            return _usable(Hierarchy(2, (own.parent,), (mount,)))
        if own == mount and _make_room(own):
            return _usable(Hierarchy(2, (own,), (mount,)))
    return None


def _below(top: Path, path: str) -> Path:
    return top / path.lstrip("/")


def _usable(hierarchy: Hierarchy) -> Hierarchy | None:
    """Only where limits can really be set."""
    try:
        probe = hierarchy.create(f"fnrunner-probe-{os.getpid()}", memory_mb=64, processes=16)
    except OSError:
        return None
    probe.remove_now()
    return hierarchy


def _has_controllers(group: Path) -> bool:
    with contextlib.suppress(OSError):
        return {"memory", "pids"} <= set((group / "cgroup.subtree_control").read_text().split())
    return False


def _passes_on(group: Path) -> bool:
    if _has_controllers(group):
        return True
    with contextlib.suppress(OSError):
        (group / "cgroup.subtree_control").write_text("+memory +pids")
    return _has_controllers(group)


def _make_room(group: Path) -> bool:
    """Move the processes of a container's root group into a leaf, so that the root may pass controllers on."""
    with contextlib.suppress(OSError):
        leaf = group / WORKER_LEAF
        leaf.mkdir(exist_ok=True)
        for pid in (group / "cgroup.procs").read_text().split():
            (leaf / "cgroup.procs").write_text(pid)
        return _passes_on(group)
    return False
