"""The journal: what survives the process, in one SQLite file, written in batches by one thread.

Rows of queues and records of streams lie in one tree each, clustered by queue and number, so that a page is one range.
A batch is one transaction with few, long statements: every statement gives up the interpreter's lock once, and getting
it back from a busy event loop costs more than a row does. For the same reason a page comes back as one text.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgpack

from broker.embedded.codec import decode_all
from broker.embedded.values import KEY_BITS, Batch, Entry, Record, Trimmed, key
from broker.errors import Blocked, Unavailable

FILE = "broker.sqlite"
VERSION = 1
APPLICATION_ID = 0x666E7262
BUSY_TIMEOUT_S = 2.0
ROWS_A_STATEMENT = 256
PROBE_BYTES = 64 * 1024
RESERVE_BYTES = 50 * 1024 * 1024
"""What must stay free for deleting: removing rows takes space before it gives any. As RabbitMQ's disk_free_limit."""

ALL_NUMBERS = (1 << KEY_BITS) - 1

SCHEMA = f"""
PRAGMA page_size = 8192;
PRAGMA journal_mode = WAL;
BEGIN IMMEDIATE;
CREATE TABLE exchanges (name TEXT PRIMARY KEY, kind TEXT NOT NULL, alternate TEXT) WITHOUT ROWID;
CREATE TABLE queues (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, spec BLOB NOT NULL, mark INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE bindings (
    exchange TEXT, queue TEXT, routing_key TEXT, arguments BLOB,
    PRIMARY KEY (exchange, queue, routing_key, arguments)
) WITHOUT ROWID;
CREATE TABLE messages (
    key INTEGER PRIMARY KEY, transient INTEGER NOT NULL, count INTEGER NOT NULL DEFAULT 0, row BLOB NOT NULL
);
CREATE INDEX transient ON messages (key) WHERE transient;
CREATE TABLE records (key INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, row BLOB NOT NULL);
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
COMMIT;
"""


class JournalCorrupt(Unavailable):
    """The journal file is damaged or not a journal. Restore it from a copy, or move it away to begin with nothing."""


class Journal:
    """One open journal file. All methods block; only one thread calls them. Foreign errors become Unavailable here."""

    def __init__(self, directory: Path, *, max_pages: int | None = None, reserve_bytes: int = RESERVE_BYTES) -> None:
        """``max_pages`` of 8 KiB bound the file; None leaves that to the disk, of which ``reserve_bytes`` stay free."""
        self.path = directory / FILE
        self.reserve_bytes = reserve_bytes
        self._max_pages = max_pages
        self._open: sqlite3.Connection | None = None

    @property
    def connection(self) -> sqlite3.Connection:
        if self._open is None:
            raise Unavailable(f"the journal {self.path} is closed")
        return self._open

    def open(self) -> None:
        """Open or create it. Raises JournalCorrupt, Unavailable."""
        try:
            self._open = self._connect()
        except sqlite3.Error as error:
            self.close()
            raise self.translated(error) from error

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=BUSY_TIMEOUT_S)
        self._open = db
        if self._is_new(db):
            db.executescript(SCHEMA)
        db.execute("PRAGMA synchronous = FULL")
        db.execute(f"PRAGMA journal_size_limit = {64 * 1024 * 1024}")
        if self._max_pages is not None:
            db.execute(f"PRAGMA max_page_count = {self._max_pages}")
        return db

    def _is_new(self, db: sqlite3.Connection) -> bool:
        """Only reads: a file that is damaged or not ours stays as it is. Raises JournalCorrupt, Unavailable."""
        application_id = db.execute("PRAGMA application_id").fetchone()[0]
        version = db.execute("PRAGMA user_version").fetchone()[0]
        tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if tables and application_id != APPLICATION_ID:
            raise JournalCorrupt(f"{self.path} is an SQLite file, but not a journal. Choose another directory.")
        if version > VERSION:
            raise Unavailable(f"{self.path} was written by a newer release (format {version}). Upgrade this one.")
        return not tables

    def translated(self, error: Exception) -> Unavailable:
        """The port's error for one of SQLite or of the row format; for a person."""
        code = getattr(error, "sqlite_errorname", "") or ""
        if isinstance(error, Unavailable):
            return error
        if code.startswith(("SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_SHMSIZE")):
            return Blocked(
                f"the disk of {self.path} is full ({error}). Free space on it; publishing resumes by itself."
            )
        if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return Unavailable(f"another program has {self.path} locked. Close it; publishing resumes by itself.")
        if code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")) or isinstance(
            error, ValueError | msgpack.UnpackException
        ):
            return JournalCorrupt(
                f"the journal {self.path} is damaged ({error}). "
                "Restore it from a copy, or move it away to begin with nothing."
            )
        return Unavailable(f"the journal {self.path} cannot be used: {error}")

    # --- writing

    def commit(self, *batches: Batch) -> None:
        """Write all batches in one transaction that is on the disk when this returns.

        Raises Unavailable, Blocked; then nothing was written, unless the error came from the very end of the commit:
        rows replace themselves, so that writing the same batch again is harmless.
        """
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            for batch in batches:
                self._write(batch)
            self.connection.execute("COMMIT")
        except (sqlite3.Error, Unavailable) as error:
            self._roll_back()
            raise self.translated(error) from error

    def shortage(self) -> Blocked | None:
        """Why nothing new should be written now: the reserve is all that is left of the disk. None when there is more.

        Pages that were freed inside the file count as space, but a quarter of the reserve is for the log alone.
        """
        try:
            disk = os.statvfs(self.path.parent)
            free = disk.f_bavail * disk.f_frsize
            if free >= self.reserve_bytes or (
                free >= self.reserve_bytes // 4 and free + self._reusable >= self.reserve_bytes
            ):
                return None
        except (OSError, sqlite3.Error):
            return None  # the commit will tell
        return Blocked(
            f"the disk of {self.path} is nearly full: less than {self.reserve_bytes} bytes are free. "
            "Free space on it, or consume messages; publishing resumes by itself."
        )

    @property
    def _reusable(self) -> int:
        pages, size = (self.connection.execute(f"PRAGMA {p}").fetchone()[0] for p in ("freelist_count", "page_size"))
        return int(pages * size)

    def probe(self) -> Unavailable | None:
        """Ask for space and give it back: what stands in the way of writing, or None."""
        if (shortage := self.shortage()) is not None:
            return shortage
        try:
            self.connection.execute(f"INSERT OR REPLACE INTO meta VALUES ('probe', zeroblob({PROBE_BYTES}))")
            self.connection.execute("DELETE FROM meta WHERE name = 'probe'")
        except (sqlite3.Error, Unavailable) as error:
            self._roll_back()
            return self.translated(error)
        return None

    def _roll_back(self) -> None:
        try:
            if self._open is not None and self._open.in_transaction:
                self._open.execute("ROLLBACK")
            if self._open is not None:
                self._open.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()  # gives back what the log takes
        except sqlite3.Error:
            return  # the next attempt tells what is wrong

    def _write(self, batch: Batch) -> None:
        db = self.connection
        for sql, row in batch.statements:
            db.execute(sql, row)
        self._insert("messages (key, row, transient)", 3, batch.puts)
        self._insert("records (key, at_ms, row)", 3, batch.appends)
        for queue_id, mark in batch.marks.items():
            db.execute("UPDATE queues SET mark = ? WHERE id = ?", (mark, queue_id))
        for message_key, count in batch.counts.items():
            db.execute("UPDATE messages SET count = ? WHERE key = ?", (count, message_key))
        for some in _slices(batch.drops):
            marks = ",".join("?" * len(some))
            db.execute(f"DELETE FROM messages WHERE key IN ({marks})", some)
        for low, high in batch.dropped_ranges:
            db.execute("DELETE FROM messages WHERE key BETWEEN ? AND ?", (low, high))
        for low, high in batch.dropped_records:
            db.execute("DELETE FROM records WHERE key BETWEEN ? AND ?", (low, high))

    def _insert(self, table: str, width: int, rows: Sequence[tuple[Any, ...]]) -> None:
        one = f"({','.join('?' * width)})"
        for some in _slices(rows):
            values = [value for row in some for value in row]
            self.connection.execute(f"INSERT OR REPLACE INTO {table} VALUES {','.join([one] * len(some))}", values)

    # --- reading

    def page(self, queue_id: int, after: int, limit: int, limit_bytes: int) -> list[Entry]:
        """See :class:`~broker.embedded.values.Reader`."""
        low, high = key(queue_id, after + 1), key(queue_id, ALL_NUMBERS)
        last = self._last_of_page("messages", low, high, limit, limit_bytes)
        if last is None:
            return []
        text, counts = self._one(
            "SELECT group_concat(hex(row), ''), group_concat(count) FROM"
            " (SELECT row, count FROM messages WHERE key BETWEEN ? AND ? ORDER BY key)",
            (low, last),
        )
        return [
            Entry(seq, expires_ms, exchange, routing_key, message, journaled=True, count=int(count))
            for (seq, expires_ms, exchange, routing_key, message), count in zip(
                self._decoded(text), counts.split(","), strict=True
            )
        ]

    def records(self, stream_id: int, start: int, limit: int, limit_bytes: int) -> list[Record]:
        """See :class:`~broker.embedded.values.Reader`."""
        low, high = key(stream_id, start), key(stream_id, ALL_NUMBERS)
        last = self._last_of_page("records", low, high, limit, limit_bytes)
        if last is None:
            return []
        text, sizes = self._one(
            "SELECT group_concat(hex(row), ''), group_concat(length(row)) FROM"
            " (SELECT row FROM records WHERE key BETWEEN ? AND ? ORDER BY key)",
            (low, last),
        )
        return [
            Record(offset, at_ms or 0, exchange, routing_key, message, int(size))
            for (offset, at_ms, exchange, routing_key, message), size in zip(
                self._decoded(text), sizes.split(","), strict=True
            )
        ]

    def _decoded(self, text: str) -> list[Any]:
        try:
            return list(decode_all(bytes.fromhex(text)))
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            raise JournalCorrupt(f"a row in {self.path} is damaged ({error}). Restore it from a copy.") from error

    def _last_of_page(self, table: str, low: int, high: int, limit: int, limit_bytes: int) -> int | None:
        """The key at which a page must end to respect both limits."""
        last: int | None = self._one(
            "SELECT max(key) FROM (SELECT key, sum(size) OVER (ORDER BY key) - size AS before FROM"
            f" (SELECT key, length(row) AS size FROM {table} WHERE key BETWEEN ? AND ? ORDER BY key LIMIT ?))"
            " WHERE before < ?",
            (low, high, limit, limit_bytes),
        )[0]
        return last

    def seek(self, stream_id: int, at: datetime) -> int | None:
        """See :class:`~broker.embedded.values.Reader`. Times never decrease, so that bisection finds it.

        Records have whole milliseconds: those of the millisecond of ``at`` are taken as not before it.
        """
        wanted = int(at.timestamp() * 1000)
        low, high = self._one(
            "SELECT min(key), max(key) FROM records WHERE key BETWEEN ? AND ?",
            (key(stream_id, 0), key(stream_id, ALL_NUMBERS)),
        )
        if high is None or self._first_from(high)[1] < wanted:
            return None
        while low < high:
            middle = (low + high) // 2
            found, at_ms = self._first_from(middle)
            if at_ms < wanted:
                low = found + 1
            else:
                high = middle
        return int(self._first_from(low)[0]) & ALL_NUMBERS

    def _first_from(self, low: int) -> tuple[int, int]:
        found, at_ms = self._one("SELECT key, at_ms FROM records WHERE key >= ? ORDER BY key LIMIT 1", (low,))
        return found, at_ms

    def trim(self, stream_id: int, excess_bytes: int, before_ms: int) -> Trimmed:
        """See :class:`~broker.embedded.values.Reader`. The newest record stays, unless it is too old."""
        low, high = key(stream_id, 0), key(stream_id, ALL_NUMBERS)
        last, freed = self._one(
            "SELECT max(key), total(size) FROM"
            " (SELECT key, at_ms, size, sum(size) OVER (ORDER BY key) - size AS before,"
            " lead(key) OVER (ORDER BY key) AS next FROM"
            " (SELECT key, at_ms, length(row) AS size FROM records WHERE key BETWEEN ? AND ? ORDER BY key LIMIT 10000))"
            " WHERE at_ms < ? OR (before < ? AND next IS NOT NULL)",
            (low, high, before_ms, excess_bytes),
        )
        try:
            if last is not None:
                self.connection.execute("DELETE FROM records WHERE key BETWEEN ? AND ?", (low, last))
        except sqlite3.Error as error:
            raise self.translated(error) from error
        left = self._one("SELECT key, at_ms FROM records WHERE key BETWEEN ? AND ? ORDER BY key LIMIT 1", (low, high))
        first = None if left is None else left[0] & ALL_NUMBERS
        return Trimmed(first, None if left is None else left[1], int(freed))

    def _one(self, sql: str, values: Sequence[Any]) -> Any:
        try:
            return self.connection.execute(sql, values).fetchone()
        except sqlite3.Error as error:
            raise self.translated(error) from error

    def close(self) -> None:
        """Idempotent. What was committed is in the main file afterwards, if there is space."""
        if self._open is not None:
            self._open.close()
            self._open = None


def _slices(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Consecutive parts whose lengths are powers of two, so that few distinct statements are prepared."""
    start = 0
    while (left := len(rows) - start) > 0:
        size = min(ROWS_A_STATEMENT, 1 << (left.bit_length() - 1))
        yield rows[start : start + size]
        start += size
