"""What the engine's parts hand each other: entries, deliveries, consumers, batches of writes, requests to read."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

from broker.message import Message

if TYPE_CHECKING:
    from broker.embedded.backlog import Backlog
    from broker.embedded.stream import StreamLog

KEY_BITS = 44
"""A journal key is the queue's id above this many bits of sequence number: one tree, a range for each queue."""

MAX_QUEUES = 1 << (63 - KEY_BITS)

Outcome = Callable[[BaseException | None], None]
"""Called once when the batch is committed (None) or has failed and will not be tried again (the error)."""


def key(queue_id: int, number: int) -> int:
    """The journal key of a sequence number or offset."""
    return queue_id << KEY_BITS | number


@dataclass(slots=True, eq=False)
class Entry:
    """One message in one queue. ``count``: how often it was delivered and came back. ``journaled``: it has a row.
    ``at_once``: it is delivered when it comes, or it has expired."""

    seq: int
    expires_ms: int | None
    exchange: str
    routing_key: str
    message: Message
    journaled: bool
    redelivered: bool = False
    count: int = 0
    at_once: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """One message of a stream; ``at_ms`` is when it was appended, epoch milliseconds, never decreasing."""

    offset: int
    at_ms: int
    exchange: str
    routing_key: str
    message: Message
    size_bytes: int


class HeldState(Enum):
    OUT = "out"
    SETTLING = "settling"
    SETTLED = "settled"
    LOST = "lost"


@dataclass(slots=True, eq=False)
class Session:
    """One client, as a connection of RabbitMQ: its deliveries, consumers and exclusive queues go when it goes."""

    name: str
    held: dict[int, Held] = field(default_factory=dict)
    consumers: list[Consumer] = field(default_factory=list)
    open: bool = True


@dataclass(slots=True, eq=False)
class Consumer:
    """``out`` counts unsettled deliveries. The last five fields are a stream's: what was read ahead and its size, from
    where on to read, whether it has caught up, whether a read is under way."""

    session: Session
    queue: str
    deliver: Callable[[Held], None]
    prefetch: int
    out: int = 0
    active: bool = True
    buffer: deque[Record] = field(default_factory=deque)
    buffer_bytes: int = 0
    position: int = 0
    live: bool = False
    reading: bool = False

    @property
    def has_room(self) -> bool:
        return self.active and self.out < self.prefetch


@dataclass(slots=True, eq=False)
class Held:
    """One delivery that is out, with a ticket under which its session knows it."""

    ticket: int
    session: Session
    source: Backlog | StreamLog
    item: Entry | Record
    consumer: Consumer | None
    redelivered: bool
    count: int
    state: HeldState = HeldState.OUT


@dataclass(slots=True)
class Batch:
    """Writes of one transaction, applied in the order of the fields; ranges are inclusive pairs of keys.

    ``statements`` are topology changes. ``puts`` are key, row and whether the row goes at the next start;
    ``appends`` are key, time and row of stream records; ``marks`` are the highest sequence number delivered of a queue.
    """

    statements: list[tuple[str, Sequence[Any]]] = field(default_factory=list)
    puts: list[tuple[int, bytes, bool]] = field(default_factory=list)
    appends: list[tuple[int, int, bytes]] = field(default_factory=list)
    marks: dict[int, int] = field(default_factory=dict)
    counts: dict[int, int] = field(default_factory=dict)
    drops: list[int] = field(default_factory=list)
    dropped_ranges: list[tuple[int, int]] = field(default_factory=list)
    dropped_records: list[tuple[int, int]] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(
            self.outcomes
            or self.drops
            or self.marks
            or self.counts
            or self.puts
            or self.appends
            or self.statements
            or self.dropped_ranges
            or self.dropped_records
        )

    def extend(self, later: Batch) -> None:
        """Add what was decided later; later values win."""
        self.statements += later.statements
        self.puts += later.puts
        self.appends += later.appends
        self.marks.update(later.marks)
        self.counts.update(later.counts)
        self.drops += later.drops
        self.dropped_ranges += later.dropped_ranges
        self.dropped_records += later.dropped_records
        self.outcomes += later.outcomes


class Reader(Protocol):
    """What the engine reads back from the journal; runs where the journal's writes run, in order with them."""

    def page(self, queue_id: int, after: int, limit: int, limit_bytes: int) -> list[Entry]:
        """The next rows of a queue after that sequence number; at least one when there is one."""

    def records(self, stream_id: int, start: int, limit: int, limit_bytes: int) -> list[Record]:
        """The records of a stream from that offset on; at least one when there is one."""

    def seek(self, stream_id: int, at: datetime) -> int | None:
        """The offset of the first record appended at that time or later, or None."""

    def trim(self, stream_id: int, excess_bytes: int, before_ms: int) -> Trimmed:
        """Delete the oldest records that are older than the time, and as many more as make up the excess."""


@dataclass(frozen=True, slots=True)
class Trimmed:
    """What a stream begins with after trimming (None: nothing is left), and how many bytes went."""

    first: int | None
    oldest_ms: int | None
    freed_bytes: int


@dataclass(frozen=True, slots=True)
class Read:
    """A question to the journal and who gets the answer."""

    run: Callable[[Reader], Any]
    done: Callable[[Any], None]
