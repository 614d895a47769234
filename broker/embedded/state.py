"""Everything the engine knows, and what it has decided but not yet carried out."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping

from broker.embedded.backlog import Backlog
from broker.embedded.codec import Encoder
from broker.embedded.routing import Router
from broker.embedded.stream import StreamLog
from broker.embedded.values import Batch, Held, Read
from broker.errors import QueueNotFound, Unavailable

Place = Backlog | StreamLog


class State:
    """``asked`` holds writes that somebody waits for and that may fail; ``owed`` those tried until they succeed.

    ``outbox`` are deliveries to hand over, ``reads`` questions to the journal, ``dirty`` queues that may have something
    to do. ``blocked`` is why no writes are accepted now.
    """

    def __init__(self, clock: Callable[[], int]) -> None:
        self.now = clock
        self.router = Router()
        self.queues: dict[str, Place] = {}
        self.encoder = Encoder()
        self.asked = Batch()
        self.owed = Batch()
        self.outbox: list[Held] = []
        self.reads: list[Read] = []
        self.dirty: dict[Place, None] = {}
        self.blocked: Unavailable | None = None
        self.seq = 0
        self._wakes: list[tuple[int, int, Place]] = []
        self._ticket = 0

    def next_seq(self) -> int:
        self.seq += 1
        return self.seq

    def next_ticket(self) -> int:
        self._ticket += 1
        return self._ticket

    def place(self, name: str) -> Place:
        """Raises QueueNotFound."""
        place = self.queues.get(name)
        if place is None:
            raise QueueNotFound(f"the queue {name!r} does not exist. Create it with `fnrunner queue create {name}`.")
        return place

    def backlog(self, name: str) -> Backlog | None:
        """The queue, or None when the name is a stream's. Raises QueueNotFound."""
        place = self.place(name)
        return place if isinstance(place, Backlog) else None

    def route(self, exchange: str, routing_key: str, headers: Mapping[str, object]) -> list[Place]:
        """The queues that take a message, each once; none when nothing does."""
        if exchange == "":
            place = self.queues.get(routing_key)
            return [] if place is None else [place]
        return [self.queues[name] for name in self.router.route(exchange, routing_key, headers)]

    def wake(self, place: Place, at_ms: int) -> None:
        """Look at the queue again at that time, unless an earlier look is planned."""
        if place.wake_at is None or at_ms < place.wake_at:
            place.wake_at = at_ms
            heapq.heappush(self._wakes, (at_ms, self.next_ticket(), place))

    @property
    def next_wake(self) -> int | None:
        return self._wakes[0][0] if self._wakes else None

    def take_woken(self) -> None:
        """Mark as dirty what is due."""
        now = self.now()
        while self._wakes and self._wakes[0][0] <= now:
            at_ms, _, place = heapq.heappop(self._wakes)
            if place.wake_at == at_ms:
                place.wake_at = None
                self.dirty[place] = None
