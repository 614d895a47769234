"""Permits on RabbitMQ: what happens to them when their holder, their broker, their queues or the network go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from datetime import timedelta

import pytest

from broker import names
from broker.rabbitmq import RabbitMQBroker
from broker.rabbitmq.connection import Session
from broker.rabbitmq.permit import Permit, Permits
from broker.rabbitmq.permit_count import Counted, CountQueue
from broker.topology import Queue, QueueKind, Topology
from tests.faults.proxy import Proxy, Weather
from tests.rabbitmq_server import RabbitMQServer

NOW = timedelta(0)
PATIENCE = timedelta(seconds=40)
A_MOMENT = timedelta(milliseconds=300)
LONG_PAUSE = timedelta(seconds=30)


@pytest.fixture
async def clients(private_rabbitmq: RabbitMQServer) -> AsyncIterator[tuple[RabbitMQBroker, RabbitMQBroker]]:
    pair = RabbitMQBroker(private_rabbitmq.url), RabbitMQBroker(private_rabbitmq.url)
    for client in pair:
        await client.start()
    yield pair
    for client in pair:
        await client.close()


async def take(permits: Permits, number: int = 1) -> list[Permit]:
    held = [permit for _ in range(number) if (permit := await permits.acquire(PATIENCE)) is not None]
    assert len(held) == number
    return held


def permits_of(client: RabbitMQBroker, pause: timedelta) -> Permits:
    return Permits("f", client._consuming, client._publishing, client, pause=pause)


async def test_a_lost_permit_is_kept_back_until_its_holder_has_heard_of_it(private_rabbitmq: RabbitMQServer) -> None:
    async with Away(private_rabbitmq) as (away, proxy):
        here = RabbitMQBroker(private_rabbitmq.url)
        await here.start()
        permits = permits_of(here, timedelta(seconds=1))
        await permits.resize(1)
        (held,) = await take(away.permits("f"))
        waiting = asyncio.ensure_future(permits.acquire(PATIENCE))
        await asyncio.sleep(0.2)
        loop = asyncio.get_running_loop()
        cut_at = loop.time()
        proxy.cut()
        await held.lost.wait()
        heard_after = loop.time() - cut_at
        assert await waiting is not None
        assert loop.time() - cut_at >= 1.0 > heard_after
        assert not held.valid
        await permits.close()
        await here.close()


async def test_a_released_permit_is_free_at_once(clients: tuple[RabbitMQBroker, RabbitMQBroker]) -> None:
    one, two = (permits_of(client, LONG_PAUSE) for client in clients)
    await one.resize(1)
    for _ in range(3):
        for permits in (one, two):
            async with asyncio.timeout(10):
                (held,) = await take(permits)
            await held.release()
    await one.close()
    await two.close()


async def test_giving_up_during_the_pause_leaves_the_pause_to_the_next(
    clients: tuple[RabbitMQBroker, RabbitMQBroker],
) -> None:
    gone, client = clients
    permits = permits_of(client, timedelta(seconds=1))
    await permits.resize(1)
    await take(gone.permits("f"))
    await gone.close()
    impatient = asyncio.ensure_future(permits.acquire(PATIENCE))
    async with asyncio.timeout(20):
        while not permits._held:
            await asyncio.sleep(0.01)
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    began = asyncio.get_running_loop().time()
    await take(permits)
    assert asyncio.get_running_loop().time() - began >= 1.0
    await permits.close()


async def test_a_restarted_broker_has_as_many_as_before(
    clients: tuple[RabbitMQBroker, RabbitMQBroker], private_rabbitmq: RabbitMQServer
) -> None:
    one, two = (client.permits("f") for client in clients)
    for permits in (one, two):
        await permits.resize(3, 4)
    before = await take(one, 2) + await take(two, 1)
    await asyncio.to_thread(private_rabbitmq.kill)
    await asyncio.gather(*(permit.lost.wait() for permit in before))
    await asyncio.to_thread(private_rabbitmq.start)
    async with asyncio.timeout(PATIENCE.total_seconds()):
        while clients[0].status.reason or clients[1].status.reason:
            await asyncio.sleep(0.05)
    after = await take(two, 2) + await take(one, 1)
    assert await one.acquire(A_MOMENT) is None
    assert await two.acquire(A_MOMENT) is None
    assert all(permit.valid for permit in after)


async def test_a_deleted_queue_of_permits_is_made_anew(clients: tuple[RabbitMQBroker, RabbitMQBroker]) -> None:
    one, two = (client.permits("f") for client in clients)
    for permits in (one, two):
        await permits.resize(2)
    for permit in await take(one, 1) + await take(two, 1):
        await permit.release()
    await clients[0].delete(Topology(queues=(Queue(names.permits("f"), QueueKind.CLASSIC),)))
    await until_taken(one)
    await until_taken(two)
    assert await one.acquire(A_MOMENT) is None
    assert await two.acquire(A_MOMENT) is None


async def until_taken(permits: Permits) -> Permit:
    """Asking fails as long as the client has not noticed."""
    async with asyncio.timeout(PATIENCE.total_seconds()):
        while True:
            try:
                if (permit := await permits.acquire(NOW)) is not None:
                    return permit
            except Exception:
                await asyncio.sleep(0.05)


async def test_a_lost_count_makes_no_permit_twice(clients: tuple[RabbitMQBroker, RabbitMQBroker]) -> None:
    one, _ = (client.permits("f") for client in clients)
    await one.resize(2)
    await clients[0].delete(Topology(queues=(Queue(names.permits("f.total"), QueueKind.CLASSIC),)))
    await clients[1].permits("f").resize(2)
    taken = [await until_taken(clients[1].permits("f")) for _ in range(2)]
    assert await clients[1].permits("f").acquire(A_MOMENT) is None
    assert all(permit.valid for permit in taken)


async def test_whoever_is_cut_off_without_a_word_loses_its_permits_before_they_are_free(
    private_rabbitmq: RabbitMQServer,
) -> None:
    async with Away(private_rabbitmq, "heartbeat=2") as (away, proxy):
        here = RabbitMQBroker(private_rabbitmq.url)
        await here.start()
        await here.permits("f").resize(1)
        (held,) = await take(away.permits("f"))
        waiting = asyncio.ensure_future(here.permits("f").acquire(PATIENCE))
        await asyncio.sleep(0.5)
        await asyncio.sleep(4)
        assert held.valid, "it is held as long as the broker answers"
        proxy.weather = Weather(silent=True)
        await held.lost.wait()
        assert not waiting.done()
        # RabbitMQ notices only now
        assert await waiting is not None
        await here.close()


async def test_an_alarm_keeps_nobody_from_releasing_and_taking(
    clients: tuple[RabbitMQBroker, RabbitMQBroker], private_rabbitmq: RabbitMQServer
) -> None:
    one, two = (client.permits("f") for client in clients)
    await one.resize(1)
    (held,) = await take(one)
    await asyncio.to_thread(private_rabbitmq.raise_memory_alarm)
    try:
        await asyncio.sleep(1)
        for permits in (two, one, two):
            await held.release()
            (held,) = await take(permits)
    finally:
        await asyncio.to_thread(private_rabbitmq.clear_memory_alarm)


async def test_many_are_removed_in_few_turns_so_that_those_who_wait_are_not_kept(
    clients: tuple[RabbitMQBroker, RabbitMQBroker], monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = 0
    locked = CountQueue.locked

    def counted(queues: CountQueue, session: Session) -> AbstractAsyncContextManager[Counted]:
        nonlocal turns
        turns += 1
        return locked(queues, session)

    monkeypatch.setattr(CountQueue, "locked", counted)
    one, two = (client.permits("f") for client in clients)
    await asyncio.gather(one.resize(200), two.resize(200))
    held = await take(one, 20)
    for number, total in enumerate((3, 0, 5), 1):
        await asyncio.gather(one.resize(total, number), two.resize(total, number))
    for permit in held:
        await permit.release()
    assert len(await take(two, 5)) == 5
    assert await two.acquire(A_MOMENT) is None
    assert turns < 60


class Away:
    """A client behind a proxy."""

    def __init__(self, server: RabbitMQServer, query: str = "") -> None:
        self._server = server
        self._query = query

    async def __aenter__(self) -> tuple[RabbitMQBroker, Proxy]:
        self._proxy = Proxy(self._server.port)
        url = self._server.url.replace(f":{self._server.port}/", f":{self._proxy.port}/")
        self._client = RabbitMQBroker(f"{url}?{self._query}" if self._query else url)
        await self._client.start()
        return self._client, self._proxy

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()
        self._proxy.close()
