"""Control groups, version 1 and version 2: one for each environment, with limits of memory and processes and a CPU share.

Source: the kernel's cgroup-v1/memory.rst, cgroup-v1/pids.rst, scheduler/sched-design-CFS.rst, scheduler/sched-bwc.rst and
cgroup-v2.rst; systemd's CGROUP_DELEGATION. A process's groups are made below the worker's own, so that limits on the worker
hold for its functions. In version 2 a group with processes cannot pass controllers on: where it is the worker's to arrange, a
service with ``Delegate=yes`` or the root of a container, its processes move into a leaf of their own; elsewhere the worker's
parent group is used.

::

    the worker's group ─┬─ the worker, and whoever is beside it
                        └─ one group for all its functions: the weight of two processes on each core
                             ├─ environment: weight in proportion to its memory
                             └─ environment …

Whoever is busy alone gets everything; only where the processor is wanted by several do the weights count. The worker
itself then has a third of a core at least, however many of its functions spin.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from fnrunner.model.limits import MB
from fnrunner.sandbox import process_tree
from fnrunner.sandbox.ownership import Owner

MOUNT = Path("/sys/fs/cgroup")
WORKER_LEAF = "fnrunner-worker"
_RETRY_S = 0.002
_RETRY_MOST_S = 0.05
_PATIENCE_S = 5.0
_NEEDED = ("memory", "pids")
_DELEGATED = ("user.delegate", "trusted.delegate")
_ATTEMPTS = 3
FUNCTIONS_WEIGHT = 2
"""All functions of a worker together weigh on each core as much as so many processes: never more than twice what the worker
itself weighs there. Less would starve them on a host that has other work.
"""
VCPU_MB = 1769
"""So much memory comes with one virtual processor. Source: Lambda, configuring memory."""
_PERIOD_US = 100_000


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """Where groups are made: ``parents`` are one directory in version 2, and in version 1 those of memory, pids and,
    where it can be written, cpu. ``cpu`` says whether shares of the processor can be set.
    """

    version: int
    parents: tuple[Path, ...]
    tops: tuple[Path, ...]
    cpu: bool = False

    def create(self, name: str, *, within: str, memory_mb: int, processes: int) -> Cgroup:
        """A group that is limited from its beginning. Raises OSError."""
        group = self.make(name, within=within)
        try:
            self.limit(group, memory_mb=memory_mb, processes=processes)
        except OSError:
            group.remove_now()
            raise
        return group

    def make(self, name: str, *, within: str) -> Cgroup:
        """A group in the group ``within`` of all environments of this worker, not limited yet. Raises OSError."""
        group = Cgroup(self.version, tuple(parent / within / name for parent in self.parents))
        for attempt in range(_ATTEMPTS):
            try:
                for directory in group.directories:
                    self._make_common(directory.parent)
                    directory.mkdir()
            except OSError as error:
                group.remove_now()
                # the last of the others has just taken away what is around them all
                if not isinstance(error, FileNotFoundError) or attempt + 1 == _ATTEMPTS:
                    raise
            else:
                break
        return group

    def limit(self, group: Cgroup, *, memory_mb: int, processes: int) -> None:
        """Raises OSError."""
        group.limit(memory_mb, processes)
        if self.cpu:
            # 128 MB count as one process
            _weigh(self.version, group.cpu, Fraction(memory_mb, 128))

    def _make_common(self, directory: Path) -> None:
        try:
            directory.mkdir()
        except FileExistsError:
            # somebody else in this process may have got no further yet
            if self.version == 1 or _has_controllers(directory):
                return
        if self.version == 2:
            (directory / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in _NEEDED))
        if not self.cpu or (self.version == 1 and directory.parent != self.parents[-1]):
            return
        if self.version == 2:
            (directory / "cgroup.subtree_control").write_text("+cpu")
        _weigh(self.version, directory, Fraction(FUNCTIONS_WEIGHT * (os.cpu_count() or 1)))

    def abandoned(self, owner: Owner) -> Iterator[Cgroup]:
        """Groups whose worker is dead, wherever on this host they are; those within others first."""
        for top in self.tops:
            for directory, names, _ in os.walk(top, topdown=False):
                for name in [name for name in names if owner.abandoned(name)]:
                    yield Cgroup(self.version, (Path(directory, name),))


def _weigh(version: int, directory: Path, processes: Fraction) -> None:
    """Give a group the weight of so many ordinary processes, within what the kernel takes."""
    if version == 1:
        (directory / "cpu.shares").write_text(str(min(max(2, int(1024 * processes)), 262_144)))
    else:
        (directory / "cpu.weight").write_text(str(min(max(1, int(100 * processes)), 10_000)))


@dataclass(frozen=True, slots=True)
class Cgroup:
    """One environment's group: in version 1 a directory in each controller's hierarchy, in the order of the parents."""

    version: int
    directories: tuple[Path, ...]

    @property
    def memory(self) -> Path:
        return self.directories[0]

    @property
    def processes(self) -> Path:
        """Where processes are counted and limited."""
        return self.directories[min(1, len(self.directories) - 1)]

    @property
    def cpu(self) -> Path:
        """Where the processor is shared, if the hierarchy has that."""
        return self.directories[-1]

    @property
    def entrances(self) -> tuple[str, ...]:
        """The files into which a process, before it has threads, writes 0 to join.

        In version 1 a thread that moves itself needs not wait for a lock of the whole kernel, which takes milliseconds.
        """
        name = "tasks" if self.version == 1 else "cgroup.procs"
        return tuple(str(directory / name) for directory in self.directories)

    def limit(self, memory_mb: int, processes: int) -> None:
        size = str(memory_mb * MB)
        if self.version == 1:
            swap = self.memory / "memory.memsw.limit_in_bytes"
            if has_swap := swap.exists():
                swap.write_text("-1")  # memory alone may never have more than both together
            (self.memory / "memory.limit_in_bytes").write_text(size)
            if has_swap:
                swap.write_text(size)
        else:
            (self.memory / "memory.max").write_text(size)
            if (self.memory / "memory.swap.max").exists():
                (self.memory / "memory.swap.max").write_text("0")
        (self.processes / "pids.max").write_text(str(processes))

    def limit_cpu(self, vcpus: Fraction) -> None:
        """Stop it for the rest of each period in which it has used so much of the processor. Raises OSError."""
        quota_us = max(1_000, int(vcpus * _PERIOD_US))
        if self.version == 1:
            (self.cpu / "cpu.cfs_period_us").write_text(str(_PERIOD_US))
            (self.cpu / "cpu.cfs_quota_us").write_text(str(quota_us))
        else:
            (self.cpu / "cpu.max").write_text(f"{quota_us} {_PERIOD_US}")

    def peak_file(self) -> Path:
        """The file whose text is the most memory used so far, in bytes; on old kernels, the memory used now."""
        if self.version == 1:
            return self.memory / "memory.max_usage_in_bytes"
        peak = self.memory / "memory.peak"
        return peak if peak.exists() else self.memory / "memory.current"

    def memory_bytes(self) -> int:
        """The memory that is used now, without the cache of files."""
        counted = ("total_rss", "total_shmem") if self.version == 1 else ("anon", "shmem")
        found = 0
        with contextlib.suppress(OSError, ValueError):
            for line in (self.memory / "memory.stat").read_text().splitlines():
                name, _, value = line.partition(" ")
                if name in counted:
                    found += int(value)
        return found

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
        """Who is in it, and has not ended."""
        with contextlib.suppress(OSError):
            return {int(line) for line in (self.processes / "cgroup.procs").read_text().split()}
        return set()

    async def kill(self) -> None:
        """Kill until the group is empty. No new process can start meanwhile."""
        self.forbid_forks()
        for pause_s in _pauses():
            if not (pids := self.pids()):
                return
            self.kill_once(pids)
            await asyncio.sleep(pause_s)
            process_tree.collect(pids)

    def kill_now(self) -> None:
        """The same without an event loop, for groups of the dead."""
        self.forbid_forks()
        for pause_s in _pauses():
            if not (pids := self.pids()) and self.remove_now():
                return
            self.kill_once(pids)
            time.sleep(pause_s)

    def forbid_forks(self) -> None:
        with contextlib.suppress(OSError):
            (self.processes / "pids.max").write_text("0")

    def kill_once(self, pids: set[int]) -> None:
        if self.version == 2:
            with contextlib.suppress(OSError):
                (self.memory / "cgroup.kill").write_text("1")
                return
        process_tree.kill(pids)

    async def remove(self) -> None:
        """Remove the empty group. The last of its dead may still be leaving: tried for a few seconds."""
        for pause_s in _pauses():
            if self.remove_now():
                return
            await asyncio.sleep(pause_s)

    def remove_now(self) -> bool:
        """Whether nothing of it is left. The group around it goes with the last one in it."""
        for directory in self.directories:
            with contextlib.suppress(OSError):
                directory.rmdir()
                directory.parent.rmdir()
        return not any(directory.exists() for directory in self.directories)


def _pauses() -> Iterator[float]:
    """Waits between looks at a group that empties, growing: a thousand dying processes must not occupy the worker.

    >>> pauses = list(_pauses())
    >>> pauses[0], pauses[-1], round(sum(pauses))
    (0.002, 0.05, 5)
    """
    pause_s, total_s = _RETRY_S, 0.0
    while total_s < _PATIENCE_S:
        yield pause_s
        total_s += pause_s
        pause_s = min(_RETRY_MOST_S, 1.5 * pause_s)


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
    if set(_NEEDED) <= paths.keys():
        return _version_1(mount, paths)
    if "" in paths and (parent := passing_on(mount, _below(mount, paths[""]))) is not None:
        return _version_2(parent, mount)
    return None


def passing_on(mount: Path, own: Path) -> Path | None:
    """Of version 2, the group near this process's ``own`` that passes controllers on to those within it; None: there is none.

    The processes of ``own`` may be in a leaf of it afterwards.
    """
    if _passes_on(own) or ((own == mount or _is_delegated(own)) and _make_room(own)):
        return own
    if own != mount and (_has_controllers(own.parent) or (_is_delegated(own.parent) and _passes_on(own.parent))):
        return own.parent
    return None


def _is_delegated(group: Path) -> bool:
    """Whether who manages groups here, such as systemd, has left this one to this process."""
    for name in _DELEGATED:
        with contextlib.suppress(OSError):
            return os.getxattr(group, name) == b"1"
    # an older systemd says so only by whose it is
    with contextlib.suppress(OSError):
        return group.stat().st_uid == os.geteuid() != group.parent.stat().st_uid
    return False


def _version_1(mount: Path, paths: dict[str, str]) -> Hierarchy | None:
    """With the processor where its hierarchy can be written too."""
    for names in ((*_NEEDED, "cpu"), _NEEDED):
        if set(names) <= paths.keys():
            tops = tuple(mount / name for name in names)
            parents = tuple(_below(top, paths[top.name]) for top in tops)
            if found := _usable(Hierarchy(1, parents, tops, cpu="cpu" in names)):
                return found
    return None


def _version_2(parent: Path, mount: Path) -> Hierarchy | None:
    return _usable(Hierarchy(2, (parent,), (mount,), cpu=_has_controllers(parent, "cpu")))


def _below(top: Path, path: str) -> Path:
    return top / path.lstrip("/")


def _usable(hierarchy: Hierarchy) -> Hierarchy | None:
    """Only where limits can really be set."""
    name = f"fnrunner-probe-{os.getpid()}"
    try:
        probe = hierarchy.create(name, within=f"{name}-functions", memory_mb=64, processes=16)
    except OSError:
        for parent in hierarchy.parents:
            with contextlib.suppress(OSError):
                (parent / f"{name}-functions").rmdir()
        return None
    probe.remove_now()
    return hierarchy


def _has_controllers(group: Path, *wanted: str) -> bool:
    with contextlib.suppress(OSError):
        return set(wanted or _NEEDED) <= set((group / "cgroup.subtree_control").read_text().split())
    return False


def _passes_on(group: Path) -> bool:
    """Whether it passes on what is needed; the processor too, where that is possible."""
    for names in (_NEEDED, ("cpu",)):
        if not _has_controllers(group, *names):
            with contextlib.suppress(OSError):
                (group / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in names))
    return _has_controllers(group)


def _make_room(group: Path) -> bool:
    """Move the processes of a group into a leaf, so that it may pass controllers on."""
    with contextlib.suppress(OSError):
        leaf = group / WORKER_LEAF
        leaf.mkdir(exist_ok=True)
        for pid in (group / "cgroup.procs").read_text().split():
            (leaf / "cgroup.procs").write_text(pid)
        return _passes_on(group)
    return False
