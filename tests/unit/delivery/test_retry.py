"""What follows an outcome: bounded attempts, respected age, nothing dropped."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.delays import BACKOFF, milliseconds
from broker.envelope import Envelope
from fnrunner.delivery.retry import (
    DeadLetter,
    Finish,
    Reason,
    RetryAfter,
    Run,
    decide,
    error_of,
    is_expired,
)
from fnrunner.model.function import EventInvokeConfig
from fnrunner.model.invocation import (
    Expired,
    FunctionError,
    Outcome,
    Succeeded,
    SystemFault,
    Throttled,
    ThrottleReason,
    WorkerDied,
)

DELAYS = (timedelta(seconds=60), timedelta(seconds=120))
CONFIG = EventInvokeConfig("f")
EVENT = Envelope(id="e1", function="f", payload=b'{"a": 1}', accepted_at_ms=1_000, trace={"traceparent": "t"})
ERROR = FunctionError("ValueError", "no", b'{"errorMessage":"no"}')
THROTTLED = Throttled(ThrottleReason.CAPACITY)
FAULT = SystemFault("Sandbox", "no memory")


def test_a_success_finishes() -> None:
    assert decide(EVENT, Succeeded(b"1"), CONFIG, 1_000, DELAYS) == Finish()


def test_function_errors_wait_one_minute_then_two_then_give_up() -> None:
    first = decide(EVENT, ERROR, CONFIG, 2_000, DELAYS)
    assert isinstance(first, RetryAfter)
    second = decide(first.envelope, ERROR, CONFIG, 3_000, DELAYS)
    assert isinstance(second, RetryAfter)
    third = decide(second.envelope, ERROR, CONFIG, 4_000, DELAYS)
    assert (first.delay, second.delay) == DELAYS
    assert isinstance(third, DeadLetter)
    assert third.reason is Reason.RETRIES_EXHAUSTED
    assert third.envelope.attempt == 3
    assert [a.number for a in third.envelope.attempts] == [1, 2, 3]


def test_more_retries_than_delays_repeat_the_last_delay() -> None:
    config = replace(CONFIG, max_retries=5)
    envelope, waits = EVENT, []
    while isinstance(decision := decide(envelope, ERROR, config, 2_000, DELAYS), RetryAfter):
        waits.append(decision.delay)
        envelope = decision.envelope
    assert waits == [DELAYS[0], *[DELAYS[1]] * 4]
    assert decision == DeadLetter(Reason.RETRIES_EXHAUSTED, decision.envelope)  # type: ignore[union-attr]


@pytest.mark.parametrize("outcome", [THROTTLED, FAULT])
def test_throttles_and_faults_back_off_to_five_minutes_and_charge_nothing(outcome: Outcome) -> None:
    envelope, waits = EVENT, []
    for _ in range(12):
        decision = decide(envelope, outcome, CONFIG, 1_000, DELAYS)
        assert isinstance(decision, RetryAfter)
        waits.append(decision.delay)
        envelope = decision.envelope
    assert waits == [*BACKOFF, BACKOFF[-1], BACKOFF[-1]]
    assert (envelope.attempt, envelope.throttles, envelope.attempts) == (0, 12, ())


def test_the_age_looks_ahead_to_when_the_next_attempt_would_start() -> None:
    config = replace(CONFIG, max_age=timedelta(seconds=60))
    assert isinstance(decide(EVENT, ERROR, config, 1_000, DELAYS), RetryAfter)
    late = decide(EVENT, ERROR, config, 1_001, DELAYS)
    assert isinstance(late, DeadLetter)
    assert (late.reason, late.envelope.attempt) == (Reason.EVENT_AGE_EXCEEDED, 1)


def test_an_event_may_start_in_the_last_millisecond_of_its_age_and_not_after() -> None:
    config = replace(CONFIG, max_age=timedelta(seconds=60))
    assert not is_expired(EVENT, config, 61_000)
    assert is_expired(EVENT, config, 61_001)


def test_an_expired_event_is_given_up_without_a_charge() -> None:
    assert decide(EVENT, Expired(), CONFIG, 1_000, DELAYS) == DeadLetter(Reason.EVENT_AGE_EXCEEDED, EVENT)


def test_a_throttle_under_reserved_concurrency_zero_gives_up_at_once() -> None:
    decision = decide(EVENT, Throttled(ThrottleReason.RESERVED), CONFIG, 1_000, DELAYS, reserved_concurrency=0)
    assert decision == DeadLetter(Reason.ZERO_RESERVED_CONCURRENCY, EVENT)


def test_a_charged_attempt_remembers_where_it_ran() -> None:
    run = Run(worker="w1", duration_ms=1.5, traceparent="tp", digest="d")
    decision = decide(EVENT, ERROR, CONFIG, 2_000, DELAYS, run=run)
    assert isinstance(decision, RetryAfter)
    (attempt,) = decision.envelope.attempts
    assert (attempt.worker, attempt.duration_ms, attempt.traceparent, attempt.digest) == ("w1", 1.5, "tp", "d")
    assert (attempt.error_type, attempt.error_message, attempt.at_ms) == ("ValueError", "no", 2_000)


def test_an_ordinary_error_clears_the_suspicion_and_a_dead_worker_keeps_it() -> None:
    suspect = replace(EVENT, suspect=True)
    cleared = decide(suspect, ERROR, CONFIG, 2_000, DELAYS)
    kept = decide(suspect, WorkerDied(), CONFIG, 2_000, DELAYS)
    waiting = decide(suspect, THROTTLED, CONFIG, 2_000, DELAYS)
    assert [d.envelope.suspect for d in (cleared, kept, waiting)] == [False, True, True]  # type: ignore[union-attr]


def test_an_event_that_grew_too_old_tells_the_last_error_it_had() -> None:
    after = decide(EVENT, ERROR, CONFIG, 2_000, DELAYS)
    assert isinstance(after, RetryAfter)
    assert error_of(Expired(), after.envelope) == ("ValueError", "no")
    assert error_of(Expired(), EVENT)[0] == "EventAgeExceeded"
    assert error_of(FAULT, EVENT) == ("Sandbox", "no memory")
    assert error_of(Succeeded(b""), EVENT) == ("", "")


outcomes = st.sampled_from([ERROR, WorkerDied(), THROTTLED, FAULT])


@given(
    st.lists(outcomes, min_size=300, max_size=300),
    st.integers(0, 6),
    st.integers(1, 21_600),
    st.lists(st.integers(0, 300), min_size=1, max_size=4),
    st.integers(0, 5_000),
)
def test_every_event_ends_within_its_attempts_and_its_age_and_keeps_its_contents(
    misfortunes: list[Outcome], retries: int, age_s: int, delays_s: list[int], run_ms: int
) -> None:
    config = EventInvokeConfig("f", max_retries=retries, max_age=timedelta(seconds=age_s))
    delays = [timedelta(seconds=s) for s in delays_s]
    envelope, now_ms, charged = EVENT, EVENT.accepted_at_ms, 0
    for outcome in misfortunes:
        assert now_ms <= EVENT.accepted_at_ms + age_s * 1000, "nothing starts after the maximum age"
        charged += isinstance(outcome, FunctionError | WorkerDied)
        now_ms += run_ms
        decision = decide(envelope, outcome, config, now_ms, delays)
        assert not isinstance(decision, Finish)
        envelope = decision.envelope
        assert envelope.attempt == charged <= retries + 1
        assert (envelope.id, envelope.payload, envelope.accepted_at_ms, envelope.trace) == (
            EVENT.id,
            EVENT.payload,
            EVENT.accepted_at_ms,
            EVENT.trace,
        )
        if isinstance(decision, DeadLetter):
            assert (decision.reason is Reason.RETRIES_EXHAUSTED) == (charged == retries + 1)
            return
        now_ms += milliseconds(decision.delay)
    raise AssertionError("300 attempts without an end")
