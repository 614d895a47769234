"""The ledger: nobody is told before the commit, commits are shared, and trouble loses no record that is waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest
from sqlalchemy import Connection
from sqlalchemy.dialects import sqlite

from fnrunner.delivery import ledger as ledger_module
from fnrunner.delivery.ledger import Ledger
from fnrunner.delivery.record import AcceptedEvent, AttemptRecord, LogChunk
from fnrunner.store.engine import Store
from fnrunner.store.errors import StoreConflict, StoreError, StoreUnavailable


class Rows:
    """A connection that takes rows; ``poison`` is an event id that it refuses."""

    def __init__(self, poison: str = "") -> None:
        self.taken: list[dict[str, Any]] = []
        self.dialect = sqlite.dialect()
        self._poison = poison

    def exec_driver_sql(self, statement: str, rows: list[tuple[Any, ...]]) -> None:
        names = statement.partition("(")[2].partition(")")[0].split(", ")
        for values in rows:
            row = dict(zip(names, values, strict=True))
            if row["event_id"] == self._poison:
                raise StoreConflict("poison")
            self.taken.append(row)


class ScriptedStore:
    """Commits when told to: ``gate`` holds every write back, ``troubles`` are raised one a write."""

    def __init__(self, *troubles: StoreError, poison: str = "") -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.entered = asyncio.Event()
        self.troubles = list(troubles)
        self.commits: list[list[dict[str, Any]]] = []
        self._poison = poison

    async def write(self, work: Callable[[Connection], None]) -> None:
        self.entered.set()
        await self.gate.wait()
        if self.troubles:
            raise self.troubles.pop(0)
        rows = Rows(self._poison)
        work(cast(Connection, rows))
        self.commits.append(rows.taken)

    @property
    def ids(self) -> list[str]:
        return [row["event_id"] for commit in self.commits for row in commit]


def make(store: ScriptedStore, **more: Any) -> Ledger:
    return Ledger(cast(Store, store), **more)


def event(number: int) -> AcceptedEvent:
    return AcceptedEvent(f"e{number}", "f", at_ms=number)


def attempt(number: int) -> AttemptRecord:
    return AttemptRecord(f"e{number}", "f", number=1, started_ms=1, ended_ms=2, outcome="succeeded")


def chunk(number: int, text: str = "x") -> LogChunk:
    return LogChunk("f", f"e{number}", "stream", 1, text)


async def test_nobody_is_told_before_the_commit() -> None:
    store = ScriptedStore()
    store.gate.clear()
    ledger = make(store)
    await ledger.start()
    waiting = asyncio.create_task(ledger.accepted(event(1)))
    await store.entered.wait()
    assert not waiting.done()
    store.gate.set()
    await waiting
    assert store.ids == ["e1"]
    await ledger.close()


async def test_what_gathers_during_one_commit_shares_the_next() -> None:
    store = ScriptedStore()
    store.gate.clear()
    ledger = make(store)
    await ledger.start()
    first = asyncio.create_task(ledger.accepted(event(0)))
    await store.entered.wait()
    others = [asyncio.create_task(ledger.attempted(attempt(n))) for n in range(1, 100)]
    await asyncio.sleep(0)
    store.gate.set()
    await asyncio.gather(first, *others)
    assert [len(commit) for commit in store.commits] == [1, 99]
    await ledger.close()


async def test_a_batch_is_bounded() -> None:
    store = ScriptedStore()
    ledger = make(store, max_batch=10)
    waiting = [asyncio.create_task(ledger.accepted(event(n))) for n in range(25)]
    await asyncio.sleep(0)
    await ledger.start()
    await asyncio.gather(*waiting)
    assert [len(commit) for commit in store.commits] == [10, 10, 5]
    assert store.ids == [f"e{n}" for n in range(25)]
    await ledger.close()


async def test_while_the_store_is_away_callers_wait_and_health_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    async def no_pause(seconds: float) -> None:
        seen.append((seconds, ledger.health.writing, ledger.health.reason))

    monkeypatch.setattr(ledger_module, "_pause", no_pause)
    store = ScriptedStore(StoreUnavailable("away"), StoreUnavailable("away"), StoreUnavailable("away"))
    ledger = make(store)
    await ledger.start()
    await ledger.attempted(attempt(1))
    assert seen == [(0.1, False, "away"), (0.2, False, "away"), (0.4, False, "away")]
    assert ledger.health.writing
    assert store.ids == ["e1"]
    await ledger.close()


async def test_a_record_that_the_store_refuses_takes_no_other_along() -> None:
    store = ScriptedStore(poison="e1")
    ledger = make(store)
    waiting = [asyncio.create_task(ledger.accepted(event(n))) for n in range(3)]
    await asyncio.sleep(0)
    await ledger.start()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(r) for r in results] == [type(None), StoreConflict, type(None)]
    assert store.ids == ["e0", "e2"]
    await ledger.close()


async def test_a_caller_that_walks_away_disturbs_nobody() -> None:
    store = ScriptedStore()
    store.gate.clear()
    ledger = make(store)
    await ledger.start()
    gone, stays = (asyncio.create_task(ledger.accepted(event(n))) for n in range(2))
    await store.entered.wait()
    gone.cancel()
    await asyncio.wait([gone])
    store.gate.set()
    await stays
    assert store.ids == ["e0", "e1"]
    await ledger.close()


async def test_notes_are_written_without_anybody_waiting_and_with_close_at_the_latest() -> None:
    store = ScriptedStore()
    ledger = make(store)
    await ledger.start()
    ledger.note_log(chunk(1))
    ledger.note_attempt(attempt(2))
    await ledger.close()
    assert sorted(store.ids) == ["e1", "e2"]


async def test_notes_beyond_the_bound_are_dropped_and_counted() -> None:
    ledger = make(ScriptedStore(), max_notes=2)
    for number in range(5):
        ledger.note_log(replace(chunk(number), function=f"f{number}"))
    assert (ledger.health.notes, ledger.health.dropped_notes) == (2, 3)


async def test_a_function_that_floods_its_log_leaves_the_others_room() -> None:
    ledger = make(ScriptedStore(), max_notes=8)
    kept = []
    for function in ("flood", "f", "g"):
        before = ledger.health.notes
        for number in range(100):
            ledger.note_log(replace(chunk(number), function=function))
        kept.append(ledger.health.notes - before)
    assert kept == [4, 2, 2]
    assert ledger.health.dropped_notes == 292


async def test_what_was_written_counts_no_more() -> None:
    store = ScriptedStore()
    ledger = make(store, max_notes=4)
    await ledger.start()
    for number in range(20):
        ledger.note_log(chunk(2 * number))
        await ledger.attempted(attempt(2 * number + 1))
    await ledger.close()
    assert ledger.health.dropped_notes == 0
    assert len(store.ids) == 40


async def test_who_waits_for_a_commit_does_not_wait_for_all_of_a_flood(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "BATCH_NOTE_BYTES", 25)
    store = ScriptedStore()
    ledger = make(store)
    for number in range(5):
        ledger.note_log(chunk(number, "x" * 10))
    ledger.note_log(chunk(5, "x" * 1000))
    waiting = asyncio.create_task(ledger.attempted(attempt(6)))
    await asyncio.sleep(0)
    await ledger.start()
    await waiting
    assert [row["event_id"] for row in store.commits[0]] == ["e6", "e0", "e1"]
    await ledger.close()
    assert [len(commit) for commit in store.commits if commit] == [3, 2, 1, 1]


async def test_notes_are_bounded_in_bytes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "MAX_NOTE_BYTES", 10)
    store = ScriptedStore()
    ledger = make(store)
    ledger.note_log(chunk(1, "x" * 10))
    ledger.note_log(chunk(2))
    await ledger.start()
    await ledger.attempted(attempt(3))
    ledger.note_log(chunk(4))
    await ledger.close()
    assert sorted(store.ids) == ["e1", "e3", "e4"]


async def test_a_refused_note_is_dropped_and_its_batch_is_not() -> None:
    store = ScriptedStore(poison="e1")
    ledger = make(store)
    ledger.note_log(chunk(1))
    waiting = asyncio.create_task(ledger.accepted(event(2)))
    await asyncio.sleep(0)
    await ledger.start()
    await waiting
    await ledger.close()
    assert (store.ids, ledger.health.dropped_notes) == (["e2"], 1)


async def test_closing_while_the_store_is_away_tells_who_waits() -> None:
    store = ScriptedStore()
    store.gate.clear()
    ledger = make(store)
    await ledger.start()
    waiting = asyncio.create_task(ledger.accepted(event(1)))
    await store.entered.wait()
    later = asyncio.create_task(ledger.accepted(event(2)))
    await asyncio.sleep(0)
    await ledger.close(patience=ledger_module.RETRY_FIRST)
    for task in (waiting, later):
        with pytest.raises(StoreUnavailable):
            await task
    await ledger.close()
    with pytest.raises(StoreError):
        await ledger.accepted(event(3))


async def test_closing_while_records_are_written_one_by_one_tells_who_waits() -> None:
    class HangsAt(ScriptedStore):
        async def write(self, work: Callable[[Connection], None]) -> None:
            await super().write(work)
            if len(self.commits) == 1:
                self.gate.clear()
                self.entered.clear()

    store = HangsAt(StoreConflict("not all at once"))
    ledger = make(store)
    waiting = [asyncio.create_task(ledger.accepted(event(number))) for number in range(3)]
    ledger.note_log(chunk(3))
    await asyncio.sleep(0)
    await ledger.start()
    await waiting[0]
    await store.entered.wait()
    await ledger.close(patience=ledger_module.RETRY_FIRST)
    async with asyncio.timeout(10):
        results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(result) for result in results] == [type(None), StoreUnavailable, StoreUnavailable]
    assert (ledger.health.notes, ledger.health.dropped_notes) == (0, 1)


async def test_a_ledger_says_what_is_wrong_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    problems = []

    async def no_pause(seconds: float) -> None:
        problems.append(ledger.health.problem)

    monkeypatch.setattr(ledger_module, "_pause", no_pause)
    ledger = make(ScriptedStore(StoreUnavailable("away")))
    await ledger.start()
    await ledger.attempted(attempt(1))
    problems.append(ledger.health.problem)
    await ledger.close()
    problems.append(ledger.health.problem)
    assert problems == ["away", "", "the writer has ended"]


async def test_far_too_many_waiting_records_are_refused_instead_of_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "MAX_WAITING", 1)
    ledger = make(ScriptedStore())
    first = asyncio.create_task(ledger.accepted(event(1)))
    await asyncio.sleep(0)
    with pytest.raises(StoreUnavailable):
        await ledger.accepted(event(2))
    await ledger.start()
    await first
    await ledger.close()
