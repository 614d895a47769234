from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection

from sources import lease
from sources.claims import ClaimPace, StoredClaims
from sources.errors import CheckpointsUnavailable, ClaimLost
from sources.spread import assignment
from tests.unit.sources.memory_database import MemoryDatabase

T = TypeVar("T")
NAMES = [f"esm:1:shard-{n}" for n in range(8)]


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every process looks like another host's, so that only time tells."""
    monkeypatch.setattr(lease, "machine", lambda: "")


class Fleet:
    """Processes that share a database. ``pass_time`` has those that live renew and ask for the names, as pollers do."""

    def __init__(self, database: MemoryDatabase, clock: Clock) -> None:
        self.database = database
        self.clock = clock
        self.living: list[StoredClaims] = []
        self.held: dict[StoredClaims, dict[str, object]] = {}

    async def join(self) -> StoredClaims:
        pace = ClaimPace(look=timedelta(0), answer=timedelta(milliseconds=200))
        claims = StoredClaims(self.database, self.database.checkpoint, pace=pace, clock=self.clock)
        await claims.renew()
        self.living.append(claims)
        self.held[claims] = {}
        return claims

    def suspend(self, claims: StoredClaims) -> None:
        self.living.remove(claims)

    async def pass_time(self, seconds: float, names: list[str]) -> None:
        for _ in range(int(seconds / 0.5)):
            self.clock.now += 0.5
            for claims in self.living:
                if self.clock.now % 2 == 0:
                    await claims.renew()
                held = self.held[claims]
                for name, claim in list(held.items()):
                    if claim.wanted_elsewhere:
                        await claim.release()
                    if not claim.held:
                        del held[name]
                for name in names:
                    if name not in held and (claim := await claims.acquire(name)):
                        held[name] = claim

    def counts(self) -> list[int]:
        return [len(self.held[claims]) for claims in self.living]


@pytest.fixture
def fleet(database: MemoryDatabase, clock: Clock) -> Fleet:
    return Fleet(database, clock)


async def test_one_that_is_alone_takes_a_free_name_at_once_and_no_other_gets_it(fleet: Fleet) -> None:
    one = await fleet.join()
    claim = await one.acquire("a")
    assert claim is not None
    assert claim.held
    assert not claim.wanted_elsewhere
    assert await one.acquire("a") is None
    two = await fleet.join()
    assert await two.acquire("a") is None


async def test_what_was_saved_is_found_by_the_next_owner(fleet: Fleet) -> None:
    one = await fleet.join()
    claim = await one.acquire("a")
    assert await claim.load() == {}
    await claim.save({"position": 7})
    assert await claim.load() == await one.load("a") == {"position": 7}
    await claim.release()
    await claim.release()
    assert not claim.held
    again = await one.acquire("a")
    assert await again.load() == {"position": 7}
    with pytest.raises(ClaimLost):
        await claim.save({"position": 6})
    assert await one.load("a") == {"position": 7}


async def test_a_member_that_is_not_heard_of_is_replaced_after_its_time_and_has_stopped_before(
    fleet: Fleet, clock: Clock
) -> None:
    one = await fleet.join()
    claim = await one.acquire("a")
    two = await fleet.join()
    fleet.suspend(one)
    held_until = taken_at = None
    began = clock.now
    while taken_at is None:
        await fleet.pass_time(0.5, ["a"])
        if not claim.held and held_until is None:
            held_until = clock.now
        if fleet.held[two]:
            taken_at = clock.now
        assert clock.now - began < 20
    assert held_until < taken_at
    assert taken_at - began <= 8.5
    with pytest.raises(ClaimLost):
        await claim.save({"position": 1})
    assert not claim.held


async def test_one_that_comes_back_too_late_never_holds_what_it_held(fleet: Fleet, clock: Clock) -> None:
    one = await fleet.join()
    claim = await one.acquire("a")
    clock.now += 5
    await one.renew()
    assert not claim.held
    await claim.save({"position": 1})  # nobody took it meanwhile: what was done is not lost
    again = await one.acquire("a")
    assert again.held
    assert not claim.held
    with pytest.raises(ClaimLost):
        await claim.save({"position": 0})
    assert await again.load() == {"position": 1}


@pytest.mark.parametrize(("idle", "writing"), [(0, 5), (4, 1)])
async def test_a_renewal_that_ended_too_late_revives_nobody(
    fleet: Fleet, clock: Clock, idle: float, writing: float
) -> None:
    one = await fleet.join()
    claim = await one.acquire("a")
    write = fleet.database.write

    async def slow(work: Callable[[Connection], T]) -> T:
        result = await write(work)
        clock.now += writing
        return result

    clock.now += idle
    fleet.database.write = slow
    await one.renew()
    fleet.database.write = write
    assert not claim.held
    await one.renew()
    assert not claim.held


async def test_one_that_was_held_for_dead_and_removed_comes_back_as_another(fleet: Fleet, clock: Clock) -> None:
    one, two = await fleet.join(), await fleet.join()
    claim = await one.acquire("a") or await two.acquire("a")
    assert claim is not None
    holder, other = (one, two) if claim._claims is one else (two, one)
    fleet.suspend(holder)
    clock.now += 1
    await fleet.pass_time(9, ["a"])
    assert list(fleet.held[other]) == ["a"]
    await holder.renew()
    assert not claim.held
    fleet.living.append(holder)
    await fleet.pass_time(1, ["a"])
    assert fleet.held[other]["a"].held


async def test_a_process_of_this_host_that_died_is_seen_at_once(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "machine", lambda: "here")
    one, two = await fleet.join(), await fleet.join()
    claim = await one.acquire("a") or await two.acquire("a")
    _, other = (one, two) if claim._claims is one else (two, one)
    assert await other.acquire("a") is None
    monkeypatch.setattr(lease, "process_started", lambda pid: "another process with this id")
    assert await other.acquire("a") is not None


async def test_names_are_spread_evenly_when_processes_come_and_go(fleet: Fleet) -> None:
    one = await fleet.join()
    await fleet.pass_time(1, NAMES)
    assert fleet.counts() == [8]
    await fleet.join()
    await fleet.pass_time(14, NAMES)
    assert fleet.counts() == [4, 4]
    before = {claims: set(held) for claims, held in fleet.held.items()}
    await fleet.pass_time(30, NAMES)
    assert {claims: set(held) for claims, held in fleet.held.items()} == before
    await fleet.join()
    await fleet.join()
    await fleet.pass_time(16, NAMES)
    assert fleet.counts() == [2, 2, 2, 2]
    fleet.suspend(one)
    await fleet.pass_time(25, NAMES)
    assert sorted(fleet.counts()) == [2, 3, 3]
    assert sorted(name for claims in fleet.living for name in fleet.held[claims]) == NAMES


async def test_who_cannot_serve_a_name_gets_no_other_to_give_it_up(fleet: Fleet) -> None:
    one = await fleet.join()
    await fleet.pass_time(1, NAMES)
    other = await fleet.join()
    fleet.living.remove(other)
    for _ in range(10):
        await other.renew()
        await fleet.pass_time(2, NAMES)
    assert len(fleet.held[one]) == 8


async def test_a_free_name_is_left_to_whom_it_belongs_for_a_while_and_then_taken(fleet: Fleet, clock: Clock) -> None:
    one, two = await fleet.join(), await fleet.join()
    await one.renew()
    owner = {one._me: two, two._me: one}[assignment(["a"], [one._me, two._me])["a"]]
    assert await owner.acquire("a") is None
    clock.now += 2.4
    await one.renew()
    await two.renew()
    assert await owner.acquire("a") is None
    clock.now += 0.1
    assert await owner.acquire("a") is not None


async def test_saves_that_wait_together_go_in_one_transaction_with_a_result_each(fleet: Fleet) -> None:
    one = await fleet.join()
    claims = [await one.acquire(name) for name in NAMES]
    await one.forget(NAMES[3])
    writes = 0
    write = fleet.database.write

    async def counting(work: Callable[[Connection], T]) -> T:
        nonlocal writes
        writes += 1
        await asyncio.sleep(0)
        return await write(work)

    fleet.database.write = counting
    results = await asyncio.gather(*(c.save({"n": n}) for n, c in enumerate(claims)), return_exceptions=True)
    assert writes <= 2
    assert [type(result) for result in results] == [ClaimLost if n == 3 else type(None) for n in range(8)]
    assert [(await one.load(name)).get("n") for name in NAMES] == [0, 1, 2, None, 4, 5, 6, 7]
    assert [claim.held for claim in claims] == [n != 3 for n in range(8)]


async def test_a_forgotten_name_takes_the_claim_and_what_was_stored_with_it(fleet: Fleet) -> None:
    one = await fleet.join()
    claim, other = await one.acquire("esm:ab:1"), await one.acquire("esm:aB:1")
    await claim.save({"position": 1})
    await other.save({"position": 2})
    await one.put("esm-rewind:ab", {"id": "1"})
    await one.forget("esm:ab:")
    with pytest.raises(ClaimLost):
        await claim.save({"position": 2})
    assert await one.load("esm:ab:1") == {}
    assert await one.load("esm:aB:1") == {"position": 2}
    assert await one.load("esm-rewind:ab") == {"id": "1"}


async def test_what_a_user_puts_under_a_name_replaces_what_was_there(fleet: Fleet) -> None:
    one = await fleet.join()
    await one.put("esm-rewind:1", {"id": "1"})
    await one.put("esm-rewind:1", {"id": "2"})
    assert await one.load("esm-rewind:1") == {"id": "2"}


async def test_names_longer_than_a_key_stay_apart(fleet: Fleet) -> None:
    one = await fleet.join()
    first, second = await one.acquire("esm:" + "x" * 300 + "1"), await one.acquire("esm:" + "x" * 300 + "2")
    await first.save({"n": 1})
    await second.save({"n": 2})
    assert [await first.load(), await second.load()] == [{"n": 1}, {"n": 2}]


async def test_a_store_that_fails_is_an_error_of_this_package_and_ends_what_is_held(fleet: Fleet, clock: Clock) -> None:
    one = await fleet.join()
    claim = await one.acquire("a")
    fleet.database.failing = True
    for call in (one.renew, claim.load, lambda: claim.save({}), lambda: one.acquire("b"), lambda: one.forget("x")):
        with pytest.raises(CheckpointsUnavailable):
            await call()
    assert claim.held
    clock.now += 4.5
    assert not claim.held
    await claim.release()
    fleet.database.failing = False
    await one.renew()
    assert await one.acquire("a") is not None


async def test_a_store_that_does_not_answer_is_not_waited_for(fleet: Fleet) -> None:
    one = await fleet.join()
    claim = await one.acquire("a")

    async def hang(work: Callable[[Connection], T]) -> T:
        await asyncio.Event().wait()
        raise AssertionError

    fleet.database.read = fleet.database.write = hang
    async with asyncio.timeout(20):
        for call in (one.renew, claim.load, lambda: claim.save({}), lambda: one.acquire("b"), lambda: one.put("x", {})):
            with pytest.raises(CheckpointsUnavailable):
                await call()
        await claim.release()
        await one.close()
    await one.commit.close()


async def test_closing_gives_everything_back_at_once(fleet: Fleet) -> None:
    one = await fleet.join()
    await one.start()
    await one.start()
    claim = await one.acquire("a")
    await one.close()
    await one.close()
    assert not claim.held
    two = await fleet.join()
    assert await two.acquire("a") is not None


async def test_a_caller_that_gave_up_waiting_leaves_the_others_their_results(fleet: Fleet) -> None:
    one = await fleet.join()
    first, second = await one.acquire("a"), await one.acquire("b")
    impatient = asyncio.create_task(first.save({"n": 1}))
    patient = asyncio.create_task(second.save({"n": 2}))
    await asyncio.sleep(0)
    impatient.cancel()
    await patient
    assert await second.load() == {"n": 2}


@given(
    st.sets(st.text(min_size=1, max_size=5), max_size=30),
    st.sets(st.text(min_size=1, max_size=5), min_size=1, max_size=6),
)
def test_every_name_has_a_member_and_no_member_more_than_its_share(names: set[str], members: set[str]) -> None:
    found = assignment(names, members)
    assert set(found) == names
    loads = [list(found.values()).count(member) for member in members]
    assert max(loads) <= -(-len(names) // len(members))
    assert found == assignment(sorted(names), sorted(members, reverse=True))
