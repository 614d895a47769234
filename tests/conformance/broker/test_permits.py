"""Permits: never more than the total are held, over all clients, whatever dies."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from broker.broker import Broker, Permit, Permits
from tests.conformance.broker.conftest import BrokerFactory
from tests.conformance.broker.inbox import PATIENCE_S

NOW = timedelta(0)
PATIENCE = timedelta(seconds=PATIENCE_S)
A_MOMENT = timedelta(milliseconds=200)


async def take(permits: Permits, count: int) -> list[Permit]:
    held = [await permits.acquire(PATIENCE) for _ in range(count)]
    assert None not in held
    return [p for p in held if p is not None]


async def test_as_many_permits_are_held_as_there_are(broker: Broker, name: str) -> None:
    permits = broker.permits(name)
    await permits.resize(3)
    held = await take(permits, 3)
    assert all(p.valid for p in held)
    assert await permits.acquire(NOW) is None
    assert await permits.acquire(A_MOMENT) is None


async def test_permits_that_nobody_made_are_not_there(broker: Broker, name: str) -> None:
    assert await broker.permits(name).acquire(NOW) is None


async def test_no_permits_are_none(broker: Broker, name: str) -> None:
    permits = broker.permits(name)
    await permits.resize(0)
    assert await permits.acquire(A_MOMENT) is None


async def test_a_released_permit_can_be_held_again(broker: Broker, name: str) -> None:
    permits = broker.permits(name)
    await permits.resize(1)
    for _ in range(5):
        (permit,) = await take(permits, 1)
        assert await permits.acquire(NOW) is None
        await permit.release()
        await permit.release()


async def test_releasing_twice_makes_no_second_permit(broker: Broker, name: str) -> None:
    permits = broker.permits(name)
    await permits.resize(2)
    one, _two = await take(permits, 2)
    await one.release()
    await one.release()
    await take(permits, 1)
    assert await permits.acquire(A_MOMENT) is None


async def test_whoever_waits_gets_what_is_released(broker: Broker, broker_factory: BrokerFactory, name: str) -> None:
    permits, others = broker.permits(name), (await broker_factory.another()).permits(name)
    await permits.resize(1)
    (held,) = await take(permits, 1)
    waiting = asyncio.ensure_future(others.acquire(PATIENCE))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    await held.release()
    assert await waiting is not None


async def test_two_clients_together_never_hold_more_than_the_total(
    broker: Broker, broker_factory: BrokerFactory, name: str
) -> None:
    total, held, most, rounds = 3, 0, 0, 0
    clients = [broker.permits(name), (await broker_factory.another()).permits(name)]
    await clients[0].resize(total)

    async def work(permits: Permits) -> None:
        nonlocal held, most, rounds
        for _ in range(10):
            permit = await permits.acquire(PATIENCE)
            assert permit is not None
            held += 1
            most = max(most, held)
            await asyncio.sleep(0.001)
            held -= 1
            await permit.release()
            rounds += 1

    await asyncio.gather(*(work(permits) for permits in clients for _ in range(4)))
    assert (most, rounds) == (total, 80)


async def test_growing_gives_more_while_the_first_are_held(
    broker: Broker, broker_factory: BrokerFactory, name: str
) -> None:
    permits, others = broker.permits(name), (await broker_factory.another()).permits(name)
    await permits.resize(1)
    await take(permits, 1)
    await others.resize(3)
    await take(others, 1)
    await take(permits, 1)
    assert await permits.acquire(A_MOMENT) is None
    assert await others.acquire(NOW) is None


async def test_shrinking_takes_effect_as_held_permits_are_released(
    broker: Broker, broker_factory: BrokerFactory, name: str
) -> None:
    permits, others = broker.permits(name), (await broker_factory.another()).permits(name)
    await permits.resize(3)
    held = await take(permits, 2) + await take(others, 1)
    await others.resize(1)
    await held[0].release()
    await held[1].release()
    assert await permits.acquire(A_MOMENT) is None
    await held[2].release()
    await take(permits, 1)
    assert await permits.acquire(A_MOMENT) is None
    assert await others.acquire(A_MOMENT) is None


async def test_shrinking_and_growing_again_makes_the_total_exist(broker: Broker, name: str) -> None:
    permits = broker.permits(name)
    for total in (4, 1, 3, 0, 2):
        await permits.resize(total)
        held = await take(permits, total)
        assert await permits.acquire(A_MOMENT) is None
        for permit in held:
            await permit.release()


async def test_resizing_to_the_same_total_changes_nothing(
    broker: Broker, broker_factory: BrokerFactory, name: str
) -> None:
    permits, others = broker.permits(name), (await broker_factory.another()).permits(name)
    await permits.resize(2)
    await take(others, 1)
    for _ in range(3):
        await permits.resize(2)
        await others.resize(2)
    await take(permits, 1)
    assert await permits.acquire(A_MOMENT) is None


async def test_resizing_from_two_clients_at_once_ends_with_the_total(
    broker: Broker, broker_factory: BrokerFactory, name: str
) -> None:
    permits, others = broker.permits(name), (await broker_factory.another()).permits(name)
    await asyncio.gather(*(p.resize(4) for p in (permits, others, permits, others)))
    await take(permits, 2)
    await take(others, 2)
    assert await permits.acquire(A_MOMENT) is None


async def test_the_permits_of_a_lost_client_return(broker: Broker, broker_factory: BrokerFactory, name: str) -> None:
    other = await broker_factory.another()
    permits = broker.permits(name)
    await permits.resize(2)
    held = await take(other.permits(name), 2)
    assert await permits.acquire(NOW) is None
    waiting = asyncio.ensure_future(permits.acquire(PATIENCE))
    await other.close()
    assert await waiting is not None
    await take(permits, 1)
    assert await permits.acquire(A_MOMENT) is None
    assert not any(p.valid for p in held)
    for permit in held:
        await permit.release()


async def test_a_waiting_acquire_that_is_cancelled_keeps_no_permit(broker: Broker, name: str) -> None:
    permits = broker.permits(name)
    await permits.resize(1)
    (held,) = await take(permits, 1)
    waiting = [asyncio.ensure_future(permits.acquire(PATIENCE)) for _ in range(3)]
    await asyncio.sleep(0.05)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    await held.release()
    await take(permits, 1)


async def test_permits_of_different_names_do_not_count_together(broker: Broker, name: str) -> None:
    one, two = broker.permits(f"{name}-1"), broker.permits(f"{name}-2")
    await one.resize(1)
    await two.resize(1)
    await take(one, 1)
    await take(two, 1)
    assert await one.acquire(NOW) is None


async def test_of_two_totals_the_later_generation_counts(
    broker: Broker, broker_factory: BrokerFactory, name: str
) -> None:
    permits, others = broker.permits(name), (await broker_factory.another()).permits(name)
    await permits.resize(1, 7)
    await others.resize(3, 6)
    await take(others, 1)
    assert await permits.acquire(A_MOMENT) is None
    await others.resize(2, 8)
    await take(permits, 1)
    assert await others.acquire(A_MOMENT) is None


async def test_of_those_who_wait_the_urgent_ones_come_first(
    broker: Broker, broker_factory: BrokerFactory, name: str
) -> None:
    permits, others = broker.permits(name), (await broker_factory.another()).permits(name)
    await permits.resize(1)
    (held,) = await take(permits, 1)
    patient = asyncio.ensure_future(permits.acquire(PATIENCE))
    await asyncio.sleep(0.2)
    urgent = asyncio.ensure_future(others.acquire(PATIENCE, urgent=True))
    await asyncio.sleep(0.2)
    await held.release()
    first = await urgent
    assert first is not None
    assert not patient.done()
    await first.release()
    assert await patient is not None


async def test_a_client_that_closes_loses_what_it_holds_and_says_so(
    broker: Broker, broker_factory: BrokerFactory, name: str
) -> None:
    other = await broker_factory.another()
    await broker.permits(name).resize(1)
    await other.permits(name).resize(1)
    (held,) = await take(other.permits(name), 1)
    assert not held.lost.is_set()
    await other.close()
    assert held.lost.is_set()
    assert not held.valid
    await held.release()
    (again,) = await take(broker.permits(name), 1)
    await again.release()
    assert not again.lost.is_set()
