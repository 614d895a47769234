"""How long the heartbeats of other workers have not moved, by this process's own monotonic clock. Pure.

Clocks of two hosts are never compared: a heartbeat is only a value that moves or does not. What could not be seen is not
held against anybody: after a time without looking, or without writing, every silence starts again from nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

NEVER = float("-inf")


@dataclass(frozen=True, slots=True)
class Heard:
    """``beat`` is the last one seen, ``since`` when it was new. ``alive``: it was seen to move, or to appear."""

    beat: int
    since: float
    alive: bool


class Silences:
    """``monotonic`` is seconds. ``blind``: whoever has not looked, or not written, for so long has seen nothing."""

    def __init__(self, monotonic: Callable[[], float], blind: timedelta) -> None:
        self._monotonic = monotonic
        self._blind_s = blind.total_seconds()
        self._heard: dict[str, Heard] = {}
        self._looked_at = NEVER
        self._wrote_at = NEVER

    def wrote(self) -> None:
        """Our own heartbeat reached the store: if it takes ours, it takes theirs."""
        self._wrote_at = self._monotonic()

    def look(self, beats: Mapping[str, int], asked_at: float) -> None:
        """These are the heartbeats of all others, read no earlier than ``asked_at``."""
        blind = asked_at - min(self._looked_at, self._wrote_at) > self._blind_s
        self._heard = {name: self._hear(name, beat, blind=blind) for name, beat in beats.items()}
        self._looked_at = asked_at

    def of(self, name: str) -> timedelta:
        """How long its heartbeat had not moved when we looked last; nothing for a worker that we have not seen."""
        heard = self._heard.get(name)
        return timedelta(seconds=max(0.0, self._looked_at - heard.since)) if heard else timedelta(0)

    def is_doubtful(self, name: str) -> bool:
        """It was there when we first looked, and nothing has come from it since: it may have died before we came."""
        heard = self._heard.get(name)
        return heard is not None and not heard.alive

    def _hear(self, name: str, beat: int, *, blind: bool) -> Heard:
        # a beat that is new counts from when the answer is here, later than it can have been written
        now = self._monotonic()
        before = self._heard.get(name)
        if before is None:
            return Heard(beat, now, alive=not blind)
        if before.beat != beat:
            return Heard(beat, now, alive=True)
        return Heard(beat, now, before.alive) if blind else before
