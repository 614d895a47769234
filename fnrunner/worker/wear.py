"""When an environment that works well is replaced all the same: before it runs out of memory, or has become too old.

A function that keeps more with each invocation ends at its limit in the middle of one. Here it ends between two: once it
has kept :data:`GROWN_SHARE` of its memory or more after :data:`GROWN_TIMES` invocations in a row, cache not counted.

>>> grown(0, used=900, limit=1000), grown(2, used=900, limit=1000), grown(2, used=500, limit=1000)
(1, 3, 0)
"""

from __future__ import annotations

from datetime import timedelta
from fractions import Fraction

GROWN_SHARE = Fraction(4, 5)
GROWN_TIMES = 3
MOST_AGE = timedelta(hours=4)


def grown(times: int, *, used: int, limit: int) -> int:
    """After how many invocations in a row it has been too large, when it was so ``times`` before this one; in bytes."""
    return times + 1 if used >= GROWN_SHARE * limit else 0
