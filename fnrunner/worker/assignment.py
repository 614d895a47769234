"""In whose room the next environment starts, and what has been unused too long: decided purely, done by the pool.

>>> decide("k2", "f", [Seat("e1", "f", "k1", 5.0)], alive=1, capacity=1)
Start(evict='e1', cold_reason='reload')
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Seat:
    """An idle environment. ``idle_since`` is monotonic seconds."""

    environment_id: str
    function: str
    key: str
    idle_since: float


@dataclass(frozen=True, slots=True)
class Start:
    """``evict`` must be stopped first to make room; empty when there is room."""

    evict: str
    cold_reason: str


def decide(
    key: str, function: str, idle: Sequence[Seat], *, alive: int, capacity: int, lost: str = "", busy: int = 0
) -> Start:
    """How to start an environment of this key, of which none is idle: in whose room, and why.

    ``alive`` counts all environments of the process, ``busy`` those of this function that run, ``lost`` says how this
    function's last environment went (``crashed``, ``recycled`` or ``reload``).
    """
    stale = [seat for seat in idle if seat.function == function and seat.key != key]
    evict = ""
    if alive >= capacity and idle:
        # code that will not run again goes first, then whatever was unused longest
        evict = min(stale or idle, key=lambda seat: seat.idle_since).environment_id
    if stale or lost == "reload":
        reason = "reload"
    elif busy:
        reason = "scaled"
    else:
        reason = lost or "first"
    return Start(evict, reason)


def expired(idle: Sequence[Seat], *, now: float, idle_timeout_s: float) -> list[str]:
    """Environments unused for longer than the idle timeout."""
    return [seat.environment_id for seat in idle if now - seat.idle_since > idle_timeout_s]
