"""Read from the journal what an earlier process left, and note that it may have been delivered."""

from __future__ import annotations

import sqlite3
from contextlib import suppress

from broker.embedded.backlog import Backlog
from broker.embedded.declaring import unpack_binding, unpack_exchange, unpack_spec
from broker.embedded.engine import Recovered
from broker.embedded.journal import ALL_NUMBERS, Journal
from broker.embedded.state import Place
from broker.embedded.stream import StreamLog
from broker.embedded.values import key
from broker.topology import Queue, QueueKind

FREE_PAGES_WORTH_RETURNING = 8_192


def recover(journal: Journal) -> Recovered:
    """Transient rows go, what was out when a process died counts one delivery more. Raises JournalCorrupt, Unavailable.

    Reads the whole file once, so damage shows here and not later.
    """
    db = journal.connection
    try:
        db.execute("BEGIN IMMEDIATE")
        clean = db.execute("DELETE FROM meta WHERE name = 'clean' RETURNING value").fetchall()
        db.execute("DELETE FROM messages WHERE key IN (SELECT key FROM messages WHERE transient)")
        rows = db.execute("SELECT id, name, spec, mark FROM queues ORDER BY id").fetchall()
        queues = tuple(_restored(db, unpack_spec(name, spec), queue_id, mark) for queue_id, name, spec, mark in rows)
        if not clean:
            for queue in queues:
                _count_interrupted(db, queue)
        recovered = Recovered(
            exchanges=tuple(unpack_exchange(*row) for row in db.execute("SELECT name, kind, alternate FROM exchanges")),
            queues=queues,
            bindings=tuple(unpack_binding(*row) for row in db.execute("SELECT * FROM bindings")),
            seq=max((max(q.mark, q.last_seq) for q in queues if isinstance(q, Backlog)), default=0),
        )
        db.execute("COMMIT")
        _return_space(db)
    except (sqlite3.Error, ValueError, TypeError) as error:
        with suppress(sqlite3.Error):
            db.execute("ROLLBACK")  # what is damaged is left as it was found
        raise journal.translated(error) from error
    return recovered


def mark_clean(journal: Journal) -> None:
    """Note that every delivery has been given back and counted. Raises Unavailable."""
    try:
        journal.connection.execute("INSERT OR REPLACE INTO meta VALUES ('clean', 1)")
    except sqlite3.Error as error:
        raise journal.translated(error) from error


def _restored(db: sqlite3.Connection, spec: Queue, queue_id: int, mark: int) -> Place:
    span = (key(queue_id, 0), key(queue_id, ALL_NUMBERS))
    if spec.kind is QueueKind.STREAM:
        return _restored_stream(db, spec, queue_id, mark)
    queue = Backlog(spec, queue_id, None)
    count, last = db.execute("SELECT count(*), max(key) FROM messages WHERE key BETWEEN ? AND ?", span).fetchone()
    queue.paged, queue.mark = count, mark
    queue.last_seq = mark if last is None else last & ALL_NUMBERS
    queue.tail_seq = 0 if count else queue.last_seq
    return queue


def _restored_stream(db: sqlite3.Connection, spec: Queue, stream_id: int, mark: int) -> StreamLog:
    stream = StreamLog(spec, stream_id)
    stream.next = stream.visible = stream.first = mark
    first, last, oldest_ms, newest_ms, size = db.execute(
        "SELECT min(key), max(key), min(at_ms), max(at_ms), total(length(row)) FROM records WHERE key BETWEEN ? AND ?",
        (key(stream_id, 0), key(stream_id, ALL_NUMBERS)),
    ).fetchone()
    if last is not None:
        stream.first, stream.last = first & ALL_NUMBERS, last & ALL_NUMBERS
        stream.oldest_ms, stream.newest_ms, stream.size_bytes = oldest_ms, newest_ms, int(size)
        stream.next = stream.visible = max(mark, stream.last + 1)
    return stream


def _count_interrupted(db: sqlite3.Connection, queue: Place) -> None:
    if isinstance(queue, Backlog) and queue.mark and queue.spec.kind is QueueKind.QUORUM:
        span = (key(queue.id, 0), key(queue.id, queue.mark))
        db.execute("UPDATE messages SET count = count + 1 WHERE key BETWEEN ? AND ?", span)


def _return_space(db: sqlite3.Connection) -> None:
    """A large file that is nearly empty is made small again; this takes no longer than reading what is left."""
    pages, free = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count"))
    if free > FREE_PAGES_WORTH_RETURNING and free > pages * 0.9:
        db.execute("VACUUM")
