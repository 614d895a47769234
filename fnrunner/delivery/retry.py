"""Decide what follows an outcome. Pure: the caller publishes what is decided, then acknowledges.

Source: Lambda, asynchronous invocation. Function errors are retried up to ``MaximumRetryAttempts`` times after fixed
delays; throttles and faults of the system back off exponentially and charge no attempt; nothing starts after the
maximum age.

>>> from fnrunner.model.function import EventInvokeConfig
>>> from fnrunner.model.invocation import FunctionError
>>> minute = timedelta(minutes=1)
>>> event = Envelope(id="1", function="f", payload=b"{}", accepted_at_ms=0)
>>> error = FunctionError("ValueError", "no", b"{}")
>>> decide(event, error, EventInvokeConfig("f"), 0, [minute, 2 * minute]).delay
datetime.timedelta(seconds=60)
>>> decide(event, error, EventInvokeConfig("f", max_retries=0), 0, [minute]).reason.value
'RetriesExhausted'
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import Enum
from typing import assert_never

from broker.delays import BACKOFF, milliseconds
from broker.envelope import Attempt, Envelope, failed
from fnrunner.model.function import EventInvokeConfig
from fnrunner.model.invocation import (
    Expired,
    FunctionError,
    Outcome,
    Succeeded,
    SystemFault,
    Throttled,
    WorkerDied,
)


class Reason(Enum):
    """Why an event is given up: the ``condition`` of a destination record. Source: Lambda, destination records.

    ``FUNCTION_NOT_FOUND`` is fnrunner's own: the function was deleted after the event had been accepted.
    """

    RETRIES_EXHAUSTED = "RetriesExhausted"
    EVENT_AGE_EXCEEDED = "EventAgeExceeded"
    ZERO_RESERVED_CONCURRENCY = "ZeroReservedConcurrency"
    FUNCTION_NOT_FOUND = "FunctionNotFound"


@dataclass(frozen=True, slots=True)
class Finish:
    """It succeeded: acknowledge."""


@dataclass(frozen=True, slots=True)
class RetryAfter:
    """Publish ``envelope`` so that it comes back after ``delay`` (zero: now), then acknowledge."""

    delay: timedelta
    envelope: Envelope


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Give ``envelope`` up for ``reason``: destinations, dead letter, then acknowledge."""

    reason: Reason
    envelope: Envelope


Decision = Finish | RetryAfter | DeadLetter


@dataclass(frozen=True, slots=True)
class Run:
    """Where the attempt ran, for the envelope's list of attempts. ``digest`` is the code's."""

    worker: str = ""
    duration_ms: float = 0.0
    traceparent: str = ""
    digest: str = ""


NOWHERE = Run()


def decide(
    envelope: Envelope,
    outcome: Outcome,
    config: EventInvokeConfig,
    now_ms: int,
    retry_delays: Sequence[timedelta],
    backoff: Sequence[timedelta] = BACKOFF,
    *,
    run: Run = NOWHERE,
    reserved_concurrency: int | None = None,
) -> Decision:
    """What follows ``outcome``. ``envelope`` is the one that was delivered: this attempt is not charged to it yet.

    ``retry_delays`` and ``backoff`` are not empty; their last entry repeats. A throttle under a reserved concurrency of
    0 gives the event up at once, because no slot will ever come.
    """
    match outcome:
        case Succeeded():
            return Finish()
        case FunctionError() | WorkerDied():
            charged = _charged(envelope, outcome, now_ms, run)
            if charged.attempt > config.retries:
                return DeadLetter(Reason.RETRIES_EXHAUSTED, charged)
            return _retry(charged, _nth(retry_delays, envelope.attempt), config, now_ms)
        case Throttled() if reserved_concurrency == 0:
            return DeadLetter(Reason.ZERO_RESERVED_CONCURRENCY, envelope)
        case Throttled() | SystemFault():
            later = replace(envelope, throttles=envelope.throttles + 1)
            return _retry(later, _nth(backoff, envelope.throttles), config, now_ms)
        case Expired():
            return DeadLetter(Reason.EVENT_AGE_EXCEEDED, envelope)
        case _:
            assert_never(outcome)


def is_expired(envelope: Envelope, config: EventInvokeConfig, now_ms: int) -> bool:
    """Whether the event is too old to start now. Check it before a run; ``decide`` looks ahead after one."""
    return now_ms > envelope.accepted_at_ms + milliseconds(config.age)


def error_of(outcome: Outcome, envelope: Envelope) -> tuple[str, str]:
    """Type and message of what went wrong, for people: empty after a success.

    An event that grew too old tells the last error it had, since its age is the consequence.
    """
    match outcome:
        case Succeeded():
            return "", ""
        case FunctionError() | WorkerDied() | SystemFault():
            return outcome.error_type, outcome.message
        case Throttled():
            return "TooManyRequestsException", f"Rate Exceeded. ({outcome.reason.value})"
        case Expired() if envelope.attempts:
            return envelope.attempts[-1].error_type, envelope.attempts[-1].error_message
        case Expired():
            return "EventAgeExceeded", "The event grew older than its maximum age before it could run"
        case _:
            assert_never(outcome)


def _charged(envelope: Envelope, outcome: FunctionError | WorkerDied, now_ms: int, run: Run) -> Envelope:
    attempt = Attempt(
        number=envelope.attempt + 1,
        at_ms=now_ms,
        error_type=outcome.error_type,
        error_message=outcome.message,
        worker=run.worker,
        duration_ms=run.duration_ms,
        traceparent=run.traceparent,
        digest=run.digest,
    )
    # A function that failed in the ordinary way did not kill its worker, so the suspicion against the event is over.
    return replace(failed(envelope, attempt), suspect=isinstance(outcome, WorkerDied))


def _retry(envelope: Envelope, delay: timedelta, config: EventInvokeConfig, now_ms: int) -> Decision:
    if is_expired(envelope, config, now_ms + milliseconds(delay)):
        return DeadLetter(Reason.EVENT_AGE_EXCEEDED, envelope)
    return RetryAfter(delay, envelope)


def _nth(delays: Sequence[timedelta], index: int) -> timedelta:
    return delays[min(index, len(delays) - 1)]
