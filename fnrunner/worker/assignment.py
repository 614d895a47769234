"""Which environment runs the next invocation: decided purely, carried out by the pool.

>>> decide("k2", "f", [Seat("e1", "f", "k1", 5.0)], alive=1, capacity=1)
Start(evict='e1', cold_reason='reload')
>>> decide("k1", "f", [Seat("e1", "f", "k1", 5.0), Seat("e2", "f", "k1", 9.0)], alive=2, capacity=2)
Reuse(environment_id='e2')
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
class Reuse:
    environment_id: str


@dataclass(frozen=True, slots=True)
class Start:
    """``evict`` must be stopped first to make room; empty when there is room."""

    evict: str
    cold_reason: str


def decide(
    key: str, function: str, idle: Sequence[Seat], *, alive: int, capacity: int, lost: str = "", busy: int = 0
) -> Reuse | Start:
    """The most recently used environment of this key, else a new one in the room of the longest unused.

    ``alive`` counts all environments of the process, ``busy`` those of this function that run, ``lost`` says how this
    function's last environment went (``crashed``, ``recycled`` or ``reload``).
    """
    matching = [seat for seat in idle if seat.key == key]
    if matching:
        return Reuse(max(matching, key=lambda seat: seat.idle_since).environment_id)
    stale = [seat for seat in idle if seat.function == function]
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
