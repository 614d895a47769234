"""The Runtime API: what the runtime may ask and answer, and when.

================== =========================== ==================================================
state              next                        response, error
================== =========================== ==================================================
Started            the end of initialisation   400: no invocation has this id
Ready              the invocation once more    -> InvocationResponse, InvocationErrorResponse
Invocation…        403                         403, while the body is on its way
ResponseSent       the next invocation         403
InitError          403                         403
================== =========================== ==================================================

Source: Lambda, Runtime API; states and texts are those of its runtime interface emulator.
"""

from __future__ import annotations

from . import control, fault
from .server import Collector, Receiver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .control import Control, Invocation
    from .server import Exchange

STARTED, INIT_ERROR, READY, RESPONDING, ERRING, SENT = (
    "Started",
    "InitError",
    "Ready",
    "InvocationResponse",
    "InvocationErrorResponse",
    "ResponseSent",
)
MODE, ERROR_TYPE, ERROR_BODY = (
    "lambda-runtime-function-response-mode",
    "lambda-runtime-function-error-type",
    "lambda-runtime-function-error-body",
)
TOO_LARGE = f"Exceeded maximum allowed payload size ({fault.LARGEST_RESPONSE} bytes)."
ACCEPTED = b'{"status":"OK"}\n'
CONTENT_TYPE_CHARS = 256
STREAM_CONTENT_TYPE = "application/octet-stream"
TRUNCATED = "Runtime.TruncatedResponse"


class Done:
    """How the runtime answered: a status and an error type of telemetry, and the size of what it produced."""

    __slots__ = ("error_type", "produced", "status")

    def __init__(self, status: str = "success", error_type: str = "", produced: int = 0) -> None:
        self.status, self.error_type, self.produced = status, error_type, produced


class RuntimeRoutes:
    """One runtime. ``changed`` is called when it waits for an invocation, ``answered`` when it has answered one,
    ``truncated`` when its answer broke off, with whether the runtime lives on for certain.
    """

    def __init__(
        self,
        worker: Control,
        *,
        changed: Callable[[], None],
        answered: Callable[[Done], None],
        init_failed: Callable[[bytes], None],
        truncated: Callable[[bool], None],
        before_answer: Callable[[], None],
    ) -> None:
        self._worker = worker
        self._changed, self._answered, self._init_failed = changed, answered, init_failed
        self._truncated, self._before_answer = truncated, before_answer
        self.state = STARTED
        self._next: Exchange | None = None
        self._current: Invocation | None = None
        self._stream: Streamed | None = None
        self._broken = False

    @property
    def waiting(self) -> bool:
        """Whether it has asked for the next invocation, and has none."""
        return self._next is not None and self._next.open

    @property
    def initialised(self) -> bool:
        return self.state not in (STARTED, INIT_ERROR)

    def give(self, invocation: Invocation) -> None:
        """The invocation to the waiting runtime."""
        self._current, self.state, self._stream, self._broken = invocation, READY, None, False
        if self.waiting:
            self._hand_over()  # otherwise its connection has gone, and it asks again, or has ended

    def cancel(self, sequence: int) -> None:
        """Nobody wants the rest of the streamed answer."""
        if self._current is not None and self._current.sequence == sequence and self._stream is not None:
            self._stream.cancel()

    def room(self) -> None:
        """The worker takes more of a stream."""
        if self._stream is not None:
            self._stream.exchange.resume()

    def fail_current(self, error_type: str, message: str) -> None:
        """The platform answers in the runtime's place. Only this ends the environment, whatever errors call themselves."""
        assert self._current is not None
        if self._stream is not None:
            self._stream.cancel()
        self._finish(control.FAULT, fault.document(error_type, message), Done("failure", error_type))

    # Routes

    def next(self, exchange: Exchange) -> Receiver:
        if self.state in (INIT_ERROR, RESPONDING, ERRING) or self.waiting:
            self._forbid(exchange, READY)
            if self._broken:
                self._truncated(True)
            return Receiver()
        exchange.on_gone = self._gone
        self._next = exchange
        if self.state == READY and self._current is not None:
            # the connection broke while the invocation was on its way, or the runtime forgot it
            self._hand_over()
        else:
            self.state = SENT
            self._current = None
            self._changed()
        return Receiver()

    def response(self, exchange: Exchange, request_id: str) -> Receiver:
        if not self._is_current(exchange, request_id):
            return Receiver()
        mode = exchange.head.headers.get(MODE, "").lower()
        if mode not in ("", "buffered", "streaming"):
            message = f"Invalid function response mode: {mode[:CONTENT_TYPE_CHARS]}"
            fault.refuse(exchange, 400, "InvalidFunctionResponseMode", message)
            return Receiver()
        if not self._may(exchange, RESPONDING):
            return Receiver()
        if mode == "streaming":
            return self._begin_stream(exchange)
        if (exchange.head.length or 0) > fault.LARGEST_RESPONSE:
            self._respond(exchange, None)
            return Receiver()
        return Collector(fault.LARGEST_RESPONSE, lambda body: self._respond(exchange, body), self._lost)

    def error(self, exchange: Exchange, request_id: str) -> Receiver:
        if not self._is_current(exchange, request_id) or not self._may(exchange, ERRING):
            return Receiver()
        return Collector(fault.LARGEST_ERROR, lambda body: self._err(exchange, body), self._lost)

    def init_error(self, exchange: Exchange) -> Receiver:
        if self.state != STARTED:
            self._forbid(exchange, INIT_ERROR)
            return Receiver()
        self.state = INIT_ERROR

        def done(body: bytes | None) -> None:
            exchange.answer(202, ACCEPTED)
            kind = fault.known_type(exchange.head.headers.get(ERROR_TYPE, ""), "Runtime", "Function")
            self._init_failed(body or fault.document(kind, "The runtime reported an error of its initialisation"))

        return Collector(fault.LARGEST_ERROR, done, lambda: None)

    # What follows

    def _hand_over(self) -> None:
        exchange, self._next = self._next, None
        assert exchange is not None
        assert self._current is not None
        exchange.answer(200, self._current.payload, tuple(next_headers(self._current)))

    def _gone(self) -> None:
        if self._next is not None and not self._next.open:
            self._next = None

    def _is_current(self, exchange: Exchange, request_id: str) -> bool:
        if self._current is not None and self._current.request_id == request_id:
            return True
        fault.refuse(exchange, 400, "InvalidRequestID", "Invalid request ID")
        return False

    def _may(self, exchange: Exchange, following: str) -> bool:
        if self.state == READY:
            self.state = following
            return True
        self._forbid(exchange, following)
        return False

    def _forbid(self, exchange: Exchange, following: str) -> None:
        message = f"State transition from {self.state} to {following} failed for runtime."
        fault.refuse(exchange, 403, "InvalidStateTransition", f"{message} Error: State transition is not allowed")

    def _respond(self, exchange: Exchange, body: bytes | None) -> None:
        if self.state != RESPONDING:
            self._forbid(exchange, SENT)
            return
        if body is None:
            fault.refuse(exchange, 413, "RequestEntityTooLarge", TOO_LARGE)
            size = b"%d" % max(exchange.head.length or 0, fault.LARGEST_RESPONSE + 1)
            self._finish(control.TOO_LARGE, size, Done("error", "Function.ResponseSizeTooLarge"))
            return
        exchange.answer(202, ACCEPTED)
        self._finish(control.RESULT, body, Done(produced=len(body)))

    def _err(self, exchange: Exchange, body: bytes | None) -> None:
        if self.state != ERRING:
            self._forbid(exchange, SENT)
            return
        kind = fault.known_type(exchange.head.headers.get(ERROR_TYPE, ""), "Function", "Runtime")
        if body is None:
            fault.refuse(exchange, 413, "RequestEntityTooLarge", TOO_LARGE)
            body = fault.document(kind, "The error was larger than a response may be")
        else:
            exchange.answer(202, ACCEPTED)
        self._finish(control.ERROR, body or fault.document(kind, ""), Done("error", kind, len(body)))

    def _begin_stream(self, exchange: Exchange) -> Receiver:
        content_type = exchange.head.headers.get("content-type", "") or STREAM_CONTENT_TYPE
        if len(content_type) > CONTENT_TYPE_CHARS or not (content_type.isascii() and content_type.isprintable()):
            self.state = READY
            message = f"Content-Type should have at most {CONTENT_TYPE_CHARS} printable ASCII characters"
            fault.refuse(exchange, 400, "InvalidContentType", message)
            return Receiver()
        assert self._current is not None
        self._stream = Streamed(
            exchange, self._worker, self._current.sequence, content_type, self._end_stream, self._lost
        )
        return self._stream

    def _end_stream(self, trailers: dict[str, str], produced: int) -> None:
        assert self._stream is not None
        if self.state != RESPONDING:
            self._forbid(self._stream.exchange, SENT)
            return
        self._stream.exchange.answer(202, ACCEPTED)
        if ERROR_TYPE not in trailers:
            self._finish(control.STREAM_END, b"", Done(produced=produced))
            return
        kind = trailers[ERROR_TYPE]
        known = fault.known_type(kind, "Function", "Runtime")
        body = _decoded(trailers.get(ERROR_BODY, "")) or fault.document(kind or known, "")
        self._finish(control.STREAM_ERROR, body, Done("error", known, produced))

    def _lost(self) -> None:
        if self.state in (RESPONDING, ERRING):
            self._broken = True
            self._truncated(False)

    def _finish(self, kind: int, payload: bytes, done: Done) -> None:
        self.state = SENT
        self._before_answer()
        assert self._current is not None
        self._worker.send(kind, self._current.sequence, payload)
        self._answered(done)


class Streamed(Receiver):
    """The body of a streamed response on its way to the worker, as fast as the worker takes it."""

    def __init__(
        self,
        exchange: Exchange,
        worker: Control,
        sequence: int,
        content_type: str,
        done: Callable[[dict[str, str], int], None],
        lost: Callable[[], None],
    ) -> None:
        self.exchange = exchange
        self.begun = True
        self._worker, self._sequence, self._done, self._on_lost = worker, sequence, done, lost
        self._cancelled = self._over = False
        self._produced = 0
        worker.send(control.STREAM_START, sequence, content_type.encode())

    def data(self, piece: bytes) -> None:
        if self._cancelled:
            return
        self._produced += len(piece)
        view = memoryview(piece)
        for start in range(0, len(view), control.FRAME_BYTES):
            self._worker.send(control.CHUNK, self._sequence, view[start : start + control.FRAME_BYTES])
        if self._worker.crowded:
            self.exchange.pause()

    def end(self, trailers: dict[str, str]) -> None:
        if not self._over:
            self._over = True
            self._done(trailers, self._produced)

    def lost(self) -> None:
        if not self._over:
            self._over = True
            self._on_lost()

    def cancel(self) -> None:
        """What still comes is thrown away: a handler that writes must not wait for ever."""
        self._cancelled = True
        self.exchange.resume()


def next_headers(invocation: Invocation) -> list[tuple[str, str]]:
    """The headers of an invocation; those without a value are left out. A client context is JSON: line ends are space."""
    fields = (
        ("Lambda-Runtime-Aws-Request-Id", invocation.request_id),
        ("Lambda-Runtime-Deadline-Ms", str(invocation.deadline_ms)),
        ("Lambda-Runtime-Invoked-Function-Arn", invocation.arn),
        ("Lambda-Runtime-Trace-Id", invocation.trace),
        ("Lambda-Runtime-Client-Context", invocation.client_context),
        ("Traceparent", invocation.traceparent),
        ("Tracestate", invocation.tracestate),
    )
    return [(name, _one_line(value)) for name, value in fields if value]


def _one_line(value: str) -> str:
    """
    >>> _one_line("{\\r\\n}")
    '{  }'
    """
    return value if value.isprintable() else "".join(" " if ord(letter) < 32 else letter for letter in value)


def _decoded(text: str) -> bytes:
    """The error document of a trailer, or nothing where it is none."""
    from binascii import Error, a2b_base64

    try:
        return a2b_base64(text.encode("ascii", "replace"), strict_mode=True)[: fault.LARGEST_ERROR]
    except (Error, ValueError, TypeError):
        return b""
