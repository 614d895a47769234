"""Drives the engine without a loop, a disk or a clock: the journal is two dictionaries, time moves when told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from broker.broker import Offset
from broker.embedded.codec import decode_all
from broker.embedded.engine import Engine
from broker.embedded.values import KEY_BITS, Batch, Consumer, Entry, Held, Record, Session, Trimmed, key
from broker.errors import Blocked, BrokerError
from broker.message import Message
from broker.topology import Binding, Exchange, Queue, Topology

MASK = (1 << KEY_BITS) - 1


class MemoryJournal:
    """Keeps what batches say, as the real one does."""

    def __init__(self) -> None:
        self.rows: dict[int, tuple[bytes, int]] = {}
        self.stream_rows: dict[int, tuple[int, bytes]] = {}

    def apply(self, *batches: Batch) -> None:
        for batch in batches:
            for message_key, row, _ in batch.puts:
                assert message_key not in self.rows, "a row is written twice"
                self.rows[message_key] = (row, 0)
            self.stream_rows.update({k: (at_ms, row) for k, at_ms, row in batch.appends})
            for message_key, count in batch.counts.items():
                if message_key in self.rows:
                    self.rows[message_key] = (self.rows[message_key][0], count)
            for message_key in batch.drops:
                assert self.rows.pop(message_key, None), "a row is dropped that is not there"
            for low, high in batch.dropped_ranges:
                self.rows = {k: v for k, v in self.rows.items() if not low <= k <= high}
            for low, high in batch.dropped_records:
                self.stream_rows = {k: v for k, v in self.stream_rows.items() if not low <= k <= high}

    def page(self, queue_id: int, after: int, limit: int, limit_bytes: int) -> list[Entry]:
        keys = sorted(k for k in self.rows if key(queue_id, after) < k < key(queue_id + 1, 0))[:limit]
        entries = []
        for message_key in keys:
            row, count = self.rows[message_key]
            [(seq, expires_ms, exchange, routing_key, message)] = decode_all(row)
            entries.append(Entry(seq, expires_ms, exchange, routing_key, message, journaled=True, count=count))
        return entries

    def records(self, stream_id: int, start: int, limit: int, limit_bytes: int) -> list[Record]:
        keys = sorted(k for k in self.stream_rows if key(stream_id, start) <= k < key(stream_id + 1, 0))[:limit]
        records = []
        for record_key in keys:
            at_ms, row = self.stream_rows[record_key]
            [(offset, _, exchange, routing_key, message)] = decode_all(row)
            records.append(Record(offset, at_ms, exchange, routing_key, message, len(row)))
        return records

    def seek(self, stream_id: int, at: datetime) -> int | None:
        wanted = int(at.timestamp() * 1000)
        return next((r.offset for r in self.records(stream_id, 0, 10**9, 10**9) if r.at_ms >= wanted), None)

    def trim(self, stream_id: int, excess_bytes: int, before_ms: int) -> Trimmed:
        records, freed = self.records(stream_id, 0, 10**9, 10**9), 0
        while records and (records[0].at_ms < before_ms or (freed < excess_bytes and len(records) > 1)):
            gone = records.pop(0)
            freed += gone.size_bytes
            del self.stream_rows[key(stream_id, gone.offset)]
        return Trimmed(records[0].offset if records else None, records[0].at_ms if records else None, freed)


@dataclass
class Driver:
    """``held`` are the deliveries handed over and not looked at yet, in order."""

    now_ms: int = 1_000_000
    journal: MemoryJournal = field(default_factory=MemoryJournal)
    held: list[Held] = field(default_factory=list)
    outcomes: list[BaseException | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.engine = Engine(lambda: self.now_ms)
        self.session = Session("driver")

    def declare(self, *parts: Exchange | Queue | Binding, session: Session | None = None) -> None:
        topology = Topology(
            tuple(p for p in parts if isinstance(p, Exchange)),
            tuple(p for p in parts if isinstance(p, Queue)),
            tuple(p for p in parts if isinstance(p, Binding)),
        )
        self.engine.declare(topology, session or self.session, self.outcomes.append)
        self.run()

    def send(self, body: bytes, queue: str, *, exchange: str = "", **properties: object) -> None:
        """Publish and commit. Raises what the publisher is told."""
        told: list[BaseException | None] = []
        message = Message(body, **properties)  # type: ignore[arg-type]
        if not self.engine.publish(message, exchange, queue, told.append):
            self.run()
            assert len(told) == 1, "a publisher is told exactly once"
            if told[0] is not None:
                raise told[0]
        self.run()

    def subscribe(
        self, queue: str, *, prefetch: int = 10, session: Session | None = None, offset: Offset | None = None,
        deliver: Callable[[Held], None] | None = None,
    ) -> Consumer:  # fmt: skip
        consumer = self.engine.subscribe(
            session or self.session, queue, deliver or self.held.append, prefetch=prefetch, offset=offset
        )
        self.run()
        return consumer

    def run(self) -> None:
        """Answer, write and hand over until nothing is left to do at this moment."""
        while True:
            reads, batches = self.engine.take_reads(), self.engine.take_batches()
            deliveries = self.engine.take_deliveries()
            if not (reads or any(batches) or deliveries):
                return
            if any(batches):
                self.journal.apply(batches[1], batches[0])
                self.engine.committed(*batches)
            for read in reads:
                self.engine.answered(read, read.run(self.journal))
            for held in deliveries:
                assert held.consumer is not None
                held.consumer.deliver(held)

    def fail(self, error: BrokerError | None = None) -> None:
        """The commit that is due does not succeed."""
        self.engine.failed(*self.engine.take_batches(), error or Blocked())  # type: ignore[arg-type]

    def advance(self, by: timedelta) -> None:
        """Let time pass, stopping wherever the engine wants to look."""
        end = self.now_ms + by // timedelta(milliseconds=1)
        while (wake := self.engine.next_wake) is not None and wake <= end:
            self.now_ms = max(self.now_ms, wake)
            self.engine.tick()
            self.run()
        self.now_ms = end

    def bodies(self) -> list[bytes]:
        """What has been handed over since the last look."""
        bodies = [h.item.message.body for h in self.held]
        self.held.clear()
        return bodies

    def take(self, queue: str) -> Held | None:
        """One message from the queue, as ``get`` gives it."""
        while (held := self.engine.get(self.session, queue)) is None and self.engine.must_wait(self.session, queue):
            self.run()
        self.run()
        return held

    def drain(self, queue: str) -> list[bytes]:
        """Take and acknowledge everything that is ready."""
        bodies = []
        while (held := self.take(queue)) is not None:
            bodies.append(held.item.message.body)
            self.engine.ack(held)
        self.run()
        return bodies
