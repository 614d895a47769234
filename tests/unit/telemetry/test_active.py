"""Active tracing: which invocations begin a trace."""

from __future__ import annotations

from fnrunner.telemetry import context
from fnrunner.telemetry.active import BEYOND, ActiveSampling


def test_a_caller_who_has_decided_is_obeyed() -> None:
    sampling = ActiveSampling(chance=lambda: 0.0)
    for sampled in (True, False):
        sent = context.carrier(context.TraceContext("1" * 32, "2" * 16, sampled))
        assert sampling.parent("f", "Active", sent, 1.0) is sent


def test_a_function_that_passes_through_begins_no_trace() -> None:
    assert ActiveSampling(chance=lambda: 0.0).parent("f", "PassThrough", {}, 1.0) == {}


def test_the_first_of_each_second_and_a_twentieth_of_the_others_begin_one() -> None:
    chances = iter([BEYOND, 0.0])
    sampling = ActiveSampling(chance=lambda: next(chances))
    first, second, third, later = (sampling.parent("f", "Active", {}, at) for at in (1.0, 1.1, 1.2, 2.0))
    assert second == {}
    for begun in (first, third, later):
        found = context.from_traceparent(begun["traceparent"])
        assert found is not None
        assert found.sampled
    assert len({one["traceparent"] for one in (first, third, later)}) == 3
