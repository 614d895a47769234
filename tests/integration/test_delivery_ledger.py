"""The ledger over real stores: what it has told of is there, and strange texts are no trouble."""

from __future__ import annotations

import asyncio
from dataclasses import fields
from typing import Any

from sqlalchemy import func, select

from fnrunner.delivery.ledger import Ledger
from fnrunner.delivery.record import AcceptedEvent, AttemptRecord, LogChunk
from fnrunner.store.engine import Store
from fnrunner.store.schema import accepted, attempt, log

ATTEMPT = AttemptRecord(
    event_id="e1",
    function="f",
    number=2,
    started_ms=10,
    ended_ms=20,
    outcome="failed",
    kind="event",
    version="$LATEST",
    error_type="ValueError",
    error_message="no",
    retry_in_ms=60_000,
    duration_ms=1.5,
    billed_ms=2,
    memory_mb=128,
    max_memory_mb=40,
    init_ms=100.25,
    cold_reason="first",
    log_stream="2026/01/01/[$LATEST]00",
    digest="d" * 64,
    worker="w1",
    traceparent="00-aa-bb-01",
)


async def rows(store: Store, table: Any) -> list[Any]:
    return await store.read(lambda c: list(c.execute(select(table).order_by(table.c.id))))


async def test_every_field_of_every_record_arrives(store: Store) -> None:
    event = AcceptedEvent("e1", "f", 9, "prod", "s3:photos", 123, "00-aa-bb-01")
    chunk = LogChunk("f", "e1", "stream", 11, "hello")
    ledger = Ledger(store)
    await ledger.start()
    ledger.note_log(chunk)
    await ledger.accepted(event)
    await ledger.attempted(ATTEMPT)
    await ledger.close()
    for table, record in ((accepted, event), (attempt, ATTEMPT), (log, chunk)):
        (row,) = await rows(store, table)
        assert {f.name: getattr(row, f.name) for f in fields(record)} == {
            f.name: getattr(record, f.name) for f in fields(record)
        }


async def test_what_was_told_is_committed_already(store: Store) -> None:
    ledger = Ledger(store)
    await ledger.start()
    for number in range(5):
        await ledger.accepted(AcceptedEvent(f"e{number}", "f", number))
        assert len(await rows(store, accepted)) == number + 1
    await ledger.close()


async def test_thousands_at_once_share_few_commits(store: Store) -> None:
    ledger = Ledger(store, max_batch=500)
    await ledger.start()
    await asyncio.gather(*(ledger.accepted(AcceptedEvent(f"e{n}", "f", n)) for n in range(3_000)))
    assert ledger.health.commits <= 8
    await ledger.close()
    assert await store.read(lambda c: c.execute(select(func.count()).select_from(accepted)).scalar_one()) == 3_000


async def test_texts_that_no_database_takes_are_made_storable(store: Store) -> None:
    ledger = Ledger(store)
    await ledger.start()
    ledger.note_log(LogChunk("f", "e", "l", 1, "a\0b\ud800"))
    await ledger.attempted(AttemptRecord("e", "f", 1, 1, 2, "failed", error_type="\0" * 300, error_message="\udfff\0é"))
    await ledger.close()
    (found,) = await rows(store, attempt)
    assert (found.error_type, found.error_message) == ("\ufffd" * 255, "?\ufffdé")
    assert [row.text for row in await rows(store, log)] == ["a\ufffdb?"]


async def test_a_row_that_does_not_fit_fails_alone(store: Store) -> None:
    if store.dialect == "sqlite":
        bad, good = AcceptedEvent("e1", "f", 2**70), AcceptedEvent("e2", "f", 2)
    else:
        bad, good = AcceptedEvent("e" * 65, "f", 1), AcceptedEvent("e2", "f", 2)
    ledger = Ledger(store)
    tasks = [asyncio.create_task(ledger.accepted(event)) for event in (bad, good)]
    await asyncio.sleep(0)
    await ledger.start()
    failed, written = await asyncio.gather(*tasks, return_exceptions=True)
    await ledger.close()
    assert isinstance(failed, Exception)
    assert written is None
    assert [row.event_id for row in await rows(store, accepted)] == ["e2"]
