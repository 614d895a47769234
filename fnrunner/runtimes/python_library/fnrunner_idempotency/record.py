"""What is known of one idempotency key, and what follows from it. Pure."""

from __future__ import annotations

import enum
import os
from typing import NamedTuple

IN_PROGRESS = "INPROGRESS"
COMPLETED = "COMPLETED"

FIRST_PAUSE_S = 0.01
LONGEST_PAUSE_S = 0.5


class Claim(NamedTuple):
    """One attempt to be the one that runs. ``owner`` is unlike any other attempt's; ``lease_ms`` is how long it may run,
    ``expires_ms`` how long its record is kept after it has completed.
    """

    scope: str
    key: str
    owner: str
    lease_ms: int
    expires_ms: int
    payload_hash: str | None = None


class Record(NamedTuple):
    """A record as its store sees it now. ``lease_left_ms`` and ``expires_in_ms`` are by the store's own clock; ``result``
    is JSON, or None where there is none.
    """

    status: str
    owner: str | None
    lease_left_ms: int
    expires_in_ms: int
    payload_hash: str | None
    result: str | None


class Decision(enum.Enum):
    """What a claim does about the record it met."""

    CLAIM = "claim"
    WAIT = "wait"
    REPLAY = "replay"
    MISMATCH = "mismatch"


def decide(record: Record | None, claim: Claim) -> Decision:
    """What follows for ``claim`` from the record of its key.

    A record is free when there is none, when it has expired, when whoever was running has no time left, or when it is this
    very claim's, whose confirmation was lost.

    >>> claim = Claim("f", "k", "me", lease_ms=1000, expires_ms=60_000, payload_hash="a")
    >>> running = Record(IN_PROGRESS, "other", lease_left_ms=5, expires_in_ms=60_000, payload_hash="a", result=None)
    >>> done = Record(COMPLETED, "other", lease_left_ms=0, expires_in_ms=1, payload_hash="b", result="1")
    >>> [decide(found, claim).value for found in (None, running, running._replace(lease_left_ms=0), done)]
    ['claim', 'wait', 'claim', 'mismatch']
    """
    if record is None or record.expires_in_ms <= 0:
        return Decision.CLAIM
    in_progress = record.status == IN_PROGRESS
    if in_progress and (record.lease_left_ms <= 0 or record.owner == claim.owner):
        return Decision.CLAIM
    if None not in (record.payload_hash, claim.payload_hash) and record.payload_hash != claim.payload_hash:
        return Decision.MISMATCH
    return Decision.WAIT if in_progress else Decision.REPLAY


def purges(claim: Claim) -> bool:
    """Whether whoever makes this claim also removes some expired records: one in 64 does, by the chance of its owner."""
    return claim.owner.startswith(("00", "40", "80", "c0"))


def pause_s(attempt: int, lease_left_ms: int, time_left_s: float, spread: float = 1.0) -> float | None:
    """Seconds to wait before looking again; None when the time for waiting is over.

    Doubles from 10 ms to half a second, times ``spread``, so that many that wait do not all look at the same moment; and
    never beyond the end of the other's lease, or of the own time, by much.

    >>> [pause_s(n, 60_000, 60.0) for n in (0, 1, 2, 9)]
    [0.01, 0.02, 0.04, 0.5]
    >>> pause_s(9, 120, 60.0), pause_s(9, 60_000, 0.3), pause_s(9, 60_000, 0.0), pause_s(0, 60_000, 1.0, spread=0.5)
    (0.121, 0.3, None, 0.005)
    """
    if time_left_s <= 0:
        return None
    doubled = min(FIRST_PAUSE_S * (1 << min(attempt, 10)), LONGEST_PAUSE_S)
    return min(doubled * spread, lease_left_ms / 1000 + 0.001, time_left_s)


def any_spread() -> float:
    """From a half to one, at random."""
    return 0.5 + os.urandom(1)[0] / 510
