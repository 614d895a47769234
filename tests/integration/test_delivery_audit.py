"""The books balance: through outcomes, redrives, lost rows, losses and pruning."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table, delete, func, insert, select, update

from broker import names
from broker.broker import Broker, QueueDepth
from broker.embedded import EmbeddedBroker
from broker.envelope import Envelope, to_message
from broker.topology import function_queues
from fnrunner.delivery.audit import Audit, FunctionBalance
from fnrunner.delivery.history import History
from fnrunner.delivery.record import AcceptedEvent, AttemptRecord, LogChunk, insert_all
from fnrunner.delivery.retention import Retention
from fnrunner.store.engine import Store
from fnrunner.store.schema import accepted, attempt, dead_letter, log, settled_total, worker

NOW_MS = 1_700_000_000_000
SOON = timedelta(milliseconds=1)


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[EmbeddedBroker]:
    broker = EmbeddedBroker(tmp_path / "broker", delays=[timedelta(seconds=1)])
    await broker.start()
    await broker.declare(function_queues("f"))
    yield broker
    await broker.close()


class Books:
    """Writes rows as the ledger and the archivist do."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def accept(self, *ids: str, function: str = "f", at_ms: int = NOW_MS - 1_000) -> None:
        events = [AcceptedEvent(i, function, at_ms, traceparent="00-0af7-b7-01") for i in ids]
        await self._store.write(lambda c: insert_all(c, events))

    async def run(self, *ids: str, outcome: str = "succeeded", ended_ms: int = NOW_MS - 500, **more: Any) -> None:
        rows = [AttemptRecord(i, more.pop("function", "f"), 1, ended_ms - 5, ended_ms, outcome, **more) for i in ids]
        await self._store.write(lambda c: insert_all(c, rows))

    async def bury(self, event_id: str, reason: str = "RetriesExhausted", state: str = "held", **more: Any) -> None:
        row = {
            "event_id": event_id, "redrives": 0, "function": "f", "reason": reason, "error_type": "E", "error_message": "no",
            "at_ms": NOW_MS - 100, "state": state, "envelope": b"", "digest": "", "traceparent": "", **more,
        }  # fmt: skip
        await self._store.write(lambda c: c.execute(insert(dead_letter), row))

    async def count(self, table: Table) -> int:
        return await self._store.read(lambda c: int(c.execute(select(func.count()).select_from(table)).scalar_one()))


@pytest.fixture
def books(store: Store) -> Books:
    return Books(store)


@pytest.fixture
def audit(store: Store, broker: Broker) -> Audit:
    return Audit(store, broker, clock=lambda: NOW_MS, recheck=SOON)


def balance(**counts: Any) -> FunctionBalance:
    return FunctionBalance("f", **counts)


async def test_each_outcome_is_counted_once(books: Books, audit: Audit) -> None:
    await books.accept("s", "d", "x", "p")
    await books.run("s", "s", "d", outcome="failed")
    await books.run("s")
    await books.bury("d")
    await books.bury("x", reason="EventAgeExceeded")
    await books.bury("p", state="purged")
    assert await audit.run() == [balance(accepted=4, succeeded=1, dead_lettered=2, expired=1)]


async def test_nothing_at_all_balances(audit: Audit) -> None:
    assert await audit.run() == []
    assert await audit.run("f") == [balance()]


async def test_events_in_the_queue_are_in_flight(books: Books, audit: Audit, broker: Broker) -> None:
    for i in ("a", "b"):
        await broker.publish(to_message(Envelope(i, "f", b"{}", NOW_MS)), routing_key=names.events("f"))
    await books.accept("a", "b")
    assert await audit.run("f") == [balance(accepted=2, in_flight=2)]


async def test_an_event_that_a_consumer_holds_is_in_flight(books: Books, audit: Audit, broker: Broker) -> None:
    await broker.publish(to_message(Envelope("a", "f", b"{}", NOW_MS)), routing_key=names.events("f"))
    await books.accept("a")
    held = await broker.get(names.events("f"))
    assert await audit.run("f") == [balance(accepted=1, in_flight=1)]
    assert held is not None
    await held.ack()
    assert await audit.run("f") == [balance(accepted=1, missing=1, missing_ids=("a",))]


async def test_where_the_broker_does_not_say_the_workers_do(books: Books, store: Store) -> None:
    class Silent:
        async def depth(self, queue: str) -> QueueDepth:
            return QueueDepth(ready=0, unsettled=None, consumers=1)

    row = {
        "id": "w1", "host": "h", "pid": 1, "process_start": "1", "boot_id": "b", "zone": "", "capacity": 4,
        "started_ms": 1, "heartbeat_ms": NOW_MS, "in_flight": json.dumps({"f": 1, "g": 7}),
    }  # fmt: skip
    await store.write(lambda c: c.execute(insert(worker), row))
    await books.accept("a", "b")
    audit = Audit(store, Silent(), clock=lambda: NOW_MS, recheck=SOON)  # type: ignore[arg-type]
    for values, in_flight in (
        ({}, 1),
        ({"heartbeat_ms": NOW_MS - 15_000}, 1),
        ({"heartbeat_ms": NOW_MS - 15_001}, 0),
        ({"heartbeat_ms": NOW_MS, "stopped_ms": NOW_MS}, 0),
        ({"stopped_ms": None, "died_ms": NOW_MS}, 0),
    ):
        await store.write(lambda c, new=values: c.execute(update(worker).values({"pid": 1, **new})))
        (found,) = await audit.run("f")
        assert (found.in_flight, found.missing, found.balanced) == (in_flight, 2 - in_flight, False)


async def test_a_retry_that_is_due_later_is_in_flight_and_one_long_overdue_is_not(books: Books, audit: Audit) -> None:
    await books.accept("later", "just", "overdue")
    await books.run("later", outcome="failed", ended_ms=NOW_MS - 1_000, retry_in_ms=60_000)
    await books.run("just", outcome="throttled", ended_ms=NOW_MS - 61_000, retry_in_ms=1_000)
    await books.run("overdue", outcome="failed", ended_ms=NOW_MS - 61_001, retry_in_ms=1_000)
    assert await audit.run() == [balance(accepted=3, in_flight=2, missing=1, missing_ids=("overdue",))]


async def test_losses_are_counted_in_full_and_named_up_to_twenty_oldest_first(books: Books, audit: Audit) -> None:
    for number in range(30):
        await books.accept(f"e{number:02}", at_ms=NOW_MS - number)
    (found,) = await audit.run("f")
    assert (found.accepted, found.missing, found.in_flight) == (30, 30, 0)
    assert found.missing_ids == tuple(f"e{n:02}" for n in range(29, 9, -1))


async def test_what_moves_between_two_looks_is_not_missing(books: Books, store: Store, broker: Broker) -> None:
    await books.accept("slow")

    class FinishesMeanwhile(Audit):
        async def _look(self, function: str | None) -> Any:
            looks = await super()._look(function)
            await books.run("slow")
            return looks

    audit = FinishesMeanwhile(store, broker, clock=lambda: NOW_MS, recheck=SOON)
    assert await audit.run() == [balance(accepted=1, succeeded=1)]


async def test_an_outcome_without_its_accepted_row_counts_as_accepted(books: Books, audit: Audit) -> None:
    await books.run("a")
    await books.bury("b")
    assert await audit.run() == [balance(accepted=2, succeeded=1, dead_lettered=1)]


async def test_a_second_success_is_a_duplicate_and_not_an_event(books: Books, audit: Audit) -> None:
    await books.accept("a", "a")
    await books.run("a", "a", "a")
    assert await audit.run() == [balance(accepted=1, succeeded=1, duplicates=2)]


async def test_requests_are_no_events(books: Books, audit: Audit) -> None:
    await books.run("r", kind="request")
    assert await audit.run("f") == [balance()]


@pytest.mark.parametrize("known", [True, False])
async def test_a_redriven_event_is_outstanding_until_it_ends_again(
    books: Books, audit: Audit, broker: Broker, known: bool
) -> None:
    if known:
        await books.accept("a")
    await books.bury("a", state="redriven")
    await broker.publish(to_message(Envelope("a", "f", b"{}", NOW_MS)), routing_key=names.events("f"))
    assert await audit.run() == [balance(accepted=1, in_flight=1)]
    await broker.purge(names.events("f"))
    await books.bury("a", redrives=1)
    assert await audit.run() == [balance(accepted=1, dead_lettered=1)]
    await books.run("a")
    assert await audit.run() == [balance(accepted=1, succeeded=1)]


async def test_functions_are_told_apart_even_under_one_event_id(books: Books, audit: Audit) -> None:
    await books.accept("a", function="f")
    await books.accept("a", function="g")
    await books.run("a", function="g")
    f, g = await audit.run()
    assert (f.function, f.missing, g.function, g.succeeded, g.missing) == ("f", 1, "g", 1, 0)
    assert await audit.run("g") == [g]


async def test_pruning_forgets_rows_and_keeps_the_balance(books: Books, audit: Audit, store: Store) -> None:
    old, new = NOW_MS - 10_000, NOW_MS - 1
    await books.accept("s", "t", "x", "held", "lost", "recent", at_ms=old)
    await books.run("s", outcome="failed", ended_ms=old)
    await books.run("s", "t", "t", ended_ms=old)
    await books.run("recent", ended_ms=new)
    await books.bury("x", reason="EventAgeExceeded", state="purged", at_ms=old)
    await books.bury("held", at_ms=old)
    await books.bury("s", state="redriven", at_ms=old)
    await books.run("r", kind="request", ended_ms=old)
    await store.write(lambda c: insert_all(c, [LogChunk("f", i, "l", old, "text") for i in ("s", "held", "r")]))
    before = await audit.run()
    pruned = await Retention(store).prune(NOW_MS - 5_000)
    assert (pruned.events, pruned.requests) == (3, 1)
    assert await audit.run() == before
    assert before == [
        balance(accepted=6, succeeded=3, expired=1, dead_lettered=1, missing=1, duplicates=1, missing_ids=("lost",))
    ]
    assert (await books.count(accepted), await books.count(attempt)) == (3, 1)
    assert (await books.count(dead_letter), await books.count(log), await books.count(settled_total)) == (1, 0, 1)
    assert (await Retention(store).prune(NOW_MS - 5_000)).events == 0


async def test_pruning_more_than_one_batch_and_again_adds_up(books: Books, audit: Audit, store: Store) -> None:
    ids = [f"e{n}" for n in range(1_200)]
    await books.accept(*ids)
    await books.run(*ids)
    assert (await Retention(store).prune(NOW_MS)).events == 1_200
    await books.accept("one more")
    await books.run("one more")
    assert (await Retention(store).prune(NOW_MS)).events == 1
    assert await audit.run() == [balance(accepted=1_201, succeeded=1_201)]


async def test_the_story_of_an_event_has_everything_in_order(books: Books, store: Store) -> None:
    await books.accept("a")
    await books.run("a", outcome="failed", error_type="E", error_message="no", traceparent="00-0af7-c8-01")
    await store.write(
        lambda c: insert_all(c, [LogChunk("f", "a", "l", 1, "hello"), LogChunk("f", "b", "l", 1, "other")])
    )
    history = History(store)
    story = await history.story("a")
    assert story is not None
    assert (story.function, story.state, story.trace_id) == ("f", "in flight", "0af7")
    assert [c.text for c in story.logs] == ["hello"]
    await books.bury("a")
    assert (await history.story("a")).state == "held"  # type: ignore[union-attr]
    await store.write(lambda c: c.execute(update(dead_letter).values(state="redriven")))
    assert (await history.story("a")).state == "in flight"  # type: ignore[union-attr]
    await books.run("a")
    story = await history.story("a")
    assert story is not None
    assert (story.state, [a.outcome for a in story.attempts]) == ("succeeded", ["failed", "succeeded"])
    assert (story.attempts[0].error_message, story.letters[0].state) == ("no", "redriven")
    assert await history.story("nobody") is None


async def test_the_story_of_a_request_ends_as_the_request_did(books: Books, store: Store) -> None:
    await books.run("r", kind="request", outcome="throttled")
    story = await History(store).story("r")
    assert story is not None
    assert (story.accepted, story.state, story.trace_id) == (None, "throttled", "")


async def test_logs_are_filtered_and_followed_by_a_cursor(store: Store) -> None:
    history = History(store)

    async def write(*texts: str, function: str = "f", event_id: str = "a", at_ms: int = 10) -> None:
        await store.write(lambda c: insert_all(c, [LogChunk(function, event_id, "l", at_ms, t) for t in texts]))

    await write("Alpha 100%", "beta\0", "gamma")
    await write("late", event_id="b", at_ms=20)
    await write("not mine", function="g")
    first = await history.logs("f", limit=3)
    assert [c.text for c in first.chunks] == ["Alpha 100%", "beta\ufffd", "gamma"]
    second = await history.logs("f", after=first.cursor)
    assert [c.text for c in second.chunks] == ["late"]
    assert await history.logs("f", after=second.cursor) == type(second)((), second.cursor)
    assert [c.text for c in (await history.logs("f", contains="alpha 100%")).chunks] == ["Alpha 100%"]
    assert (await history.logs("f", contains="1%0")).chunks == ()
    assert [c.text for c in (await history.logs("f", since_ms=20)).chunks] == ["late"]
    assert [c.text for c in (await history.logs("f", event_id="b")).chunks] == ["late"]


async def test_the_newest_attempts_come_oldest_first(books: Books, store: Store) -> None:
    for number in range(4):
        await books.run(f"e{number}", ended_ms=number)
    assert [a.event_id for a in await History(store).attempts("f", since_ms=1, limit=2)] == ["e2", "e3"]


async def test_a_lost_success_row_shows_as_missing(books: Books, audit: Audit, store: Store) -> None:
    await books.accept("a")
    await books.run("a")
    assert (await audit.run("f"))[0].balanced
    await store.write(lambda c: c.execute(delete(attempt)))
    assert not (await audit.run("f"))[0].balanced
