"""Outcomes as the words that the attempt table and the metrics use."""

from __future__ import annotations

from fnrunner.model.invocation import (
    Expired,
    FunctionError,
    Outcome,
    Succeeded,
    SystemFault,
    Throttled,
    WorkerDied,
)

_NAMES: dict[type, str] = {
    Succeeded: "succeeded",
    FunctionError: "failed",
    Throttled: "throttled",
    SystemFault: "faulted",
    WorkerDied: "died",
    Expired: "expired",
}


def name_of(outcome: Outcome) -> str:
    """One of succeeded, failed, throttled, faulted, died, expired.

    >>> name_of(Succeeded(b"1"))
    'succeeded'
    """
    return _NAMES[type(outcome)]
