"""What the ledger writes, as values that match the rows of their tables.

Times are epoch milliseconds. Values are made to fit their columns when they are written, on the writer's thread: the
event of an attempt that the database refused would run again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from functools import cache, partial
from math import isfinite
from operator import attrgetter
from typing import Any

from sqlalchemy import BigInteger, Connection, Dialect, Insert, Integer, String, Table, bindparam, insert
from sqlalchemy.types import TypeEngine

from fnrunner.delivery.text import storable
from fnrunner.store import schema

MAX_ERROR_CHARS = 4096
MAX_LOG_CHARS = 1024 * 1024
SMALL, BIG = 2**31, 2**63
"""Integers of the columns are below these, and not below their negatives."""


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

    ``number`` is 1 for the first attempt. ``retry_in_ms`` is set when it comes again after that delay. ``imports`` and
    ``runtime_version`` as in :class:`~fnrunner.model.invocation.Report`.
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
    imports: str = ""
    runtime_version: str = ""
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


def _attempt_fits(r: AttemptRecord) -> bool:
    return (
        _plain(
            f"{r.event_id}{r.function}{r.outcome}{r.kind}{r.version}{r.error_type}{r.error_message}{r.cold_reason}{r.imports}"
            f"{r.runtime_version}{r.log_stream}{r.digest}{r.worker}{r.traceparent}"
        )
        and len(r.event_id) <= 64
        and len(r.function) <= 64
        and len(r.outcome) <= 16
        and len(r.kind) <= 8
        and len(r.version) <= 64
        and len(r.error_type) <= 255
        and len(r.error_message) <= MAX_ERROR_CHARS
        and len(r.cold_reason) <= 16
        and len(r.imports) <= MAX_ERROR_CHARS
        and len(r.runtime_version) <= 64
        and len(r.log_stream) <= 128
        and len(r.digest) <= 64
        and len(r.worker) <= 128
        and len(r.traceparent) <= 64
        and 0 <= r.number < SMALL
        and 0 <= r.started_ms < BIG
        and 0 <= r.ended_ms < BIG
        and (r.retry_in_ms is None or 0 <= r.retry_in_ms < BIG)
        and 0 <= r.duration_ms < SMALL
        and 0 <= r.billed_ms < SMALL
        and 0 <= r.memory_mb < SMALL
        and 0 <= r.max_memory_mb < SMALL
        and (r.init_ms is None or 0 <= r.init_ms < SMALL)
    )


def _event_fits(r: AcceptedEvent) -> bool:
    return (
        _plain(f"{r.event_id}{r.function}{r.qualifier}{r.source}{r.traceparent}")
        and len(r.event_id) <= 64
        and len(r.function) <= 64
        and len(r.qualifier) <= 128
        and len(r.source) <= 255
        and len(r.traceparent) <= 64
        and 0 <= r.at_ms < BIG
        and 0 <= r.size_bytes < SMALL
    )


def _chunk_fits(r: LogChunk) -> bool:
    return (
        _plain(r.text)
        and _plain(f"{r.function}{r.event_id}{r.log_stream}")
        and len(r.function) <= 64
        and len(r.event_id) <= 64
        and len(r.log_stream) <= 128
        and len(r.text) <= MAX_LOG_CHARS
        and 0 <= r.at_ms < BIG
    )


def _plain(text: str) -> bool:
    return text.isascii() and "\0" not in text


def _row_of(
    kind: type[Record], table: Table, fits: Callable[[Any], bool], **text_limits: int
) -> Callable[[Record], dict[str, Any]]:
    """What makes a record of this kind a row of ``table``. ``text_limits`` are for the columns that have none.

    ``fits`` says, cheaply, that nothing needs to be done, which is nearly always so. Where it does not, each value is
    made to fit its column.
    """
    names = tuple(f.name for f in fields(kind))
    read = attrgetter(*names)
    fitters = {name: _fitter(table.c[name].type, text_limits.get(name, 0)) for name in names}

    def row(record: Record) -> dict[str, Any]:
        values = dict(zip(names, read(record), strict=True))
        if not fits(record):
            values = {name: None if value is None else fitters[name](value) for name, value in values.items()}
        return values

    return row


def _fitter(column: TypeEngine[Any], text_limit: int) -> Callable[[Any], Any]:
    """What makes a value fit a column of this type."""
    match column:
        case String():
            return partial(storable, limit=column.length or text_limit)
        case BigInteger():
            return partial(_clipped, bound=BIG)
        case Integer():
            return partial(_clipped, bound=SMALL)
        case _:
            return _finite


def _clipped(number: int, bound: int) -> int:
    return min(max(number, -bound), bound - 1)


def _finite(number: float) -> float:
    return number if isfinite(number) else 0.0


_WRITERS: dict[type[Record], Callable[[Record], dict[str, Any]]] = {
    AcceptedEvent: _row_of(AcceptedEvent, schema.accepted, _event_fits),
    AttemptRecord: _row_of(
        AttemptRecord, schema.attempt, _attempt_fits, error_message=MAX_ERROR_CHARS, imports=MAX_ERROR_CHARS
    ),
    LogChunk: _row_of(LogChunk, schema.log, _chunk_fits, text=MAX_LOG_CHARS),
}
_INSERTS: dict[str, tuple[type[Record], Insert]] = {
    kind.__name__: (kind, insert(table))
    for kind, table in ((AcceptedEvent, schema.accepted), (AttemptRecord, schema.attempt), (LogChunk, schema.log))
}
