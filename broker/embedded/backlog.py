"""One queue: what waits, in order, with a bounded part in memory and the rest in the journal.

::

    returned (by seq) ─┐
    head (memory) ─────┴─► peek/pop          journal rows after ``tail_seq``: ``paged`` of them, read in pages
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable

from broker.embedded.death import Reason
from broker.embedded.values import Consumer, Entry, Session
from broker.message import Message
from broker.topology import Queue, QueueKind

MEMORY_ENTRIES = 1_000
MEMORY_BYTES = 4 * 1024 * 1024
"""How much of one queue waits in memory; what comes after stays in the journal."""

PAGE = 500
PAGE_BYTES = MEMORY_BYTES // 2
PEEK = 16
"""Rows read at once: for consumers, and to know when the first one expires."""


class Backlog:
    """State and order of one queue; it decides nothing about where messages go."""

    __slots__ = (
        "consumers", "deleted", "generation", "getters", "head", "head_bytes", "id", "incoming", "last_seq", "mark",
        "owner", "paged", "reading", "returned", "spec", "stuck", "stuck_until", "tail_seq", "unsettled", "wake_at",
    )  # fmt: skip

    def __init__(self, spec: Queue, queue_id: int, owner: Session | None) -> None:
        self.spec, self.id, self.owner = spec, queue_id, owner
        self.consumers: deque[Consumer] = deque()
        self.head: deque[Entry] = deque()
        self.head_bytes = 0
        self.returned: list[tuple[int, Entry]] = []
        self.paged = 0
        self.tail_seq = 0
        self.last_seq = 0
        self.mark = 0  # the highest sequence number that was ever delivered
        self.incoming = 0  # decided, not yet committed
        self.unsettled = 0
        self.stuck: list[tuple[Entry, Reason]] = []  # dead, and nobody takes it yet
        self.stuck_until = 0
        self.getters = 0
        self.reading = False
        self.generation = 0  # a page that was asked for before a purge is not this queue's any more
        self.deleted = False
        self.wake_at: int | None = None

    @property
    def ready(self) -> int:
        return len(self.returned) + len(self.head) + self.paged

    @property
    def is_full(self) -> bool:
        return self.spec.max_length is not None and self.ready + self.incoming >= self.spec.max_length

    @property
    def keeps_dead(self) -> bool:
        """Dead-lettering is at least once: what no queue takes stays here and is tried again."""
        return self.spec.kind is QueueKind.QUORUM and not self.spec.exclusive

    def journals(self, message: Message) -> bool:
        """Whether a new message needs a row: to survive, or because it must queue up behind rows."""
        if self.spec.exclusive:
            return False
        if self.spec.kind is QueueKind.QUORUM or message.persistent:
            return True
        return self.paged > 0 or self.incoming > 0 or self._memory_is_full

    @property
    def _memory_is_full(self) -> bool:
        return len(self.head) >= MEMORY_ENTRIES or self.head_bytes >= MEMORY_BYTES

    def push(self, entry: Entry) -> None:
        """A new message is ready, behind all others.

        Two batches may be committed in another order than they were numbered in. What comes late has its place by number:
        behind the tail its row would be read a second time, or never.
        """
        self.last_seq = max(self.last_seq, entry.seq)
        if entry.seq < self.tail_seq:
            self.give_back(entry)
        elif entry.journaled and (self.paged or self._memory_is_full):
            self.paged += 1
        else:
            self._append(entry)

    def _append(self, entry: Entry) -> None:
        self.head.append(entry)
        self.head_bytes += len(entry.message.body)
        self.tail_seq = entry.seq

    def give_back(self, entry: Entry) -> None:
        """It was delivered and comes back, to the front."""
        heapq.heappush(self.returned, (entry.seq, entry))

    def peek(self) -> Entry | None:
        if self.returned:
            return self.returned[0][1]
        return self.head[0] if self.head else None

    def pop(self) -> Entry:
        if self.returned:
            return heapq.heappop(self.returned)[1]
        entry = self.head.popleft()
        self.head_bytes -= len(entry.message.body)
        return entry

    def clear(self) -> tuple[list[Entry], tuple[int, int] | None]:
        """Forget what is ready: the entries that were in memory, and the range of rows that were not."""
        entries = [e for _, e in self.returned] + list(self.head)
        rows = (self.tail_seq + 1, self.last_seq) if self.paged else None
        self.returned, self.paged, self.head_bytes = [], 0, 0
        self.head.clear()
        self.tail_seq = self.last_seq
        self.generation += 1
        return entries, rows

    def next_consumer(self) -> Consumer | None:
        """Who gets the next message: in turn, among those with room."""
        for _ in range(len(self.consumers)):
            consumer = self.consumers[0]
            self.consumers.rotate(-1)
            if consumer.has_room:
                return consumer
        return None

    def wanted_page(self) -> tuple[int, int] | None:
        """How many rows and bytes to read now, or None when enough is in memory."""
        if not self.paged or self.reading:
            return None
        if self.getters or any(c.has_room for c in self.consumers):
            return (PAGE, PAGE_BYTES) if len(self.head) < PAGE // 2 else None
        return (PEEK, PAGE_BYTES) if not self.head else None

    def loaded(self, entries: Iterable[Entry]) -> None:
        """A page has come. Its rows up to ``mark`` may have been delivered before the last start."""
        empty = True
        for entry in entries:
            empty = False
            entry.redelivered = entry.seq <= self.mark or entry.count > 0
            self._append(entry)
            self.paged -= 1
        if empty:
            self.paged = 0  # the rows are gone, whatever took them: never ask for them for ever
