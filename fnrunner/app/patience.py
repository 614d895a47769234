"""How long a process may be unable to work before it ends, so that whoever started it starts another."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from fnrunner.model.problem import Problem

STATUS = 75
"""The exit status of a process that gave up: EX_TEMPFAIL, starting it again may help."""


class GaveUp(Exception):
    """The process could not work for too long. Start it again when what the message names is mended."""


class Patience:
    """Counts the time from the first moment of an unbroken stretch in which something disabling was wrong.

    >>> patience, away = Patience(timedelta(minutes=5)), Problem("broker", "away", disabling=True)
    >>> [patience.look([away], at) for at in (0.0, 299.0)], patience.look([], 300.0), patience.look([away], 301.0)
    (['', ''], '', '')
    >>> patience.look([away], 601.0)
    'unable to work for 300 s: broker: away'
    """

    def __init__(self, limit: timedelta) -> None:
        self._limit_s = limit.total_seconds()
        self._since: float | None = None

    def look(self, problems: Iterable[Problem], now: float) -> str:
        """Why it is time to give up; empty while it is not. ``now`` is in monotonic seconds."""
        disabling = [problem for problem in problems if problem.disabling]
        if not disabling:
            self._since = None
            return ""
        if self._since is None:
            self._since = now
        if (lasted := now - self._since) < self._limit_s:
            return ""
        told = "; ".join(f"{problem.part}: {problem.message}" for problem in disabling)
        return f"unable to work for {lasted:.0f} s: {told}"
