"""One started bootstrap: its process, its control socket and its output, as one thing that is asked and that ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from fnrunner.model import limits
from fnrunner.model.invocation import EnvironmentSpec, Invocation
from fnrunner.runtimes.frames import BadFrame, Kind, invoke_head
from fnrunner.runtimes.runtime import Runtime
from fnrunner.sandbox.control import Control
from fnrunner.sandbox.output import BoundedLog, Output
from fnrunner.sandbox.sandbox import Command, Limits, Sandbox, SandboxProcess, SandboxUnavailable

EXIT_GRACE = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Frame:
    """The bootstrap answered."""

    kind: Kind
    payload: bytes


@dataclass(frozen=True, slots=True)
class Ended:
    """The process has ended, or had to be ended because it cannot answer any more. ``returncode`` as in subprocess."""

    returncode: int


@dataclass(frozen=True, slots=True)
class TimedOut:
    """Nothing came in time. The process still runs."""


Incident = Frame | Ended | TimedOut


class Connection:
    """Made by ``open``. One question at a time: the next one only after the answer to the last."""

    def __init__(self, log: BoundedLog, on_idle_end: Callable[[], None]) -> None:
        """``on_idle_end`` is called when it ends, or misbehaves, while nothing is asked."""
        self.output = Output(log)
        self.hello = ""
        self._control = Control(self._on_frame, self._on_lost)
        self._on_idle_end = on_idle_end
        self._loop = asyncio.get_running_loop()
        self._sequence = 0
        self._lost = False
        self._process: SandboxProcess | None = None
        self._watcher: asyncio.Task[int] | None = None
        self._waiter: asyncio.Future[Frame | TimedOut | None] | None = None

    @classmethod
    async def open(
        cls,
        sandbox: Sandbox,
        runtime: Runtime,
        spec: EnvironmentSpec,
        *,
        environment_id: str,
        log_stream: str,
        log: BoundedLog,
        on_idle_end: Callable[[], None],
    ) -> Connection:
        """Start the process.

        Raises: SandboxUnavailable, RuntimeUnavailable, RuntimeUnknown.
        """
        interpreter = runtime.interpreter(spec.runtime)
        try:
            connection = cls(log, on_idle_end)
        except OSError as error:
            raise SandboxUnavailable(f"no pipe could be made: {error}. Raise the limit of open files") from error
        try:
            await connection._start(sandbox, runtime, spec, interpreter, environment_id, log_stream)
        except BaseException:
            await connection.destroy()
            raise
        return connection

    async def _start(
        self,
        sandbox: Sandbox,
        runtime: Runtime,
        spec: EnvironmentSpec,
        interpreter: str,
        environment_id: str,
        log_stream: str,
    ) -> None:
        layout = sandbox.layout(
            environment_id,
            code_directory=spec.code_directory,
            runtime_directory=runtime.runtime_directory,
            interpreter=interpreter,
        )
        control_fd = self._control.their_fd
        launch = runtime.launch(spec, layout, interpreter=interpreter, control_fd=control_fd, log_stream=log_stream)
        self._process = await sandbox.start(
            Command(
                environment_id=environment_id,
                argv=launch.argv,
                variables=launch.variables,
                code_directory=spec.code_directory,
                runtime_directory=runtime.runtime_directory,
                layout=layout,
                limits=Limits(
                    memory_mb=spec.memory_mb,
                    file_mb=spec.ephemeral_storage_mb,
                    processes=limits.PROCESSES,
                    open_files=limits.OPEN_FILES,
                ),
                output_fd=self.output.write_fd,
                inherited_fds=(control_fd,),
                directories=spec.directories,
            )
        )
        self._control.hand_over()
        self.output.hand_over()
        self._watcher = asyncio.create_task(self._process.wait())
        self._watcher.add_done_callback(self._on_exit)

    @property
    def lost(self) -> bool:
        """Whether it has ended or misbehaved: nothing can be asked any more."""
        return self._lost

    @property
    def memory_peak_bytes(self) -> int:
        return self._process.memory_peak_bytes() if self._process else 0

    @property
    def out_of_memory(self) -> bool:
        return self._process is not None and self._process.out_of_memory()

    async def ready(self, within: timedelta) -> Incident:
        """Wait for READY or INIT_ERROR."""
        return await self._answer(within.total_seconds())

    async def ask(self, invocation: Invocation, within: timedelta) -> Incident:
        """Send the invocation and wait for its answer."""
        self._sequence += 1
        self._control.send(invoke_head(invocation, self._sequence), invocation.payload)
        return await self._answer(within.total_seconds())

    async def destroy(self, grace: timedelta = timedelta(0)) -> None:
        """End the whole tree and remove what belongs to it. With ``grace``, ask first. Idempotent."""
        if self._process is not None:
            if grace and not self._lost:
                self._process.terminate()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(grace.total_seconds()):
                        await self._process.wait()
            await self._process.remove()
        if self._watcher is not None:
            await asyncio.wait([self._watcher])
        self._control.close()
        self.output.end()

    async def _answer(self, within_s: float) -> Incident:
        if self._lost:
            return await self._end()
        self._waiter = self._loop.create_future()
        timer = self._loop.call_later(max(0.0, within_s), self._settle, TimedOut())
        try:
            incident = await self._waiter
        finally:
            timer.cancel()
            self._waiter = None
        return await self._end() if incident is None else incident

    async def _end(self) -> Ended:
        """How it ended. A process that is cut off from us and stays is killed."""
        assert self._process is not None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(EXIT_GRACE.total_seconds()):
                return Ended(await self._process.wait())
        await self._process.kill_tree()
        return Ended(await self._process.wait())

    def _settle(self, incident: Frame | TimedOut | None) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(incident)

    def _on_frame(self, kind: Kind, sequence: int, payload: bytes) -> None:
        if kind is Kind.HELLO and not self.hello:
            self.hello = payload.decode("ascii", "replace")
        elif sequence != self._sequence or self._waiter is None or self._waiter.done():
            raise BadFrame(f"a {kind.name} frame answers nothing that was asked")
        else:
            self._settle(Frame(kind, payload))

    def _on_lost(self, error: BadFrame | None) -> None:
        if self._lost:
            return
        self._lost = True
        if error is not None and self._process is not None and self._process.returncode is None:
            self._process.kill()
        if self._waiter is not None:
            self._settle(None)
        else:
            self._on_idle_end()

    def _on_exit(self, _: asyncio.Task[int]) -> None:
        # the last frame may still be in the socket: an answer given just before the end counts
        self._control.read_rest()
        self._on_lost(None)
