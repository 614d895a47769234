"""The sandbox of namespaces: a function sees its code, its runtime, a /tmp, the system's programs, and nobody else.

A process of its own in new user, mount, pid, ipc, uts and cgroup namespaces, without capabilities, behind a filter of system
calls, in a cgroup where there are any. It is forked from a :mod:`~fnrunner.sandbox.spawner` that has an interpreter loaded,
which is where the milliseconds come from: one spawner for each interpreter, started when first needed, replaced when it
ends. Its network is one of its own, see :mod:`~fnrunner.sandbox.uplink`, where the host permits that.
"""

from __future__ import annotations

import contextlib
import logging
import marshal
import os
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

from fnrunner.runtimes.runtime import Layout
from fnrunner.sandbox import cgroups, seccomp
from fnrunner.sandbox.asking import Spawned, SpawnFailed
from fnrunner.sandbox.attachment import attach
from fnrunner.sandbox.cgroups import Hierarchy
from fnrunner.sandbox.destination import NetworkWish
from fnrunner.sandbox.home import Home
from fnrunner.sandbox.isolated import IsolatedProcess
from fnrunner.sandbox.network import NO_NETWORK
from fnrunner.sandbox.plumbing import NetworkUnavailable
from fnrunner.sandbox.process import (
    INSIDE,
    SHARED_NETWORK,
    Ground,
    ProcessSandbox,
    grounds,
    memory_file,
    resource_limits,
)
from fnrunner.sandbox.sandbox import Command, Limits, SandboxReport, SandboxUnavailable
from fnrunner.sandbox.snapshots import Snapshot, Snapshots
from fnrunner.sandbox.spawning import Base, Spawning
from fnrunner.sandbox.started import delete_tree

log = logging.getLogger(__name__)

READ_ONLY, NO_SUID, NO_DEVICES = 1, 2, 4
CODE = READ_ONLY | NO_SUID | NO_DEVICES
WRITABLE = NO_SUID | NO_DEVICES

_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_SETTINGS = (
    "alternatives", "ca-certificates", "crypto-policies", "fonts", "gai.conf", "host.conf", "hosts", "ld.so.cache",
    "ld.so.conf", "ld.so.conf.d", "locale.alias", "localtime", "mime.types", "nsswitch.conf", "pki/ca-trust",
    "pki/tls/cert.pem", "pki/tls/certs", "protocols", "resolv.conf", "services", "ssl/cert.pem", "ssl/certs",
    "ssl/openssl.cnf", "terminfo", "timezone",
)  # fmt: skip
"""Of /etc: what programs need to find libraries, hosts, certificates and the time; no keys."""

RESOLVER = "/etc/resolv.conf"
ANY_NETWORK, HOST_NETWORK = NetworkWish(), NetworkWish("host")
_ISOLATION = ("user", "mount", "pid", "ipc", "uts", "cgroup")


class NamespaceSandbox(ProcessSandbox):
    """Implements Sandbox. What it leaves on the host are directories and cgroups, as for the plain sandbox."""

    def __init__(
        self, root: Path, *, cgroups: Hierarchy | None, cpu_limit: bool = False, network: NetworkWish = HOST_NETWORK
    ) -> None:
        """Use ``on_this_host``. Raises NetworkUnavailable."""
        super().__init__(root, cgroups=cgroups, mount_namespace=True, cpu_limit=cpu_limit)
        self._filter = seccomp.program(os.uname().machine)
        stage = self._directory("stage") / "root"
        stage.mkdir(parents=True, exist_ok=True)
        self._filter_of_snapshots = seccomp.program(os.uname().machine, joins=True)
        try:
            self._network = attach(network, stage.parent, self._python)
        except NetworkUnavailable:
            delete_tree(stage.parent)
            raise
        system = _system(self._network.resolver)
        base = Base(str(stage), *system, network=self._network.argument, descriptors=self._network.descriptors)
        self._spawning = Spawning(base, self._make_home)
        self._snapshots = Snapshots(self._start, self._make_home)

    @classmethod
    def on_this_host(cls, root: Path, *, cpu_limit: bool = False, network: NetworkWish = ANY_NETWORK) -> Self:
        """Raises SandboxUnavailable where ``root`` cannot be written, or the host does not permit what is wished for."""
        root, hierarchy = grounds(root, cpu_limit=cpu_limit)
        wish = replace(network, mode="private") if network.mode == "auto" else network
        try:
            sandbox = cls(root, cgroups=hierarchy, cpu_limit=cpu_limit, network=wish)
            sandbox.require()
        except (SandboxUnavailable, NetworkUnavailable) as error:
            if network.mode != "auto":
                raise _unavailable(error) from error
            sandbox = cls(root, cgroups=hierarchy, cpu_limit=cpu_limit, network=HOST_NETWORK)
            sandbox.require()
            log.warning("functions share this host's network: %s", error)
            sandbox.misses(f"functions share this host's network: {error}")
        return sandbox

    def require(self) -> None:
        """Try it with a process that ends at once. Raises SandboxUnavailable or NetworkUnavailable, with what the kernel
        said."""
        try:
            home = self._make_home()
            limits = Limits(memory_mb=128, file_mb=16, processes=64, open_files=256)
            code, runtime = str(Path(__file__).parent), str(Path(__file__).parent)
            command = Command("probe", ("/bin/true",), {}, code, runtime, INSIDE, limits, 2, ())
            said = self._spawning.tried(self._python, self._isolated_plan(command), home)
            home.remove_now()
        except OSError as error:
            said = str(error)
        if NO_NETWORK in said:
            self.close()
            raise NetworkUnavailable(said.partition(NO_NETWORK)[2])
        if said:
            self.close()
            raise SandboxUnavailable(
                f"functions cannot have namespaces of their own here ({said.removeprefix('sandbox: ')}). Permit them "
                "(sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_"
                "userns=0; in a container: privileged), or set FNRUNNER_SANDBOX=process"
            )

    def describe(self) -> SandboxReport:
        plain = super().describe()
        # that it is shared is said once, with the reason where there is one
        known = self._network.argument or self._misses
        gaps = [gap for gap in plain.gaps if gap != SHARED_NETWORK or not known]
        if self._filter is None:
            gaps.append(f"system calls are not filtered on {os.uname().machine}: run workers on x86_64 or aarch64")
        return SandboxReport(
            name="namespace",
            cgroup_version=plain.cgroup_version,
            mount_namespace=True,
            parent_death_signal=True,
            memory=plain.memory,
            cpu=plain.cpu,
            tree_kill="pid namespace",
            namespaces=(*_ISOLATION, *(("network",) if self._network.argument else ())),
            system_calls="seccomp" if self._filter else "",
            network=self._network.name,
            gaps=tuple(gaps),
        )

    @property
    def ground(self) -> Ground:
        return replace(super().ground, attachment=self._network)

    def layout(
        self,
        environment_id: str,
        *,
        code_directory: str,
        runtime_directory: str,
        interpreter: str,
        layers_directory: str = "",
    ) -> Layout:
        return INSIDE

    async def start(self, command: Command) -> IsolatedProcess:  # type: ignore[override]
        snapshot = self._snapshots.find(command) if command.copies else None
        if snapshot is None and command.restores:
            snapshot = await self._snapshots.taken(command)
        if snapshot is not None:
            try:
                return await self._copy(snapshot, command)
            except (SpawnFailed, OSError) as error:
                log.warning("a snapshot could not be copied, the function is imported anew: %s", error)
                self._snapshots.failed(snapshot)
        try:
            return await self._start(command)
        except (SpawnFailed, OSError) as error:
            raise SandboxUnavailable(f"no process could be started: {error}. Run `fnrunner doctor`") from error

    def warm(self, runtime_directory: str, script: str) -> None:
        self._spawning.warm((f"{runtime_directory}/{script}", f"{INSIDE.runtime_directory}/{script}"))

    def forget(self, function: str, version: str | None, key: str) -> None:
        self._snapshots.forget(function, version, key)

    async def wind_down(self) -> None:
        await self._snapshots.close()
        await self._spawning.wind_down()
        self.close()

    def close(self) -> None:
        """End the spawners, and with them every function that still runs."""
        self._spawning.close()
        self._network.close()
        delete_tree(self._directory("stage"))

    async def _start(self, command: Command, keeper_fd: int = -1) -> IsolatedProcess:
        """Raises: SpawnFailed, OSError."""
        early = self._early_plan(command) if keeper_fd < 0 else b""
        with memory_file(self._isolated_plan(command, copies=keeper_fd >= 0)) as plan:
            spawned = await self._spawning.spawn(
                self._interpreter(command),
                descriptors=(plan, command.output_fd, *command.inherited_fds),
                limit=partial(self._limit, command),
                script=_script(command),
                keeper_fd=keeper_fd,
                early=early,
            )
        return await self._process(spawned, command, copied=keeper_fd >= 0, first=keeper_fd < 0)

    async def _copy(self, snapshot: Snapshot, command: Command) -> IsolatedProcess:
        """Raises: SpawnFailed, OSError."""
        plan = {
            "argv": command.argv[command.script :],
            "variables": dict(command.variables),
            "directory": command.layout.task_root,
        }
        with memory_file(plan) as file:
            descriptors = (file, command.output_fd, *command.inherited_fds)
            _say(command.output_fd, snapshot.said)
            spawned = await snapshot.start(descriptors, partial(self._limit, command))
        return await self._process(spawned, command, copied=False, first=False)

    async def _process(self, spawned: Spawned, command: Command, *, copied: bool, first: bool) -> IsolatedProcess:
        """``copied``: others are forked from it; ``first``: they may be from one like it. Raises OSError."""
        try:
            process = IsolatedProcess(
                spawned,
                memory_mb=command.limits.memory_mb,
                storage_mb=command.limits.file_mb,
                vcpus=Fraction(command.limits.memory_mb, cgroups.VCPU_MB) if self._cpu_limit else None,
                on_initialised=partial(self._snapshots.consider, command) if first and command.copies else None,
                copied=copied,
            )
        except OSError:
            await spawned.home.remove()
            raise
        if self._watch is not None:
            self._watch.add(process)
        self._temporaries.add(process)
        return process

    def _make_home(self) -> Home:
        """Raises OSError."""
        name = uuid4().hex
        directory = self._directory(name)
        try:
            self._make_directories(directory)
            group = None
            if self._cgroups is not None:
                group = self._cgroups.make(self._owner.name(name), within=self._owner.name("functions"))
        except OSError:
            delete_tree(directory)
            raise
        return Home(directory, group)

    def _limit(self, command: Command, home: Home) -> None:
        """Before the function begins."""
        if self._cgroups is not None and home.group is not None:
            self._cgroups.limit(home.group, memory_mb=command.limits.memory_mb, processes=command.limits.processes)

    def _interpreter(self, command: Command) -> str:
        """Of the spawner: the function's own, where it is a script that need not be started anew."""
        return command.argv[0] if command.script else self._python

    def _isolated_plan(self, command: Command, *, copies: bool = False) -> dict[str, Any]:
        return {
            "shown": [*_layers(command), *_programs(command), *_own(command)],
            # of one that may have begun early the rest is shown already
            "late": [] if command.early is None else [*_layers(command), *_own(command, runtime=False)],
            "inherited": command.inherited_fds,
            "limits": resource_limits(command.limits, bounded_by_cgroup=self._cgroups is not None),
            "nice": self._nice,
            "directory": command.layout.task_root,
            "filter": (self._filter_of_snapshots if copies else self._filter) or b"",
            "filter_of_copies": self._filter or b"",
            "copies": copies,
            "argv": command.argv,
            "script": command.script,
            "variables": dict(command.variables),
        }

    def _early_plan(self, command: Command) -> bytes:
        """What is known of its kind before it is known which function it is; empty where it must know all."""
        if command.early is None or not command.script:
            return b""
        argv = list(command.argv)
        argv[command.script + 1] = "-1"  # its descriptor is another one each time
        plan = {
            "shown": [*_programs(command), (command.runtime_directory, command.layout.runtime_directory, CODE)],
            "limits": resource_limits(command.limits, bounded_by_cgroup=self._cgroups is not None),
            "nice": self._nice,
            "directory": "/",
            "filter": self._filter or b"",
            "argv": argv,
            "script": command.script,
            "variables": dict(command.early),
        }
        return marshal.dumps(plan)


def _unavailable(error: Exception) -> SandboxUnavailable:
    if isinstance(error, NetworkUnavailable):
        return SandboxUnavailable(
            f"functions cannot have a network of their own here ({error}). Remedy that, or set FNRUNNER_NETWORK=host"
        )
    return SandboxUnavailable(str(error))


def _say(output: int, said: bytes) -> None:
    """What the import wrote, as far as the pipe takes it at once: who reads it is this event loop."""
    if said:
        os.set_blocking(output, False)
        try:
            with contextlib.suppress(BlockingIOError):
                os.write(output, said)
        finally:
            os.set_blocking(output, True)


def _system(resolver: Path | None = None) -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str, int], ...]]:
    """Links, and what is shown read-only, of the host's programs and settings."""
    links, shown = [], []
    for name in _SYSTEM:
        if os.path.islink(name):
            links.append((name, os.readlink(name)))
        elif os.path.isdir(name):
            shown.append((name, name, CODE))
    for name in _SETTINGS:
        path = f"/etc/{name}"
        if os.path.islink(path) and os.path.realpath(path).startswith("/usr/"):
            links.append((path, os.path.realpath(path)))
        elif os.path.exists(path):
            shown.append((os.path.realpath(path), path, CODE))
    if resolver is not None:
        links = [(path, link) for path, link in links if path != RESOLVER]
        shown = [(source, path, how) for source, path, how in shown if path != RESOLVER]
        shown.append((str(resolver), RESOLVER, CODE))
    return tuple(links), tuple(shown)


def _script(command: Command) -> tuple[str, str] | tuple[()]:
    """The program that a loaded interpreter may run: on the host, and inside."""
    if not command.script:
        return ()
    seen = command.argv[command.script]
    return command.runtime_directory + seen.removeprefix(command.layout.runtime_directory), seen


def _programs(command: Command) -> Iterator[tuple[str, str, int]]:
    """Interpreters outside the system's directories, each with what is installed beside it; never somebody's whole home."""
    for program in dict.fromkeys((command.argv[0], *command.programs)):
        real = Path(program).resolve()
        home = real.parent.parent if real.parent.name == "bin" else real.parent
        if Path.home().is_relative_to(home) or home.name == ".local":
            home = real
        if real.is_file() and not any(real.is_relative_to(part) for part in _SYSTEM):
            yield str(home), str(home), CODE


def _layers(command: Command) -> Iterator[tuple[str, str, int]]:
    """As a whole, or piece by piece where a program lies beside them."""
    if not command.layers_directory:
        return
    if not any(target.startswith(f"{command.layout.opt}/") for _, target, _ in _programs(command)):
        yield command.layers_directory, command.layout.opt, CODE
        return
    for name in sorted(os.listdir(command.layers_directory)):
        yield f"{command.layers_directory}/{name}", f"{command.layout.opt}/{name}", CODE


def _own(command: Command, *, runtime: bool = True) -> Iterator[tuple[str, str, int]]:
    """The function's directories, those that contain others first."""
    yield command.code_directory, command.layout.task_root, CODE
    if runtime:
        yield command.runtime_directory, command.layout.runtime_directory, CODE
    for path in sorted(command.directories, key=len):
        if os.path.isdir(path):
            yield path, path, WRITABLE
