"""What a schedule does when: pure decisions of (watch, position, wall clock), and the event of a firing.

The position says up to which tick everything is decided. It moves forward with each firing and each skipping::

    ──●──●──●──────────○──○──○──●──►            ● fired   ○ skipped, as the catch-up policy says
      └ run ┘                  run └ tick

The wall clock may jump. Forwards: what lies between is late, and the catch-up policy decides. Backwards: the position goes
back with it, so that the schedule does not stand still until the clock is where it was, and the runs say which ticks have
been fired already, so that none is fired twice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import Enum
from itertools import count
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from sources.errors import Misconfigured
from sources.schedule_expression import EPOCH, Expression, parse
from sources.source import SourceEvent

MOST_CAUGHT_UP = 100
"""How many late ticks the policy ``all`` fires at most: the newest ones."""

MOST_RUNS = 16
"""How many runs of fired ticks are remembered one by one."""

MOST_COUNTED = 1000
"""Skipped ticks are counted up to this many at a time."""

LONGEST_WINDOW = timedelta(days=1)
_INSTANT = timedelta(microseconds=1)


class CatchUp(Enum):
    """What becomes of ticks for which nobody was there: none are fired, the last one, or all (:data:`MOST_CAUGHT_UP`)."""

    NONE = "none"
    LAST = "last"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class SchedulePace:
    """``step``: the longest wait between two looks at the wall clock. ``grace``: how late a firing may be without being
    missed, for the policy ``none``. ``closing``: how long a firing that has begun may take when the source is closed."""

    step: timedelta = timedelta(seconds=1)
    grace: timedelta = timedelta(seconds=60)
    accept_timeout: timedelta = timedelta(seconds=60)
    retry_longest: timedelta = timedelta(seconds=30)
    closing: timedelta = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class ScheduleWatch:
    """A schedule and the function that it invokes.

    ``expression`` as :mod:`sources.schedule_expression` has it, read in ``timezone``. ``created`` is when the schedule was
    made: a rate counts from ``start``, or else from then. Ticks before ``start`` and after ``end`` do not exist.
    ``flexible_window``: each firing is delayed by less than this, always by the same for the same tick, and never past the
    next tick. ``input`` is the JSON text that the function gets; None: the Scheduled Event, whose ``resources`` names
    ``arn``, by default that of the EventBridge rule of this name. Raises Misconfigured.
    """

    name: str
    function: str
    expression: str
    qualifier: str = ""
    timezone: str = "UTC"
    input: str | None = None
    enabled: bool = True
    start: datetime | None = None
    end: datetime | None = None
    flexible_window: timedelta = timedelta(0)
    catch_up: CatchUp = CatchUp.LAST
    created: datetime | None = None
    arn: str = ""
    pace: SchedulePace = field(default_factory=SchedulePace)

    def __post_init__(self) -> None:
        for what, instant in (("start", self.start), ("end", self.end), ("created", self.created)):
            if instant is not None and instant.tzinfo is None:
                raise Misconfigured(f"schedule {self.name}: {what} has no time zone: give an aware time")
        if self.start and self.end and self.end < self.start:
            raise Misconfigured(f"schedule {self.name}: it ends before it starts: exchange start and end")
        if not timedelta(0) <= self.flexible_window <= LONGEST_WINDOW:
            raise Misconfigured(f"schedule {self.name}: the flexible window is from 0 to 1440 minutes")
        if not isinstance(self.catch_up, CatchUp):
            raise Misconfigured(f"schedule {self.name}: catch-up is none, last or all, not {self.catch_up!r}")
        if self.input is not None:
            try:
                json.loads(self.input)
            except (ValueError, RecursionError) as error:
                raise Misconfigured(f"schedule {self.name}: the input is no JSON: {error}") from error
        self.timetable()

    @property
    def plan(self) -> str:
        """Changes when its ticks change."""
        return " ".join(map(str, (self.expression, self.timezone, self._anchor, self.start, self.end)))

    @property
    def _anchor(self) -> datetime:
        return self.start or self.created or EPOCH

    def timetable(self) -> Timetable:
        """Raises InvalidSchedule."""
        return Timetable(self, parse(self.expression, self.timezone, self._anchor))


class Timetable:
    """The ticks of a watch between its start and its end, and when each is due."""

    def __init__(self, watch: ScheduleWatch, expression: Expression) -> None:
        self._watch = watch
        self._expression = expression

    def next_after(self, instant: datetime) -> datetime | None:
        if self._watch.start is not None:
            instant = max(instant, self._watch.start.astimezone(UTC) - _INSTANT)
        tick = self._expression.next_after(instant)
        return None if tick is None or (self._watch.end is not None and tick > self._watch.end) else tick

    def last_until(self, instant: datetime) -> datetime | None:
        if self._watch.end is not None:
            instant = min(instant, self._watch.end.astimezone(UTC))
        tick = self._expression.last_until(instant)
        return None if tick is None or (self._watch.start is not None and tick < self._watch.start) else tick

    def before(self, tick: datetime) -> datetime | None:
        return self.last_until(tick - _INSTANT)

    def due(self, tick: datetime) -> datetime:
        """Later for a later tick, whoever asks."""
        if not (window := self._watch.flexible_window):
            return tick
        if (following := self.next_after(tick)) is not None:
            window = min(window, following - tick)
        digest = hashlib.sha256(f"{self._watch.name}\0{tick.isoformat()}".encode()).digest()
        return tick + window * (int.from_bytes(digest[:4], "big") / 2**32)

    def last_due(self, now: datetime) -> datetime | None:
        tick = self.last_until(now)
        return tick if tick is None or self.due(tick) <= now else self.before(tick)


@dataclass(frozen=True, slots=True)
class Position:
    """Every tick up to ``tick`` is decided. ``runs`` are the first and the last of ticks in a row that were fired, oldest
    first; of more than :data:`MOST_RUNS` the oldest are taken for one, which counts what lies between them as fired."""

    tick: datetime
    runs: tuple[tuple[datetime, datetime], ...] = ()

    def fired(self, tick: datetime) -> Position:
        """``tick`` is the one that follows ``self.tick``."""
        joined = [run for run in self.runs if _within(run, self.tick) or _within(run, tick)]
        apart = [run for run in self.runs if run not in joined]
        first = min(tick, *(run[0] for run in joined)) if joined else tick
        last = max(tick, *(run[1] for run in joined)) if joined else tick
        runs = sorted([*apart, (first, last)])
        if len(runs) > MOST_RUNS:
            runs[:2] = [(runs[0][0], runs[1][1])]
        return Position(tick, tuple(runs))

    def skipped(self, tick: datetime) -> Position:
        return Position(tick, self.runs)

    def returned(self, now: datetime) -> Position:
        """After the clock went back to ``now``."""
        return Position(now - _INSTANT, self.runs)

    def has_fired(self, tick: datetime) -> bool:
        return any(_within(run, tick) for run in self.runs)


def _within(run: tuple[datetime, datetime], tick: datetime) -> bool:
    return run[0] <= tick <= run[1]


@dataclass(frozen=True, slots=True)
class Fire:
    tick: datetime


@dataclass(frozen=True, slots=True)
class Move:
    """Nothing is fired, but this is the position now. ``skipped`` ticks were missed; ``reason`` for a person."""

    position: Position
    skipped: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Wait:
    """``until`` None: it never fires again."""

    until: datetime | None


def decide(watch: ScheduleWatch, timetable: Timetable, position: Position, now: datetime) -> Fire | Move | Wait:
    """What is to be done now. After Fire was accepted the position is ``position.fired(tick)``."""
    if now < position.tick:
        return Move(position.returned(now), reason=f"the clock went back from {position.tick} to {now}")
    if (tick := timetable.next_after(position.tick)) is None:
        return Wait(None)
    if (due := timetable.due(tick)) > now:
        return Wait(due)
    if position.has_fired(tick):
        return Move(position.fired(tick), reason=f"{tick} was fired before the clock went back")
    missed = _last_missed(watch, timetable, tick, now)
    if missed is not None and missed >= tick:
        skipped = _between(timetable, tick, missed)
        return Move(position.skipped(missed), skipped, f"from {tick} to {missed}: catch-up is {watch.catch_up.value}")
    return Fire(tick)


def _last_missed(watch: ScheduleWatch, timetable: Timetable, first: datetime, now: datetime) -> datetime | None:
    """The last tick that is not to be fired any more, if there is one that is late. ``first`` is due."""
    match watch.catch_up:
        case CatchUp.NONE:
            tick = timetable.last_due(now - watch.pace.grace)
            return tick if tick is None or timetable.due(tick) < now - watch.pace.grace else timetable.before(tick)
        case CatchUp.LAST:
            tick = timetable.last_due(now)
            return tick and timetable.before(tick)
        case CatchUp.ALL:
            tick = timetable.last_due(now)
            for _ in range(MOST_CAUGHT_UP):
                if tick is None or tick < first:
                    return None
                tick = timetable.before(tick)
            return tick


def _between(timetable: Timetable, first: datetime, last: datetime) -> int:
    tick: datetime | None = first
    for number in count():
        if tick is None or tick > last or number == MOST_COUNTED:
            return number
        tick = timetable.next_after(tick)
    raise AssertionError


def beginning(watch: ScheduleWatch, now: datetime) -> Position:
    """Where a schedule begins of which nothing is stored: with its making, that moment included."""
    return Position(watch.created.astimezone(UTC) - _INSTANT if watch.created else now)


def stored(watch: ScheduleWatch, position: Position, *, paused: bool = False) -> dict[str, Any]:
    """The position as a JSON-able document. ``paused``: time that passes from now on is not to be caught up."""
    return {
        "plan": watch.plan,
        "tick": position.tick.isoformat(),
        "runs": [[first.isoformat(), last.isoformat()] for first, last in position.runs],
        "paused": paused,
    }


def restored(watch: ScheduleWatch, document: Mapping[str, Any], since: datetime) -> Position:
    """The position in the document. What is not stored yet, was paused, or has another timetable by now, goes on from
    ``since``, when the watch became what it is: what it would have fired before is nothing that was missed. It never goes
    back behind what is stored, since another process may have followed a newer watch already; and what was stored before
    the watch was made is of another schedule, which had its name.

    Raises KeyError, ValueError, TypeError for a document that is none of :func:`stored`.
    """
    if not document:
        return beginning(watch, since)
    instant = datetime.fromisoformat
    runs = tuple((instant(first), instant(last)) for first, last in document["runs"])
    position = Position(instant(document["tick"]), runs)
    if document["plan"] != watch.plan:
        position = Position(max(since, position.tick))
    elif document["paused"]:
        position = Position(max(since, position.tick), runs)
    return replace(position, tick=max(position.tick, beginning(watch, position.tick).tick))


def event(watch: ScheduleWatch, tick: datetime, region: str, account: str) -> SourceEvent:
    """The event of a firing. Its id is made from the schedule's name and the tick.

    Source: EventBridge user guide, "Scheduled events"; Lambda developer guide, "Invoke a function on a schedule".
    """
    identifier = str(uuid5(NAMESPACE_URL, f"schedule:{watch.name}/{tick.isoformat()}"))
    scheduled = {
        "version": "0",
        "id": identifier,
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": account,
        "time": f"{tick:%Y-%m-%dT%H:%M:%SZ}",
        "region": region,
        "resources": [watch.arn or f"arn:aws:events:{region}:{account}:rule/{watch.name}"],
        "detail": {},
    }
    return SourceEvent(
        function=watch.function,
        qualifier=watch.qualifier,
        payload=(json.dumps(scheduled, separators=(",", ":")) if watch.input is None else watch.input).encode(),
        source=f"schedule:{watch.name}",
        trigger="timer",
        event_id=identifier,
    )
