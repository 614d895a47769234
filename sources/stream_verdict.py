"""Whether a stream is still the one that was read before, and what of it is gone: decided from the record that comes first.

Reading goes on at the very position that was read last, so that its record shows what became of the stream:

======================================  ==========================================================================
the first record there is from there    means
======================================  ==========================================================================
that position, the same identity        all is well: it is dropped, and the next one is new
that position, another identity         the stream was made anew
the next position, or the one after it  the last one was dropped after it was read: nothing is missing
a later position                        those between are gone
an earlier position                     the stream was made anew; or, where no identity is known, the position is one
                                        that a user wished for, and was beyond the end: it is the next one there is
none                                    nothing follows yet: ask where the stream ends
======================================  ==========================================================================

RabbitMQ leaves out one number where it begins a new segment, and retention drops whole segments: what is left then begins
two behind the last one that was dropped, and nothing is missing between.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from sources.errors import PositionLost
from sources.stream import After

LONGEST_STEP = 2
"""From one record to the next one, when none is missing. Source: the contract of :mod:`broker.broker`, Streams."""


class Verdict(Enum):
    """SAME: drop the record and go on. NEXT: go on with it. GONE: go on with it, records before it are gone. REMADE: begin
    with the first."""

    SAME = "same"
    NEXT = "next"
    GONE = "gone"
    REMADE = "remade"


@dataclass(frozen=True, slots=True)
class Seen:
    """The first record from a position on."""

    position: int
    identity: str


def judge(after: After, seen: Seen) -> Verdict:
    """What the first record from ``after.position`` on says of the stream.

    >>> judge(After(7, "a"), Seen(7, "a")), judge(After(7, "a"), Seen(7, "b")), judge(After(7, "a"), Seen(10, "c"))
    (<Verdict.SAME: 'same'>, <Verdict.REMADE: 'remade'>, <Verdict.GONE: 'gone'>)
    >>> judge(After(7, "a"), Seen(8, "b")), judge(After(7, "a"), Seen(9, "c"))
    (<Verdict.NEXT: 'next'>, <Verdict.NEXT: 'next'>)
    """
    if seen.position < after.position:
        return Verdict.REMADE if after.identity else Verdict.NEXT
    if seen.position > after.position:
        return Verdict.NEXT if seen.position <= after.position + LONGEST_STEP else Verdict.GONE
    return Verdict.SAME if after.identity in ("", seen.identity) else Verdict.REMADE


def loss(after: After, verdict: Verdict, found: int | None) -> PositionLost | None:
    """What to raise: ``found`` is the position of the first record there is.

    >>> loss(After(7), Verdict.GONE, 12).expected
    8
    """
    match verdict:
        case Verdict.GONE:
            return PositionLost(after.position + 1, found)
        case Verdict.REMADE:
            return PositionLost(after.position + 1, found, remade=True)
    return None
