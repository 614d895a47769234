"""One execution environment: a sandboxed process that initialises once and answers one invocation at a time.

::

    STARTING ─► INITIALISING ─► IDLE ◄─► BUSY          from anywhere: ─► STOPPING ─► GONE

An initialisation that failed is answered by the first invocation, as on Lambda; one that took too long is repeated by the
first invocation within the function's own timeout. Whatever ends the process ends the environment: it is never revived.
"""

from __future__ import annotations

import asyncio
import math
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import Enum
from types import MappingProxyType
from uuid import uuid4

from fnrunner.model import limits
from fnrunner.model.invocation import (
    PROVISIONED,
    Answer,
    EnvironmentSpec,
    FunctionError,
    Invocation,
    Outcome,
    Report,
    Succeeded,
    SystemFault,
)
from fnrunner.runtimes.frames import Kind
from fnrunner.runtimes.runtime import Runtime, RuntimesError
from fnrunner.sandbox.connection import RUNTIME_API, Abandoned, Connection, Ended, Frame, Incident, TimedOut
from fnrunner.sandbox.incoming import OnChunk
from fnrunner.sandbox.output import BoundedLog, OnLog
from fnrunner.sandbox.sandbox import Sandbox, SandboxError, SandboxUnavailable
from fnrunner.worker import failure, log_lines, wear
from fnrunner.worker.imports import noted


class EnvironmentState(Enum):
    STARTING = "Starting"
    INITIALISING = "Initialising"
    IDLE = "Idle"
    BUSY = "Busy"
    STOPPING = "Stopping"
    GONE = "Gone"


EXTENSIONS_GRACE = timedelta(seconds=2.3)

FREEZE_AFTER = timedelta(milliseconds=100)
"""So long nothing must follow an invocation."""

S = EnvironmentState
TRANSITIONS = MappingProxyType(
    {
        S.STARTING: frozenset({S.INITIALISING, S.STOPPING}),
        S.INITIALISING: frozenset({S.IDLE, S.STOPPING}),
        S.IDLE: frozenset({S.BUSY, S.STOPPING}),
        S.BUSY: frozenset({S.IDLE, S.STOPPING}),
        S.STOPPING: frozenset({S.GONE}),
        S.GONE: frozenset(),
    }
)


class InvalidTransition(RuntimeError):
    """The environment cannot do this in its state. This is a bug in the caller."""


def transition(current: EnvironmentState, following: EnvironmentState) -> EnvironmentState:
    """``following``, if it may follow. Raises InvalidTransition.

    >>> transition(EnvironmentState.IDLE, EnvironmentState.BUSY)
    <EnvironmentState.BUSY: 'Busy'>
    """
    if following not in TRANSITIONS[current]:
        raise InvalidTransition(f"an environment that is {current.value} cannot become {following.value}")
    return following


class Environment:
    """``start`` once, ``invoke`` while IDLE, ``stop`` at any time. ``clock`` is monotonic seconds, ``now`` aware UTC."""

    def __init__(
        self,
        spec: EnvironmentSpec,
        sandbox: Sandbox,
        runtime: Runtime,
        *,
        cold_reason: str,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        init_timeout: timedelta = limits.INIT_TIMEOUT,
        freeze_after: timedelta | None = None,
    ) -> None:
        """``cold_reason`` as in :class:`~fnrunner.model.invocation.Report`. Once it has been idle for ``freeze_after``
        nothing in it runs until its next invocation; None never freezes it.
        """
        self.spec = spec
        self.environment_id = uuid4().hex
        self.log_stream = f"{now():%Y/%m/%d}/[{spec.version}]{self.environment_id}"
        self.invocations = 0
        self.out_of_memory = False
        self._sandbox = sandbox
        self._runtime = runtime
        self._cold_reason = cold_reason
        self._clock = clock
        self._now = now
        self._init_timeout = init_timeout
        self._state = S.STARTING
        self._made = self._idle_since = self._rest_until = clock()
        self._log = BoundedLog()
        self._connection: Connection | None = None
        self._init_ms: float | None = None
        self._imports = ""
        self._init_incident: Incident | None = None
        self._version = ""
        self._freeze_after_s = None if freeze_after is None else freeze_after.total_seconds()
        self._freezing: asyncio.TimerHandle | None = None
        self._frozen = False
        self._grown = 0
        self._in_rest = False
        self._ending: asyncio.Task[None] | None = None

    @property
    def state(self) -> EnvironmentState:
        return self._state

    @property
    def key(self) -> str:
        return self.spec.key

    @property
    def age(self) -> timedelta:
        return timedelta(seconds=self._clock() - self._made)

    @property
    def initialised(self) -> bool:
        """False while it has not started, and when its initialisation failed: the first invocation would say so."""
        return self._state not in (S.STARTING, S.INITIALISING) and self._init_incident is None

    @property
    def outgrown(self) -> bool:
        """It keeps so much memory that it should be replaced before it has none left: see :mod:`~fnrunner.worker.wear`."""
        return self._grown >= wear.GROWN_TIMES

    @property
    def idle_since(self) -> float:
        """In the clock's seconds: when it became idle last."""
        return self._idle_since

    @property
    def runtime_version(self) -> str:
        """For INIT_START, such as ``python:3.13.v2``; before the process runs, the runtime's name.

        The last part is the interpreter's patch level, where Lambda has a number of its own.
        """
        major, _, rest = self._version.partition(".")
        minor, _, patch = rest.partition(".")
        language = self.spec.runtime.rstrip("0123456789.")
        return f"{language}:{major}.{minor}.v{patch}" if patch else self.spec.runtime

    async def start(self) -> None:
        """Start the process and initialise it; a function whose initialisation fails is IDLE and says so when invoked.

        Raises: SandboxError, RuntimesError (nothing runs then), InvalidTransition.
        """
        self._enter(S.INITIALISING)
        try:
            incident, self._init_ms = await self._initialise(self._init_timeout)
        except BaseException:
            await self._end()
            raise
        if self._state is not S.INITIALISING:
            raise SandboxUnavailable("the environment was stopped while it initialised")
        if not _is_ready(incident):
            await self._note_failed_init(incident)
        elif self.spec.initialization_type == PROVISIONED:
            # nobody waited for it: the first invocation is as warm as the next
            self._init_ms, self._cold_reason, self._imports = None, "", ""
        if self._state is not S.INITIALISING:
            raise SandboxUnavailable("the environment was stopped while it initialised")
        self._become_idle()

    async def invoke(
        self,
        invocation: Invocation,
        *,
        on_log: OnLog | None = None,
        on_chunk: OnChunk | None = None,
        gone: asyncio.Event | None = None,
    ) -> Answer:
        """Run it and say what came of it. Nothing that the function does is raised.

        ``on_log`` gets everything the function writes, initialisation included, in order and in pieces while it runs;
        of a flood, a part.
        ``on_chunk`` gets a streamed answer piece by piece, and its outcome is then Succeeded without payload. While it has
        not returned the function is held back, and its timeout runs. Without it such an answer is collected.
        When ``gone`` is set, or ``on_chunk`` raises ChunkRefused, the handler is told to end; one that does not is killed.

        Afterwards it is IDLE or gone, or BUSY as long as it is ``resting``; whoever invokes it then waits for that.

        Raises: InvalidTransition when it is not this environment's turn, and what else ``on_chunk`` raises.
        """
        if self.resting:
            await self.rest()
        if self._state in (S.STOPPING, S.GONE):
            return Answer(SystemFault("Sandbox.Failure", "The environment ended before the invocation began"))
        self._enter(S.BUSY)
        self.invocations += 1
        self._thaw()
        started = self._clock()
        self._rest_until = started + self.spec.timeout.total_seconds()
        try:
            incident = await self._run(invocation, on_log, on_chunk, gone)
            duration_ms = (self._clock() - started) * 1000
            outcome = await self._conclude(incident, invocation)
        except (SandboxError, RuntimesError) as error:
            await self._end()
            return Answer(SystemFault("Sandbox.Failure", str(error)))
        except BaseException:
            await self._end()
            raise
        return await self._answer(outcome, duration_ms, on_log)

    @property
    def resting(self) -> bool:
        """Whether the invocation is answered, and an extension or the runtime is still at work with it."""
        return self._state is S.BUSY and self._in_rest

    async def rest(self) -> None:
        """While it is ``resting``: wait until it is IDLE. It is ended when that takes longer than the function's timeout.

        Source: Lambda, the invoke phase: the timeout is for function and extensions together.
        """
        connection = self._connection
        if not self.resting or connection is None:
            return
        rested = await connection.rested(timedelta(seconds=self._rest_until - self._clock()))
        # somebody else may have waited too, or stopped it
        in_rest, self._in_rest = self.resting, False
        if in_rest and rested and not connection.lost:
            self._become_idle()
        elif in_rest:
            await self._end(EXTENSIONS_GRACE if not connection.lost else timedelta(0))

    async def stop(self, grace: timedelta = timedelta(0)) -> None:
        """End it: the process may take ``grace`` to react to SIGTERM. What runs in it is lost. Idempotent."""
        await self._end(grace)

    async def _initialise(self, within: timedelta) -> tuple[Incident, float]:
        """Start a process and wait for it: what came of it, and in how many milliseconds."""
        started = self._clock()
        self._connection = connection = await Connection.open(
            self._sandbox,
            self._runtime,
            self.spec,
            environment_id=self.environment_id,
            log_stream=self.log_stream,
            log=self._log,
            on_idle_end=self._ended_alone,
        )
        if self._ending is not None:
            # whoever stopped it saw nothing to end
            await connection.destroy()
            raise SandboxUnavailable("the environment was stopped while it started")
        incident = await connection.ready(within)
        self._version = connection.hello
        self._imports = noted(incident.payload) if isinstance(incident, Frame) and _is_ready(incident) else ""
        if isinstance(incident, Ended) and not connection.hello and self._state is not S.STOPPING:
            connection.output.end()
            said = self._log.take()[0].decode("utf-8", "replace").strip()[-500:]
            raise SandboxUnavailable(f"the runtime did not start ({failure.exit_reason(incident.returncode)}): {said}")
        return incident, (self._clock() - started) * 1000

    async def _note_failed_init(self, incident: Incident) -> None:
        """Remember the failure for the first invocation; nothing is left running meanwhile."""
        connection = self._connection
        assert connection is not None
        self._init_incident = incident
        await connection.destroy()
        self._connection = None
        self.out_of_memory = connection.out_of_memory
        if isinstance(incident, TimedOut):
            assert self._init_ms is not None
            line = log_lines.init_report(self._init_ms, "timeout")
            if self.spec.log_format == "JSON":
                line = log_lines.init_report_json(self._now(), self._init_ms, "timeout")
            self._log.write(line.encode())

    async def _run(
        self, invocation: Invocation, on_log: OnLog | None, on_chunk: OnChunk | None, gone: asyncio.Event | None
    ) -> Incident:
        remaining = self.spec.timeout
        if isinstance(self._init_incident, TimedOut):
            # Lambda repeats such an initialisation within the invocation, and charges it to the function's timeout.
            self._init_ms = None
            self._init_incident, spent_ms = await self._initialise(remaining)
            remaining -= timedelta(milliseconds=spent_ms)
        if self._connection is not None:
            self._connection.output.follow(on_log)
        if self._init_incident is not None and not _is_ready(self._init_incident):
            return self._init_incident
        assert self._connection is not None
        if on_chunk is None:
            return await self._connection.ask(invocation, remaining)
        return await self._connection.ask_for_stream(invocation, remaining, on_chunk, gone or asyncio.Event())

    async def _conclude(self, incident: Incident, invocation: Invocation) -> Outcome:
        """The outcome of what happened; where the environment cannot go on, it is gone afterwards."""
        if isinstance(incident, Frame) and incident.kind in failure.KINDS:
            return await self._conclude_answer(failure.KINDS[incident.kind](incident.payload), invocation.request_id)
        if isinstance(incident, Abandoned):
            return await self._abandon(incident, invocation.request_id)
        stopped = self._state is not S.BUSY
        await self._end(self._grace_after(incident))
        match incident:
            case Frame(Kind.INIT_ERROR, payload):
                return failure.broken(payload)
            case TimedOut():
                self._platform_line(log_lines.timed_out(self._now(), invocation.request_id, self.spec.timeout))
                return failure.timed_out(invocation.request_id, self.spec.timeout)
            case Ended() | Frame(Kind.NOT_STARTED) if stopped or isinstance(incident, Frame):
                when = "before the invocation began" if isinstance(incident, Frame) else "while it ran the invocation"
                return SystemFault("Sandbox.Failure", f"The environment was stopped {when}")
            case _:
                ended = incident if isinstance(incident, Ended) else Ended(-signal.SIGKILL)
                reason = failure.exit_reason(ended.returncode)
                error_type = failure.TRUNCATED if ended.mid_stream else failure.EXITED
                self._platform_line(log_lines.ended(invocation.request_id, reason, error_type))
                return failure.exited(invocation.request_id, reason, error_type)

    async def _conclude_answer(self, outcome: Succeeded | FunctionError, request_id: str) -> Outcome:
        """What the runtime answered. Some errors say that nothing more can be asked."""
        if isinstance(outcome, FunctionError) and outcome.environment_lost:
            await self._end()
            reason = outcome.message.removeprefix(f"RequestId: {request_id} Error: ")
            self._platform_line(log_lines.ended(request_id, reason, outcome.error_type))
        return outcome

    def _grace_after(self, incident: Incident) -> timedelta:
        """Extensions are told of a timeout and have two seconds; without any, their environment ends at once."""
        has_extensions = self._connection is not None and self._connection.hello == RUNTIME_API
        return EXTENSIONS_GRACE if has_extensions and isinstance(incident, TimedOut) else timedelta(0)

    async def _abandon(self, incident: Abandoned, request_id: str) -> Outcome:
        """Nobody wants the answer. Only an environment whose handler came to its own end goes on."""
        if not incident.clean:
            await self._end()
        self._platform_line(log_lines.ended(request_id, incident.reason, failure.DISCONNECTED))
        return failure.abandoned(request_id, incident.reason, environment_lost=not incident.clean)

    async def _answer(self, outcome: Outcome, duration_ms: float, on_log: OnLog | None) -> Answer:
        """The answer with its figures and logs; afterwards the environment is IDLE or gone."""
        connection = self._connection
        if connection is not None:
            peak_bytes = connection.memory_peak_bytes
            self._weigh(connection, peak_bytes)
            logs, dropped = connection.output.take()
            if connection.lost:
                await self._end()
        else:
            peak_bytes = 0
            logs, dropped = self._log.take()
            if logs and on_log is not None:
                on_log(logs)
        if self._state is S.BUSY:
            self._in_rest = connection is not None and connection.resting
            if not self._in_rest:
                self._become_idle()
        init_ms, self._init_ms = self._init_ms, None
        cold_reason, self._cold_reason = self._cold_reason, ""
        imports, self._imports = self._imports, ""
        report = Report(
            duration_ms=duration_ms,
            billed_ms=math.ceil(duration_ms + (init_ms or 0.0)),
            memory_mb=self.spec.memory_mb,
            max_memory_mb=min(self.spec.memory_mb, -(-peak_bytes // limits.MB)),
            init_ms=init_ms,
            cold_reason=cold_reason,
            imports=imports,
            runtime_version="" if init_ms is None else self.runtime_version,
            log_stream=self.log_stream,
            environment_id=self.environment_id,
        )
        return Answer(outcome, report, logs, dropped)

    def _weigh(self, connection: Connection, peak_bytes: int) -> None:
        limit = self.spec.memory_mb * limits.MB
        # what it uses now is asked only where it has ever been too much
        used = connection.memory_bytes if peak_bytes >= wear.GROWN_SHARE * limit else 0
        self._grown = wear.grown(self._grown, used=used, limit=limit)

    def _platform_line(self, text: str) -> None:
        if self._connection is not None:
            self._connection.output.write(text.encode())
        else:
            self._log.write(text.encode())

    def _enter(self, following: EnvironmentState) -> None:
        self._state = transition(self._state, following)

    def _become_idle(self) -> None:
        self._enter(S.IDLE)
        self._idle_since = self._clock()
        self._freeze_later()
        if self._connection is not None and self._connection.lost:
            self._ended_alone()

    def _freeze_later(self) -> None:
        """One timer is on its way, however often it is used meanwhile: who is busy pays nothing for being frozen."""
        if self._freeze_after_s is not None and self._freezing is None:
            wait_s = self._idle_since + self._freeze_after_s - self._clock()
            self._freezing = asyncio.get_running_loop().call_later(max(0.0, wait_s), self._freeze)

    def _freeze(self) -> None:
        self._freezing = None
        if self._state is not S.IDLE or self._connection is None or self._freeze_after_s is None:
            return
        if self._clock() < self._idle_since + self._freeze_after_s:
            self._freeze_later()
            return
        self._frozen = True
        self._connection.freeze()

    def _thaw(self) -> None:
        if self._frozen and self._connection is not None:
            self._frozen = False
            self._connection.thaw()

    def _ended_alone(self) -> None:
        """The process ended, or misbehaved, and nobody had asked it anything."""
        if self._state is S.IDLE:
            self._begin_ending(timedelta(0))

    def _begin_ending(self, grace: timedelta) -> asyncio.Task[None]:
        if self._ending is None:
            self._enter(S.STOPPING)
            if self._freezing is not None:
                self._freezing.cancel()
                self._freezing = None
            self._ending = asyncio.create_task(self._destroy(grace))
        return self._ending

    async def _end(self, grace: timedelta = timedelta(0)) -> None:
        # shielded: whoever stops waiting must not leave processes behind
        await asyncio.shield(self._begin_ending(grace))

    async def _destroy(self, grace: timedelta) -> None:
        try:
            if self._connection is not None:
                await self._connection.destroy(grace)
                self.out_of_memory = self._connection.out_of_memory
        finally:
            self._enter(S.GONE)


def _is_ready(incident: Incident) -> bool:
    return isinstance(incident, Frame) and incident.kind is Kind.READY
