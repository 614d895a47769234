"""What a frame, an exit or a timeout means for the one who invoked: outcomes with Lambda's types and texts. Pure.

Source: Lambda, function errors; the texts of exits are those of Go's ``os/exec``, which Lambda shows.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from types import MappingProxyType

from broker.envelope import MAX_TYPE_CHARS
from fnrunner.delivery.text import storable
from fnrunner.model import limits
from fnrunner.model.invocation import FunctionError, Succeeded, error_payload
from fnrunner.runtimes.frames import Kind
from fnrunner.worker.log_lines import TIMED_OUT


def exit_reason(returncode: int) -> str:
    """How Lambda says that a runtime ended.

    >>> exit_reason(0), exit_reason(3)
    ('Runtime exited without providing a reason', 'Runtime exited with error: exit status 3')
    >>> exit_reason(-9), exit_reason(-11)
    ('Runtime exited with error: signal: killed', 'Runtime exited with error: signal: segmentation fault')
    """
    if returncode == 0:
        return "Runtime exited without providing a reason"
    if returncode > 0:
        return f"Runtime exited with error: exit status {returncode}"
    name = signal.strsignal(-returncode) or f"signal {-returncode}"
    return f"Runtime exited with error: signal: {name.lower()}"


EXITED = "Runtime.ExitError"
TRUNCATED = "Runtime.TruncatedResponse"
"""The runtime ended while it streamed its answer."""
DISCONNECTED = "Runtime.ClientDisconnected"
"""fnrunner's own: whoever asked for a streamed answer went away before its end."""


def exited(request_id: str, reason: str, error_type: str = EXITED) -> FunctionError:
    """
    >>> exited("1", exit_reason(-9)).message
    'RequestId: 1 Error: Runtime exited with error: signal: killed'
    """
    message = f"RequestId: {request_id} Error: {reason}"
    return FunctionError(error_type, message, error_payload(error_type, message), environment_lost=True)


def abandoned(request_id: str, reason: str, *, environment_lost: bool) -> FunctionError:
    """
    >>> abandoned("1", "The client disconnected", environment_lost=False).error_type
    'Runtime.ClientDisconnected'
    """
    return replace(exited(request_id, reason, DISCONNECTED), environment_lost=environment_lost)


def timed_out(request_id: str, timeout: timedelta) -> FunctionError:
    """
    >>> timed_out("1", timedelta(seconds=3)).message
    'RequestId: 1 Error: Task timed out after 3.00 seconds'
    """
    message = f"RequestId: {request_id} Error: Task timed out after {timeout.total_seconds():.2f} seconds"
    return FunctionError(TIMED_OUT, message, error_payload(TIMED_OUT, message), environment_lost=True)


def raised(payload: bytes) -> FunctionError:
    """The error JSON that the bootstrap made, read for its type and message, both as texts that can be sent on.

    Its type is whatever the function calls its error, and says nothing of the environment.

    >>> raised(rb'{"errorType": "E", "errorMessage": "half of a pair: \\ud800"}').message
    'half of a pair: ?'
    """
    try:
        error = json.loads(payload)
        kind, message = str(error["errorType"]), str(error["errorMessage"])
    except (ValueError, TypeError, KeyError, RecursionError):
        kind, message = "Function.Unknown", "The function answered an error that is not error JSON"
    return FunctionError(storable(kind, MAX_TYPE_CHARS), storable(message, len(message)), payload)


def broken(payload: bytes) -> FunctionError:
    """The platform's own error JSON: the runtime broke off its answer, or an extension failed.

    Source: Lambda's runtime interface emulator, fatal errors.
    """
    return replace(raised(payload), environment_lost=True)


def too_large(_: bytes) -> FunctionError:
    """The environment stays usable."""
    kind = "Function.ResponseSizeTooLarge"
    limit = limits.RESPONSE_PAYLOAD_BYTES
    message = f"Response payload size exceeded maximum allowed payload size ({limit} bytes)."
    payload = json.dumps({"errorMessage": message, "errorType": kind}, separators=(",", ":"))
    return FunctionError(kind, message, payload.encode())


KINDS: Mapping[Kind, Callable[[bytes], Succeeded | FunctionError]] = MappingProxyType(
    {
        Kind.RESULT: Succeeded,
        Kind.ERROR: raised,
        Kind.TOO_LARGE: too_large,
        Kind.STREAM_END: Succeeded,
        Kind.STREAM_ERROR: raised,
        Kind.FAULT: broken,
    }
)
"""The answers that are a frame. After a FAULT the environment is lost."""
