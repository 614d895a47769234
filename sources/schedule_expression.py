"""When a schedule fires: ``rate(…)``, ``cron(…)`` and ``at(…)`` as EventBridge has them, as pure functions of time.

``rate(5 minutes)``
    From its anchor on (the start date, or when the schedule was made), every so many minutes, hours or days. A day is 24
    hours, whatever the clocks do.
``cron(minutes hours day-of-month month day-of-week year)``
    In the time of a time zone; see :mod:`sources.cron_field`. One of the two days is ``?``.
``at(2030-01-31T12:00:00)``
    Once, in the time of a time zone.

Where clocks go forward, the local times that do not exist do not fire. Where they go back, a local time that comes twice
fires once, the first time. Source: EventBridge Scheduler user guide, "Schedule types" and "Daylight savings time".

No library reads this dialect: croniter and cronsim read Unix cron (no year, no ``?``, Sunday is 0, no ``W``), APScheduler
has keyword arguments instead of an expression, pyawscron knows UTC only.

>>> noon = parse("cron(0 12 ? * MON-FRI *)", "Europe/Berlin")
>>> noon.next_after(datetime(2026, 3, 27, 11, tzinfo=UTC)).isoformat()
'2026-03-30T10:00:00+00:00'
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Protocol
from zoneinfo import ZoneInfo

from sources import cron_field
from sources.errors import InvalidSchedule

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1), "day": timedelta(days=1)}
_LONGEST = timedelta(days=366 * 200)
_RATE = re.compile(r"(?P<count>\d{1,9})\s+(?P<unit>[a-z]+)", re.ASCII)
_AT = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}", re.ASCII)


class Expression(Protocol):
    """When a schedule fires. Instants are aware; what is returned is in UTC."""

    def next_after(self, instant: datetime) -> datetime | None:
        """The first tick later than the instant; None when there is none any more."""

    def last_until(self, instant: datetime) -> datetime | None:
        """The last tick not later than the instant; None when there was none."""


def parse(text: str, zone: str = "UTC", anchor: datetime = EPOCH) -> Expression:
    """``zone`` is a name of the tz database; ``anchor`` is when a rate begins, its first tick.

    Raises InvalidSchedule, which names the part that is wrong and what it takes.
    """
    try:
        zone_info = ZoneInfo(zone)
    except (OSError, ValueError) as error:  # ZoneInfoNotFoundError is a KeyError: see below
        raise InvalidSchedule(f"time zone {zone!r} is no name of the tz database: {error}") from error
    except KeyError as error:
        raise InvalidSchedule(f"time zone {zone!r} is unknown: write a name such as Europe/Berlin, or UTC") from error
    kind, bracket, rest = text.partition("(")
    if not bracket or not rest.endswith(")"):
        raise InvalidSchedule(f"{text!r} is no schedule: {InvalidSchedule()}")
    match kind:
        case "rate":
            return Rate(_period(rest[:-1]), anchor)
        case "cron":
            return Cron(rest[:-1], zone_info)
        case "at":
            return At(_moment(rest[:-1], zone_info))
    raise InvalidSchedule(f"{kind!r} is no kind of schedule: {InvalidSchedule()}")


class Rate:
    """Every ``period`` from ``anchor`` on."""

    def __init__(self, period: timedelta, anchor: datetime) -> None:
        self._period = period
        self._anchor = anchor.astimezone(UTC)

    def next_after(self, instant: datetime) -> datetime | None:
        passed = max(-1, (instant - self._anchor) // self._period)
        return self._tick(passed + 1)

    def last_until(self, instant: datetime) -> datetime | None:
        passed = (instant - self._anchor) // self._period
        return self._tick(passed) if passed >= 0 else None

    def _tick(self, number: int) -> datetime | None:
        try:
            return self._anchor + number * self._period
        except OverflowError:
            return None


class At:
    """Once."""

    def __init__(self, moment: datetime) -> None:
        self._moment = moment

    def next_after(self, instant: datetime) -> datetime | None:
        return self._moment if self._moment > instant else None

    def last_until(self, instant: datetime) -> datetime | None:
        return self._moment if self._moment <= instant else None


class Cron:
    """``fields`` are the six of them. Raises InvalidSchedule."""

    def __init__(self, fields: str, zone: ZoneInfo) -> None:
        parts = fields.split()
        if len(parts) != 6:
            raise InvalidSchedule(
                f"cron has {len(parts)} fields; it takes six: minutes hours day-of-month month day-of-week year"
            )
        minutes, hours, month_days, months, week_days, years = parts
        self._zone = zone
        self._times = [
            time(hour, minute)
            for hour in cron_field.values(hours, cron_field.HOURS)
            for minute in cron_field.values(minutes, cron_field.MINUTES)
        ]
        self._months = cron_field.values(months, cron_field.MONTHS)
        self._years = cron_field.values(years, cron_field.YEARS)
        if (month_days == "?") == (week_days == "?"):
            raise InvalidSchedule("cron: one of day-of-month and day-of-week is ?, and the other one says the days")
        self._names_week_days = month_days == "?"
        self._days_text = week_days if self._names_week_days else month_days
        self._days(2000, 1)  # what is wrong with it is said now

    def next_after(self, instant: datetime) -> datetime | None:
        local = instant.astimezone(self._zone)
        return next((tick for tick in self._forwards(local.date(), local.time()) if tick > instant), None)

    def last_until(self, instant: datetime) -> datetime | None:
        local = instant.astimezone(self._zone)
        if local.fold:  # later local times have been already, the first time
            local += timedelta(days=1)
        return next((tick for tick in self._backwards(local.date(), local.time()) if tick <= instant), None)

    def _forwards(self, day: date, since: time) -> Iterator[datetime]:
        """Ticks from a local time on. Their local and their absolute order are the same, since of a time that comes twice
        only the first is taken."""
        for year in self._years[bisect_left(self._years, day.year) :]:
            for month in self._months:
                if (year, month) < (day.year, day.month):
                    continue
                for number in sorted(self._days(year, month)):
                    if (each := date(year, month, number)) >= day:
                        start = bisect_left(self._times, since.replace(second=0, microsecond=0)) if each == day else 0
                        yield from self._ticks(each, self._times[start:])

    def _backwards(self, day: date, until: time) -> Iterator[datetime]:
        for year in reversed(self._years[: bisect_right(self._years, day.year)]):
            for month in reversed(self._months):
                if (year, month) > (day.year, day.month):
                    continue
                for number in sorted(self._days(year, month), reverse=True):
                    if (each := date(year, month, number)) <= day:
                        end = bisect_right(self._times, until) if each == day else len(self._times)
                        yield from self._ticks(each, reversed(self._times[:end]))

    def _ticks(self, day: date, times: Iterable[time]) -> Iterator[datetime]:
        for each in times:
            if (tick := existing(datetime.combine(day, each), self._zone)) is not None:
                yield tick

    def _days(self, year: int, month: int) -> frozenset[int]:
        return _days(self._days_text, self._names_week_days, year, month)


@lru_cache(maxsize=1024)
def _days(text: str, names_week_days: bool, year: int, month: int) -> frozenset[int]:
    return (cron_field.week_days if names_week_days else cron_field.month_days)(text, year, month)


def existing(local: datetime, zone: ZoneInfo) -> datetime | None:
    """The instant, in UTC, of a naive local time: the first one when it comes twice, None when the clocks skip it.

    >>> existing(datetime(2026, 3, 29, 2, 30), ZoneInfo("Europe/Berlin")) is None
    True
    >>> existing(datetime(2026, 10, 25, 2, 30), ZoneInfo("Europe/Berlin")).isoformat()
    '2026-10-25T00:30:00+00:00'
    """
    instant = local.replace(tzinfo=zone, fold=0).astimezone(UTC)
    return instant if instant.astimezone(zone).replace(tzinfo=None) == local else None


def _period(text: str) -> timedelta:
    match = _RATE.fullmatch(text.strip())
    if not match:
        raise InvalidSchedule(f"rate: {text!r} is none: it takes a whole number and a unit, such as rate(5 minutes)")
    count = int(match["count"])
    unit = _UNITS.get(match["unit"].removesuffix("s"))
    if unit is None:
        raise InvalidSchedule(f"rate: unit {match['unit']!r} is none of minutes, hours and days")
    if not count or unit * count > _LONGEST:
        raise InvalidSchedule(f"rate: value {count} is not from 1 to what makes 200 years")
    return unit * count


def _moment(text: str, zone: ZoneInfo) -> datetime:
    if not _AT.fullmatch(text):
        raise InvalidSchedule(f"at: {text!r} is no time: it takes one such as 2030-01-31T12:00:00")
    try:
        local = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidSchedule(f"at: {text!r} is no time: {error}") from error
    if (instant := existing(local, zone)) is None:
        raise InvalidSchedule(
            f"at: {text} does not exist in {zone.key}, where the clocks go forward then: choose another"
        )
    return instant
