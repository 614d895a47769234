"""What a schedule does when: catch-up, flexible windows, jumping clocks, restarts. Pure, in virtual time."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sources.errors import InvalidSchedule, Misconfigured
from sources.schedule import (
    MOST_CAUGHT_UP,
    MOST_COUNTED,
    MOST_RUNS,
    CatchUp,
    Fire,
    Move,
    Position,
    ScheduleWatch,
    Wait,
    beginning,
    decide,
    event,
    restored,
    stored,
)
from tests.examples import EXAMPLES

MIDNIGHT = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def watch(**changes: Any) -> ScheduleWatch:
    fields = {"name": "nightly", "function": "report", "expression": "rate(1 minute)", "created": MIDNIGHT, **changes}
    return ScheduleWatch(**fields)


class Rehearsal:
    """A schedule that is followed in virtual time; every firing is accepted at once."""

    def __init__(self, of: ScheduleWatch, now: datetime = MIDNIGHT) -> None:
        self.watch = of
        self.timetable = of.timetable()
        self.now = now
        self.position = beginning(of, now)
        self.fired: list[datetime] = []
        self.skipped = 0

    def until(self, now: datetime) -> list[datetime]:
        """What is fired when the clock stands there."""
        self.now, before = now, len(self.fired)
        for _ in range(10 * MOST_COUNTED):
            match decide(self.watch, self.timetable, self.position, now):
                case Fire(tick):
                    self.fired.append(tick)
                    self.position = self.position.fired(tick)
                case Move(position, skipped):
                    self.position = position
                    self.skipped += skipped
                case Wait():
                    # what is stored is enough to go on from
                    self.position = restored(self.watch, json.loads(json.dumps(stored(self.watch, self.position))), now)
                    return self.fired[before:]
        raise AssertionError("it does not come to rest")


def minutes(*numbers: float) -> list[datetime]:
    return [MIDNIGHT + number * MINUTE for number in numbers]


def test_a_rate_fires_when_it_is_made_and_then_once_each_time() -> None:
    schedule = Rehearsal(watch())
    assert schedule.until(MIDNIGHT) == minutes(0)
    assert schedule.until(MIDNIGHT + 0.5 * MINUTE) == []
    assert schedule.until(MIDNIGHT + MINUTE) == minutes(1)
    assert schedule.until(MIDNIGHT + MINUTE) == []
    assert schedule.skipped == 0


@pytest.mark.parametrize(
    ("policy", "fired", "skipped"),
    [(CatchUp.NONE, [10], 9), (CatchUp.LAST, [10], 9), (CatchUp.ALL, list(range(1, 11)), 0)],
)
def test_what_was_missed_is_caught_up_as_the_policy_says(policy: CatchUp, fired: list[float], skipped: int) -> None:
    schedule = Rehearsal(watch(catch_up=policy))
    schedule.until(MIDNIGHT)
    assert schedule.until(MIDNIGHT + 10 * MINUTE + timedelta(seconds=5)) == minutes(*fired)
    assert schedule.skipped == skipped
    assert schedule.until(MIDNIGHT + 11 * MINUTE) == minutes(11)


def test_without_catching_up_a_tick_within_the_grace_still_fires_and_an_older_one_does_not() -> None:
    hourly = watch(expression="rate(1 hour)", catch_up=CatchUp.NONE)
    for late, fires in ((timedelta(seconds=60), True), (timedelta(seconds=61), False)):
        schedule = Rehearsal(hourly)
        schedule.until(MIDNIGHT)
        assert bool(schedule.until(MIDNIGHT + HOUR + late)) is fires
        assert schedule.skipped == (not fires)
        assert schedule.until(MIDNIGHT + 2 * HOUR) == minutes(120)


def test_the_last_missed_tick_fires_however_long_ago_it_was() -> None:
    yearly = watch(expression="cron(0 0 1 1 ? *)", created=MIDNIGHT + HOUR)
    schedule = Rehearsal(yearly, MIDNIGHT + HOUR)
    assert schedule.until(MIDNIGHT + timedelta(days=800)) == [datetime(2028, 1, 1, tzinfo=UTC)]
    assert schedule.skipped == 1


def test_all_that_were_missed_are_so_many_at_most_and_the_newest() -> None:
    schedule = Rehearsal(watch(catch_up=CatchUp.ALL))
    schedule.until(MIDNIGHT)
    fired = schedule.until(MIDNIGHT + 250 * MINUTE)
    assert fired == minutes(*range(251 - MOST_CAUGHT_UP, 251))
    assert schedule.skipped == 150


def test_a_year_of_missed_minutes_costs_no_more_than_counting_the_first() -> None:
    schedule = Rehearsal(watch(expression="cron(* * * * ? *)"))
    schedule.until(MIDNIGHT)
    assert schedule.until(MIDNIGHT + timedelta(days=365)) == [MIDNIGHT + timedelta(days=365)]
    assert schedule.skipped == MOST_COUNTED


def test_nothing_fires_before_the_start_or_after_the_end() -> None:
    schedule = Rehearsal(watch(start=MIDNIGHT + 10 * MINUTE, end=MIDNIGHT + 12 * MINUTE, catch_up=CatchUp.ALL))
    assert schedule.until(MIDNIGHT + 9.9 * MINUTE) == []
    assert schedule.until(MIDNIGHT + 20 * MINUTE) == minutes(10, 11, 12)
    assert decide(schedule.watch, schedule.timetable, schedule.position, schedule.now) == Wait(None)


def test_a_cron_that_starts_between_two_ticks_fires_at_the_next() -> None:
    schedule = Rehearsal(watch(expression="cron(0 * * * ? *)", start=MIDNIGHT + 90 * MINUTE))
    assert schedule.until(MIDNIGHT + 119 * MINUTE) == []
    assert schedule.until(MIDNIGHT + 120 * MINUTE) == minutes(120)


def test_at_fires_once_and_is_done() -> None:
    schedule = Rehearsal(watch(expression="at(2026-01-01T00:05:00)"))
    assert schedule.until(MIDNIGHT) == []
    assert schedule.until(MIDNIGHT + 5 * MINUTE) == minutes(5)
    assert decide(schedule.watch, schedule.timetable, schedule.position, schedule.now) == Wait(None)


def test_at_that_was_missed_is_fired_late_or_never() -> None:
    for policy, fired in ((CatchUp.LAST, minutes(5)), (CatchUp.ALL, minutes(5)), (CatchUp.NONE, [])):
        assert Rehearsal(watch(expression="at(2026-01-01T00:05:00)", catch_up=policy)).until(MIDNIGHT + HOUR) == fired


def test_at_before_the_schedule_was_made_never_fires() -> None:
    schedule = Rehearsal(watch(expression="at(2025-01-01T00:00:00)"))
    assert schedule.until(MIDNIGHT + HOUR) == []


def test_without_a_time_of_making_it_begins_now() -> None:
    schedule = Rehearsal(watch(created=None), MIDNIGHT + 10.5 * MINUTE)
    assert schedule.until(MIDNIGHT + 10.9 * MINUTE) == []
    assert schedule.until(MIDNIGHT + 11 * MINUTE) == minutes(11)


@given(st.sampled_from(["rate(1 minute)", "rate(3 hours)", "cron(0/7 * * * ? *)"]), st.integers(0, 1440), st.text())
def test_a_flexible_window_delays_each_tick_by_its_own_time_and_never_past_the_next(
    expression: str, window: int, name: str
) -> None:
    flexible = replace(watch(expression=expression, flexible_window=window * MINUTE), name=name)
    timetable = flexible.timetable()
    tick = timetable.next_after(MIDNIGHT)
    for _ in range(20):
        assert tick is not None
        following = timetable.next_after(tick)
        assert following is not None
        due = timetable.due(tick)
        assert tick <= due < following
        assert due - tick <= window * MINUTE
        assert due == replace(flexible, function="other").timetable().due(tick)  # whoever takes over
        tick = following


def test_delays_of_a_flexible_window_differ_from_tick_to_tick() -> None:
    timetable = watch(expression="rate(1 hour)", flexible_window=15 * MINUTE).timetable()
    delays = {timetable.due(MIDNIGHT + n * HOUR) - n * HOUR for n in range(20)}
    assert len(delays) == 20
    assert max(delays) - min(delays) > 5 * MINUTE


def test_within_its_window_a_tick_waits_and_after_it_fires_once() -> None:
    flexible = watch(expression="rate(1 hour)", flexible_window=30 * MINUTE, catch_up=CatchUp.NONE)
    schedule = Rehearsal(flexible)
    due = schedule.timetable.due(MIDNIGHT)
    assert schedule.until(due - timedelta(microseconds=1)) == []
    assert schedule.until(due) == minutes(0)
    assert schedule.until(due + MINUTE) == []
    assert schedule.skipped == 0


def test_a_clock_that_goes_back_fires_nothing_again_and_goes_on() -> None:
    schedule = Rehearsal(watch())
    for minute in range(11):
        schedule.until(MIDNIGHT + minute * MINUTE)
    assert schedule.until(MIDNIGHT + 5 * MINUTE) == []
    assert [schedule.until(MIDNIGHT + n * MINUTE) for n in range(6, 13)] == [[]] * 5 + [minutes(11), minutes(12)]


def test_a_clock_that_was_far_ahead_for_a_moment_does_not_stop_the_schedule() -> None:
    schedule = Rehearsal(watch())
    schedule.until(MIDNIGHT)
    schedule.until(MIDNIGHT + timedelta(days=3650))
    assert [schedule.until(MIDNIGHT + n * MINUTE) for n in range(1, 4)] == [minutes(1), minutes(2), minutes(3)]


def test_ticks_in_a_row_are_one_run() -> None:
    schedule = Rehearsal(watch())
    for number in [*range(30), 10, *range(15, 35)]:
        schedule.until(MIDNIGHT + number * MINUTE)
    assert schedule.position.runs == ((MIDNIGHT, MIDNIGHT + 34 * MINUTE),)


def test_of_many_runs_the_oldest_are_taken_for_one() -> None:
    schedule = Rehearsal(watch())
    for number in range(40):
        schedule.until(MIDNIGHT + 10 * number * MINUTE)
    assert len(schedule.position.runs) == MOST_RUNS
    assert schedule.position.runs[0][0] == MIDNIGHT
    assert len(json.dumps(stored(schedule.watch, schedule.position))) < 2000
    schedule.until(MIDNIGHT - MINUTE)
    assert [schedule.until(MIDNIGHT + n * MINUTE) for n in range(400)].count([]) >= 40


def test_a_clock_that_is_set_back_a_little_just_after_a_firing_does_not_repeat_it() -> None:
    schedule = Rehearsal(watch())
    schedule.until(MIDNIGHT)
    assert schedule.until(MIDNIGHT + MINUTE) == minutes(1)
    assert schedule.until(MIDNIGHT + MINUTE - timedelta(milliseconds=50)) == []
    assert schedule.until(MIDNIGHT + MINUTE) == []
    assert schedule.until(MIDNIGHT + 2 * MINUTE) == minutes(2)


STEPS = st.lists(
    st.one_of(
        st.integers(1, 60).map(lambda seconds: timedelta(seconds=seconds)),
        st.integers(-7200, 7200).map(lambda seconds: timedelta(seconds=seconds)),
    ),
    min_size=1,
    max_size=60,
)


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    STEPS, st.sampled_from(list(CatchUp)), st.sampled_from(["rate(1 minute)", "cron(0/5 * * * ? *)"]), st.integers(0, 3)
)
@example(
    [timedelta(minutes=3), timedelta(minutes=-2), timedelta(hours=1), timedelta(hours=-2)],
    CatchUp.ALL,
    "rate(1 minute)",
    0,
)
def test_however_the_clock_jumps_no_tick_fires_twice_and_the_schedule_goes_on(
    steps: list[timedelta], policy: CatchUp, expression: str, window: int
) -> None:
    schedule = Rehearsal(watch(expression=expression, catch_up=policy, flexible_window=window * MINUTE))
    highest = MIDNIGHT
    for step in steps:
        fired = schedule.until(max(MIDNIGHT - HOUR, schedule.now + step))
        assert all(tick <= schedule.now for tick in fired)
        assert fired == sorted(fired)
        highest = max(highest, schedule.now)
    assert max(Counter(schedule.fired).values(), default=0) <= 1
    for seconds in range(10, 1200, 10):  # a clock that goes as it should, from where no tick was ever decided
        schedule.until(highest + timedelta(seconds=seconds))
    expected = 20 if "rate" in expression else 4
    late = [tick for tick in schedule.fired if highest < tick <= highest + 20 * MINUTE]
    assert expected - 2 <= len(late) <= expected
    assert max(Counter(schedule.fired).values()) == 1


def test_what_passes_while_it_is_paused_is_not_missed() -> None:
    schedule = Rehearsal(watch(catch_up=CatchUp.ALL))
    schedule.until(MIDNIGHT)
    paused = stored(schedule.watch, schedule.position, paused=True)
    schedule.position = restored(schedule.watch, paused, MIDNIGHT + 10.5 * MINUTE)
    assert schedule.until(MIDNIGHT + 10.6 * MINUTE) == []
    assert schedule.until(MIDNIGHT + 11 * MINUTE) == minutes(11)


def test_another_timetable_counts_from_when_it_is_seen() -> None:
    schedule = Rehearsal(watch(catch_up=CatchUp.ALL))
    schedule.until(MIDNIGHT)
    before = stored(schedule.watch, schedule.position)
    for changes in ({"expression": "rate(2 minutes)"}, {"timezone": "Asia/Tokyo"}, {"end": MIDNIGHT + 9 * HOUR}):
        now = MIDNIGHT + HOUR
        assert restored(replace(schedule.watch, **changes), before, now) == Position(now)
    assert restored(replace(schedule.watch, input="{}", function="g"), before, MIDNIGHT + HOUR) == schedule.position


def test_whoever_does_not_know_yet_that_the_schedule_was_changed_fires_nothing_again() -> None:
    since = MIDNIGHT - 72 * HOUR  # for so long this process has followed the former watch
    former = watch(expression="rate(2 minutes)", created=since, catch_up=CatchUp.ALL)
    changed = Rehearsal(watch(created=since, catch_up=CatchUp.LAST))
    changed.until(MIDNIGHT)
    for paused in (False, True):
        behind = Rehearsal(former, MIDNIGHT)
        behind.position = restored(former, stored(changed.watch, changed.position, paused=paused), since)
        assert behind.until(MIDNIGHT + MINUTE) == []
    same = restored(changed.watch, stored(changed.watch, changed.position, paused=True), since)
    assert same == changed.position


def test_a_schedule_made_anew_catches_up_nothing_of_the_one_that_had_its_name() -> None:
    start = MIDNIGHT - 72 * HOUR
    former = Rehearsal(watch(start=start, created=start, catch_up=CatchUp.ALL))
    former.until(MIDNIGHT - HOUR)
    anew = watch(start=start, created=MIDNIGHT, catch_up=CatchUp.ALL)
    schedule = Rehearsal(anew)
    schedule.position = restored(anew, stored(former.watch, former.position), MIDNIGHT)
    assert schedule.until(MIDNIGHT + 2 * MINUTE) == minutes(0, 1, 2)


@pytest.mark.parametrize("document", [{"tick": "2026"}, {"plan": "", "tick": "x", "runs": [], "paused": 0}])
def test_a_document_that_is_none_of_its_own_is_said_to_be_so(document: dict[str, Any]) -> None:
    with pytest.raises((KeyError, ValueError)):
        restored(watch(), document, MIDNIGHT)


@given(st.integers(0, 10**9), st.lists(st.integers(0, 100), max_size=3))
def test_a_position_survives_being_stored(seconds: int, runs: list[int]) -> None:
    tick = MIDNIGHT + timedelta(seconds=seconds, microseconds=1)
    position = Position(tick, tuple((tick + n * HOUR, tick + (n + 1) * HOUR) for n in runs))
    assert restored(watch(), json.loads(json.dumps(stored(watch(), position))), tick) == position


def test_the_event_is_the_scheduled_event_of_eventbridge() -> None:
    made = event(watch(qualifier="live"), datetime(2019, 3, 1, 1, 23, 45, tzinfo=UTC), "us-east-2", "123456789012")
    assert json.loads(made.payload) == {
        "version": "0",
        "id": made.event_id,
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": "123456789012",
        "time": "2019-03-01T01:23:45Z",
        "region": "us-east-2",
        "resources": ["arn:aws:events:us-east-2:123456789012:rule/nightly"],
        "detail": {},
    }
    assert (made.function, made.qualifier, made.source, made.trigger) == ("report", "live", "schedule:nightly", "timer")


def test_an_input_replaces_the_event_and_an_arn_the_rule() -> None:
    assert event(watch(input='{"a": 1}'), MIDNIGHT, "r", "a").payload == b'{"a": 1}'
    arn = "arn:aws:scheduler:r:a:schedule/default/nightly"
    assert json.loads(event(watch(arn=arn), MIDNIGHT, "r", "a").payload)["resources"] == [arn]


def test_the_id_is_that_of_the_name_and_the_tick() -> None:
    first = event(watch(), MIDNIGHT, "r", "a").event_id
    assert event(watch(function="g", input="1", expression="rate(2 minutes)"), MIDNIGHT, "s", "b").event_id == first
    assert event(watch(), MIDNIGHT + MINUTE, "r", "a").event_id != first
    assert event(replace(watch(), name="other"), MIDNIGHT, "r", "a").event_id != first


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"expression": "rate(0 minutes)"}, "rate: value 0"),
        ({"timezone": "Mars/Olympus"}, "time zone"),
        ({"start": datetime(2026, 1, 1)}, "start has no time zone"),
        ({"end": datetime(2026, 1, 1)}, "end has no time zone"),
        ({"start": MIDNIGHT, "end": MIDNIGHT - HOUR}, "ends before it starts"),
        ({"flexible_window": -MINUTE}, "flexible window"),
        ({"flexible_window": timedelta(days=2)}, "flexible window"),
        ({"input": "{"}, "input is no JSON"),
        ({"catch_up": "some"}, "catch-up is none, last or all"),
    ],
)
def test_a_watch_that_contradicts_itself_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(Misconfigured, match=words):
        watch(**changes)
    assert issubclass(InvalidSchedule, Misconfigured)


def test_start_and_end_may_be_of_any_time_zone() -> None:
    tokyo = datetime(2026, 1, 1, 9, 5, tzinfo=ZoneInfo("Asia/Tokyo"))
    schedule = Rehearsal(watch(start=tokyo, end=tokyo + MINUTE, catch_up=CatchUp.ALL))
    assert schedule.until(MIDNIGHT + HOUR) == minutes(5, 6)
