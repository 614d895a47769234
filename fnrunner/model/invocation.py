"""One run of a function: what goes into the environment and what comes out.

Outcomes are a closed set (:data:`Outcome`): match it exhaustively.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum

from fnrunner.model.image import Image


@dataclass(frozen=True, slots=True)
class Invocation:
    """What the function is given. ``deadline_ms`` is epoch milliseconds. ``client_context`` is JSON text or empty.

    ``xray`` is the value of ``_X_AMZN_TRACE_ID``; ``traceparent`` and ``tracestate`` are W3C's.
    """

    request_id: str
    payload: bytes
    deadline_ms: int
    invoked_arn: str
    client_context: str = ""
    xray: str = ""
    traceparent: str = ""
    tracestate: str = ""


@dataclass(frozen=True, slots=True)
class Succeeded:
    """``payload`` is the function's answer, JSON bytes unless the function returned bytes."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class FunctionError:
    """The function's fault: it raised, timed out, exited, could not be imported, or answered too much.

    ``payload`` is the error JSON exactly as a client sees it. ``environment_lost``: the environment is gone or must go.
    """

    error_type: str
    message: str
    payload: bytes
    environment_lost: bool = False


class ThrottleReason(Enum):
    """Source: Lambda API, TooManyRequestsException.Reason."""

    RESERVED = "ReservedFunctionConcurrentInvocationLimitExceeded"
    CAPACITY = "ConcurrentInvocationLimitExceeded"


@dataclass(frozen=True, slots=True)
class Throttled:
    """Nobody's fault: there was no slot. Charges no attempt."""

    reason: ThrottleReason


@dataclass(frozen=True, slots=True)
class SystemFault:
    """fnrunner's or the host's fault: no environment could be made, the code is not there. Charges no attempt."""

    error_type: str
    message: str


@dataclass(frozen=True, slots=True)
class WorkerDied:
    """The event was running alone when its worker died. Charges an attempt as a function error does."""

    message: str = "The worker process died while it ran this event alone"
    error_type: str = "Runtime.WorkerDied"


@dataclass(frozen=True, slots=True)
class Expired:
    """The event is older than its maximum age, or its next attempt would be."""


Outcome = Succeeded | FunctionError | Throttled | SystemFault | WorkerDied | Expired


@dataclass(frozen=True, slots=True)
class Report:
    """The figures of the REPORT line. ``init_ms`` is set on a cold start. ``cold_reason`` says why it was cold:
    ``first``, ``scaled``, ``reload``, ``recycled``, ``crashed``; empty when warm. ``imports`` is JSON,
    ``{"modules", "imports": [[package, ms], …], "copied"}``, or empty where the runtime does not tell. ``runtime_version``
    is set on a cold start too, such as ``python:3.13.v2``.
    """

    duration_ms: float = 0.0
    billed_ms: int = 0
    memory_mb: int = 0
    max_memory_mb: int = 0
    init_ms: float | None = None
    cold_reason: str = ""
    imports: str = ""
    runtime_version: str = ""
    log_stream: str = ""
    environment_id: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one invocation came to. ``logs`` is what the function wrote to stdout and stderr, as bytes, cut in the middle
    when there was too much (``logs_dropped_bytes`` says how much is missing), without the START, END and REPORT lines.
    """

    outcome: Outcome
    report: Report = field(default=Report())
    logs: bytes = b""
    logs_dropped_bytes: int = 0


def error_payload(error_type: str, message: str, request_id: str | None = None, **more: object) -> bytes:
    """The JSON that Lambda answers for an error of the platform.

    >>> error_payload("Sandbox.Timedout", "RequestId: 1 Error: Task timed out after 3.00 seconds")
    b'{"errorType":"Sandbox.Timedout","errorMessage":"RequestId: 1 Error: Task timed out after 3.00 seconds"}'
    """
    body: dict[str, object] = {"errorType": error_type, "errorMessage": message, **more}
    if request_id is not None:
        body["requestId"] = request_id
    return json.dumps(body, separators=(",", ":")).encode()


ON_DEMAND, PROVISIONED, SNAP_START = "on-demand", "provisioned-concurrency", "snap-start"
"""Why an environment is initialised. Source: Lambda, AWS_LAMBDA_INITIALIZATION_TYPE."""


@dataclass(frozen=True, slots=True)
class EnvironmentSpec:
    """Everything an execution environment is made from. Two equal specs can share environments.

    ``code_directory`` holds the unzipped code, read-only; ``variables`` are the user's. ``key`` identifies code and
    configuration: an environment is reused only for the same key. ``directories`` are absolute and stay visible at their
    own paths where the environment has a private ``/tmp`` (buckets). ``layers_directory`` holds the merged layers,
    read-only; empty where there are none. ``credentials`` are the variables with the temporary keys of the function's role.
    """

    function: str
    version: str
    runtime: str
    handler: str
    code_directory: str
    memory_mb: int
    ephemeral_storage_mb: int
    timeout: timedelta
    key: str
    log_group: str
    account: str
    region: str
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    log_format: str = "Text"
    application_log_level: str = ""
    directories: tuple[str, ...] = ()
    initialization_type: str = ON_DEMAND
    layers_directory: str = ""
    image: Image | None = None
    credentials: Mapping[str, str] = field(default_factory=dict, repr=False)
