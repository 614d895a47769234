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


def unknown_delay(delay: timedelta, known: Iterable[timedelta]) -> str:
    """What is wrong and what to do when there is no queue for ``delay``.

    >>> unknown_delay(timedelta(seconds=7), [timedelta(seconds=1)])
    'no delay queue is 7 s long; there are: 1. Declare it with `delay_queue` before it is used'
    """
    lengths = ", ".join(f"{d.total_seconds():g}" for d in sorted(known)) or "none"
    return (
        f"no delay queue is {delay.total_seconds():g} s long; there are: {lengths}. "
        "Declare it with `delay_queue` before it is used"
    )


def milliseconds(delay: timedelta) -> int:
    """A delay as the whole number of milliseconds that the wire carries."""
    return delay // timedelta(milliseconds=1)
