"""Events that were accepted and are in nobody's hands: neither in their queue, nor with a worker, nor tried.

So it looks when a consumer is dead of which the broker says that it lives. RabbitMQ 3.10 goes on delivering to a channel
whose quorum queue was deleted and made again within an instant, and the channel drops what it takes for repetitions: the
messages count as delivered, and nobody has them until the consumer's channel is closed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import timedelta

from sqlalchemy import Connection

from fnrunner.delivery import waiting
from fnrunner.store.engine import Store
from fnrunner.telemetry import fleet
from fnrunner.worker.registry import HEARTBEAT

LATE = 2 * HEARTBEAT
"""How long after it was accepted an event is in some hands, and whoever has it has said so."""

SLOW_MS = 10_000
"""So late, at most, an accepted event is written down: the caller of the API hears of it by then."""

MOST = 200
"""So many events of each function are looked at."""


class Stranded:
    """Looks from the moment when it is made on. ``clock`` gives epoch milliseconds."""

    def __init__(self, store: Store, *, clock: Callable[[], int]) -> None:
        self._store = store
        self._clock = clock
        self._began_ms = clock()
        self._marks: dict[str, int] = {}

    async def find(self, ready: Mapping[str, int]) -> dict[str, int]:
        """How many events of each of these functions are stranded, where there are any; ``ready`` are in its queue.

        Raises StoreError.
        """
        now_ms = self._clock()
        return await self._store.read(lambda connection: self._find(connection, ready, now_ms)) if ready else {}

    def excuse(self, function: str) -> None:
        """Whatever is stranded now has been dealt with; what stays so is lost, and no reason to do it again."""
        self._marks[function] = self._until(self._clock())

    def _find(self, connection: Connection, ready: Mapping[str, int], now_ms: int) -> dict[str, int]:
        until_ms = self._until(now_ms)
        held: Counter[str] | None = None
        found = {}
        for function, waits in ready.items():
            since_ms = self._marks.get(function, self._began_ms)
            untried = waiting.untried(connection, function, since_ms, until_ms, MOST)
            if len(untried) > waits:
                held = _held(connection, now_ms) if held is None else held
                if (stranded := len(untried) - waits - held[function]) > 0:
                    found[function] = stranded
            # those before the first untried one need no second look
            self._marks[function] = untried[0] if untried else max(since_ms, until_ms - SLOW_MS)
        return found

    @staticmethod
    def _until(now_ms: int) -> int:
        return now_ms - LATE // timedelta(milliseconds=1)


def _held(connection: Connection, now_ms: int) -> Counter[str]:
    total: Counter[str] = Counter()
    for process in fleet.read(connection, now_ms):
        # what a silent one had may be anywhere by now: it counts as held until it is forgotten
        total.update(process.events)
    return total
