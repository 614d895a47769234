"""Fixed delays, each a queue: a message with a shorter delay never waits behind one with a longer.

>>> ladder([timedelta(minutes=1), timedelta(minutes=2)])[:3]
(datetime.timedelta(seconds=1), datetime.timedelta(seconds=2), datetime.timedelta(seconds=4))
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

BACKOFF: tuple[timedelta, ...] = tuple(timedelta(seconds=s) for s in (1, 2, 4, 8, 16, 32, 64, 128, 256, 300))
"""Exponential backoff of throttles and system errors, 1 s to 5 min. Source: Lambda, asynchronous invocation."""


def ladder(retry_delays: Iterable[timedelta], backoff: Iterable[timedelta] = BACKOFF) -> tuple[timedelta, ...]:
    """Every delay for which a queue is needed, shortest first, without repeats; zero needs none."""
    return tuple(sorted({d for d in (*retry_delays, *backoff) if d > timedelta(0)}))


def milliseconds(delay: timedelta) -> int:
    """A delay as the whole number of milliseconds that the wire carries."""
    return delay // timedelta(milliseconds=1)
