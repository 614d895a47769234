"""One stream: an append-only log that every consumer reads at its own place.

A consumer that has caught up gets new records from memory; one that is behind reads pages of the journal. Retention
deletes whole records from the oldest end, after the append that exceeds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from broker.broker import Offset
from broker.delays import milliseconds
from broker.embedded.values import Consumer, Read, Record, Trimmed
from broker.topology import Queue

BUFFER = 256
BUFFER_BYTES = 2 * 1024 * 1024
AGE_CHECK_MS = 1_000
FOREVER_AGO = -1


class StreamLog:
    """``next`` is the offset the next record gets, ``visible`` the end of what is committed, ``first`` its start."""

    def __init__(self, spec: Queue, stream_id: int) -> None:
        self.spec, self.id = spec, stream_id
        self.first = self.next = self.visible = self.last = 0
        self.size_bytes = 0
        self.newest_ms = 0
        self.oldest_ms: int | None = None
        self.consumers: list[Consumer] = []
        self.unsettled = 0
        self.trimming = False
        self.deleted = False
        self.wake_at: int | None = None

    @property
    def ready(self) -> int:
        return self.visible - self.first

    def claim(self, now_ms: int) -> tuple[int, int]:
        """The offset and time of a record that is about to be written."""
        self.newest_ms = max(self.newest_ms, now_ms)
        offset, self.next = self.next, self.next + 1
        return offset, self.newest_ms

    def arrive(self, record: Record) -> None:
        """The record is committed: hand it to those who have caught up, unless they have too much waiting."""
        if self.oldest_ms is None:
            self.first, self.oldest_ms = record.offset, record.at_ms
        self.visible, self.last = record.offset + 1, record.offset
        self.size_bytes += record.size_bytes
        for consumer in self.consumers:
            if consumer.live and record.offset >= consumer.position:
                consumer.live = len(consumer.buffer) < BUFFER and consumer.buffer_bytes < BUFFER_BYTES
                if consumer.live:
                    _buffer(consumer, record)

    def attach(self, consumer: Consumer, offset: Offset | None) -> Read | None:
        """Place a new consumer; a time must be looked up first, which is the read that comes back."""
        self.consumers.append(consumer)
        match offset:
            case datetime():
                consumer.reading = True
                stream_id = self.id
                return Read(lambda j: j.seek(stream_id, offset), lambda found: self._sought(consumer, found))
            case "first":
                consumer.position = self.first
            case "last":
                consumer.position = max(self.first, self.last)
            case int():
                consumer.position = min(max(offset, self.first), self.visible)
            case _:
                consumer.position = self.visible
        consumer.live = consumer.position >= self.visible
        return None

    def _sought(self, consumer: Consumer, found: int | None) -> None:
        consumer.reading = False
        consumer.position = self.visible if found is None else found
        consumer.live = consumer.position >= self.visible

    def wanted(self, consumer: Consumer) -> Read | None:
        """The page this consumer needs now, if any."""
        if consumer.live or consumer.reading or consumer.buffer or not consumer.has_room:
            return None
        consumer.reading = True
        stream_id, start = self.id, consumer.position
        return Read(
            lambda j: j.records(stream_id, start, BUFFER, BUFFER_BYTES), lambda rows: self._loaded(consumer, rows)
        )

    def _loaded(self, consumer: Consumer, records: Sequence[Record]) -> None:
        consumer.reading = False
        for record in records:
            _buffer(consumer, record)
        if not records:
            consumer.position = self.visible
        consumer.live = consumer.position >= self.visible

    def wanted_trim(self, now_ms: int) -> Read | None:
        """What retention must delete now, if anything."""
        if self.trimming or self.oldest_ms is None:
            return None
        excess = 0 if self.spec.max_size_bytes is None else max(0, self.size_bytes - self.spec.max_size_bytes)
        before = FOREVER_AGO if self.spec.max_age is None else now_ms - milliseconds(self.spec.max_age)
        if not excess and self.oldest_ms >= before:
            return None
        self.trimming = True
        stream_id = self.id
        return Read(lambda j: j.trim(stream_id, excess, before), self.trimmed)

    def trimmed(self, result: Trimmed) -> None:
        self.trimming = False
        self.size_bytes -= result.freed_bytes
        self.oldest_ms = result.oldest_ms
        self.first = self.visible if result.first is None else result.first

    def next_check(self, now_ms: int) -> int | None:
        """When to look at the ages again."""
        if self.spec.max_age is None or self.oldest_ms is None:
            return None
        return max(self.oldest_ms + milliseconds(self.spec.max_age), now_ms) + AGE_CHECK_MS


def take(consumer: Consumer) -> Record:
    """The next record that was read ahead."""
    record = consumer.buffer.popleft()
    consumer.buffer_bytes -= record.size_bytes
    return record


def put_back(consumer: Consumer, record: Record) -> None:
    """The record was taken and not handed over."""
    consumer.buffer.appendleft(record)
    consumer.buffer_bytes += record.size_bytes


def _buffer(consumer: Consumer, record: Record) -> None:
    consumer.buffer.append(record)
    consumer.buffer_bytes += record.size_bytes
    consumer.position = record.offset + 1
