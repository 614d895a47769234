"""How much work there is and how much room: what autoscalers and people look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class FunctionLoad:
    """One function's events at one moment.

    ``ready`` wait in its queue, ``unsettled`` are in workers' hands, ``running`` are its busy environments (calls
    included). ``limit`` is how many may run: its reserved concurrency, or the fleet's capacity.

    ``oldest_s`` is the age of the oldest accepted event whose first attempt has not ended. Events that wait for a retry, or
    run once more, count only when there is none of those, and not while all of them still wait in a delay: more workers
    would not help. 0 when there is nothing to do, None when it is not known yet.

    >>> FunctionLoad("f", ready=7, unsettled=2, running=2, limit=4).backlog
    9
    >>> [FunctionLoad("f", running=n, limit=m).busy_share for n, m in ((2, 4), (0, 0), (1, 0), (5, 4))]
    [0.5, 0.0, 1.0, 1.0]
    """

    function: str
    ready: int = 0
    unsettled: int = 0
    running: int = 0
    limit: int = 0
    oldest_s: float | None = 0.0

    @property
    def backlog(self) -> int:
        return self.ready + self.unsettled

    @property
    def busy_share(self) -> float:
        """From 0 to 1."""
        return share(self.running, self.limit)


@dataclass(frozen=True, slots=True)
class Load:
    """All functions and the fleet. ``capacity`` is that of the living workers that are not draining; ``taken_ms`` is when."""

    taken_ms: int
    capacity: int = 0
    running: int = 0
    functions: Mapping[str, FunctionLoad] = field(default_factory=dict)

    @property
    def busy_share(self) -> float:
        """From 0 to 1."""
        return share(self.running, self.capacity)


def share(running: int, limit: int) -> float:
    """How much of the room is taken."""
    if limit <= 0:
        return 1.0 if running else 0.0
    return min(1.0, running / limit)
