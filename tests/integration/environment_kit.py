"""Environments for tests: code given as text, run in a real sandbox, and proof that nothing is left of it."""

from __future__ import annotations

import asyncio
import os
import textwrap
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from fnrunner.model.invocation import EnvironmentSpec, Invocation
from fnrunner.runtimes.python import PythonRuntime
from fnrunner.sandbox import cgroups, process_tree
from fnrunner.sandbox.cgroups import Hierarchy
from fnrunner.sandbox.destination import NetworkWish
from fnrunner.sandbox.namespace import NamespaceSandbox
from fnrunner.sandbox.ownership import MARKER
from fnrunner.sandbox.process import ProcessSandbox
from fnrunner.sandbox.sandbox import SandboxUnavailable
from fnrunner.worker.environment import Environment, EnvironmentState

ARN = "arn:aws:lambda:us-east-1:000000000000:function:f"


def make_spec(directory: Path, **changes: Any) -> EnvironmentSpec:
    values: dict[str, Any] = {
        "function": "f",
        "version": "$LATEST",
        "runtime": "python3.11",
        "handler": "f.handler",
        "code_directory": str(directory),
        "memory_mb": 128,
        "ephemeral_storage_mb": 512,
        "timeout": timedelta(seconds=20),
        "key": "key",
        "log_group": "/aws/lambda/f",
        "account": "000000000000",
        "region": "us-east-1",
    }
    return EnvironmentSpec(**(values | changes))


def invocation(payload: bytes = b"{}", request_id: str = "request-1", **more: Any) -> Invocation:
    deadline = int((time.time() + 20) * 1000)
    return Invocation(request_id=request_id, payload=payload, deadline_ms=deadline, invoked_arn=ARN, **more)


def processes_of(environment: Environment) -> list[int]:
    """Every living process that began in this environment: as its variables say, or its cgroup or its root directory."""
    return processes_with(home_of(environment))


def home_of(environment: Environment) -> str:
    """The name of its directory, where the sandbox makes that before it knows who will live there."""
    process = environment._connection and environment._connection._process
    home = getattr(process, "home", None)
    return home.directory.name if home else environment.environment_id


def processes_with(environment_id: str) -> list[int]:
    marked = {pid for pid, name in process_tree.markers(MARKER.encode()) if name.endswith(environment_id)}
    return sorted(marked | {pid for pid in process_tree.table() if _is_in(pid, environment_id)})


def _is_in(pid: int, environment_id: str) -> bool:
    try:
        return any(environment_id in Path(f"/proc/{pid}/{file}").read_text() for file in ("cgroup", "mountinfo"))
    except OSError:
        return False


def open_fds() -> set[str]:
    # but that of the listing itself
    return {name for name in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{name}")}


@dataclass
class Kit:
    """Makes environments in one sandbox; what a test leaves running is stopped, and leftovers fail it."""

    sandbox: ProcessSandbox
    root: Path
    code: Path
    made: list[Environment] = field(default_factory=list)

    def environment(
        self,
        source: str,
        *,
        init_timeout: timedelta = timedelta(seconds=20),
        freeze_after: timedelta | None = None,
        **spec: Any,
    ) -> Environment:
        """Not started. ``source`` is the text of f.py."""
        self.code.mkdir(exist_ok=True)
        (self.code / "f.py").write_text(textwrap.dedent(source))
        environment = Environment(
            make_spec(self.code, **spec),
            self.sandbox,
            PythonRuntime(),
            cold_reason="first",
            init_timeout=init_timeout,
            freeze_after=freeze_after,
        )
        self.made.append(environment)
        return environment

    async def started(self, source: str, **spec: Any) -> Environment:
        environment = self.environment(source, **spec)
        await environment.start()
        return environment

    async def close(self) -> None:
        for environment in self.made:
            await environment.stop()
            assert environment.state is EnvironmentState.GONE
            assert processes_of(environment) == []
        await self.sandbox.wind_down()
        left = [str(path) for path in self.root.rglob("*")]
        assert left == []


@cache
def _host_facts() -> tuple[Hierarchy | None, bool]:
    """What the host permits: asked once, because it takes a process to find out."""
    with TemporaryDirectory() as directory:
        return cgroups.discover(), ProcessSandbox.on_this_host(Path(directory)).describe().mount_namespace


def full_sandbox(root: Path) -> ProcessSandbox:
    hierarchy, mount_namespace = _host_facts()
    return ProcessSandbox(root, cgroups=hierarchy, mount_namespace=mount_namespace)


@cache
def _lack_of_namespaces() -> str:
    with TemporaryDirectory() as directory:
        try:
            NamespaceSandbox.on_this_host(Path(directory)).close()
        except SandboxUnavailable as error:
            return str(error)
    return ""


@cache
def _network_mode() -> str:
    with TemporaryDirectory() as directory:
        try:
            NamespaceSandbox.on_this_host(Path(directory), network=NetworkWish("private")).close()
        except SandboxUnavailable:
            return "host"
    return "private"


def namespace_sandbox(root: Path, network: NetworkWish | None = None) -> NamespaceSandbox:
    """With a network of its own where the host permits one. Skips the test where it permits no namespaces."""
    if why := _lack_of_namespaces():
        pytest.skip(why)
    return NamespaceSandbox(root, cgroups=_host_facts()[0], network=network or NetworkWish(_network_mode()))


@asynccontextmanager
async def kit(kind: str, directory: Path, network: NetworkWish | None = None) -> AsyncIterator[Kit]:
    """``namespace`` is what this host gives at most, ``full`` as much without namespaces, ``bare`` what every host gives."""
    before = open_fds()
    root = directory / "sandbox"
    make: dict[str, Callable[[], ProcessSandbox]] = {
        "namespace": lambda: namespace_sandbox(root, network),
        "full": lambda: full_sandbox(root),
        "bare": lambda: ProcessSandbox(root, cgroups=None, mount_namespace=False),
    }
    root.mkdir()
    made = Kit(make[kind](), root, directory / "code")
    yield made
    await made.close()
    # a thread that nobody waits for any more may be at its last file
    until = time.monotonic() + 10
    while not open_fds() <= before and time.monotonic() < until:
        await asyncio.sleep(0.01)
    assert open_fds() <= before
