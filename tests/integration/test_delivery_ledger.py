"""The ledger over real stores: what it has told of is there, and strange texts are no trouble."""

from __future__ import annotations

import asyncio
import math
import operator
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import BigInteger, func, select

from fnrunner.delivery.ledger import Ledger
from fnrunner.delivery.record import MAX_ERROR_CHARS, AcceptedEvent, AttemptRecord, LogChunk, Record, insert_all
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


WILD = st.text(st.one_of(st.sampled_from("a\0é😀\ud800\udfff"), st.characters()), max_size=5)
WILD_TEXT = st.builds(operator.mul, WILD, st.sampled_from([1, 100]))
WILD_INT = st.one_of(st.integers(), st.sampled_from([2**31, -(2**31) - 1, 2**63, -(2**63) - 1]))
WILD_FLOAT = st.one_of(st.floats(), st.sampled_from([math.nan, math.inf]))
WILD_VALUES = {"str": WILD_TEXT, "int": WILD_INT, "float": WILD_FLOAT}
WILD_VALUES |= {f"{kind} | None": st.none() | values for kind, values in WILD_VALUES.items()}


@pytest.mark.parametrize(("kind", "table"), [(AcceptedEvent, accepted), (AttemptRecord, attempt), (LogChunk, log)])
async def test_no_value_is_refused(store: Store, kind: type[Record], table: Any) -> None:
    found: list[Record] = []

    @given(st.lists(st.builds(kind, **{f.name: WILD_VALUES[str(f.type)] for f in fields(kind)}), min_size=1))
    def make(records: list[Record]) -> None:
        found.extend(records)

    make()
    await store.write(lambda c: insert_all(c, found))
    assert len(await rows(store, table)) == len(found)


@pytest.mark.parametrize(("kind", "table"), [(AcceptedEvent, accepted), (AttemptRecord, attempt), (LogChunk, log)])
async def test_each_value_is_made_to_fit_its_column_alone(store: Store, kind: type[Record], table: Any) -> None:
    plain: dict[str, Any] = {f.name: {"str": "x", "int": 1, "float": 1.5}[str(f.type).split()[0]] for f in fields(kind)}
    given_values: list[tuple[str, Any]] = []
    for field in fields(kind):
        base = str(field.type).split()[0]
        length = getattr(table.c[field.name].type, "length", None) or (
            MAX_ERROR_CHARS if kind is AttemptRecord else 2**20
        )
        wild = {
            "str": ["x" * (length + 1), "\0", "\ud800"],
            "int": [2**63, -(2**63) - 1],
            "float": [math.nan, math.inf],
        }
        given_values += [(field.name, value) for value in wild[base]]
        if base == "int" and not isinstance(table.c[field.name].type, BigInteger):
            given_values += [(field.name, 2**31), (field.name, -(2**31) - 1)]
    records = [kind(**{**plain, name: value}) for name, value in given_values]
    await store.write(lambda c: insert_all(c, records))
    for (name, value), row in zip(given_values, await rows(store, table), strict=True):
        kept = getattr(row, name)
        assert kept != value
        assert {f: getattr(row, f) for f in plain if f != name} == {f: v for f, v in plain.items() if f != name}
        if isinstance(value, str):
            assert kept in (value[:-1], "\ufffd", "?")
            assert value[:-1] in ("", kept)
        elif isinstance(value, int):
            small = not isinstance(table.c[name].type, BigInteger)
            assert abs(kept) in ((2**31, 2**31 - 1) if small else (2**63, 2**63 - 1))
            assert (kept < 0) == (value < 0)
        else:
            assert kept == 0


async def test_a_row_that_cannot_be_read_fails_alone(store: Store) -> None:
    bad, good = AcceptedEvent("e1", "f", None), AcceptedEvent("e2", "f", 2)  # type: ignore[arg-type]
    ledger = Ledger(store)
    tasks = [asyncio.create_task(ledger.accepted(event)) for event in (bad, good)]
    await asyncio.sleep(0)
    await ledger.start()
    failed, written = await asyncio.gather(*tasks, return_exceptions=True)
    await ledger.close()
    assert isinstance(failed, Exception)
    assert written is None
    assert [row.event_id for row in await rows(store, accepted)] == ["e2"]
