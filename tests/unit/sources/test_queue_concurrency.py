from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sources.queue_concurrency import CALM_S, Ramp


def busy_for(ramp: Ramp, start: float, seconds: float, busy: int | None = None) -> Ramp:
    """Looked at every half second, with all slots taken unless it says how many."""
    now = start
    while now <= start + seconds:
        ramp = ramp.seen(ramp.allowed if busy is None else busy, now)
        now += 0.5
    return ramp


def test_it_grows_by_five_a_second_while_all_slots_are_taken() -> None:
    ramp = busy_for(Ramp.starting(5, 1250, 0.0), 0.0, 60.0)
    assert 290 <= ramp.allowed <= 310


def test_it_grows_no_further_than_the_highest() -> None:
    assert busy_for(Ramp.starting(5, 12, 0.0), 0.0, 60.0).allowed == 12
    assert Ramp.starting(5, 2, 0.0).allowed == 2


def test_it_does_not_grow_while_a_slot_is_free() -> None:
    assert busy_for(Ramp.starting(5, 1250, 0.0), 0.0, 60.0, busy=4).allowed == 5


def test_it_begins_anew_after_a_calm_minute() -> None:
    ramp = busy_for(Ramp.starting(5, 1250, 0.0), 0.0, 20.0)
    assert ramp.allowed > 50
    assert busy_for(ramp, 21.0, CALM_S - 2, busy=8).allowed > 50
    assert 8 <= busy_for(ramp, 21.0, CALM_S + 1, busy=8).allowed <= 15


def test_a_throttle_leaves_one_less_than_ran_but_at_least_one() -> None:
    ramp = Ramp.starting(5, 1250, 0.0)
    assert ramp.throttled(5, 0.0).allowed == 4
    assert ramp.throttled(2, 0.0).allowed == 1
    assert ramp.throttled(0, 0.0).allowed == 1


def test_throttles_within_a_second_count_once() -> None:
    ramp = Ramp.starting(10, 1250, 0.0)
    for _ in range(10):
        ramp = ramp.throttled(10, 0.5)
    assert ramp.allowed == 9


def test_after_a_throttle_it_is_careful() -> None:
    ramp = Ramp.starting(5, 1250, 0.0).throttled(5, 0.0)
    assert busy_for(ramp, 0.0, 4.5).allowed == 4
    assert 15 <= busy_for(ramp, 0.0, 20.0).allowed <= 22


def test_when_nothing_can_run_one_goes_on_asking() -> None:
    ramp = Ramp.starting(5, 1250, 0.0).halted(5, 0.0)
    assert ramp.allowed == 1
    assert busy_for(ramp, 0.0, 100.0).allowed == 1
    assert busy_for(ramp.ran(), 0.0, 10.0).allowed > 20


@given(st.lists(st.tuples(st.sampled_from("stn"), st.floats(0, 30), st.integers(0, 60)), max_size=60))
def test_it_stays_between_one_and_the_highest(steps: list[tuple[str, float, int]]) -> None:
    ramp, now = Ramp.starting(5, 40, 0.0), 0.0
    for kind, pause, busy in steps:
        now += pause
        ramp = {"s": ramp.seen, "t": ramp.throttled, "n": ramp.halted}[kind](busy, now)
        assert 1 <= ramp.allowed <= 40
