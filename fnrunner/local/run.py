"""One invocation in an environment of this process's own, without a broker, a store or a worker: for `fnrunner replay`.

It is the environment that a worker would make, of the same classes. Nothing is settled or written down, and nothing is left
behind: neither processes nor files, also when it is cancelled.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from fnrunner.model import limits
from fnrunner.model.invocation import Answer, EnvironmentSpec, Invocation
from fnrunner.runtimes.choice import Runtimes
from fnrunner.runtimes.local import Debugger, LocalPythonRuntime, Repeatable
from fnrunner.runtimes.runtime import Runtime, RuntimeUnknown
from fnrunner.sandbox.choice import on_this_host
from fnrunner.sandbox.destination import NetworkWish
from fnrunner.sandbox.namespace import ANY_NETWORK, HOST_NETWORK
from fnrunner.sandbox.output import OnLog
from fnrunner.sandbox.sandbox import Sandbox
from fnrunner.sandbox.started import delete_tree
from fnrunner.worker.environment import Environment

PAUSED = timedelta(hours=24)
"""The timeout while a debugger is there, which the function sees as its remaining time."""

DEBUGGER_MB = 512
"""What a debugger may take besides the function's memory."""

GOODBYE_S = 0.5
"""How long the debugger may take to tell the editor that it goes on, before its processes are killed."""

LISTENING = "listening"
POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Debugging:
    """``package`` is the directory of debugpy; ``port`` 0 takes a free one."""

    package: str
    port: int


@dataclass(frozen=True, slots=True)
class Attachment:
    """Where a debugger listens, and where the code lies in the environment, for its path mapping."""

    host: str
    port: int
    code_directory: str


@dataclass(frozen=True, slots=True)
class LocalRun:
    """``spec`` is the function as it is deployed, with its code on this machine; the invocation's deadline is set when it
    begins. ``repeatable``: the clock starts there, and the deadline is by that clock. ``sandbox`` is one of
    :data:`~fnrunner.sandbox.choice.KINDS`. ``network`` is what the function has, but the host's while a debugger is there:
    whoever attaches comes over loopback. ``lets_stand_in``: a near version may run it where its own is missing."""

    spec: EnvironmentSpec
    invocation: Invocation
    debugging: Debugging | None = None
    repeatable: Repeatable | None = None
    sandbox: str = "auto"
    network: NetworkWish = ANY_NETWORK
    lets_stand_in: bool = False


@asynccontextmanager
async def sandbox_in(directory: Path, kind: str, network: NetworkWish = ANY_NETWORK) -> AsyncIterator[Sandbox]:
    """What environments of this machine run in: what a worker's would.

    Raises SandboxError.
    """
    sandbox = on_this_host(directory, kind, network=network)
    sandbox.sweep()
    try:
        yield sandbox
    finally:
        await sandbox.wind_down()


def runtime_of(run: LocalRun, listening: Path) -> Runtime:
    """Raises RuntimeUnknown for a debugger or a fixed clock in another language than Python."""
    debugging = run.debugging
    if debugging is None and run.repeatable is None:
        return Runtimes(lets_stand_in=run.lets_stand_in)
    runtime = LocalPythonRuntime(
        debugger=Debugger(debugging.package, debugging.port, str(listening)) if debugging else None,
        repeatable=run.repeatable,
        memory_mb=run.spec.memory_mb,
        lets_stand_in=run.lets_stand_in,
    )
    if not runtime.serves(run.spec.runtime):
        raise RuntimeUnknown(
            f"--debug and --repeatable are for Python functions, and this one runs on {run.spec.runtime}: leave them out"
        )
    return runtime


async def perform(
    run: LocalRun, *, on_log: OnLog | None = None, on_listening: Callable[[Attachment], None] | None = None
) -> Answer:
    """Make the environment, initialise it, invoke it once, and remove it; what came of it.

    ``on_log`` gets what the function writes, as :meth:`~fnrunner.worker.environment.Environment.invoke` says.
    ``on_listening`` is called once the debugger listens; everything then waits for somebody to attach.

    Raises SandboxError, RuntimesError. When it is cancelled, the environment is gone before it returns.
    """
    with workspace() as directory:
        shared = directory / "shared"
        shared.mkdir()
        listening = shared / LISTENING
        runtime = runtime_of(run, listening)
        network = HOST_NETWORK if run.debugging else run.network
        async with sandbox_in(directory / "environments", run.sandbox, network) as sandbox:
            return await _perform(run, sandbox, runtime, listening, on_log, on_listening)


async def _perform(
    run: LocalRun,
    sandbox: Sandbox,
    runtime: Runtime,
    listening: Path,
    on_log: OnLog | None,
    on_listening: Callable[[Attachment], None] | None,
) -> Answer:
    spec = _spec(run, listening.parent)
    init_timeout = PAUSED if run.debugging else limits.INIT_TIMEOUT
    environment = Environment(spec, sandbox, runtime, cold_reason="first", init_timeout=init_timeout)
    telling = asyncio.create_task(_tell(listening, on_listening)) if run.debugging and on_listening else None
    try:
        await environment.start()
        answer = await environment.invoke(_begun(run), on_log=on_log)
        if run.debugging:
            await asyncio.sleep(GOODBYE_S)
        return answer
    finally:
        if telling is not None:
            telling.cancel()
        await environment.stop()


@contextmanager
def workspace() -> Iterator[Path]:
    """A directory of this run's own, gone afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="fnrunner-local-"))
    try:
        yield directory
    finally:
        delete_tree(directory)


def _spec(run: LocalRun, shared: Path) -> EnvironmentSpec:
    """With a debugger: no timeout to speak of, room for it, and what it needs visible where /tmp is private."""
    debugging = run.debugging
    if debugging is None:
        return run.spec
    return replace(
        run.spec,
        timeout=PAUSED,
        memory_mb=run.spec.memory_mb + DEBUGGER_MB,
        directories=(*run.spec.directories, debugging.package, str(shared)),
    )


def _begun(run: LocalRun) -> Invocation:
    """The invocation with the deadline that it has when it begins now, by the clock that the function reads."""
    timeout = PAUSED if run.debugging else run.spec.timeout
    if run.repeatable is not None:
        now = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=run.repeatable.start_us)
    else:
        now = datetime.now(UTC)
    return replace(run.invocation, deadline_ms=int((now + timeout).timestamp() * 1000))


async def _tell(listening: Path, on_listening: Callable[[Attachment], None]) -> None:
    """Once there is something to tell. A file is what crosses every sandbox, and nothing announces it."""
    while (found := _attachment(listening)) is None:  # noqa: ASYNC110
        await asyncio.sleep(POLL_S)
    on_listening(found)


def _attachment(listening: Path) -> Attachment | None:
    """What the file says, which appears whole; None before."""
    try:
        found = json.loads(listening.read_text())
    except FileNotFoundError:
        return None
    return Attachment(found["host"], int(found["port"]), found["code_directory"])
