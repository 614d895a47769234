"""The sandbox of plain processes: cgroups, a mount namespace and resource limits, as far as the host permits each."""

from __future__ import annotations

import ctypes
import marshal
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

from fnrunner.model.limits import MB
from fnrunner.runtimes.runtime import Layout
from fnrunner.sandbox import cgroups, process_tree
from fnrunner.sandbox.attachment import HOST, Attachment
from fnrunner.sandbox.cgroups import Cgroup, Hierarchy
from fnrunner.sandbox.memory_watch import MemoryWatch
from fnrunner.sandbox.ownership import MARKER, Owner
from fnrunner.sandbox.sandbox import Command, Limits, SandboxReport, SandboxUnavailable
from fnrunner.sandbox.started import StartedProcess, delete_tree
from fnrunner.sandbox.temporary import TemporaryWatch

LAUNCHER = Path(__file__).resolve().with_name("launcher.py")
PR_SET_CHILD_SUBREAPER = 36
INSIDE = Layout(task_root="/var/task", runtime_directory="/var/runtime", temporary="/tmp")  # noqa: S108 - its name inside
DATA_SLACK = 1024 * MB
USER_PROCESSES_FACTOR = 4
SHARED_NETWORK = (
    "functions share this host's network: keep what they must not reach behind a password or another address"
)
NICE = 5
"""A third of an ordinary process's weight."""


@dataclass(frozen=True, slots=True)
class Ground:
    """Where environments are made, and what this host permits them."""

    root: Path
    hierarchy: Hierarchy | None
    cpu_limit: bool
    attachment: Attachment


class ProcessSandbox:
    """Implements Sandbox. Directories of environments are made below ``root`` and removed with them."""

    def __init__(
        self, root: Path, *, cgroups: Hierarchy | None, mount_namespace: bool, cpu_limit: bool = False
    ) -> None:
        """``root`` is absolute. Use ``on_this_host``, which finds out what the others can be."""
        self._root = root
        self._cgroups = cgroups
        self._mount_namespace = mount_namespace
        self._cpu_limit = cpu_limit
        self._owner = Owner.this_process()
        self._watch = None if cgroups else MemoryWatch()
        self._temporaries = TemporaryWatch()
        self._misses: tuple[str, ...] = ()
        self._python = os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)

    @classmethod
    def on_this_host(cls, root: Path, *, cpu_limit: bool = False) -> Self:
        """With everything this host permits. With ``cpu_limit`` a function has no more of the processor than its memory
        entitles it to, as on Lambda; without it, what nobody else wants is its.

        Raises SandboxUnavailable where ``root`` cannot be written, or the host cannot limit the processor.
        """
        root, hierarchy = grounds(root, cpu_limit=cpu_limit)
        sandbox = cls(root, cgroups=hierarchy, mount_namespace=False, cpu_limit=cpu_limit)
        sandbox._mount_namespace = sandbox._can_mount()
        return sandbox

    def describe(self) -> SandboxReport:
        version = self._cgroups.version if self._cgroups else 0
        gaps = [SHARED_NETWORK]
        if not version:
            gaps.append(
                "memory and process limits are per process, not per function: make /sys/fs/cgroup writable "
                "(run as root, under systemd with Delegate=yes, or in a privileged container)"
            )
        if not self._shares_cpu:
            gaps.append(
                "processor time is shared by process, not by memory: make the cpu controller writable too "
                "(as for memory limits)"
            )
        if not self._mount_namespace:
            gaps.append("functions see this host's files and /tmp: run as root or grant CAP_SYS_ADMIN")
        return SandboxReport(
            name="process",
            cgroup_version=version,
            mount_namespace=self._mount_namespace,
            parent_death_signal=True,
            memory="cgroup" if version else "RLIMIT_DATA and polling",
            cpu=("cgroup limit" if self._cpu_limit else "cgroup weight") if self._shares_cpu else "nice",
            tree_kill={0: "process table", 1: "cgroup.procs", 2: "cgroup.kill"}[version],
            gaps=(*gaps, *self._misses),
        )

    @property
    def ground(self) -> Ground:
        """What another sandbox beside this one may use."""
        return Ground(self._root, self._cgroups, self._cpu_limit, HOST)

    def sweep(self) -> int:
        """Kill what outlived dead workers, then remove their cgroups and directories."""
        removed = 0
        for group in self._cgroups.abandoned(self._owner) if self._cgroups else ():
            group.kill_now()
            removed += 1
        orphans = [pid for pid, name in process_tree.markers(MARKER.encode()) if self._owner.abandoned(name)]
        process_tree.kill(orphans)
        removed += len(orphans)
        for directory in self._root.iterdir() if self._root.exists() else ():
            if self._owner.abandoned(directory.name):
                delete_tree(directory)
                removed += 1
        return removed

    def layout(
        self,
        environment_id: str,
        *,
        code_directory: str,
        runtime_directory: str,
        interpreter: str,
        layers_directory: str = "",
    ) -> Layout:
        temporary = str(self._directory(environment_id) / "tmp")
        # what the host has in /opt is no layer
        opt = os.path.realpath(layers_directory) if layers_directory else str(self._directory(environment_id) / "opt")
        if not self._mount_namespace:
            return Layout(os.path.realpath(code_directory), runtime_directory, temporary, opt)
        if layers_directory and self._can_cover(INSIDE.opt, interpreter):
            opt = INSIDE.opt
        if Path(interpreter).is_relative_to(INSIDE.temporary):
            return Layout(INSIDE.task_root, INSIDE.runtime_directory, temporary, opt)  # it must stay visible
        return replace(INSIDE, opt=opt)

    async def start(self, command: Command) -> StartedProcess:
        if self._watch is not None:
            _adopt_orphans()
        directory = self._directory(command.environment_id)
        group: Cgroup | None = None
        popen: subprocess.Popen[bytes] | None = None
        try:
            self._make_directories(directory)
            (directory / "stage").mkdir()
            group = self._make_group(command)
            popen = self._spawn(self._plan(command, directory, group), command)
            process = StartedProcess(
                popen,
                directory=directory,
                cgroup=group,
                marker=self._marker(command.environment_id).encode(),
                memory_mb=command.limits.memory_mb,
                storage_mb=command.limits.file_mb,
                vcpus=Fraction(command.limits.memory_mb, cgroups.VCPU_MB) if self._cpu_limit else None,
            )
        except OSError as error:
            if popen:
                popen.kill()
                popen.wait()
            if group:
                group.remove_now()
            delete_tree(directory)
            raise SandboxUnavailable(f"no process could be started: {error}. Run `fnrunner doctor`") from error
        if self._watch is not None:
            self._watch.add(process)
        self._temporaries.add(process)
        return process

    def misses(self, gap: str) -> None:
        """Say this too where it is described: what another sandbox would give here."""
        self._misses += (gap,)

    def warm(self, runtime_directory: str, script: str) -> None:
        """Python functions will be started soon, by this script: whatever can be done beforehand may be done now."""

    def forget(self, function: str, version: str | None, key: str) -> None:
        """Of this version, or of all of them, only what has this key will be started: what is kept for others may go."""

    async def wind_down(self) -> None:
        """``close`` in an event loop in which functions were started."""
        self.close()

    def close(self) -> None:
        """Nothing runs any more, and nothing is to be started."""

    def _make_group(self, command: Command) -> Cgroup | None:
        """Raises OSError."""
        if self._cgroups is None:
            return None
        return self._cgroups.create(
            self._owner.name(command.environment_id),
            within=self._owner.name("functions"),
            memory_mb=command.limits.memory_mb,
            processes=command.limits.processes,
        )

    @property
    def _nice(self) -> int:
        """Where no group weighs them, each process is less urgent than the worker."""
        return 0 if self._shares_cpu else NICE

    @property
    def _shares_cpu(self) -> bool:
        return self._cgroups is not None and self._cgroups.cpu

    def _directory(self, environment_id: str) -> Path:
        return self._root / self._owner.name(environment_id)

    def _marker(self, environment_id: str) -> str:
        return f"{MARKER}={self._owner.name(environment_id)}"

    @staticmethod
    def _make_directories(directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True)
        # what a function makes here with other rights than its own is out of anybody's reach
        (directory / "tmp").mkdir()
        (directory / "tmp").chmod(0o1777)

    def _plan(self, command: Command, directory: Path, group: Cgroup | None) -> dict[str, Any]:
        layout = command.layout
        read_only = {
            layout.task_root: command.code_directory,
            layout.runtime_directory: command.runtime_directory,
        }
        return {
            "probe": False,
            "parent": os.getpid(),
            "cgroups": group.entrances if group else (),
            "mount_namespace": self._mount_namespace,
            "read_only": read_only,
            "visible": [path for path in command.directories if Path(path).is_relative_to(INSIDE.temporary)],
            "layers": command.layers_directory if layout.opt == INSIDE.opt else "",
            "stage": str(directory / "stage"),
            "tmp": str(directory / "tmp") if layout.temporary == INSIDE.temporary else "",
            "limits": resource_limits(command.limits, bounded_by_cgroup=group is not None),
            "nice": self._nice,
            "directory": layout.task_root,
            "argv": command.argv,
            "variables": {**command.variables, MARKER: self._owner.name(command.environment_id)},
        }

    def _can_cover(self, target: str, interpreter: str) -> bool:
        """Whether something can be mounted there, and hides no program that is needed."""
        programs = (interpreter, self._python)
        return os.path.isdir(target) and not any(Path(program).resolve().is_relative_to(target) for program in programs)

    def _spawn(self, plan: Mapping[str, Any], command: Command) -> subprocess.Popen[bytes]:
        # In the caller's thread, because the kernel's parent death signal follows the thread that forked.
        with memory_file(plan) as stdin:
            return subprocess.Popen(
                self._launcher(),
                stdin=stdin,
                stdout=command.output_fd,
                stderr=command.output_fd,
                pass_fds=command.inherited_fds,
                start_new_session=True,
                cwd="/",
                env=_launcher_variables(),
            )

    def _launcher(self) -> list[str]:
        return [self._python, "-I", "-S", "-E", str(LAUNCHER)]

    def _can_mount(self) -> bool:
        """Try it in a process that ends at once."""
        directory = self._directory("probe")
        try:
            self._make_directories(directory)
            (directory / "stage").mkdir()
            targets = dict.fromkeys((INSIDE.task_root, INSIDE.runtime_directory), str(LAUNCHER.parent))
            plan = {"probe": True, "parent": os.getpid(), "cgroups": (), "mount_namespace": True, "read_only": targets}
            plan |= {"visible": [], "layers": "", "stage": str(directory / "stage"), "tmp": str(directory / "tmp")}
            with memory_file(plan) as stdin:
                tried = subprocess.run(
                    self._launcher(), stdin=stdin, capture_output=True, check=False, env=_launcher_variables()
                )
            return tried.returncode == 0
        except OSError:
            return False
        finally:
            shutil.rmtree(directory, ignore_errors=True)


def grounds(root: Path, *, cpu_limit: bool) -> tuple[Path, Hierarchy | None]:
    """Where environments are made, as an absolute path that exists, and the control groups that this host permits.

    Raises SandboxUnavailable where it cannot be written, or the host cannot limit the processor as it should.
    """
    root = root.absolute()
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SandboxUnavailable(f"{root} cannot be written: choose another --data-dir ({error})") from error
    hierarchy = cgroups.discover()
    if cpu_limit and (hierarchy is None or not hierarchy.cpu):
        raise SandboxUnavailable(
            "FNRUNNER_CPU_LIMIT=on needs a writable cgroup of the cpu controller: run as root, under systemd with "
            "Delegate=yes, or in a privileged container; or set FNRUNNER_CPU_LIMIT=off"
        )
    return root, hierarchy


@contextmanager
def memory_file(plan: Mapping[str, Any]) -> Iterator[int]:
    """A file in memory with the plan: command lines can be read by everybody."""
    descriptor = os.memfd_create("plan")
    try:
        data = marshal.dumps(dict(plan))
        while data:
            data = data[os.write(descriptor, data) :]
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)


def _launcher_variables() -> dict[str, str]:
    """Nothing of the function's: its variables must not reach a program outside the sandbox."""
    return {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}


def resource_limits(limits: Limits, *, bounded_by_cgroup: bool) -> dict[str, int]:
    chosen = {
        "RLIMIT_CORE": 0,
        "RLIMIT_NOFILE": limits.open_files,
        "RLIMIT_FSIZE": limits.file_mb * MB,
        "RLIMIT_STACK": 8 * MB,
    }
    if not bounded_by_cgroup:
        # Reserved address space counts, such as thread stacks: hence the slack; the watch is the exact one.
        chosen["RLIMIT_DATA"] = limits.memory_mb * MB + DATA_SLACK
        # It counts everything the user runs, not only this function.
        chosen["RLIMIT_NPROC"] = limits.processes * USER_PROCESSES_FACTOR
    return chosen


def _adopt_orphans() -> None:
    """Make this process the parent of what its descendants detach, so that it stays in reach."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
