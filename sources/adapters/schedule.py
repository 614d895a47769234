"""A schedule that invokes a function: each tick becomes one event, whichever of many processes is there to make it.

Who fires
    Of all processes that share the store, the one that holds the schedule's claim. Its position is stored with the claim
    after the firing was accepted: a crash between the two fires again with the same event id, which is made from name and
    tick. A take-over goes on from the position, and finds the same moment in the flexible window.

Time
    It looks at the wall clock at least every second, so that a clock that jumps or a host that slept is noticed. What was
    missed is caught up as the policy says. While a schedule is disabled nothing is missed.

When things die
    The acceptor is away: the firing is offered again, with backoff; what is late then is subject to the policy too. It
    refuses for good: counted, logged and passed over. The store is away: nothing further is fired until the last position
    is stored. The process dies: the next one takes over within seconds.
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import Task
from collections import Counter
from datetime import datetime
from typing import Any

from sources import schedule
from sources.errors import CheckpointsUnavailable, ClaimLost, Misconfigured, NotAccepted, Refused
from sources.pending import Backoff
from sources.schedule import Fire, Move, Position, ScheduleWatch, Timetable, Wait
from sources.source import Adapter, Claim, Condition, Health, Services

log = logging.getLogger(__name__)
_STARTING_S = 10.0
_ASK_AGAIN_S = 1.0


def claim_name(name: str) -> str:
    """The claim of the schedule; no other's begins like it, since no name has a slash."""
    return f"schedule:{name}/"


async def forget(name: str, services: Services) -> None:
    """Remove what is stored of a schedule that is no more; one of its name that is made later begins anew.

    Close its sources first. Raises CheckpointsUnavailable.
    """
    await services.claims.forget(claim_name(name))


class ScheduleSource:
    """Fires one schedule. Of several sources of a schedule, in any process, one works and the others wait."""

    def __init__(self, watch: ScheduleWatch, services: Services) -> None:
        self._watch = watch
        self._timetable = watch.timetable()
        self._services = services
        self._counters: Counter[str] = Counter()
        self._condition = Condition.STARTING
        self._reason = ""
        self._since = services.clock()
        self._known: tuple[str, Position] | None = None
        self._task: Task[None] | None = None
        self._settled = asyncio.Event()
        self._changed = asyncio.Event()
        self._closing = False

    @property
    def name(self) -> str:
        return f"schedule:{self._watch.name}"

    async def start(self) -> None:
        """Returns when the schedule is followed, or :meth:`health` says why it is not yet."""
        if self._task is None and not self._closing:
            self._task = asyncio.create_task(self._run(), name=self.name)
        try:
            async with asyncio.timeout(_STARTING_S):
                await self._settled.wait()
        except TimeoutError:
            log.warning("%s takes long to start", self.name)

    async def close(self) -> None:
        """Finish a firing that has begun, for a bounded time. Idempotent."""
        self._closing = True
        self._changed.set()
        if (task := self._task) is not None:
            _, late = await asyncio.wait([task], timeout=self._watch.pace.closing.total_seconds())
            if late:
                task.cancel()
                await asyncio.wait([task])
            self._task = None
        self._condition, self._reason = Condition.CLOSED, ""
        self._settled.set()

    async def reconfigure(self, configuration: Any) -> None:
        """Follow another ScheduleWatch of the same name. Its ticks count from now on."""
        watch: ScheduleWatch = configuration
        if watch.name != self._watch.name:
            raise Misconfigured(f"{self.name} cannot become schedule {watch.name}: close it and make another one")
        self._watch, self._timetable, self._since = watch, watch.timetable(), self._services.clock()
        self._changed.set()

    def health(self) -> Health:
        return Health(self._condition, (self._reason,) if self._reason else (), dict(self._counters))

    def _say(self, condition: Condition, reason: str = "") -> None:
        if (condition, reason) != (self._condition, self._reason):
            level = logging.WARNING if condition in (Condition.OUTAGE, Condition.LAGGING) else logging.INFO
            log.log(level, "%s: %s%s", self.name, condition.value, reason and f": {reason}")
        self._condition, self._reason = condition, reason
        self._settled.set()

    async def _run(self) -> None:
        """The loop top: whatever ends a turn, the next one goes on from the stored position."""
        backoff, failures = self._backoff(), 0
        while not self._closing:
            self._changed.clear()
            try:
                await self._turn()
                failures = 0
            except ClaimLost as error:
                self._say(Condition.WAITING, str(error))
                await self._pause(_ASK_AGAIN_S)
            except CheckpointsUnavailable as error:
                failures += 1
                self._say(Condition.OUTAGE, str(error))
                await self._pause(backoff.delay(failures))
            except Exception as error:
                failures += 1
                log.exception("%s failed; it starts again", self.name)
                self._say(Condition.OUTAGE, f"it failed and starts again: {error or type(error).__name__}")
                await self._pause(backoff.delay(failures))

    async def _turn(self) -> None:
        """Take the claim and work until it is lost or wanted elsewhere, nothing is left to fire, or the source is closed."""
        if (claim := await self._services.claims.acquire(claim_name(self._watch.name))) is None:
            self._say(Condition.WAITING, "another process fires this schedule")
            await self._pause(_ASK_AGAIN_S)
            return
        try:
            idle = await self._work(claim)
        finally:
            await claim.release()
        if idle:
            self._say(Condition.IDLE, idle)
            await self._changed.wait()

    async def _work(self, claim: Claim) -> str:
        """Follow one watch after the other. Why there is nothing to do, or nothing when another process is to go on."""
        while claim.held and not claim.wanted_elsewhere:
            self._changed.clear()
            if self._closing:
                break
            watch, timetable = self._watch, self._timetable
            position = await self._load(claim, watch)
            if not watch.enabled:
                await claim.save(schedule.stored(watch, position, paused=True))
                return "it is disabled"
            if await self._follow(claim, watch, timetable, position):
                return "it has fired for the last time"
        return ""

    async def _load(self, claim: Claim, watch: ScheduleWatch) -> Position:
        """What is stored, or what is known to be later and could not be stored."""
        document, now = await claim.load(), self._services.clock()
        try:
            position = schedule.restored(watch, document, min(now, self._since))
        except (KeyError, ValueError, TypeError) as error:
            log.error("%s: its stored position %r is unreadable (%r): it goes on from now", self.name, document, error)
            return Position(now)
        if self._known is not None and self._known[0] == watch.plan and self._known[1].tick > position.tick:
            return self._known[1]
        if watch.enabled and (not document or document["plan"] != watch.plan or document["paused"]):
            await claim.save(schedule.stored(watch, position))
        return position

    async def _follow(self, claim: Claim, watch: ScheduleWatch, timetable: Timetable, position: Position) -> bool:
        """True when nothing is left to fire; False when somebody else is to go on, or another watch."""
        failures = 0
        self._say(Condition.WATCHING)
        while claim.held and not claim.wanted_elsewhere and not self._changed.is_set():
            match schedule.decide(watch, timetable, position, self._services.clock()):
                case Wait(datetime() as until):
                    await self._wait(claim, watch, position.tick, until)
                    continue
                case Wait():
                    return True
                case Move(moved, skipped, reason):
                    log.warning("%s: %d ticks are passed over: %s", self.name, skipped, reason)
                    self._counters["skipped"] += skipped
                    position = moved
                case Fire(tick):
                    if not await self._offer(watch, tick):
                        failures += 1
                        await self._pause(self._backoff().delay(failures))
                        continue
                    failures = 0
                    position = position.fired(tick)
            await self._save(claim, watch, position)
            self._say(Condition.WATCHING)
        return False

    async def _wait(self, claim: Claim, watch: ScheduleWatch, since: datetime, until: datetime) -> None:
        """Until then by the wall clock, in steps; or until the clock went back, or there is another thing to do."""
        while claim.held and not claim.wanted_elsewhere and not self._changed.is_set():
            now = self._services.clock()
            if not since <= now < until:
                return
            await self._pause(min(watch.pace.step, until - now).total_seconds())

    async def _offer(self, watch: ScheduleWatch, tick: datetime) -> bool:
        """True when there is no more to do for the tick: accepted, or refused for good."""
        event = schedule.event(watch, tick, self._services.region, self._services.account)
        try:
            async with asyncio.timeout(watch.pace.accept_timeout.total_seconds()):
                await self._services.acceptor.accept(event)
        except Refused as error:
            self._counters["refused"] += 1
            log.error("%s: the firing of %s (event %s) was refused: %s", self.name, tick, event.event_id, error)
        except (NotAccepted, TimeoutError) as error:
            return self._not_accepted(tick, error)
        except Exception as error:
            log.exception("%s: the acceptor failed on the firing of %s", self.name, tick)
            return self._not_accepted(tick, error)
        else:
            self._counters["announced"] += 1
        return True

    def _not_accepted(self, tick: datetime, error: Exception) -> bool:
        self._counters["retried"] += 1
        self._say(Condition.LAGGING, f"the firing of {tick} is not accepted: {error or type(error).__name__}")
        return False

    async def _save(self, claim: Claim, watch: ScheduleWatch, position: Position) -> None:
        """However long the store is away, while the claim is held. Raises ClaimLost, CheckpointsUnavailable."""
        self._known, failures = (watch.plan, position), 0
        while True:
            try:
                await claim.save(schedule.stored(watch, position))
            except CheckpointsUnavailable as error:
                if not claim.held or self._changed.is_set():
                    raise
                failures += 1
                self._say(Condition.OUTAGE, f"{error}; nothing is fired until it is stored what has been")
                await self._pause(self._backoff().delay(failures))
            else:
                self._known = None
                return

    async def _pause(self, seconds: float) -> None:
        """Wait, unless there is news."""
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return

    def _backoff(self) -> Backoff:
        return Backoff(self._services.retry_first.total_seconds(), self._watch.pace.retry_longest.total_seconds())


ADAPTER = Adapter(name="schedule", configuration=ScheduleWatch, make=ScheduleSource)
