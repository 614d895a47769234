"""What is measured for autoscalers, over a real store and broker: the backlog, what runs, and the oldest event."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from sqlalchemy import insert

from broker import names
from broker.embedded import EmbeddedBroker
from broker.message import Message
from broker.topology import function_queues
from fnrunner.app import backlog
from fnrunner.app.backlog import Backlog
from fnrunner.catalogue import Catalogue
from fnrunner.delivery import waiting
from fnrunner.model.load import Load
from fnrunner.store.engine import Store
from fnrunner.store.schema import accepted, attempt, dead_letter, process
from fnrunner.worker.stranded import Stranded

NOW_MS = 1_800_000_000_000
S = 1000


class Bench:
    """A function ``f`` with rows written by hand; the clock stands still until a test moves it."""

    def __init__(self, store: Store, broker: EmbeddedBroker) -> None:
        self.store = store
        self.broker = broker
        self.now_ms = NOW_MS
        self.caps: dict[str, int | None] = {"f": None}
        catalogue = SimpleNamespace(
            snapshot=SimpleNamespace(functions=_Functions(self.caps)),
            lookup=lambda name: SimpleNamespace(reserved_concurrency=self.caps[name]),
        )
        self.backlog = Backlog(cast(Catalogue, catalogue), broker, store, clock=lambda: self.now_ms)

    async def wait(self, *event_ids: str, ready: bool = True, age_s: float = 0, function: str = "f") -> None:
        """Accepted so long ago, and in the queue."""
        for event_id in event_ids:
            row = {"event_id": event_id, "function": function, "qualifier": "", "source": "api", "size_bytes": 2,
                   "at_ms": self.now_ms - int(age_s * S), "traceparent": ""}  # fmt: skip
            await self.store.write(lambda c, row=row: c.execute(insert(accepted), row))
            if ready:
                await self.broker.publish(Message(b"{}"), routing_key=names.events(function))

    async def tried(self, event_id: str, *, outcome: str = "succeeded", retry_in_ms: int | None = None) -> None:
        row = {"event_id": event_id, "function": "f", "version": "$LATEST", "kind": "event", "number": 1,
               "started_ms": self.now_ms, "ended_ms": self.now_ms, "outcome": outcome, "error_type": "", "error_message": "",
               "retry_in_ms": retry_in_ms, "duration_ms": 1.0, "billed_ms": 1, "memory_mb": 128, "max_memory_mb": 30,
               "init_ms": None, "cold_reason": "", "log_stream": "", "digest": "", "worker": "w",
               "traceparent": ""}  # fmt: skip
        await self.store.write(lambda c: c.execute(insert(attempt), row))

    async def dead(self, event_id: str) -> None:
        row = {"event_id": event_id, "redrives": 0, "function": "f", "reason": "x", "error_type": "", "error_message": "",
               "at_ms": self.now_ms, "state": "held", "marked_ms": None, "envelope": b"", "digest": "",
               "traceparent": ""}  # fmt: skip
        await self.store.write(lambda c: c.execute(insert(dead_letter), row))

    async def runs(self, name: str, *, capacity: int = 4, age_s: float = 0, **document: Any) -> None:
        row = {"id": name, "roles": "worker", "host": "h", "pid": 1, "zone": "", "capacity": capacity, "started_ms": 1,
               "heartbeat_ms": self.now_ms - int(age_s * S), "document": json.dumps(document)}  # fmt: skip
        await self.store.write(lambda c: c.execute(insert(process), row))

    async def settle(self) -> None:
        """Whatever is in the queue is done with."""
        await self.broker.purge(names.events("f"))

    async def oldest_s(self) -> float | None:
        return (await self.backlog.sample()).functions["f"].oldest_s


class _Functions:
    def __init__(self, caps: dict[str, int | None]) -> None:
        self._caps = caps

    def __iter__(self) -> Any:
        return iter([(name, "$LATEST") for name in self._caps])


@pytest.fixture
async def bench(store: Store, tmp_path: Path) -> AsyncIterator[Bench]:
    broker = EmbeddedBroker(tmp_path / "broker", delays=[])
    await broker.start()
    await broker.declare(function_queues("f"))
    yield Bench(store, broker)
    await broker.close()


async def test_the_backlog_is_what_is_ready_and_what_is_in_hand(bench: Bench) -> None:
    await bench.wait("a", "b", "c")
    held: list[Any] = []
    await bench.broker.subscribe(names.events("f"), held.append, prefetch=1)
    while not held:
        await bench.broker.depth(names.events("f"))
    load = (await bench.backlog.sample()).functions["f"]
    assert (load.backlog, load.ready, load.unsettled) == (3, 2, 1)


async def test_room_and_shares_count_the_living_workers_that_do_not_drain(bench: Bench) -> None:
    await bench.runs("w1", running={"f": 3}, events={"f": 3})
    await bench.runs("w2", running={"f": 1}, draining=True)
    await bench.runs("w3", age_s=16, running={"f": 4})
    load = await bench.backlog.sample()
    assert (load.capacity, load.running, load.busy_share) == (4, 4, 1.0)
    assert (load.functions["f"].limit, load.functions["f"].busy_share) == (4, 1.0)
    bench.caps["f"] = 8
    assert (await bench.backlog.sample()).functions["f"].busy_share == 0.5


async def test_the_oldest_event_is_the_one_that_waits_longest_for_its_first_attempt(bench: Bench) -> None:
    await bench.wait("a", age_s=30)
    await bench.wait("b", age_s=20)
    await bench.wait("c", age_s=10)
    assert await bench.oldest_s() == 30
    await bench.tried("a")
    assert await bench.oldest_s() == 20
    await bench.dead("b")
    assert await bench.oldest_s() == 10
    await bench.settle()
    assert await bench.oldest_s() == 0


async def test_events_that_wait_for_a_retry_count_only_while_no_other_waits(bench: Bench) -> None:
    await bench.wait("a", age_s=50)
    await bench.tried("a", outcome="failed", retry_in_ms=1)
    await bench.wait("b", age_s=5)
    assert await bench.oldest_s() == 5
    await bench.tried("b")
    assert await bench.oldest_s() == 50


async def test_what_was_lost_does_not_count_for_ever(bench: Bench) -> None:
    await bench.wait("lost", age_s=500, ready=False)
    for _ in range(2):
        assert await bench.oldest_s() == 0
        bench.now_ms += 20 * S
    await bench.wait("new", age_s=1)
    assert await bench.oldest_s() == 1


async def test_the_search_goes_on_where_it_ended_and_is_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "MOST_STEPS", 1)
    monkeypatch.setattr(waiting, "STEP", 5)
    step = waiting.step
    monkeypatch.setattr(waiting, "step", lambda c, f, mark: step(c, f, mark, 5))
    for n in range(12):
        await bench.wait(f"done-{n}", age_s=100 - n, ready=False)
        await bench.tried(f"done-{n}")
    await bench.wait("waits", age_s=3)
    found = [await bench.oldest_s() for _ in range(5)]
    assert found[-1] == 3
    assert found.count(None) >= 1, found


async def test_a_restarted_api_begins_near_the_end_of_a_long_history(bench: Bench) -> None:
    rows = [{"event_id": f"e{n}", "function": "f", "qualifier": "", "source": "api", "size_bytes": 2,
             "at_ms": NOW_MS - 100_000 + n, "traceparent": ""} for n in range(5_000)]  # fmt: skip
    await bench.store.write(lambda c: c.execute(insert(accepted), rows))
    mark = await bench.store.read(lambda c: waiting.first_mark(c, "f", 10))
    assert mark == NOW_MS - 100_000 + 5_000 - 1 - (2 * 10 + waiting.STEP)
    assert await bench.store.read(lambda c: waiting.first_mark(c, "f", 1_000_000)) == 0


async def test_an_old_sample_is_not_shown(bench: Bench) -> None:
    sampled: Load = await bench.backlog.sample()
    assert bench.backlog.latest is sampled
    bench.now_ms += 31 * S
    assert bench.backlog.latest is None


async def test_many_functions_take_turns_and_keep_what_was_found(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "MOST_QUEUES", 2)
    for name in "ghi":
        bench.caps[name] = None
        await bench.broker.declare(function_queues(name))
        await bench.wait(f"of-{name}", function=name)
    seen = [set((await bench.backlog.sample()).functions) for _ in range(2)]
    assert (len(seen[0]), seen[1]) == (2, set("fghi"))
    assert {n: load.backlog for n, load in (await bench.backlog.sample()).functions.items()} == {
        "f": 0, "g": 1, "h": 1, "i": 1,
    }  # fmt: skip
    del bench.caps["h"]
    assert "h" not in (await bench.backlog.sample()).functions


async def test_what_is_neither_ready_nor_with_a_worker_nor_tried_is_stranded(bench: Bench) -> None:
    stranded = Stranded(bench.store, clock=lambda: bench.now_ms)
    await bench.wait("a", "b", "c", "d", ready=False)
    assert await stranded.find({"f": 0}) == {}, "they may just be on their way"
    bench.now_ms += 5 * S
    assert await stranded.find({"f": 0}) == {"f": 4}
    assert await stranded.find({"f": 1}) == {"f": 3}
    await bench.runs("w1", events={"f": 1})
    assert await stranded.find({"f": 1}) == {"f": 2}
    await bench.tried("a")
    assert await stranded.find({"f": 1}) == {"f": 1}
    assert await stranded.find({"f": 2}) == {}
    assert await stranded.find({}) == {}
    stranded.excuse("f")
    assert await stranded.find({"f": 0}) == {}
    await bench.wait("e", ready=False)
    bench.now_ms += 5 * S
    assert await stranded.find({"f": 0}) == {}, "the one that w1 has"
    await bench.wait("f", ready=False, age_s=4.5)
    assert await stranded.find({"f": 0}) == {"f": 1}
