"""The platform's own events for telemetry: what began, what ended, and how long it took.

Source: Lambda, Telemetry API event schema 2022-12-13.
"""

from __future__ import annotations

import math
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .child import Child
    from .control import Invocation
    from .runtime_routes import Done
    from .telemetry import Telemetry


class Reports:
    """Called at each step; says nothing where nobody listens."""

    def __init__(self, telemetry: Telemetry, children: Callable[[], list[Child]]) -> None:
        self._telemetry, self._children = telemetry, children
        self._init_began = self._began = self._answered_at = self._init_s = 0.0
        self._runtime_done = False
        self._invocation: Invocation | None = None
        self._done: Done | None = None

    def init_started(self) -> None:
        self._init_began = time.monotonic()
        if self._telemetry.active:
            runtime = os.environ.get("AWS_EXECUTION_ENV", "AWS_Lambda_provided").removeprefix("AWS_Lambda_")
            self._telemetry.emit(
                "platform.initStart",
                {
                    **self._init(),
                    "runtimeVersion": runtime,
                    "functionName": os.environ.get("AWS_LAMBDA_FUNCTION_NAME", ""),
                    "functionVersion": os.environ.get("AWS_LAMBDA_FUNCTION_VERSION", ""),
                    "instanceMaxMemory": self._memory_mb() * 1024 * 1024,
                },
            )

    def init_runtime_done(self) -> None:
        self._telemetry.emit("platform.initRuntimeDone", {**self._init(), "status": "success"})

    def init_done(self) -> None:
        self._init_s = time.monotonic() - self._init_began
        self._init_report("success")

    def init_failed(self, error_type: str) -> None:
        self._init_s = time.monotonic() - self._init_began
        record = {**self._init(), "status": "error", "errorType": error_type}
        self._telemetry.emit("platform.initRuntimeDone", record)
        self._init_report("error", errorType=error_type)

    def started(self, invocation: Invocation) -> None:
        self._invocation, self._began, self._done = invocation, time.monotonic(), None
        if self._telemetry.active:
            record = {"requestId": invocation.request_id, "version": os.environ.get("AWS_LAMBDA_FUNCTION_VERSION", "")}
            self._telemetry.emit("platform.start", record | self._tracing())

    def answered(self, done: Done) -> None:
        self._done, self._answered_at = done, time.monotonic()

    def runtime_failed(self, error_type: str) -> None:
        """The runtime will not answer: what would have followed an answer follows now."""
        from .runtime_routes import Done

        self.answered(Done("failure", error_type))
        self.done()

    def done(self) -> None:
        """Runtime and extensions wait again."""
        if not self._telemetry.active or self._invocation is None or self._done is None:
            return
        request_id, done = self._invocation.request_id, self._done
        self._telemetry.end_lines("function", "")
        record: dict[str, Any] = {"requestId": request_id, "status": done.status}
        if done.error_type:
            record["errorType"] = done.error_type
        spent_ms = (self._answered_at - self._began) * 1000
        moment = _moment(time.time() - (time.monotonic() - self._began))
        metrics = {"durationMs": round(spent_ms, 3), "producedBytes": done.produced}
        spans = [{"name": "responseLatency", "start": moment, "durationMs": round(spent_ms, 3)}]
        self._telemetry.emit("platform.runtimeDone", {**record, "metrics": metrics, "spans": spans} | self._tracing())
        self._telemetry.emit("platform.end", {"requestId": request_id})
        self._telemetry.emit("platform.report", {**record, "metrics": self._metrics()} | self._tracing())
        self._done = None

    def _metrics(self) -> dict[str, Any]:
        duration_ms = (time.monotonic() - self._began) * 1000
        metrics = {
            "durationMs": round(duration_ms, 3),
            "billedDurationMs": math.ceil(duration_ms + self._init_s * 1000),
            "memorySizeMB": self._memory_mb(),
            "maxMemoryUsedMB": -(-sum(_peak_kb(child.pid) for child in self._children()) // 1024),
        }
        if self._init_s:
            metrics["initDurationMs"] = round(self._init_s * 1000, 3)
            self._init_s = 0.0
        return metrics

    def _init_report(self, status: str, **more: str) -> None:
        metrics = {"durationMs": round(self._init_s * 1000, 3)}
        self._telemetry.emit("platform.initReport", {**self._init(), "status": status, "metrics": metrics, **more})

    def _tracing(self) -> dict[str, Any]:
        if self._invocation is None or not self._invocation.trace:
            return {}
        return {"tracing": {"type": "X-Amzn-Trace-Id", "value": self._invocation.trace}}

    @staticmethod
    def _init() -> dict[str, str]:
        kind = os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")
        return {"initializationType": kind, "phase": "init"}

    @staticmethod
    def _memory_mb() -> int:
        return int(os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"))


def _moment(at: float) -> str:
    """Epoch seconds as UTC with milliseconds.

    >>> _moment(0.5)
    '1970-01-01T00:00:00.500Z'
    """
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)) + f".{int(at * 1000) % 1000:03d}Z"


def _peak_kb(pid: int) -> int:
    """The most memory a process has had, as far as it can be told."""
    try:
        with open(f"/proc/{pid}/status") as file:
            return next((int(line.split()[1]) for line in file if line.startswith("VmHWM")), 0)
    except OSError:
        return 0
