"""How many batches of a queue run at once: from few to as many as there is work for, and back.

Source: Lambda developer guide, "Scaling and concurrency" of SQS mappings: it begins with 5 concurrent batches and grows by 300
a minute while there is work, up to 1,250 or MaximumConcurrency. Throttling shrinks it, as Lambda's pollers back off.

>>> ramp = Ramp.starting(initial=5, highest=20, now=0.0)
>>> ramp.seen(busy=5, now=0.0).seen(busy=5, now=2.0).allowed
15
>>> ramp.seen(busy=4, now=0.0).seen(busy=4, now=2.0).allowed
5
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

GROWTH_PER_S = 5.0
CAREFUL_PER_S = 1.0
QUIET_S, CAREFUL_S = 5.0, 60.0
"""After a throttle there is no growth for the first, and growth at the careful pace until the second is over."""
CALM_S = 60.0
"""So long less than half must be busy until it begins anew from there."""
SHRINK_EVERY_S = 1.0
LULL_S = 1.0


@dataclass(frozen=True, slots=True)
class Ramp:
    """``allowed`` is how many batches may run. Times are seconds of the monotonic clock.

    ``full`` says whether all were busy when it was last looked at (``at``), ``full_at`` when they last were: only such time
    makes it grow, and a second after it, since a slot is free between two batches. It grows in whole steps, with
    ``credit`` what is left over. ``calm_since`` is since when less than half have been busy.
    """

    initial: int
    highest: int
    allowed: int
    at: float
    full: bool = False
    full_at: float | None = None
    credit: float = 0.0
    calm_since: float | None = None
    throttled_at: float | None = None
    stopped: bool = False

    @classmethod
    def starting(cls, initial: int, highest: int, now: float) -> Self:
        """``initial`` at most ``highest``, both at least 1."""
        highest = max(1, highest)
        initial = max(1, min(initial, highest))
        return cls(initial, highest, initial, now)

    def seen(self, busy: int, now: float) -> Ramp:
        """So many are busy from now on. Called at every change, and now and then in between."""
        credit = self.credit + self._pace(now) * self._pressed(now)
        grown = int(credit)
        allowed = min(self.highest, self.allowed + grown)
        calm = (self.calm_since if self.calm_since is not None else now) if busy * 2 < allowed else None
        if calm is not None and now - calm >= CALM_S and allowed > self.initial:
            allowed, calm = max(self.initial, busy), None
        full = busy >= self.allowed or busy >= allowed
        full_at = now if full or self.full else self.full_at
        return replace(
            self,
            allowed=allowed,
            at=now,
            full=busy >= allowed,
            full_at=full_at,
            credit=(credit - grown) % 1.0,
            calm_since=calm,
        )

    def throttled(self, busy: int, now: float) -> Ramp:
        """One was refused for want of concurrency: one less than ran, at most once a second, at least 1."""
        if self.throttled_at is not None and now - self.throttled_at < SHRINK_EVERY_S:
            return self
        allowed = max(1, min(self.allowed, busy) - 1)
        return replace(self, allowed=allowed, at=now, credit=0.0, full=busy >= allowed, throttled_at=now)

    def halted(self, busy: int, now: float) -> Ramp:
        """None can run now (no worker, no function, no broker): one goes on asking, and there is no growth until one ran."""
        return replace(self, allowed=1, at=now, credit=0.0, full=busy >= 1, full_at=None, stopped=True)

    def ran(self) -> Ramp:
        """One has run."""
        return replace(self, stopped=False) if self.stopped else self

    def _pressed(self, now: float) -> float:
        """How much of the time since the last look was there work for more."""
        if self.full:
            return now - self.at
        return 0.0 if self.full_at is None else max(0.0, min(now, self.full_at + LULL_S) - self.at)

    def _pace(self, now: float) -> float:
        if self.stopped:
            return 0.0
        if self.throttled_at is None or now - self.throttled_at >= CAREFUL_S:
            return GROWTH_PER_S
        return CAREFUL_PER_S if now - self.throttled_at >= QUIET_S else 0.0
