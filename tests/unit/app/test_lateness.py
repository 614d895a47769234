"""A loop that is late is reported for two heartbeats, and no longer."""

from __future__ import annotations

from fnrunner.app.lateness import MEMORY, Lateness
from fnrunner.model.problem import Code


def test_more_than_a_second_is_reported_for_two_heartbeats_with_the_worst_of_them() -> None:
    lateness = Lateness()
    lateness.noted(0.9, 10.0)
    assert not list(lateness.problems(10.0))
    lateness.noted(1.5, 11.0)
    lateness.noted(1.2, 12.0)
    (problem,) = lateness.problems(12.0)
    assert (problem.code, problem.disabling) == (Code.LAGGING, False)
    assert "1.5 s late" in problem.message
    assert problem.remedy
    assert "1.2 s late" in next(iter(lateness.problems(11.5 + MEMORY.total_seconds()))).message
    assert not list(lateness.problems(12.1 + MEMORY.total_seconds()))


def test_what_was_late_long_ago_is_forgotten() -> None:
    lateness = Lateness()
    for second in range(10_000):
        lateness.noted(2.0, float(second))
    assert len(lateness._late) <= MEMORY.total_seconds() + 1
