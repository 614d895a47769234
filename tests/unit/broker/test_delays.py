"""Fixed delays."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from broker.delays import BACKOFF, ladder, milliseconds

DELAYS = st.timedeltas(timedelta(0), timedelta(days=1))


@given(st.lists(DELAYS))
def test_a_ladder_has_every_delay_once_shortest_first_and_no_zero(delays: list[timedelta]) -> None:
    steps = ladder(delays)
    assert list(steps) == sorted(set(steps))
    assert set(steps) == {d for d in (*delays, *BACKOFF) if d}


@given(st.integers(0, 10**9))
def test_milliseconds_are_whole(count: int) -> None:
    assert milliseconds(timedelta(milliseconds=count)) == count
    assert milliseconds(timedelta(milliseconds=count, microseconds=999)) == count
