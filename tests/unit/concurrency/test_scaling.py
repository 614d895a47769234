"""The scaling rate: no ten seconds see more starts than it, and no start is refused that it allows."""

from __future__ import annotations

import doctest

from hypothesis import given
from hypothesis import strategies as st

from fnrunner.concurrency import scaling
from fnrunner.concurrency.scaling import Starts

PERIOD_S = 10.0
# binary fractions: sums of them are exact
gaps = st.lists(st.integers(0, 64).map(lambda n: n / 8), max_size=80)


def test_the_examples_are_true() -> None:
    assert doctest.testmod(scaling).failed == 0


@given(rate=st.integers(1, 6), gaps=gaps)
def test_no_period_wherever_it_begins_sees_more_starts_than_the_rate(rate: int, gaps: list[float]) -> None:
    starts, now = Starts(rate), 0.0
    taken: list[float] = []
    for gap in gaps:
        now += gap
        recent = sum(now - at < PERIOD_S for at in taken)
        assert starts.left("f", now) == rate - recent
        # refused only where one more would be too many
        assert starts.take("f", now) == (recent < rate)
        if recent < rate:
            taken.append(now)


@given(rate=st.integers(1, 6), gaps=gaps)
def test_who_waits_as_long_as_it_was_told_gets_a_start(rate: int, gaps: list[float]) -> None:
    starts, now = Starts(rate), 0.0
    for gap in gaps:
        now += gap
        if not starts.take("f", now):
            now += starts.next_in_s("f", now)
            assert starts.take("f", now)


@given(rate=st.integers(1, 5000), workers=st.integers(1, 50))
def test_the_parts_of_all_workers_do_not_exceed_the_rate_while_each_has_one(rate: int, workers: int) -> None:
    share = Starts(rate, workers).share
    assert share >= 1
    assert share * workers <= max(rate, workers)


def test_a_smaller_part_counts_what_was_started_before() -> None:
    starts = Starts(4)
    assert all(starts.take("f", 0.0) for _ in range(4))
    starts.divide(2)
    assert not starts.take("f", 9.0)
    assert starts.next_in_s("f", 9.0) == 1.0
    assert [starts.take("f", 10.0) for _ in range(3)] == [True, True, False]


def test_functions_do_not_take_from_each_other_and_old_ones_are_forgotten() -> None:
    starts = Starts(1)
    assert all(starts.take(f"f{n}", 0.0) for n in range(2000))
    assert starts.take("new", 50.0)
    assert len(starts._taken) < 10
    assert not starts.take("new", 51.0)
