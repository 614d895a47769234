"""What the ledger writes, as values that match the rows of their tables.

Times are epoch milliseconds. Texts are made storable when they are written, on the writer's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from functools import cache
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, Dialect, Insert, bindparam, insert

from fnrunner.delivery.text import storable
from fnrunner.store import schema

MAX_ERROR_CHARS = 4096
MAX_LOG_CHARS = 1024 * 1024


@dataclass(frozen=True, slots=True)
class AcceptedEvent:
    """An event whose publish was confirmed. ``source`` as in the envelope; ``size_bytes`` is the payload's."""

    event_id: str
    function: str
    at_ms: int
    qualifier: str = ""
    source: str = "api"
    size_bytes: int = 0
    traceparent: str = ""

    @property
    def weight(self) -> int:
        return 0


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One run or refusal. ``kind``: event, request. ``outcome``: succeeded, failed, throttled, faulted, died, expired.

    ``number`` is 1 for the first attempt. ``retry_in_ms`` is set when it comes again after that delay.
    """

    event_id: str
    function: str
    number: int
    started_ms: int
    ended_ms: int
    outcome: str
    kind: str = "event"
    version: str = "$LATEST"
    error_type: str = ""
    error_message: str = ""
    retry_in_ms: int | None = None
    duration_ms: float = 0.0
    billed_ms: int = 0
    memory_mb: int = 0
    max_memory_mb: int = 0
    init_ms: float | None = None
    cold_reason: str = ""
    log_stream: str = ""
    digest: str = ""
    worker: str = ""
    traceparent: str = ""

    @property
    def weight(self) -> int:
        return 0


@dataclass(frozen=True, slots=True)
class LogChunk:
    """What a function wrote, without START, END and REPORT lines. ``at_ms`` is when the chunk was read."""

    function: str
    event_id: str
    log_stream: str
    at_ms: int
    text: str

    @property
    def weight(self) -> int:
        """Bytes that count against the limit of notes."""
        return len(self.text)


Record = AcceptedEvent | AttemptRecord | LogChunk


def insert_all(connection: Connection, records: Iterable[Record]) -> None:
    """Insert every record into its table, one statement a table.

    The statement's text is compiled once for each database and the rows go to the driver as they are: the ledger writes
    for every event, and the general way costs several times as much.
    """
    rows: dict[type[Record], list[dict[str, Any]]] = {}
    for record in records:
        rows.setdefault(type(record), []).append(_WRITERS[type(record)](record))
    for kind, values in rows.items():
        sql, order = _statement(kind.__name__, connection.dialect)
        given = [tuple(map(row.__getitem__, order)) for row in values] if order else values
        connection.exec_driver_sql(sql, given)


@cache
def _statement(kind: str, dialect: Dialect) -> tuple[str, tuple[str, ...]]:
    """The INSERT as this database takes it, and the order of its parameters (empty: they go by name)."""
    record, statement = _INSERTS[kind]
    statement = statement.values({f.name: bindparam(f.name) for f in fields(record)})
    compiled = statement.compile(dialect=dialect)
    return str(compiled), tuple(compiled.positiontup or ())


def _row_of(kind: type[Record], **limits: int) -> Callable[[Record], dict[str, Any]]:
    names = tuple(f.name for f in fields(kind))
    read = attrgetter(*names)

    def row(record: Record) -> dict[str, Any]:
        values = dict(zip(names, read(record), strict=True))
        for name, limit in limits.items():
            values[name] = storable(values[name], limit)
        return values

    return row


_WRITERS: dict[type[Record], Callable[[Record], dict[str, Any]]] = {
    AcceptedEvent: _row_of(AcceptedEvent, source=255),
    AttemptRecord: _row_of(AttemptRecord, error_type=255, error_message=MAX_ERROR_CHARS),
    LogChunk: _row_of(LogChunk, text=MAX_LOG_CHARS),
}
_INSERTS: dict[str, tuple[type[Record], Insert]] = {
    kind.__name__: (kind, insert(table))
    for kind, table in ((AcceptedEvent, schema.accepted), (AttemptRecord, schema.attempt), (LogChunk, schema.log))
}
