"""How fast a function may get new environments: Lambda's rate, as a bucket of tokens for each function. Pure.

A token comes back a whole period after it was taken, so that no period, wherever it begins, sees more starts than the
rate. The rate holds over all workers because each allows its part of it. A token is for a start: where an environment
stands ready nothing is asked.

>>> starts = Starts(rate=2)
>>> [starts.take("f", now) for now in (0.0, 4.0, 9.9, 10.0, 10.1)]
[True, True, False, True, False]

Source: Lambda, concurrency scaling rate: 1,000 environments every 10 seconds for each function.
"""

from __future__ import annotations

from collections import deque

from fnrunner.model import limits

_PERIOD_S = limits.SCALING_PERIOD.total_seconds()
_LOOK_AFTER = 1024


class Starts:
    """``now`` is monotonic seconds throughout."""

    def __init__(self, rate: int, workers: int = 1) -> None:
        """``rate``: starts in each period, over all workers."""
        self._rate = rate
        self._share = _share(rate, workers)
        self._taken: dict[str, deque[float]] = {}
        """When each function's last starts were, the oldest first, as long as they count."""

    @property
    def share(self) -> int:
        """How many starts in each period this worker allows."""
        return self._share

    def divide(self, workers: int) -> None:
        """So many workers live now: each allows its part, one start at least. What was started counts on."""
        self._share = _share(self._rate, workers)

    def take(self, function: str, now: float) -> bool:
        """Whether the function may get an environment now; then it is counted."""
        taken = self._counting(function, now)
        if len(taken) >= self._share:
            return False
        taken.append(now)
        return True

    def left(self, function: str, now: float) -> int:
        """How many may be taken now."""
        return max(0, self._share - len(self._counting(function, now)))

    def next_in_s(self, function: str, now: float) -> float:
        """How long until there is a token, if nobody else takes it and no worker joins."""
        taken = self._counting(function, now)
        if len(taken) < self._share:
            return 0.0
        return taken[len(taken) - self._share] + _PERIOD_S - now

    def _counting(self, function: str, now: float) -> deque[float]:
        taken = self._taken.get(function)
        if taken is None:
            if len(self._taken) >= _LOOK_AFTER:
                self._forget(now)
            taken = self._taken[function] = deque()
        while taken and now - taken[0] >= _PERIOD_S:
            taken.popleft()
        return taken

    def _forget(self, now: float) -> None:
        """Functions that started nothing for a period have all their tokens, as those have that nobody knows."""
        self._taken = {name: taken for name, taken in self._taken.items() if taken and now - taken[-1] < _PERIOD_S}


def _share(rate: int, workers: int) -> int:
    return max(1, rate // max(1, workers))
