"""The embedded broker with its real journal: restarts, damage, a full disk, other programs, large backlogs."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from broker.broker import Delivery, State
from broker.embedded import EmbeddedBroker, JournalCorrupt
from broker.embedded.hub import RETRY_S
from broker.embedded.journal import FILE
from broker.errors import Blocked, DeliveryLost, Locked, Unavailable
from broker.message import Message
from broker.topology import Binding, Exchange, ExchangeKind, Queue, QueueKind, Topology

PATIENCE_S = 60


def state(broker: EmbeddedBroker) -> State:
    return broker.status.state


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[EmbeddedBroker]:
    broker = EmbeddedBroker(tmp_path, delays=(timedelta(milliseconds=50),))
    await broker.start()
    await broker.declare(Topology(queues=(Queue("q"),)))
    yield broker
    await broker.close()


async def reopened(directory: Path) -> EmbeddedBroker:
    broker = EmbeddedBroker(directory, delays=(timedelta(milliseconds=50),))
    await broker.start()
    return broker


async def drain(broker: EmbeddedBroker, queue: str) -> list[Delivery]:
    deliveries: list[Delivery] = []
    while (delivery := await broker.get(queue)) is not None:
        await delivery.ack()
        deliveries.append(delivery)
    return deliveries


async def test_a_clean_close_loses_neither_messages_nor_acknowledgements(
    broker: EmbeddedBroker, tmp_path: Path
) -> None:
    for n in range(10):
        await broker.publish(
            Message(b"%d" % n, headers={"n": n, "at": datetime(2026, 1, 1, tzinfo=UTC)}), routing_key="q"
        )
    for _ in range(4):
        delivery = await broker.get("q")
        assert delivery is not None
        await delivery.ack()
    out = await broker.get("q")
    assert out is not None
    await broker.close()
    with pytest.raises(DeliveryLost):
        await out.ack()
    again = await reopened(tmp_path)
    deliveries = await drain(again, "q")
    assert [d.message.headers["n"] for d in deliveries] == list(range(4, 10))
    assert [d.redelivered for d in deliveries] == [True] + [False] * 5
    assert deliveries[0].failures == 1
    assert deliveries[1].message.headers["at"] == datetime(2026, 1, 1, tzinfo=UTC)
    await again.close()


async def test_topology_survives_a_restart_and_transient_messages_do_not(
    broker: EmbeddedBroker, tmp_path: Path
) -> None:
    topology = Topology(
        exchanges=(Exchange("h", ExchangeKind.HEADERS), Exchange("t", ExchangeKind.TOPIC, alternate="h")),
        queues=(Queue("c", QueueKind.CLASSIC, ttl=timedelta(hours=1), max_length=3),),
        bindings=(Binding("h", "c", arguments={"kind": "a"}), Binding("t", "c", "a.#")),
    )
    await broker.declare(topology)
    await broker.publish(Message(b"kept"), exchange="t", routing_key="a.b")
    await broker.publish(Message(b"gone", headers={"kind": "a"}, persistent=False), exchange="t", routing_key="x")
    await broker.close()
    again = await reopened(tmp_path)
    await again.declare(topology)
    await again.publish(Message(b"routed", headers={"kind": "a"}), exchange="t", routing_key="x")
    assert [d.message.body for d in await drain(again, "c")] == [b"kept", b"routed"]
    await again.close()


async def test_a_stream_goes_on_counting_after_a_restart(broker: EmbeddedBroker, tmp_path: Path) -> None:
    await broker.declare(Topology(queues=(Queue("s", QueueKind.STREAM),)))
    for n in range(3):
        await broker.publish(Message(b"%d" % n), routing_key="s")
    await broker.close()
    again = await reopened(tmp_path)
    await again.publish(Message(b"3"), routing_key="s")
    records: asyncio.Queue[Delivery] = asyncio.Queue()
    await again.subscribe("s", records.put_nowait, prefetch=10, offset=1)
    async with asyncio.timeout(PATIENCE_S):
        assert [(await records.get()).offset for _ in range(3)] == [1, 2, 3]
    await again.close()


async def test_the_directory_is_locked_within_one_process_too(broker: EmbeddedBroker, tmp_path: Path) -> None:
    with pytest.raises(Locked):
        await EmbeddedBroker(tmp_path, delays=()).start()


@pytest.mark.parametrize("place", [0, 8192 * 2 + 100])
async def test_a_damaged_journal_is_named_and_left_as_it_is(tmp_path: Path, place: int) -> None:
    broker = await reopened(tmp_path)
    await broker.declare(Topology(queues=(Queue("q"),)))
    for n in range(6):
        await broker.publish(Message(b"%d" % n * 100), routing_key="q")
    await broker.close()
    path = tmp_path / FILE
    damaged = bytearray(path.read_bytes())
    damaged[place : place + 8192 * 8] = b"\xa5" * len(damaged[place : place + 8192 * 8])
    path.write_bytes(damaged)
    with pytest.raises(JournalCorrupt, match=FILE):
        await reopened(tmp_path)
    assert path.read_bytes() == damaged


async def test_a_foreign_database_is_refused(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / FILE)
    db.execute("CREATE TABLE theirs (x)")
    db.commit()
    db.close()
    with pytest.raises(JournalCorrupt, match="not a journal"):
        await reopened(tmp_path)


async def test_a_full_disk_blocks_publishing_until_there_is_space(tmp_path: Path) -> None:
    broker = EmbeddedBroker(tmp_path, delays=(), max_pages=200)
    await broker.start()
    await broker.declare(Topology(queues=(Queue("q"),)))
    accepted = 0
    while state(broker) is State.CONNECTED:
        with suppress(Blocked):
            await broker.publish(Message(b"%d" % accepted + b"x" * 20_000), routing_key="q")
            accepted += 1
    assert state(broker) is State.BLOCKED
    assert "full" in broker.status.reason
    with pytest.raises(Blocked, match="full"):
        await broker.publish(Message(b"x"), routing_key="q")
    deliveries = await drain(broker, "q")
    assert len(deliveries) == accepted
    async with asyncio.timeout(PATIENCE_S):
        while state(broker) is State.BLOCKED:
            await asyncio.sleep(RETRY_S)
    assert broker.status.reconnects == 1
    await broker.publish(Message(b"again"), routing_key="q")
    await broker.close()
    again = await reopened(tmp_path)
    assert [d.message.body for d in await drain(again, "q")] == [b"again"]
    await again.close()


async def test_the_last_of_the_disk_is_kept_for_deleting(broker: EmbeddedBroker, tmp_path: Path) -> None:
    await broker.publish(Message(b"before"), routing_key="q")
    journal = broker.hub._journal
    journal.reserve_bytes, enough = 1 << 62, journal.reserve_bytes
    with pytest.raises(Blocked, match="nearly full"):
        await broker.publish(Message(b"during"), routing_key="q")
    assert state(broker) is State.BLOCKED
    [delivery] = await drain(broker, "q")
    assert delivery.message.body == b"before"
    other = sqlite3.connect(tmp_path / FILE)
    async with asyncio.timeout(PATIENCE_S):
        while other.execute("SELECT count(*) FROM messages").fetchone() != (0,):
            await asyncio.sleep(RETRY_S)
        other.close()
        journal.reserve_bytes = enough
        while state(broker) is State.BLOCKED:
            await asyncio.sleep(RETRY_S)
    await broker.publish(Message(b"after"), routing_key="q")


async def test_a_journal_locked_by_another_program_blocks_until_it_lets_go(
    broker: EmbeddedBroker, tmp_path: Path
) -> None:
    await broker.publish(Message(b"before"), routing_key="q")
    delivery = await broker.get("q")
    assert delivery is not None
    other = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    await delivery.ack()
    with pytest.raises(Unavailable, match="locked"):
        await broker.publish(Message(b"during"), routing_key="q")
    assert state(broker) is State.BLOCKED
    other.execute("ROLLBACK")
    other.close()
    async with asyncio.timeout(PATIENCE_S):
        while state(broker) is State.BLOCKED:
            await asyncio.sleep(RETRY_S)
    await broker.publish(Message(b"after"), routing_key="q")
    assert [d.message.body for d in await drain(broker, "q")] == [b"after"]


async def test_a_publish_that_is_not_confirmed_in_time_is_unavailable(broker: EmbeddedBroker, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="in time"):
        await broker.publish(Message(b"m"), routing_key="q", timeout=timedelta(milliseconds=50))
    other.execute("ROLLBACK")
    other.close()


async def test_a_large_backlog_stays_on_disk_and_comes_in_order(broker: EmbeddedBroker, tmp_path: Path) -> None:
    count = 20_000
    for start in range(0, count, 1_000):
        await asyncio.gather(
            *(broker.publish(Message(b"%d" % n + b" " * 1_000), routing_key="q") for n in range(start, start + 1_000))
        )
    await broker.close()
    again = await reopened(tmp_path)
    numbers: list[int] = []
    complete = asyncio.Event()

    async def settle(delivery: Delivery) -> None:
        numbers.append(int(delivery.message.body))
        await delivery.ack()
        if len(numbers) == count:
            complete.set()

    tasks: set[asyncio.Task[None]] = set()

    def on_delivery(delivery: Delivery) -> None:
        task = asyncio.create_task(settle(delivery))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    await again.subscribe("q", on_delivery, prefetch=50)
    async with asyncio.timeout(PATIENCE_S):
        await complete.wait()
    assert numbers == list(range(count))
    await again.close()


async def test_closing_one_client_gives_back_its_deliveries_and_permits_alone(broker: EmbeddedBroker) -> None:
    sibling = broker.sibling("other")
    await sibling.start()
    await broker.publish(Message(b"1"), routing_key="q")
    await broker.publish(Message(b"2"), routing_key="q")
    mine, theirs = await broker.get("q"), await sibling.get("q")
    await broker.permits("p").resize(1)
    permit = await sibling.permits("p").acquire(timedelta(0))
    assert mine is not None
    assert theirs is not None
    assert permit is not None
    await sibling.close()
    assert not permit.valid
    again = await broker.get("q")
    assert again is not None
    assert (again.message.body, again.redelivered) == (b"2", True)
    assert await broker.permits("p").acquire(timedelta(0)) is not None
    await mine.ack()
    with pytest.raises(DeliveryLost):
        await theirs.ack()
