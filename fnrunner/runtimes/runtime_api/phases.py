"""The life of one environment: initialisation, one invocation after the other, shutdown. The one place that knows all.

::

    INIT ── runtime and extensions wait ─► IDLE ◄── all wait again ── BUSY        from anywhere: ─► SHUTDOWN ─► the end
                                             └──────── INVOKE ─────────►┘

The answer goes to the worker at once; the environment is BUSY until everybody waits again, and then the worker is told.
An invocation that comes meanwhile all the same waits here, and its time runs.
"""

from __future__ import annotations

import os
import time
from _signal import SIG_IGN, SIGPIPE, SIGTERM, set_wakeup_fd, signal  # type: ignore[import-not-found]

from . import control, fault, peer
from .child import Begun, CannotStart, Child, leave_as
from .control import Control, Invocation
from .dispatch import Dispatcher
from .extension import INVOKE, SHUTDOWN, Extension, found_in, invoke_event, shutdown_event, visible_variables
from .extension_routes import ExtensionRoutes
from .log import Log, to_stdout
from .plan import NoEntrypoint, Plan
from .reactor import READ, Reactor
from .report import Reports
from .runtime_routes import TRUNCATED, Done, RuntimeRoutes
from .server import Server
from .telemetry import Telemetry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

INIT, IDLE, BUSY, ENDING = "init", "idle", "busy", "ending"
HELLO = b"runtime-api"
ADDRESS = "AWS_LAMBDA_RUNTIME_API"
EXTERNAL_GRACE_S, INTERNAL_GRACE_S = 2.0, 0.5
TRUNCATION_S = 0.2
"""How long a runtime that broke its connection may take to end: then its exit is the reason, not the connection."""
SETTLING_TURNS = 4
"""To accept a connection, read a request and hand over its answer takes fewer."""
RUNTIME, PLATFORM = "", "\0platform"
"""Whose line of the log it is; extensions' are theirs by name."""


class Phases:
    """Made once; ``start`` begins, callbacks go on, and the process ends from within one of them."""

    def __init__(self, plan: Plan, reactor: Reactor, begun: Begun | None = None) -> None:
        """``begun`` is the runtime, where it runs already."""
        self._plan, self._reactor, self._begun = plan, reactor, begun
        self._phase = INIT
        self._runtime: Child | None = None
        self._invocation: Invocation | None = None
        self._answered = True
        self._queued: Invocation | None = None
        self._status = 0
        self._control = Control(
            reactor,
            plan.control_fd,
            on_invoke=self._on_invoke,
            on_cancel=self._on_cancel,
            on_room=self._on_room,
            on_gone=self._abandon,
        )
        self._log = Log(to_stdout, reactor.call_later)
        self._telemetry = Telemetry(reactor, json_lines=os.environ.get("AWS_LAMBDA_LOG_FORMAT", "").upper() == "JSON")
        self._reports = Reports(self._telemetry, self._children)
        self._extensions = ExtensionRoutes(
            self._telemetry,
            plan.account,
            changed=self._go_on,
            ready=self._extension_ready,
            failed=self._extension_failed,
        )
        self._routes = RuntimeRoutes(
            self._control,
            changed=self._runtime_waits,
            answered=self._on_answered,
            init_failed=self._init_failed,
            truncated=self._on_truncated,
            before_answer=self._drain,
        )
        self._variables = dict(os.environ)

    def start(self) -> None:
        self._control.send(control.HELLO, 0, HELLO)
        try:
            admits = peer.is_inside if peer.alone() else None
            server = Server(self._reactor, Dispatcher(self._routes, self._extensions), admits)
        except OSError as error:
            self._fail_init("Sandbox.Failure", f"the Runtime API could not be served: {error}")
            return
        self._variables[ADDRESS] = server.address
        self._reports.init_started()
        names = found_in(self._plan.extensions)
        if not names:
            self._start_runtime()
            return
        if len(names) > 10:
            self._fail_init("Extension.TooManyExtensions", f"there are {len(names)} extensions: 10 are possible")
            return
        self._extensions.all += [Extension(name, external=True) for name in names]
        for extension in self._extensions.all:
            self._start_extension(extension)

    # Processes

    def _start_extension(self, extension: Extension) -> None:
        if self._phase == ENDING:
            return
        path = f"{self._plan.extensions}/{extension.name}"
        try:
            extension.child = self._child([path], visible_variables(self._variables), "extension", extension.name,
                                          lambda child: self._extension_ended(extension, child))  # fmt: skip
        except CannotStart as error:
            self._fail_init("Extension.LaunchError", self._plan.shown(str(error)))

    def _start_runtime(self) -> None:
        try:
            self._runtime = self._child(
                self._plan.argv(), self._variables, "function", RUNTIME, self._runtime_ended, self._begun
            )
        except (NoEntrypoint, CannotStart) as error:
            self._fail_init("Runtime.InvalidEntrypoint", self._plan.shown(str(error)))

    def _child(
        self,
        argv: list[str],
        variables: dict[str, str],
        kind: str,
        source: str,
        on_exit: Callable[[Child], None],
        begun: Begun | None = None,
    ) -> Child:
        def output(data: bytes) -> None:
            self._log.write(source, data)
            self._telemetry.lines(kind, source, data)

        return Child(
            self._reactor, argv, variables, self._plan.directory, on_output=output, on_exit=on_exit, begun=begun
        )

    def _children(self) -> list[Child]:
        found = [extension.child for extension in self._extensions.all if extension.child is not None]
        return found + ([self._runtime] if self._runtime is not None else [])

    def _drain(self) -> None:
        for child in self._children():
            child.drain()
        self._log.flush(RUNTIME)

    def _runtime_ended(self, child: Child, turns: int = SETTLING_TURNS) -> None:
        status = child.status
        assert status is not None
        if turns:
            # what it sent last may still be in its connections: an answer given just before the end counts
            self._reactor.call_later(0, lambda: self._runtime_ended(child, turns - 1))
        elif self._phase != ENDING:
            if self._phase == INIT:
                self._reports.init_failed("Runtime.ExitError")
            elif not self._answered:
                self._reports.runtime_failed("Runtime.ExitError")
            self._end("FAILURE", status)

    def _extension_ended(self, extension: Extension, child: Child) -> None:
        assert child.status is not None
        if self._phase == ENDING:
            self._go_on()
        else:
            self._extension_failed(extension, "Extension.Crash", fault.exit_reason(child.status))

    def _extension_failed(self, extension: Extension, error_type: str, message: str) -> None:
        if self._phase == ENDING:
            return
        if self._phase == INIT:
            self._fail_init(error_type, message or f"extension {extension.name} gave up")
            return
        self._fail_current(error_type, message or f"extension {extension.name} gave up")
        self._end("FAILURE", 1)

    # Initialisation

    def _extension_ready(self, extension: Extension) -> None:
        events = ", ".join(extension.events)
        self._telemetry.emit(
            "platform.extension", {"name": extension.name, "state": "Ready", "events": extension.events}
        )
        line = f"EXTENSION\tName: {extension.name}\tState: Ready\tEvents: [{events}]\n"
        self._log.write(PLATFORM, line.encode())

    def _runtime_waits(self) -> None:
        if self._phase == INIT:
            self._reports.init_runtime_done()
        self._go_on()

    def _init_failed(self, body: bytes) -> None:
        """The runtime reported it."""
        self._drain()
        self._reports.init_failed("Runtime.Unknown")
        self._control.send(control.INIT_ERROR, 0, body)
        self._end("FAILURE", 1)

    def _fail_init(self, error_type: str, message: str) -> None:
        if self._phase == ENDING:
            return
        self._reports.init_failed(error_type)
        self._drain()
        self._control.send(control.INIT_ERROR, 0, fault.document(error_type, f"Error: {message}"))
        self._end("FAILURE", 1)

    def _everybody_waits(self) -> bool:
        return self._routes.waiting and all(
            extension.ready for extension in self._extensions.all if extension.registered or extension.external
        )

    def _go_on(self) -> None:
        """Somebody has done something: what can happen now?"""
        if self._phase == ENDING:
            if not any(self._awaited()):
                self._await_runtime()
            return
        if self._phase == INIT and self._runtime is None:
            if all(extension.registered for extension in self._extensions.all):
                self._start_runtime()
            return
        if self._phase == IDLE or not self._everybody_waits():
            return
        if self._phase == INIT:
            self._extensions.closed = True
            self._reports.init_done()
            self._telemetry.close_subscriptions()
            self._drain()
            self._control.send(control.READY)
        elif not self._answered:
            return
        else:
            self._reports.done()
            assert self._invocation is not None
            self._control.send(control.RESTED, self._invocation.sequence)
        self._phase = IDLE
        self._begin()

    # Invocations

    def _on_invoke(self, invocation: Invocation) -> None:
        self._queued = invocation
        if self._phase == ENDING:
            self._give_back()
        else:
            self._begin()

    def _give_back(self) -> None:
        """What was not begun here may begin elsewhere."""
        if self._queued is not None:
            self._control.send(control.NOT_STARTED, self._queued.sequence)
            self._queued = None

    def _on_cancel(self, sequence: int) -> None:
        self._routes.cancel(sequence)

    def _on_room(self) -> None:
        self._routes.room()

    def _begin(self) -> None:
        if self._phase != IDLE or self._queued is None:
            return
        self._invocation, self._queued = self._queued, None
        self._phase, self._answered = BUSY, False
        self._reports.started(self._invocation)
        told = [extension for extension in self._extensions.all if INVOKE in extension.events]
        if told:
            event = invoke_event(self._invocation)
            for extension in told:
                extension.tell(event)
        self._routes.give(self._invocation)

    def _on_answered(self, done: Done) -> None:
        self._answered = True
        self._reports.answered(done)

    def _fail_current(self, error_type: str, message: str) -> None:
        if self._invocation is None or self._answered:
            return
        self._drain()
        self._reports.runtime_failed(error_type)
        self._routes.fail_current(error_type, f"RequestId: {self._invocation.request_id} Error: {message}")

    def _on_truncated(self, alive: bool) -> None:
        self._reactor.call_later(0 if alive else TRUNCATION_S, self._response_truncated)

    def _response_truncated(self) -> None:
        if self._phase == BUSY and not self._answered:
            self._fail_current(TRUNCATED, "The connection broke before the response was complete")
            self._end("FAILURE", 1)

    # The end

    def terminate(self) -> None:
        """The worker asks for it: nobody needs the environment, or what runs has taken too long."""
        late = self._phase == BUSY and (not self._answered or self._queued is not None or self._overdue())
        if late and not self._answered:
            self._drain()
            self._reports.answered(Done("timeout"))
            self._reports.done()
        self._end("TIMEOUT" if late else "SPINDOWN", 0)

    def _overdue(self) -> bool:
        return self._invocation is not None and time.time() * 1000 >= self._invocation.deadline_ms

    def _awaited(self) -> list[Extension]:
        """Extensions that may still want to do something before the end."""
        return [
            extension
            for extension in self._extensions.all
            if extension.child is not None and extension.child.alive and SHUTDOWN in extension.events
        ]

    def _end(self, reason: str, status: int) -> None:
        if self._phase == ENDING:
            return
        self._phase, self._status = ENDING, status
        self._give_back()
        awaited = self._awaited()
        grace = EXTERNAL_GRACE_S if awaited else INTERNAL_GRACE_S if self._extensions.all else 0.0
        if reason == "FAILURE" and self._invocation is not None and not self._answered:
            # the worker tells the reason only when this process has ended: before the invocation times out
            grace = max(0.0, min(grace, self._invocation.deadline_ms / 1000 - time.time() - 0.1))
        self._telemetry.flush()
        event = shutdown_event(reason, int((time.time() + grace) * 1000))
        for extension in awaited:
            extension.tell(event)
        if self._runtime is not None and self._extensions.all:
            self._runtime.terminate()
        if grace and (awaited or (self._runtime is not None and self._runtime.alive)):
            self._reactor.call_later(grace, self._leave)
            if not awaited:
                self._await_runtime()
        else:
            self._leave()

    def _await_runtime(self) -> None:
        """The runtime may end in its own way too, within the grace; internal extensions end with it."""
        if self._runtime is None or not self._runtime.alive:
            self._leave()
        else:
            self._reactor.call_later(0.02, self._await_runtime)

    def _leave(self) -> None:
        self._drain()
        self._log.flush()
        for child in self._children():
            child.kill()
        self._control.send_all()
        leave_as(self._status)

    def _abandon(self) -> None:
        """The worker is gone."""
        for child in self._children():
            child.kill()
        os._exit(0)


def serve(arguments: list[str], directory: str = "", early: Any = None) -> None:
    """Serve one environment until it ends; programs begin in ``directory``. Never returns.

    With ``early`` it is not known yet for which function, and ``early.wait()`` gives the arguments. A runtime that can wait
    too is started before: what it waits for is in place of the Runtime API's address.
    """
    begun = None
    if early is not None:
        try:
            begun = Begun(Plan(arguments).argv(), os.environ, "/", waits=ADDRESS)
        except (NoEntrypoint, CannotStart, OSError):
            pass  # it is started later, where whoever it concerns is told why not
        arguments = early.wait()
    reactor = Reactor()
    phases = Phases(Plan(arguments, directory), reactor, begun)
    woken, waking = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal(SIGPIPE, SIG_IGN)  # a client that left is an error of writing, also where this interpreter was not started
    signal(SIGTERM, lambda *_: None)
    set_wakeup_fd(waking)

    def asked_to_end(_: int) -> None:
        os.read(woken, 64)
        phases.terminate()

    reactor.watch(woken, READ, asked_to_end)
    phases.start()
    reactor.run()
