"""The sandbox of namespaces: a function sees its code, its runtime, a /tmp, the system's programs, and nobody else.

A process of its own in new user, mount, pid, ipc, uts and cgroup namespaces, without capabilities, behind a filter of system
calls, in a cgroup where there are any. It is forked from a :mod:`~fnrunner.sandbox.spawner` that has an interpreter loaded,
which is where the milliseconds come from: one spawner for each interpreter, started when first needed, replaced when it
ends. The network is the host's.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

from fnrunner.runtimes.runtime import Layout
from fnrunner.sandbox import cgroups, seccomp
from fnrunner.sandbox.cgroups import Cgroup, Hierarchy
from fnrunner.sandbox.isolated import IsolatedProcess
from fnrunner.sandbox.process import INSIDE, ProcessSandbox, grounds, memory_file, resource_limits
from fnrunner.sandbox.sandbox import Command, Limits, SandboxReport, SandboxUnavailable
from fnrunner.sandbox.spawning import Base, SpawnFailed, Spawning
from fnrunner.sandbox.started import delete_tree

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

_ISOLATION = ("user", "mount", "pid", "ipc", "uts", "cgroup")


class NamespaceSandbox(ProcessSandbox):
    """Implements Sandbox. What it leaves on the host are directories and cgroups, as for the plain sandbox."""

    def __init__(self, root: Path, *, cgroups: Hierarchy | None, cpu_limit: bool = False) -> None:
        """Use ``on_this_host``."""
        super().__init__(root, cgroups=cgroups, mount_namespace=True, cpu_limit=cpu_limit)
        self._filter = seccomp.program(os.uname().machine)
        stage = self._directory("stage")
        stage.mkdir(parents=True, exist_ok=True)
        self._spawning = Spawning(Base(str(stage), *_system()))

    @classmethod
    def on_this_host(cls, root: Path, *, cpu_limit: bool = False) -> Self:
        """Raises SandboxUnavailable where ``root`` cannot be written, or the host does not permit namespaces."""
        root, hierarchy = grounds(root, cpu_limit=cpu_limit)
        sandbox = cls(root, cgroups=hierarchy, cpu_limit=cpu_limit)
        sandbox.require()
        return sandbox

    def require(self) -> None:
        """Try it with a process that ends at once. Raises SandboxUnavailable, with what the kernel said."""
        directory = self._directory("probe")
        try:
            self._make_directories(directory)
            limits = Limits(memory_mb=128, file_mb=16, processes=64, open_files=256)
            code, runtime = str(Path(__file__).parent), str(Path(__file__).parent)
            command = Command("probe", ("/bin/true",), {}, code, runtime, INSIDE, limits, 2, ())
            said = self._spawning.tried(self._python, self._isolated_plan(command, directory, None))
        except OSError as error:
            said = str(error)
        finally:
            delete_tree(directory)
        if said:
            raise SandboxUnavailable(
                f"functions cannot have namespaces of their own here ({said.removeprefix('sandbox: ')}). Permit them "
                "(sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_"
                "userns=0; in a container: privileged), or set FNRUNNER_SANDBOX=process"
            )

    def describe(self) -> SandboxReport:
        plain = super().describe()
        gaps = [*plain.gaps]
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
            namespaces=_ISOLATION,
            system_calls="seccomp" if self._filter else "",
            gaps=tuple(gaps),
        )

    def layout(self, environment_id: str, *, code_directory: str, runtime_directory: str, interpreter: str) -> Layout:
        return INSIDE

    async def start(self, command: Command) -> IsolatedProcess:  # type: ignore[override]
        directory = self._directory(command.environment_id)
        group: Cgroup | None = None
        try:
            self._make_directories(directory)
            group = self._make_group(command)
            with memory_file(self._isolated_plan(command, directory, group)) as plan:
                spawned = await self._spawning.spawn(
                    self._interpreter(command),
                    entrances=group.entrances if group else (),
                    descriptors=(plan, command.output_fd, *command.inherited_fds),
                    script=_script(command),
                )
            process = IsolatedProcess(
                spawned,
                directory=directory,
                cgroup=group,
                memory_mb=command.limits.memory_mb,
                vcpus=Fraction(command.limits.memory_mb, cgroups.VCPU_MB) if self._cpu_limit else None,
            )
        except BaseException as error:
            await asyncio.shield(asyncio.ensure_future(self._undo(directory, group)))
            if isinstance(error, OSError | SpawnFailed):
                raise SandboxUnavailable(f"no process could be started: {error}. Run `fnrunner doctor`") from error
            raise
        if self._watch is not None:
            self._watch.add(process)
        return process

    @staticmethod
    async def _undo(directory: Path, group: Cgroup | None) -> None:
        """Remove what was made for a process that is not to be."""
        if group:
            await group.kill()
            await group.remove()
        await asyncio.to_thread(delete_tree, directory)

    def warm(self, runtime_directory: str, script: str) -> None:
        self._spawning.warm((f"{runtime_directory}/{script}", f"{INSIDE.runtime_directory}/{script}"))

    def close(self) -> None:
        """End the spawners, and with them every function that still runs."""
        self._spawning.close()
        delete_tree(self._directory("stage"))

    def _interpreter(self, command: Command) -> str:
        """Of the spawner: the function's own, where it is a script that need not be started anew."""
        return command.argv[0] if command.script else self._python

    def _isolated_plan(self, command: Command, directory: Path, group: Cgroup | None) -> dict[str, Any]:
        return {
            "shown": [*_programs(command), *_own(command, directory)],
            "inherited": command.inherited_fds,
            "limits": resource_limits(command.limits, bounded_by_cgroup=group is not None),
            "nice": self._nice,
            "directory": command.layout.task_root,
            "filter": self._filter or b"",
            "argv": command.argv,
            "script": command.script,
            "variables": dict(command.variables),
        }


def _system() -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str, int], ...]]:
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


def _own(command: Command, directory: Path) -> Iterator[tuple[str, str, int]]:
    """The function's directories, those that contain others first."""
    yield command.code_directory, command.layout.task_root, CODE
    yield command.runtime_directory, command.layout.runtime_directory, CODE
    yield str(directory / "tmp"), command.layout.temporary, WRITABLE
    for path in sorted(command.directories, key=len):
        if os.path.isdir(path):
            yield path, path, WRITABLE
