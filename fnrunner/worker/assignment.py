"""In whose room the next environment starts, and what has been unused too long: decided purely, done by the pool.

>>> latest = "f", "$LATEST"
>>> decide("k2", latest, [Seat("e1", latest, "k1", 5.0)], alive=1, capacity=1)
Start(evict='e1', cold_reason='reload')
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Seat:
    """An idle environment. ``versioned`` is its function and version, ``idle_since`` monotonic seconds.

    ``kept``: it is provisioned, and stays whoever else wants room.
    """

    environment_id: str
    versioned: tuple[str, str]
    key: str
    idle_since: float
    kept: bool = False


@dataclass(frozen=True, slots=True)
class Start:
    """``evict`` must be stopped first to make room; empty when there is room."""

    evict: str
    cold_reason: str


def decide(
    key: str,
    versioned: tuple[str, str],
    idle: Sequence[Seat],
    *,
    alive: int,
    capacity: int,
    lost: str = "",
    busy: int = 0,
) -> Start:
    """How to start an environment of this key, of which none is idle: in whose room, and why.

    ``alive`` counts all environments of the process, ``busy`` those of this function's version that run, ``lost`` says how
    the version's last environment went (``crashed``, ``recycled`` or ``reload``).
    """
    stale = [seat for seat in idle if seat.versioned == versioned and seat.key != key]
    evict = ""
    if alive >= capacity and (evictable := [seat for seat in idle if not seat.kept]):
        # code that will not run again goes first, then whatever was unused longest
        rest = [seat for seat in stale if not seat.kept] or evictable
        evict = min(rest, key=lambda seat: seat.idle_since).environment_id
    if stale or lost == "reload":
        reason = "reload"
    elif busy:
        reason = "scaled"
    else:
        reason = lost or "first"
    return Start(evict, reason)


def expired(idle: Sequence[Seat], *, now: float, idle_timeout_s: float) -> list[str]:
    """Environments unused for longer than the idle timeout."""
    return [seat.environment_id for seat in idle if not seat.kept and now - seat.idle_since > idle_timeout_s]
