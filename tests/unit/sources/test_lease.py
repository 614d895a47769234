from __future__ import annotations

import os
from datetime import timedelta

import pytest

from sources import lease
from sources.errors import CheckpointsUnavailable
from sources.lease import StoredLease
from tests.unit.sources.memory_database import MemoryDatabase

TTL = timedelta(seconds=6)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every lease looks like another host's, so that only time tells."""
    monkeypatch.setattr(lease, "machine", lambda: "")


def lease_of(database: MemoryDatabase, clock: Clock, name: str = "s3:b") -> StoredLease:
    return StoredLease(database, database.checkpoint, name, ttl=TTL, clock=clock)


async def test_one_has_it_until_it_is_given_back(database: MemoryDatabase, clock: Clock) -> None:
    one, other = lease_of(database, clock), lease_of(database, clock)
    assert await one.acquire()
    assert await one.acquire()
    assert not await other.acquire()
    assert not await other.renew()
    await other.release()
    assert await one.renew()
    await one.release()
    await one.release()
    assert await other.acquire()
    assert not await one.renew()


async def test_leases_of_other_names_are_free(database: MemoryDatabase, clock: Clock) -> None:
    assert await lease_of(database, clock).acquire()
    assert await lease_of(database, clock, "s3:c").acquire()


async def test_it_is_taken_from_whoever_has_not_renewed_it_for_its_time(database: MemoryDatabase, clock: Clock) -> None:
    one, other = lease_of(database, clock), lease_of(database, clock)
    await one.acquire()
    assert not await other.acquire()
    clock.now += 5.9
    assert not await other.acquire()
    clock.now += 0.1
    assert await other.acquire()
    assert not await one.renew()


async def test_a_renewal_starts_the_time_again(database: MemoryDatabase, clock: Clock) -> None:
    one, other = lease_of(database, clock), lease_of(database, clock)
    await one.acquire()
    for _ in range(5):
        assert not await other.acquire()
        clock.now += 4
        assert await one.renew()
    assert not await other.acquire()


async def test_of_two_who_see_it_expire_one_gets_it(database: MemoryDatabase, clock: Clock) -> None:
    await lease_of(database, clock).acquire()
    two, three = lease_of(database, clock), lease_of(database, clock)
    assert not await two.acquire()
    assert not await three.acquire()
    clock.now += 6
    assert [await two.acquire(), await three.acquire()] == [True, False]


async def test_a_holder_that_died_on_this_host_is_seen_at_once(
    database: MemoryDatabase, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "machine", lambda: "here")
    await lease_of(database, clock).acquire()
    other = lease_of(database, clock)
    assert not await other.acquire()
    monkeypatch.setattr(lease, "process_started", lambda pid: "another process with this id")
    assert await other.acquire()


async def test_a_process_id_of_another_host_means_nothing(
    database: MemoryDatabase, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "machine", lambda: "there")
    await lease_of(database, clock).acquire()
    monkeypatch.setattr(lease, "machine", lambda: "here")
    monkeypatch.setattr(lease, "process_started", lambda pid: "")
    assert not await lease_of(database, clock).acquire()


async def test_a_database_that_fails_is_an_error_of_this_package(database: MemoryDatabase, clock: Clock) -> None:
    one = lease_of(database, clock)
    await one.acquire()
    database.failing = True
    for call in (one.acquire(), one.renew(), one.release()):
        with pytest.raises(CheckpointsUnavailable):
            await call


def test_a_process_is_known_by_when_it_started() -> None:
    assert lease.process_started(os.getpid()).isdigit()
    assert lease.process_started(2**22 + 1) == ""
