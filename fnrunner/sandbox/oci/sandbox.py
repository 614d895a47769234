"""The sandbox of container images: each environment is a container of an OCI runtime."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import marshal
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

from fnrunner.runtimes.runtime import Layout
from fnrunner.sandbox import cgroups
from fnrunner.sandbox.asking import Spawned
from fnrunner.sandbox.attachment import HOST, Attachment
from fnrunner.sandbox.cgroups import Hierarchy
from fnrunner.sandbox.home import Home
from fnrunner.sandbox.isolated import IsolatedProcess
from fnrunner.sandbox.memory_watch import MemoryWatch
from fnrunner.sandbox.network import CONNECTED, PATIENCE_S
from fnrunner.sandbox.oci import inside
from fnrunner.sandbox.oci.bundle import Shown, bundle
from fnrunner.sandbox.oci.engine import REMEDY, Engine, EngineFailed, engines, settled
from fnrunner.sandbox.oci.errors import ContainersUnavailable
from fnrunner.sandbox.ownership import MARKER, Owner
from fnrunner.sandbox.process import ProcessSandbox, resource_limits
from fnrunner.sandbox.sandbox import Command, SandboxReport, SandboxUnavailable
from fnrunner.sandbox.temporary import TemporaryWatch

log = logging.getLogger(__name__)

FUNCTIONS = "functions"
"""The group of all environments of a worker."""


class ContainerProcess(IsolatedProcess):
    """Implements SandboxProcess: the container's first process is the init process around the function."""

    def __init__(self, spawned: Spawned, engine: Engine, name: str, **more: Any) -> None:
        super().__init__(spawned, **more)
        self._engine, self._name = engine, name

    async def _remove(self) -> None:
        await self.kill_tree()
        await self._engine.delete(self._name, self._engine.state_in(self.home.directory))
        await super()._remove()


class ContainerSandbox:
    """Implements Sandbox, for commands that have an image. Which OCI runtime works here is found out with the first one."""

    def __init__(
        self, root: Path, *, hierarchy: Hierarchy | None, attachment: Attachment = HOST, cpu_limit: bool = False
    ) -> None:
        """``root`` as for the other sandboxes: what dead workers left in it is removed by theirs."""
        self._root, self._hierarchy, self._attachment, self._cpu_limit = root, hierarchy, attachment, cpu_limit
        self._owner = Owner.this_process()
        self._watch = None if hierarchy else MemoryWatch()
        self._temporaries = TemporaryWatch()
        self._engine: Engine | None = None

    @classmethod
    def beside(cls, sandbox: ProcessSandbox) -> Self:
        """In the same place, with the same limits and the same network."""
        ground = sandbox.ground
        return cls(ground.root, hierarchy=ground.hierarchy, attachment=ground.attachment, cpu_limit=ground.cpu_limit)

    def describe(self) -> SandboxReport:
        version = self._hierarchy.version if self._hierarchy else 0
        found = [engine.name for engine in engines()]
        alone = self._attachment is not HOST and not self._connected
        gaps = [
            *(() if found else (f"container images cannot be run: {REMEDY}",)),
            *(("functions that are images have only their own loopback: run workers as root",) if alone else ()),
        ]
        return SandboxReport(
            name=found[0] if found else "none",
            cgroup_version=version,
            mount_namespace=True,
            parent_death_signal=False,
            memory="cgroup" if version else "RLIMIT_DATA and polling",
            tree_kill="pid namespace",
            namespaces=("user", "mount", "pid", "ipc", "uts", *(("network",) if self._attachment is not HOST else ())),
            system_calls="seccomp",
            network="loopback only" if alone else self._attachment.name,
            gaps=tuple(gaps),
        )

    def sweep(self) -> int:
        """What OCI runtimes keep of dead workers' containers. Call it before the other sandbox's: that removes the rest, and
        what is needed for this.
        """
        removed = 0
        for directory in self._root.iterdir() if self._root.is_dir() else ():
            for engine in engines() if self._owner.abandoned(directory.name) else ():
                # one that did not make the container would remove what the other one knows of it
                if engine.state_in(directory).is_dir():
                    engine.delete_now(directory.name, engine.state_in(directory))
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
        return inside.LAYOUT

    async def start(self, command: Command) -> ContainerProcess:
        """Raises SandboxUnavailable, and ContainersUnavailable where there is no OCI runtime that works."""
        candidates = [self._engine] if self._engine is not None else engines()
        failures = []
        for engine in candidates:
            try:
                process = await self._start(engine, command)
            except (EngineFailed, OSError) as error:
                failures.append(str(error))
                continue
            self._engine = engine
            return process
        if self._engine is not None:
            raise SandboxUnavailable(f"no container could be started: {failures[0]}. Run `fnrunner doctor`")
        said = "; ".join(failures) or "there is none"
        raise ContainersUnavailable(f"no OCI runtime of this host can start a container: {said}. {REMEDY}")

    async def _start(self, engine: Engine, command: Command) -> ContainerProcess:
        """Raises EngineFailed, OSError."""
        home = await self._home(command)
        name = self._owner.name(command.environment_id)
        try:
            spawned = await self._create(engine, name, home, command)
        except BaseException:
            await asyncio.shield(asyncio.ensure_future(_undo(engine, name, home)))
            raise
        process = ContainerProcess(
            spawned,
            engine,
            name,
            memory_mb=command.limits.memory_mb,
            storage_mb=command.limits.file_mb,
            vcpus=Fraction(command.limits.memory_mb, cgroups.VCPU_MB) if self._cpu_limit else None,
        )
        try:
            await engine.start(name, engine.state_in(home.directory))
        except BaseException:
            await process.remove()
            raise
        self._temporaries.add(process)
        if self._watch is not None:
            self._watch.add(process)
        return process

    async def _home(self, command: Command) -> Home:
        """Raises OSError."""
        making = asyncio.ensure_future(asyncio.to_thread(self._make_home, command))
        try:
            return await asyncio.shield(making)
        except asyncio.CancelledError:
            await settled(making)
            if making.exception() is None:
                await asyncio.shield(asyncio.ensure_future(making.result().remove()))
            raise

    async def _create(self, engine: Engine, name: str, home: Home, command: Command) -> Spawned:
        """Created, limited and connected; not begun."""
        folder = home.directory / "bundle"
        (control_fd,) = command.inherited_fds
        folder.mkdir(mode=0o700)
        (folder / "config.json").write_text(json.dumps(self._bundle(command, home)))
        told, telling = os.pipe2(os.O_CLOEXEC)
        try:
            with _plan(command) as plan_fd:
                pid = await engine.create(
                    name,
                    bundle=folder,
                    state=engine.state_in(home.directory),
                    output_fd=command.output_fd,
                    descriptors=(control_fd, telling, plan_fd),
                )
            await asyncio.to_thread(_admit, pid, home)
            if self._connected:
                await asyncio.to_thread(self._connect, pid)
            return Spawned(home, os.pidfd_open(pid), told)
        except BaseException:
            os.close(told)
            raise
        finally:
            os.close(telling)

    def _bundle(self, command: Command, home: Home) -> dict[str, Any]:
        assert command.image is not None
        interpreter = command.argv[0]
        shown = list(inside.shown(interpreter, command.runtime_directory, home.temporary, self._attachment.resolver))
        shown += [
            Shown(path, path, writable=True) for path in sorted(command.directories, key=len) if os.path.isdir(path)
        ]
        return bundle(
            command.image.root,
            (*inside.python(interpreter), "-I", "-S", "-u", "-B", "-X", "utf8", inside.INIT, "4", "5"),
            marker=f"{MARKER}={self._owner.name(command.environment_id)}",
            shown=shown,
            limits=resource_limits(command.limits, bounded_by_cgroup=home.group is not None),
            user=(os.geteuid(), os.getegid()),
            own_network=self._attachment is not HOST,
        )

    def _make_home(self, command: Command) -> Home:
        """Raises OSError."""
        name = self._owner.name(command.environment_id)
        directory = self._root / name
        directory.mkdir(mode=0o700, parents=True)
        group = None
        try:
            (directory / "tmp").mkdir()
            (directory / "tmp").chmod(0o1777)
            if self._hierarchy is not None:
                limits = command.limits
                within = self._owner.name(FUNCTIONS)
                group = self._hierarchy.create(
                    name, within=within, memory_mb=limits.memory_mb, processes=limits.processes
                )
        except OSError:
            Home(directory, group).remove_now()
            raise
        return Home(directory, group)

    @property
    def _connected(self) -> bool:
        """Whether containers are connected to more than their own loopback."""
        return bool(self._attachment.descriptors) and os.geteuid() == 0

    def _connect(self, pid: int) -> None:
        """Raises OSError."""
        plumber = self._attachment.descriptors[0]
        network = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        answer, said = socket.socketpair()
        try:
            answer.settimeout(PATIENCE_S)
            with socket.socket(fileno=os.dup(plumber)) as asking:
                socket.send_fds(asking, [b"n"], [network, said.fileno()])
            said.close()
            if (why := answer.recv(1024)) != CONNECTED:
                raise OSError(f"no network: {why.decode('utf-8', 'replace')}")
        finally:
            os.close(network)
            said.close()
            answer.close()


def _admit(pid: int, home: Home) -> None:
    """Into the environment's group, before it begins. Raises OSError."""
    for entrance in home.group.entrances if home.group is not None else ():
        # version 1's file is of threads, and it has one
        Path(entrance).write_text(str(pid))


async def _undo(engine: Engine, name: str, home: Home) -> None:
    await engine.delete(name, engine.state_in(home.directory))
    await home.remove()


@contextmanager
def _plan(command: Command) -> Iterator[int]:
    """For the container's first process, in memory: it has the function's variables."""
    assert command.image is not None
    # its descriptors come as 3, 4 and 5, whatever they are here
    arguments = list(command.argv[command.script + 1 :])
    arguments[0] = "3"
    plan = {
        "variables": dict(command.variables),
        "runtime_directory": command.layout.runtime_directory,
        "arguments": arguments,
        "directory": command.image.working_directory,
        "inherited": [3],
    }
    descriptor = os.memfd_create("plan", os.MFD_CLOEXEC)
    try:
        with contextlib.suppress(BlockingIOError), open(os.dup(descriptor), "wb") as file:
            marshal.dump(plan, file)
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)
