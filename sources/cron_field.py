"""The fields of a cron expression in EventBridge's dialect: which minutes, hours, days, months and years they name.

=============  ===============  ===============================================================================
field          values           besides values, ``a-b``, ``*``, ``a/n``, ``a-b/n`` and lists of them with commas
=============  ===============  ===============================================================================
minutes        0-59
hours          0-23
day-of-month   1-31             ``?``; ``L`` last day, ``L-3`` three days before it, ``15W`` the weekday nearest to
                                the 15th within the month, ``LW`` and ``L-3W``
month          1-12, JAN-DEC
day-of-week    1-7, SUN-SAT     ``?``; ``L`` Saturday, ``6L`` the last Friday of the month, ``3#2`` its second Tuesday
year           1970-2199
=============  ===============  ===============================================================================

Source: EventBridge user guide, "Cron expressions reference"; what it leaves open (``L-3``, ``LW``) is as in Quartz.

>>> values("0/20", MINUTES), values("MON-WED,SAT", DAYS_OF_WEEK)
((0, 20, 40), (2, 3, 4, 7))
>>> month_days("LW", 2026, 5), week_days("6L", 2026, 5)
(frozenset({29}), frozenset({29}))
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

from sources.errors import InvalidSchedule


@dataclass(frozen=True, slots=True)
class Field:
    name: str
    lowest: int
    highest: int
    names: Mapping[str, int] = field(default_factory=dict)


def _named(names: str, first: int) -> dict[str, int]:
    return {name: number for number, name in enumerate(names.split(), first)}


MINUTES = Field("minutes", 0, 59)
HOURS = Field("hours", 0, 23)
DAYS_OF_MONTH = Field("day-of-month", 1, 31)
MONTHS = Field("month", 1, 12, _named("JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC", 1))
DAYS_OF_WEEK = Field("day-of-week", 1, 7, _named("SUN MON TUE WED THU FRI SAT", 1))
YEARS = Field("year", 1970, 2199)

_LAST = re.compile(r"L(?:-(?P<before>\d{1,2}))?(?P<weekday>W)?", re.ASCII)
_NEAREST = re.compile(r"(?P<day>\d{1,2})W", re.ASCII)


def values(text: str, about: Field) -> tuple[int, ...]:
    """The values that a field without special days names, in order. Raises InvalidSchedule, which names the field."""
    return tuple(sorted({value for item in text.split(",") for value in _span(item, about)}))


def month_days(text: str, year: int, month: int) -> frozenset[int]:
    """The days of this month that a day-of-month field names; none where the month has no such day.

    Raises InvalidSchedule.
    """
    last = monthrange(year, month)[1]
    days: set[int] = set()
    for item in text.upper().split(","):
        if match := _LAST.fullmatch(item):
            before = int(match["before"] or 0)
            if before > 30:
                raise _wrong(DAYS_OF_MONTH, item, "L-n takes 0 to 30 days")
            day = last - before
            weekday = match["weekday"] is not None
        elif match := _NEAREST.fullmatch(item):
            (day,) = _span(match["day"], DAYS_OF_MONTH)
            weekday = True
        else:
            days.update(_span(item, DAYS_OF_MONTH))
            continue
        if 1 <= day <= last:
            days.add(_nearest_weekday(year, month, day, last) if weekday else day)
    return frozenset(day for day in days if day <= last)


def week_days(text: str, year: int, month: int) -> frozenset[int]:
    """The days of this month that a day-of-week field names. Raises InvalidSchedule."""
    last = monthrange(year, month)[1]
    first = date(year, month, 1).isoweekday() % 7 + 1  # 1 is Sunday
    if "#" in text:
        weekday, number = _numbered(text)
        day = 1 + (weekday - first) % 7 + 7 * (number - 1)
        return frozenset({day} if day <= last else ())
    days: set[int] = set()
    for item in text.upper().split(","):
        if item != "L" and item.endswith("L"):
            weekday = _single(item.removesuffix("L"), DAYS_OF_WEEK)
            offset = 1 + (weekday - first) % 7
            days.add(max(range(offset, last + 1, 7)))
        else:
            for weekday in (7,) if item == "L" else _span(item, DAYS_OF_WEEK):
                days.update(range(1 + (weekday - first) % 7, last + 1, 7))
    return frozenset(days)


def _numbered(text: str) -> tuple[int, int]:
    """Of ``3#2`` the day of the week and which of the month's."""
    if "," in text:
        raise _wrong(DAYS_OF_WEEK, text, "with # the field takes one day only, such as 3#2")
    weekday, _, number = text.upper().partition("#")
    if number not in ("1", "2", "3", "4", "5"):
        raise _wrong(DAYS_OF_WEEK, text, "after # stands 1 to 5, which of the month's it is")
    return _single(weekday, DAYS_OF_WEEK), int(number)


def _nearest_weekday(year: int, month: int, day: int, last: int) -> int:
    """Monday to Friday, without leaving the month."""
    match date(year, month, day).isoweekday():
        case 6:
            return day - 1 if day > 1 else day + 2
        case 7:
            return day + 1 if day < last else day - 2
    return day


def _span(item: str, about: Field) -> range:
    """``*``, ``a``, ``a-b``, and each with ``/n``."""
    span, slash, every = item.partition("/")
    if slash and (not (every.isascii() and every.isdigit()) or int(every) == 0):
        raise _wrong(about, item, "after / stands a number from 1 on")
    if span == "*":
        low, high = about.lowest, about.highest
    elif "-" in span:
        start, _, end = span.partition("-")
        low, high = _single(start, about), _single(end, about)
        if low > high:
            raise _wrong(about, item, "a range goes from the lower value to the higher: write two, joined by a comma")
    else:
        low = _single(span, about)
        high = about.highest if slash else low
    return range(low, high + 1, int(every) if slash else 1)


def _single(text: str, about: Field) -> int:
    value = about.names.get(text.upper())
    if value is None and text.isascii() and text.isdigit() and len(text) <= 4:
        value = int(text)
    if value is None or not about.lowest <= value <= about.highest:
        names = f" or {next(iter(about.names))}-{list(about.names)[-1]}" if about.names else ""
        raise _wrong(about, text, f"it takes {about.lowest}-{about.highest}{names}")
    return value


def _wrong(about: Field, text: str, remedy: str) -> InvalidSchedule:
    return InvalidSchedule(f"cron: {about.name}: {text!r} is none: {remedy}")
