"""When schedules fire: EventBridge's dialect, against its documentation and against a walk through every minute."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sources.errors import InvalidSchedule, Misconfigured
from sources.schedule_expression import parse
from tests.examples import EXAMPLES

MINUTE = timedelta(minutes=1)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def ticks(expression: str, after: str, count: int, zone: str = "UTC") -> list[str]:
    """Local times of the next ticks after a local time."""
    parsed, zone_info = parse(expression, zone), ZoneInfo(zone)
    at: datetime | None = datetime.fromisoformat(after).replace(tzinfo=zone_info)
    found = []
    for _ in range(count):
        assert at is not None
        if (at := parsed.next_after(at)) is None:
            break
        found.append(f"{at.astimezone(zone_info):%Y-%m-%d %H:%M}")
    return found


@pytest.mark.parametrize(
    ("fields", "after", "expected"),
    [
        ("0 10 * * ? *", "2026-01-01T10:00", ["2026-01-02 10:00", "2026-01-03 10:00"]),
        ("15 12 * * ? *", "2026-01-01T00:00", ["2026-01-01 12:15"]),
        ("0 18 ? * MON-FRI *", "2026-01-02T18:00", ["2026-01-05 18:00"]),
        ("0 8 1 * ? *", "2026-01-01T08:00", ["2026-02-01 08:00", "2026-03-01 08:00"]),
        ("0/15 * * * ? *", "2026-01-01T00:44", ["2026-01-01 00:45", "2026-01-01 01:00"]),
        ("0/10 * ? * MON-FRI *", "2026-01-02T23:55", ["2026-01-05 00:00"]),
        ("0/5 8-17 ? * MON-FRI *", "2026-01-02T17:55", ["2026-01-05 08:00"]),
        ("1/10 0 1 1 ? *", "2026-01-01T00:00", ["2026-01-01 00:01", "2026-01-01 00:11"]),
        ("0 9 ? * 2#1 *", "2026-01-01T00:00", ["2026-01-05 09:00", "2026-02-02 09:00"]),
        ("0 9 ? * TUE#2 *", "2026-01-01T00:00", ["2026-01-13 09:00", "2026-02-10 09:00"]),
        ("0 9 ? * 5#5 *", "2026-01-01T00:00", ["2026-01-29 09:00", "2026-04-30 09:00", "2026-07-30 09:00"]),
        ("0 9 ? * 6L *", "2026-01-01T00:00", ["2026-01-30 09:00", "2026-02-27 09:00"]),
        ("0 9 ? * friL *", "2026-01-01T00:00", ["2026-01-30 09:00"]),
        ("0 9 ? * L *", "2026-01-01T00:00", ["2026-01-03 09:00", "2026-01-10 09:00"]),
        ("0 9 ? * 1,7 *", "2026-01-01T00:00", ["2026-01-03 09:00", "2026-01-04 09:00"]),
        ("0 9 ? * SUN/2 *", "2026-01-04T10:00", ["2026-01-06 09:00", "2026-01-08 09:00", "2026-01-10 09:00"]),
        ("0 9 L * ? *", "2026-01-01T00:00", ["2026-01-31 09:00", "2026-02-28 09:00", "2026-03-31 09:00"]),
        ("0 9 L 2 ? *", "2026-03-01T00:00", ["2027-02-28 09:00", "2028-02-29 09:00"]),
        ("0 9 L-3 * ? *", "2026-01-01T00:00", ["2026-01-28 09:00", "2026-02-25 09:00"]),
        ("0 9 LW * ? *", "2026-01-01T00:00", ["2026-01-30 09:00", "2026-02-27 09:00", "2026-03-31 09:00"]),
        ("0 9 L-3W * ? *", "2026-02-01T00:00", ["2026-02-25 09:00", "2026-03-27 09:00"]),
        ("0 9 3W * ? *", "2026-01-01T00:00", ["2026-01-02 09:00", "2026-02-03 09:00"]),
        ("0 9 1W 8 ? *", "2026-01-01T00:00", ["2026-08-03 09:00"]),
        ("0 9 31W 5 ? *", "2026-01-01T00:00", ["2026-05-29 09:00"]),
        ("0 9 1,15W * ? *", "2026-02-01T10:00", ["2026-02-16 09:00", "2026-03-01 09:00"]),
        ("0 9 31 * ? *", "2026-01-31T09:00", ["2026-03-31 09:00", "2026-05-31 09:00"]),
        ("0 9 29 2 ? *", "2026-01-01T00:00", ["2028-02-29 09:00", "2032-02-29 09:00"]),
        ("0 0 29 FEB ? *", "2096-03-01T00:00", ["2104-02-29 00:00"]),
        ("0 0 1 JAN,jul ? *", "2026-01-01T00:00", ["2026-07-01 00:00", "2027-01-01 00:00"]),
        ("0 0 1 1 ? 2027-2029/2", "2026-01-01T00:00", ["2027-01-01 00:00", "2029-01-01 00:00"]),
        ("59 23 31 12 ? 2199", "2026-01-01T00:00", ["2199-12-31 23:59"]),
        ("0 0 30 2 ? *", "2026-01-01T00:00", []),
        ("0 0 1 1 ? 2020", "2026-01-01T00:00", []),
    ],
)  # fmt: skip
def test_a_cron_expression_fires_when_its_documentation_says(fields: str, after: str, expected: list[str]) -> None:
    assert ticks(f"cron({fields})", after, len(expected) or 1) == expected


@pytest.mark.parametrize(
    ("expression", "after", "expected"),
    [
        ("rate(1 minute)", "2026-01-01T00:00:10", "2026-01-01T00:01:00"),
        ("rate(5 minutes)", "2026-01-01T00:05:00", "2026-01-01T00:10:00"),
        ("rate(1 hour)", "2025-12-31T00:00:00", "2026-01-01T00:00:00"),
        ("rate(2 hours)", "2026-01-01T03:00:00", "2026-01-01T04:00:00"),
        ("rate(7 days)", "2026-01-01T00:00:00", "2026-01-08T00:00:00"),
        ("rate(1  days)", "2026-01-01T00:00:00", "2026-01-02T00:00:00"),
    ],
)
def test_a_rate_fires_from_its_anchor_on(expression: str, after: str, expected: str) -> None:
    assert parse(expression, anchor=utc("2026-01-01T00:00")).next_after(utc(after)) == utc(expected)


def test_a_day_of_a_rate_has_24_hours_when_the_clocks_change() -> None:
    anchor = datetime(2026, 3, 28, 9, tzinfo=ZoneInfo("Europe/Berlin"))
    tick = parse("rate(1 day)", "Europe/Berlin", anchor).next_after(anchor)
    assert tick == datetime(2026, 3, 29, 10, tzinfo=ZoneInfo("Europe/Berlin"))


def test_nothing_comes_before_the_anchor() -> None:
    assert parse("rate(1 day)", anchor=utc("2026-01-01T00:00")).last_until(utc("2025-12-31T23:59")) is None
    assert parse("rate(1 day)", anchor=utc("2026-01-01T00:00")).last_until(utc("2026-01-01T00:00")) is not None


def test_a_rate_beyond_the_calendar_never_fires_again() -> None:
    anchor = datetime(9990, 1, 1, tzinfo=UTC)
    assert parse("rate(7300 days)", anchor=anchor).next_after(anchor) is None


def test_at_fires_once_in_its_time_zone() -> None:
    at = parse("at(2026-07-01T12:30:15)", "America/New_York")
    moment = utc("2026-07-01T16:30:15")
    assert at.next_after(moment - timedelta(seconds=1)) == moment
    assert at.next_after(moment) is None
    assert at.last_until(moment) == moment
    assert at.last_until(moment - timedelta(seconds=1)) is None


@pytest.mark.parametrize(
    ("zone", "after", "fields", "expected"),
    [
        ("Europe/Berlin", "2026-03-28T12:00", "30 2 * * ? *", ["2026-03-30 02:30"]),
        ("Europe/Berlin", "2026-03-29T00:30", "0 * * * ? *", ["2026-03-29 01:00", "2026-03-29 03:00"]),
        ("Europe/Berlin", "2026-10-25T00:30", "30 2 * * ? *", ["2026-10-25 02:30", "2026-10-26 02:30"]),
        ("Europe/Berlin", "2026-10-25T01:30", "0 * * * ? *", ["2026-10-25 02:00", "2026-10-25 03:00"]),
        ("America/New_York", "2026-03-08T01:30", "0/30 * * * ? *", ["2026-03-08 03:00", "2026-03-08 03:30"]),
        ("America/New_York", "2026-11-01T00:30", "30 1 * * ? *", ["2026-11-01 01:30", "2026-11-02 01:30"]),
        ("Australia/Lord_Howe", "2026-10-03T12:00", "15 2 * * ? *", ["2026-10-05 02:15"]),
        ("Australia/Lord_Howe", "2026-04-04T12:00", "45 1 * * ? *", ["2026-04-05 01:45", "2026-04-06 01:45"]),
        ("America/Sao_Paulo", "2018-11-03T12:00", "0 0 * * ? *", ["2018-11-05 00:00"]),
        ("Pacific/Apia", "2011-12-29T12:00", "0 9 30 12 ? 2011-2012", ["2012-12-30 09:00"]),
        ("Asia/Beirut", "2026-10-24T22:00", "30 23 * * ? *", ["2026-10-24 23:30", "2026-10-25 23:30"]),
        ("Asia/Kathmandu", "2026-01-01T00:00", "0 6 * * ? *", ["2026-01-01 06:00"]),
    ],
)
def test_skipped_local_times_do_not_fire_and_repeated_ones_fire_once(
    zone: str, after: str, fields: str, expected: list[str]
) -> None:
    assert ticks(f"cron({fields})", after, len(expected), zone) == expected


def test_of_a_local_time_that_comes_twice_the_first_fires() -> None:
    tick = parse("cron(30 2 * * ? *)", "Europe/Berlin").next_after(utc("2026-10-24T12:00"))
    assert tick == utc("2026-10-25T00:30")


def test_the_last_tick_is_found_from_within_a_repeated_hour() -> None:
    """In Newfoundland the clocks went back from 00:01 on Sunday to 23:01 on Saturday."""
    midnight = parse("cron(0 0 * * ? *)", "America/St_Johns")
    first_midnight = utc("2010-11-07T02:30")
    assert midnight.next_after(first_midnight - MINUTE) == first_midnight
    assert midnight.last_until(first_midnight + 31 * MINUTE) == first_midnight


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("", "is no schedule: .*rate"),
        ("rate 5 minutes", "no schedule"),
        ("rate(5 minutes", "no schedule"),
        ("every(5 minutes)", "'every' is no kind"),
        ("rate(minutes)", "rate: .*whole number and a unit"),
        ("rate(-5 minutes)", "rate: .*whole number"),
        ("rate(1.5 hours)", "rate: .*whole number"),
        ("rate(0 minutes)", "rate: value 0"),
        ("rate(999999999 days)", "rate: value"),
        ("rate(5 seconds)", "unit 'seconds' is none of minutes, hours and days"),
        ("at(2026-01-01)", "at: .*2030-01-31T12:00:00"),
        ("at(2026-02-30T00:00:00)", "at: '2026-02-30T00:00:00' is no time"),
        ("at(2026-01-01T00:00:00Z)", "at: "),
        ("cron(* * * * *)", "5 fields; it takes six"),
        ("cron(0 12 * * * *)", "one of day-of-month and day-of-week is ?"),
        ("cron(0 12 ? * ? *)", "one of day-of-month and day-of-week is ?"),
        ("cron(60 12 * * ? *)", "minutes: '60' is none: it takes 0-59"),
        ("cron(a 12 * * ? *)", "minutes: 'a'"),
        ("cron(0 24 * * ? *)", "hours: '24' is none: it takes 0-23"),
        ("cron(? 12 * * ? *)", "minutes: '?'"),
        ("cron(0 12 0 * ? *)", "day-of-month: '0' is none: it takes 1-31"),
        ("cron(0 12 32W * ? *)", "day-of-month: '32'"),
        ("cron(0 12 W * ? *)", "day-of-month: 'W'"),
        ("cron(0 12 L-31 * ? *)", "day-of-month: .*0 to 30"),
        ("cron(0 12 1 13 ? *)", "month: '13' is none: it takes 1-12 or JAN-DEC"),
        ("cron(0 12 1 Foo ? *)", "month: 'Foo'"),
        ("cron(0 12 ? * 0 *)", "day-of-week: '0' is none: it takes 1-7 or SUN-SAT"),
        ("cron(0 12 ? * 8L *)", "day-of-week: '8'"),
        ("cron(0 12 ? * 3#6 *)", "day-of-week: .*1 to 5"),
        ("cron(0 12 ? * 3#1,6#3 *)", "day-of-week: .*one day only"),
        ("cron(0 12 ? * #2 *)", "day-of-week: ''"),
        ("cron(0 12 ? * 15W *)", "day-of-week: '15W'"),
        ("cron(0 12 1 * ? 1969)", "year: '1969' is none: it takes 1970-2199"),
        ("cron(0 12 1 * ? 2200)", "year: '2200'"),
        ("cron(0 12 1 * ? *,)", "year: ''"),
        ("cron(5-1 12 1 * ? *)", "minutes: '5-1' is none: a range goes"),
        ("cron(0/0 12 1 * ? *)", "minutes: '0/0' is none: after /"),
        ("cron(0/x 12 1 * ? *)", "minutes: '0/x' is none: after /"),
        ("cron(١ 12 1 * ? *)", "minutes"),
    ],
)
def test_a_mistake_is_named_with_its_field_and_its_remedy(expression: str, words: str) -> None:
    with pytest.raises(InvalidSchedule, match=words):
        parse(expression)


@pytest.mark.parametrize(
    "zone", ["Europe/Atlantis", "", "../etc/passwd", "/etc/localtime", "Europe/Berlin\0", "Europe"]
)
def test_an_unknown_time_zone_is_refused(zone: str) -> None:
    with pytest.raises(Misconfigured, match="time zone"):
        parse("rate(1 day)", zone)


def test_at_a_time_that_the_clocks_skip_is_refused() -> None:
    with pytest.raises(InvalidSchedule, match="does not exist in Europe/Berlin"):
        parse("at(2026-03-29T02:30:00)", "Europe/Berlin")


# -- against a walk through every minute ------------------------------------------------------------------------------


def _item(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    return st.one_of(
        st.just("*"),
        number.map(str),
        st.tuples(number, number).map(lambda both: f"{min(both)}-{max(both)}"),
        st.tuples(number, st.integers(1, high)).map(lambda both: f"{both[0]}/{both[1]}"),
    )


def _field(low: int, high: int) -> st.SearchStrategy[str]:
    return st.lists(_item(low, high), min_size=1, max_size=2).map(",".join)


MONTH_DAYS = st.one_of(
    _field(1, 31), st.sampled_from(["L", "LW", "L-1", "L-3W", "L-30"]), st.integers(1, 31).map("{}W".format)
)
WEEK_DAYS = st.one_of(
    _field(1, 7),
    st.just("L"),
    st.integers(1, 7).map("{}L".format),
    st.tuples(st.integers(1, 7), st.integers(1, 5)).map(lambda both: f"{both[0]}#{both[1]}"),
)
DAYS = st.one_of(MONTH_DAYS.map(lambda days: (days, "?")), WEEK_DAYS.map(lambda days: ("?", days)))
ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "America/St_Johns",
    "Asia/Kathmandu",
    "Pacific/Apia",
]
STARTS = st.one_of(
    st.datetimes(datetime(2010, 1, 1), datetime(2030, 1, 1)),
    st.sampled_from(
        [datetime(2026, 3, 29), datetime(2026, 10, 24, 23), datetime(2026, 3, 8, 5), datetime(2026, 11, 1, 4),
         datetime(2026, 4, 4, 14), datetime(2026, 10, 3, 14), datetime(2010, 11, 7, 1), datetime(2011, 12, 29, 10),
         datetime(2028, 2, 28, 12), datetime(2026, 12, 31, 12)]
    ),
)  # fmt: skip


def names(text: str, low: int, high: int, value: int) -> bool:
    """Whether a plain field names the value, read item by item."""
    for item in text.split(","):
        span, _, every = item.partition("/")
        start, _, end = (f"{low}-{high}" if span == "*" else span).partition("-")
        top = int(end or (high if every else start))
        if int(start) <= value <= top and (value - int(start)) % int(every or 1) == 0:
            return True
    return False


def in_days(month_days: str, week_days: str, day: date) -> bool:
    last = monthrange(day.year, day.month)[1]
    if month_days == "?":
        number = day.isoweekday() % 7 + 1
        if week_days == "L":
            return number == 7
        if "#" in week_days:
            return f"{number}#{(day.day + 6) // 7}" == week_days
        if week_days.endswith("L"):
            return f"{number}L" == week_days and day.day + 7 > last
        return names(week_days, 1, 7, number)
    if month_days[0] == "L" or month_days[-1] == "W":
        wanted = last - int(month_days[2:].rstrip("W") or 0) if month_days[0] == "L" else int(month_days[:-1])
        if not 1 <= wanted <= last:
            return False
        if not month_days.endswith("W"):
            return day.day == wanted
        in_month = [date(day.year, day.month, each) for each in range(1, last + 1)]
        working = [each for each in in_month if each.isoweekday() <= 5]
        aim = date(day.year, day.month, wanted)
        # of two that are as near, a Saturday goes to its Friday and a Sunday to its Monday
        nearest = min(working, key=lambda each: (abs((each - aim).days), each.isoweekday() not in (5, 1)))
        return day == nearest
    return names(month_days, 1, 31, day.day)


def walk(fields: list[str], zone: ZoneInfo, start: datetime, minutes: int) -> Iterator[datetime]:
    """Every minute after ``start`` that the expression names, each local time once."""
    minute, hour, month_days, month, week_days = fields
    before = start - timedelta(hours=30)
    seen: set[datetime] = set()
    for number in range(minutes + 30 * 60):
        instant = before + number * MINUTE
        local = instant.astimezone(zone).replace(tzinfo=None, fold=0)
        if local in seen:
            continue
        seen.add(local)
        if (
            instant > start
            and names(minute, 0, 59, local.minute)
            and names(hour, 0, 23, local.hour)
            and names(month, 1, 12, local.month)
            and in_days(month_days, week_days, local.date())
        ):
            yield instant


@settings(max_examples=EXAMPLES, deadline=None)
@given(_field(0, 59), _field(0, 23), DAYS, _field(1, 12), st.sampled_from(ZONES), STARTS)
def test_it_names_every_minute_that_a_walk_finds_and_no_other(
    minute: str, hour: str, days: tuple[str, str], month: str, zone: str, start: datetime
) -> None:
    month_days, week_days = days
    cron = parse(f"cron({minute} {hour} {month_days} {month} {week_days} *)", zone)
    start = start.replace(second=0, microsecond=0, tzinfo=UTC)
    length = 3 * 24 * 60
    expected = list(walk([minute, hour, month_days, month, week_days], ZoneInfo(zone), start, length))[:40]
    at, found = start, []
    while len(found) < 40 and (tick := cron.next_after(at)) is not None and tick < start + length * MINUTE:
        assert tick > at
        assert cron.last_until(tick) == tick
        assert cron.last_until(tick + timedelta(seconds=59)) == tick
        if found:
            assert cron.last_until(tick - timedelta(microseconds=1)) == found[-1]
        found.append(at := tick)
    assert found == expected


@settings(deadline=None)
@given(st.integers(1, 500), st.sampled_from(["minute", "hours", "days"]), STARTS, STARTS)
def test_ticks_of_a_rate_are_evenly_apart(count: int, unit: str, anchor: datetime, after: datetime) -> None:
    anchor, after = anchor.replace(tzinfo=UTC), after.replace(tzinfo=UTC)
    rate = parse(f"rate({count} {unit})", anchor=anchor)
    first = rate.next_after(after)
    assert first is not None
    second = rate.next_after(first)
    assert second is not None
    assert second - first == count * timedelta(**{unit.removesuffix("s") + "s": 1})
    assert first > after
    assert first >= anchor
    assert first == anchor or first - (second - first) <= after
    assert rate.last_until(second) == second
    assert rate.last_until(second - timedelta(microseconds=1)) == first


@given(st.text(alphabet="0123456789*?/-,#LW MONcronrateat()", max_size=40))
def test_any_text_is_either_a_schedule_or_refused(text: str) -> None:
    for whole in (text, f"cron({text})", f"rate({text})", f"at({text})"):
        try:
            expression = parse(whole)
        except InvalidSchedule as refused:
            assert str(refused)
        else:
            tick = expression.next_after(utc("2026-01-01T00:00"))
            assert tick is None or tick > utc("2026-01-01T00:00")
