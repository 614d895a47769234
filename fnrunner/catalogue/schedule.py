"""Schedules: what makes one valid, and when it fires next. What they mean is said in :mod:`sources.schedule`."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection

from fnrunner.catalogue import triggers, versions
from fnrunner.catalogue.errors import InvalidParameterValue, NotFound, TriggerExists
from fnrunner.model import limits
from fnrunner.model.arn import Home
from fnrunner.model.trigger import Schedule
from sources.errors import Misconfigured
from sources.schedule import ScheduleWatch

_NAME = re.compile(r"[0-9a-zA-Z_.-]{1,64}", re.ASCII)
DESCRIPTION_CHARS = 512


def watch_of(schedule: Schedule) -> ScheduleWatch:
    """As whoever fires it sees it. Raises Misconfigured."""
    return ScheduleWatch(
        name=schedule.name,
        function=schedule.function,
        expression=schedule.expression,
        qualifier=schedule.qualifier,
        timezone=schedule.timezone,
        input=schedule.input,
        enabled=schedule.enabled,
        start=schedule.start,
        end=schedule.end,
        flexible_window=schedule.flexible_window,
        catch_up=schedule.catch_up,
        created=schedule.created,
    )


def check(schedule: Schedule) -> None:
    """Raises InvalidParameterValue."""
    if _NAME.fullmatch(schedule.name) is None:
        raise InvalidParameterValue(f"{schedule.name[:80]!r} is no name of a schedule: 1 to 64 of a-z A-Z 0-9 - _ .")
    if len(schedule.description) > DESCRIPTION_CHARS:
        raise InvalidParameterValue(f"The description of a schedule has at most {DESCRIPTION_CHARS} characters.")
    if schedule.input is not None and len(schedule.input.encode("utf-8", "replace")) > limits.ASYNC_PAYLOAD_BYTES:
        raise InvalidParameterValue(f"The input of a schedule has at most {limits.ASYNC_PAYLOAD_BYTES} bytes.")
    try:
        if schedule.input is not None:
            json.loads(schedule.input)
        watch_of(schedule)
    except Misconfigured as error:
        raise InvalidParameterValue(f"Schedule {schedule.name}: {error}") from error
    except (ValueError, RecursionError) as error:
        raise InvalidParameterValue(f"Schedule {schedule.name}: the input is no JSON: {error}") from error


def firings(schedule: Schedule, after: datetime, count: int = 5) -> list[datetime]:
    """When it fires next, in UTC, at the earliest: a flexible window may delay each. Disabled: when it would."""
    timetable, found = watch_of(schedule).timetable(), list[datetime]()
    tick: datetime | None = after
    while len(found) < count and tick is not None and (tick := timetable.next_after(tick)) is not None:
        found.append(tick)
    return found


def put(connection: Connection, schedule: Schedule, home: Home, *, new: bool = False) -> Schedule:
    """Made, or replaced, which keeps when it was made. ``new``: it must not be there.

    Raises FunctionNotFound, TriggerExists.
    """
    versions.fetch(connection, home, schedule.function, schedule.qualifier)
    try:
        current = triggers.fetch(connection, Schedule, schedule.name)
    except NotFound:
        saved = schedule
    else:
        if new:
            raise TriggerExists(f"The schedule {schedule.name} exists already: remove it first, or take another name")
        saved = replace(schedule, created=current.created)
    triggers.save(connection, saved)
    return saved


def enable(connection: Connection, name: str, enabled: bool) -> Schedule:
    """Pause or resume it. Raises NotFound."""
    saved = replace(triggers.fetch(connection, Schedule, name), enabled=enabled)
    triggers.save(connection, saved)
    return saved
