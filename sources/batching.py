"""When the records that wait are a batch: enough of them, long enough, or as many bytes as an event may have. Pure.

A batch closes at ``size`` records, when ``window`` is over since its first record was read (zero: at once), when the next
record would make it too large, or would belong to another tumbling window. How large an event gets is reckoned from the
data, base64 included; that is exact enough to close a batch, and what is too large when it is rendered is split.

Source: Lambda developer guide, "Batching behavior".
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sources.mapping import EventSourceMapping
from sources.stream import Record

LIMIT_BYTES = 6 * 1024 * 1024
_ENVELOPE_BYTES = 1024
_RECORD_BYTES = 450
"""What an event has of a record besides its data and its key."""


@dataclass(frozen=True, slots=True)
class Limits:
    """``bytes`` is for the whole event."""

    size: int
    window: float = 0.0
    bytes: int = LIMIT_BYTES

    @classmethod
    def of(cls, mapping: EventSourceMapping, state_bytes: int = 0) -> Limits:
        """``state_bytes``: what a tumbling window's state takes of the event."""
        return cls(mapping.batch_size, mapping.batching_window.total_seconds(), LIMIT_BYTES - state_bytes)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A record that was read at ``since``, in seconds of the monotonic clock. ``weight``: the bytes it adds to an event."""

    record: Record
    weight: int
    since: float


def weight(record: Record) -> int:
    """
    >>> weight(Record(1, "k", datetime.min, {}, b"123456"))
    459
    """
    return 4 * -(-len(record.data or b"") // 3) + len(record.key) + _RECORD_BYTES


def complete(waiting: Collection[Waiting], limits: Limits, now: float, before: datetime | None = None) -> int:
    """How many of the first records are a batch now; 0 when it is not complete yet. One that is too large goes alone.

    ``before``: the end of the tumbling window; a record that arrived then or later closes the batch before it.
    """
    total = _ENVELOPE_BYTES
    for count, each in enumerate(waiting):
        total += each.weight
        full = count == limits.size or (count and total > limits.bytes)
        if full or (before is not None and each.record.arrived >= before):
            return count
    if not waiting:
        return 0
    return len(waiting) if len(waiting) >= limits.size or now >= due(waiting, limits) else 0


def due(waiting: Collection[Waiting], limits: Limits) -> float:
    """When the batch is complete if nothing more comes. There is at least one record."""
    return next(iter(waiting)).since + limits.window
