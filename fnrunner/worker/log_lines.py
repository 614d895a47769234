"""The lines that Lambda itself writes to a function's log, as text and as JSON. Pure.

Source: Lambda's log formats; the JSON records are those of the Telemetry API, schema 2022-12-13.

>>> start("1", "$LATEST")
'START RequestId: 1 Version: $LATEST\\n'
>>> end("1")
'END RequestId: 1\\n'
>>> report("1", Report(duration_ms=79.666, billed_ms=80, memory_mb=128, max_memory_mb=73)).split("\\t")[1:4]
['Duration: 79.67 ms', 'Billed Duration: 80 ms', 'Memory Size: 128 MB']
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from fnrunner.model.invocation import Answer, EnvironmentSpec, FunctionError, Outcome, Report

TIMED_OUT = "Sandbox.Timedout"


def timestamp(moment: datetime) -> str:
    """UTC with milliseconds.

    >>> timestamp(datetime(2024, 3, 13, 18, 56, 24, 46_900, tzinfo=UTC))
    '2024-03-13T18:56:24.046Z'
    """
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def status_of(outcome: Outcome) -> str:
    """``success``, ``error`` (the function's or the platform's) or ``timeout``."""
    if isinstance(outcome, FunctionError):
        return "timeout" if outcome.environment_lost and outcome.error_type == TIMED_OUT else "error"
    return "success"


def _lost(outcome: Outcome | None) -> FunctionError | None:
    """The failure that REPORT tells of: the environment's, not an exception that the handler raised."""
    return outcome if isinstance(outcome, FunctionError) and outcome.environment_lost else None


def init_report(init_ms: float, status: str) -> str:
    """Only for an initialisation that ended badly; ``status`` is ``timeout`` or ``error``."""
    return f"INIT_REPORT Init Duration: {init_ms:.2f} ms\tPhase: init\tStatus: {status}\n"


def init_start(runtime_version: str, region: str) -> str:
    """On a cold start, before everything else.

    >>> init_start("python:3.13.v2", "us-east-1").split("\\t")[0]
    'INIT_START Runtime Version: python:3.13.v2'
    """
    arn = _runtime_arn(runtime_version, region)
    return f"INIT_START Runtime Version: {runtime_version}\tRuntime Version ARN: {arn}\n"


def _runtime_arn(runtime_version: str, region: str) -> str:
    return f"arn:aws:lambda:{region}::runtime:{sha256(runtime_version.encode()).hexdigest()}"


def start(request_id: str, version: str) -> str:
    return f"START RequestId: {request_id} Version: {version}\n"


def end(request_id: str) -> str:
    return f"END RequestId: {request_id}\n"


def report(request_id: str, figures: Report, outcome: Outcome | None = None) -> str:
    """A failure of the environment is appended; an exception that the handler raised is not."""
    parts = [
        f"REPORT RequestId: {request_id}",
        f"Duration: {figures.duration_ms:.2f} ms",
        f"Billed Duration: {figures.billed_ms} ms",
        f"Memory Size: {figures.memory_mb} MB",
        f"Max Memory Used: {figures.max_memory_mb} MB",
    ]
    if figures.init_ms is not None:
        parts.append(f"Init Duration: {figures.init_ms:.2f} ms")
    if (lost := _lost(outcome)) is not None:
        parts.append(f"Status: {status_of(lost)}")
        if lost.error_type != TIMED_OUT:
            parts.append(f"Error Type: {lost.error_type}")
    return "\t".join(parts) + "\t\n"


def timed_out(moment: datetime, request_id: str, timeout: timedelta) -> str:
    """The line in the log; a blank line follows it.

    >>> timed_out(datetime(2024, 3, 13, tzinfo=UTC), "1", timedelta(seconds=3))
    '2024-03-13T00:00:00.000Z 1 Task timed out after 3.00 seconds\\n\\n'
    """
    return f"{timestamp(moment)} {request_id} Task timed out after {timeout.total_seconds():.2f} seconds\n\n"


def ended(request_id: str, reason: str, error_type: str = "Runtime.ExitError") -> str:
    """The two lines about an invocation that ended early; ``reason`` is the message without its prefix.

    >>> ended("1", "Runtime exited with error: exit status 1")
    'RequestId: 1 Error: Runtime exited with error: exit status 1\\nRuntime.ExitError\\n'
    """
    return f"RequestId: {request_id} Error: {reason}\n{error_type}\n"


def _line(moment: datetime, kind: str, record: Mapping[str, Any]) -> str:
    body = {"time": timestamp(moment), "type": kind, "record": record}
    return json.dumps(body, separators=(",", ":")) + "\n"


def init_report_json(moment: datetime, init_ms: float, status: str) -> str:
    record = {
        "initializationType": "on-demand",
        "phase": "init",
        "status": status,
        "metrics": {"durationMs": round(init_ms, 3)},
    }
    return _line(moment, "platform.initReport", record)


def init_start_json(
    moment: datetime, runtime_version: str, region: str, function: str, version: str, initialization_type: str
) -> str:
    """``version`` is the function's.

    >>> line = init_start_json(datetime(2024, 3, 13, tzinfo=UTC), "python:3.13.v2", "us-east-1", "f", "7", "on-demand")
    >>> json.loads(line)["record"]["functionVersion"]
    '7'
    """
    record = {
        "initializationType": initialization_type,
        "phase": "init",
        "runtimeVersion": runtime_version,
        "runtimeVersionArn": _runtime_arn(runtime_version, region),
        "functionName": function,
        "functionVersion": version,
    }
    return _line(moment, "platform.initStart", record)


def start_json(moment: datetime, request_id: str, version: str) -> str:
    return _line(moment, "platform.start", {"requestId": request_id, "version": version})


def report_json(moment: datetime, request_id: str, figures: Report, outcome: Outcome) -> str:
    """
    >>> from fnrunner.model.invocation import Succeeded
    >>> moment = datetime(2024, 3, 13, tzinfo=UTC)
    >>> figures = Report(duration_ms=1.5, billed_ms=2, memory_mb=128, max_memory_mb=40)
    >>> json.loads(report_json(moment, "1", figures, Succeeded(b"1")))["record"]["metrics"]
    {'durationMs': 1.5, 'billedDurationMs': 2, 'memorySizeMB': 128, 'maxMemoryUsedMB': 40}
    """
    metrics: dict[str, Any] = {
        "durationMs": round(figures.duration_ms, 3),
        "billedDurationMs": figures.billed_ms,
        "memorySizeMB": figures.memory_mb,
        "maxMemoryUsedMB": figures.max_memory_mb,
    }
    if figures.init_ms is not None:
        metrics["initDurationMs"] = round(figures.init_ms, 3)
    record: dict[str, Any] = {"requestId": request_id, "metrics": metrics, "status": status_of(outcome)}
    if isinstance(outcome, FunctionError):
        record["errorType"] = outcome.error_type
    return _line(moment, "platform.report", record)


def whole(
    request_id: str, version: str, answer: Answer, spec: EnvironmentSpec, moment: datetime | None = None
) -> bytes:
    """The log of one invocation from START to REPORT, in the function's log format: what a caller gets of it.

    ``moment`` is when it ended, now by default; only JSON lines show it.
    """
    outcome, figures = answer.outcome, answer.report
    if spec.log_format == "JSON":
        ended = moment or datetime.now(UTC)
        started = ended - timedelta(milliseconds=figures.duration_ms)
        before = start_json(started, request_id, version)
        after = report_json(ended, request_id, figures, outcome)
    else:
        before = start(request_id, version)
        after = end(request_id) + report(request_id, figures, outcome)
    logs = answer.logs + b"\n" if answer.logs and not answer.logs.endswith(b"\n") else answer.logs
    return before.encode() + logs + after.encode()
