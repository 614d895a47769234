"""One started bootstrap: its process, its control socket and its output, as one thing that is asked and that ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from fnrunner.model import limits
from fnrunner.model.invocation import EnvironmentSpec, Invocation
from fnrunner.runtimes.frames import BadFrame, Kind, header, invoke_head
from fnrunner.runtimes.runtime import Runtime
from fnrunner.sandbox.control import Control
from fnrunner.sandbox.incoming import ChunkRefused, Collected, Held, OnChunk
from fnrunner.sandbox.output import BoundedLog, Output
from fnrunner.sandbox.sandbox import Command, Limits, Sandbox, SandboxProcess, SandboxUnavailable

RUNTIME_API = "runtime-api"
"""What an environment says first whose runtime speaks the Runtime API."""

EXIT_GRACE = timedelta(seconds=1)
CANCEL_GRACE = timedelta(seconds=2)
"""How long a handler may take to end when nobody wants its answer any more."""

DISCONNECTED = "The client disconnected before the response was complete"


@dataclass(frozen=True, slots=True)
class Frame:
    """The bootstrap answered."""

    kind: Kind
    payload: bytes


@dataclass(frozen=True, slots=True)
class Ended:
    """The process has ended, or had to be ended because it cannot answer any more. ``returncode`` as in subprocess.
    ``mid_stream``: a streamed answer had begun.
    """

    returncode: int
    mid_stream: bool = False


@dataclass(frozen=True, slots=True)
class TimedOut:
    """Nothing came in time. The process still runs."""


@dataclass(frozen=True, slots=True)
class Abandoned:
    """Whoever asked wants no more of the answer, and ``reason`` says why. ``clean``: the handler ended by itself."""

    reason: str
    clean: bool


Incident = Frame | Ended | TimedOut | Abandoned


_FAILED = (Kind.STREAM_ERROR, Kind.FAULT)
_STREAM_ENDS = frozenset((Kind.STREAM_END, Kind.STREAM_ERROR, Kind.FAULT))


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
        self._incoming: Collected | Held | None = None
        self._in_stream = False
        self._resting: asyncio.Future[None] | None = None

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
            layers_directory=spec.layers_directory,
        )
        control_fd = self._control.their_fd
        # it may be ready before the sandbox has said that it runs
        self._expect()
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
                layers_directory=spec.layers_directory,
                directories=spec.directories,
                programs=launch.programs,
                script=launch.script,
                copies=launch.copies,
                restores=launch.restores,
                key=spec.key,
                early=launch.early,
                image=spec.image,
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
    def memory_bytes(self) -> int:
        return self._process.memory_bytes() if self._process else 0

    @property
    def out_of_memory(self) -> bool:
        return self._process is not None and self._process.out_of_memory()

    def freeze(self) -> None:
        """Let nothing of it run until ``thaw``: only while nothing is asked of it."""
        if self._process is not None and not self._lost:
            self._process.freeze()

    def thaw(self) -> None:
        """Let it run again."""
        if self._process is not None:
            self._process.thaw()

    async def ready(self, within: timedelta) -> Incident:
        """Wait for READY or INIT_ERROR. Once, first of all."""
        incident = await self._answer(within.total_seconds())
        if self._process is not None and isinstance(incident, Frame) and incident.kind is Kind.READY:
            self._process.initialised()
        return incident

    async def ask(self, invocation: Invocation, within: timedelta) -> Incident:
        """Send the invocation and wait for its answer; one that is streamed becomes whole."""
        self._begin(invocation, None)
        return await self._answer(within.total_seconds())

    async def ask_for_stream(
        self, invocation: Invocation, within: timedelta, on_chunk: OnChunk, gone: asyncio.Event
    ) -> Incident:
        """Send the invocation; hand over a streamed answer piece by piece and wait for its end, all within the time.

        A Frame of RESULT, ERROR or TOO_LARGE means that the answer was not streamed. Once ``gone`` is set, or ``on_chunk``
        has raised ChunkRefused, the handler is told to end and what comes is Abandoned.
        """
        if gone.is_set():
            return Abandoned(DISCONNECTED, clean=True)
        end = self._loop.time() + within.total_seconds()
        held = Held(self._control)
        self._begin(invocation, held)
        answer = asyncio.create_task(self._answer(within.total_seconds()))
        delivery = asyncio.create_task(held.deliver(on_chunk))
        leaving = asyncio.create_task(gone.wait())
        try:
            await asyncio.wait((answer, delivery, leaving), return_when=asyncio.FIRST_COMPLETED)
            if answer.done() and not isinstance(answer.result(), TimedOut):
                held.end()
                left = max(0.0, end - self._loop.time())
                await asyncio.wait((delivery, leaving), timeout=left, return_when=asyncio.FIRST_COMPLETED)
            return await self._streamed(held, answer, delivery, leaving)
        finally:
            for task in (answer, delivery, leaving):
                task.cancel()
            await asyncio.wait((answer, delivery, leaving))

    async def _streamed(
        self,
        held: Held,
        answer: asyncio.Task[Incident],
        delivery: asyncio.Task[None],
        leaving: asyncio.Task[object],
    ) -> Incident:
        """What came of a stream, once one of the three has ended."""
        if delivery.done() and delivery.exception() is None:
            return answer.result()
        reason = ""
        if delivery.done():
            try:
                delivery.result()
            except ChunkRefused as refused:
                reason = str(refused)
        elif leaving.done():
            reason = DISCONNECTED
        if not reason:
            return TimedOut()
        held.drop()
        if not answer.done():
            self._control.send(header(Kind.CANCEL, self._sequence, 0, 0), b"")
            await asyncio.wait((answer,), timeout=CANCEL_GRACE.total_seconds())
        ended = answer.result() if answer.done() else None
        return Abandoned(reason, clean=isinstance(ended, Frame) and ended.kind not in _FAILED)

    @property
    def resting(self) -> bool:
        """Whether, after its answer, somebody in it is still at work: an extension, or the runtime itself."""
        return self._resting is not None and not self._resting.done() and not self._lost

    async def rested(self, within: timedelta) -> bool:
        """Wait until it is at work no more, or has ended. False when that takes longer."""
        if self._resting is not None and self.resting:
            await asyncio.wait((self._resting,), timeout=max(0.0, within.total_seconds()))
        return not self.resting

    def _begin(self, invocation: Invocation, held: Held | None) -> None:
        self._sequence += 1
        self._incoming, self._in_stream = held, False
        self._resting = self._loop.create_future() if self.hello == RUNTIME_API else None
        self._expect()
        self._control.send(invoke_head(invocation, self._sequence), invocation.payload)

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

    def _expect(self) -> None:
        """From now on a frame is an answer."""
        self._waiter = self._loop.create_future()
        if self._lost:
            self._settle(None)

    async def _answer(self, within_s: float) -> Incident:
        """What was expected, or that it did not come in time."""
        assert self._waiter is not None
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
                return Ended(await self._process.wait(), self._in_stream)
        await self._process.kill_tree()
        return Ended(await self._process.wait(), self._in_stream)

    def _settle(self, incident: Frame | TimedOut | None) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(incident)

    def _on_frame(self, kind: Kind, sequence: int, payload: bytes) -> None:
        if kind is Kind.HELLO and not self.hello:
            self.hello = payload.decode("ascii", "replace")
        elif kind is Kind.RESTED and sequence == self._sequence and self._answered and self._resting is not None:
            self._end_rest()
        elif sequence != self._sequence or self._answered:
            raise BadFrame(f"a {kind.name} frame answers nothing that was asked")
        elif kind is Kind.CHUNK and self._in_stream and payload:
            assert self._incoming is not None
            self._incoming.put(payload)
        elif kind is Kind.STREAM_START and not self._in_stream:
            self._in_stream = True
            self._incoming = self._incoming or Collected()
            self._incoming.start(payload.decode("ascii", "replace"))
        elif kind is Kind.CHUNK or kind is Kind.STREAM_START or (self._in_stream and kind not in _STREAM_ENDS):
            raise BadFrame(f"a {kind.name} frame at this place in an answer")
        else:
            self._settle(self._whole(kind, payload))

    @property
    def _answered(self) -> bool:
        return self._waiter is None or self._waiter.done()

    def _end_rest(self) -> None:
        if self._resting is not None and not self._resting.done():
            self._resting.set_result(None)

    def _whole(self, kind: Kind, payload: bytes) -> Frame:
        """The frame that ends an answer, and the whole of it where it was collected."""
        if isinstance(self._incoming, Held) or kind not in _STREAM_ENDS or kind is Kind.FAULT:
            return Frame(kind, payload)
        if kind is Kind.STREAM_ERROR:
            return Frame(Kind.ERROR, payload)
        collected = self._incoming or Collected()
        if (whole := collected.whole) is None:
            return Frame(Kind.TOO_LARGE, b"%d" % collected.size)
        return Frame(Kind.RESULT, whole)

    def _on_lost(self, error: BadFrame | None) -> None:
        if self._lost:
            return
        self._lost = True
        self._end_rest()
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
