"""What claims promise over several processes and a real store: one owner at a time, none for long, nothing overwritten."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fnrunner.store.engine import Store
from fnrunner.store.schema import checkpoint
from sources.claims import StoredClaims
from sources.errors import CheckpointsUnavailable, ClaimLost
from sources.source import Claim
from tests.postgres_server import PostgresServer
from tests.unit.sources.stream_world import World

OWNER = """
import asyncio, json, sys
from fnrunner.store.engine import Store
from fnrunner.store.schema import checkpoint
from sources.claims import StoredClaims
from sources.errors import SourcesError

async def main():
    store = Store(sys.argv[1])
    await store.start()
    claims = StoredClaims(store, checkpoint)
    await claims.start()
    while (claim := await claims.acquire("a")) is None:
        await asyncio.sleep(0.1)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    print(json.dumps("owner"), flush=True)
    while line := await reader.readline():
        held = claim.held
        try:
            await claim.save({"by": line.decode().strip()})
            result = "saved"
        except SourcesError as error:
            result = type(error).__name__
        print(json.dumps([held, result, claim.held]), flush=True)

asyncio.run(main())
"""


@pytest.fixture
async def claims(store: Store) -> AsyncIterator[StoredClaims]:
    claims = StoredClaims(store, checkpoint)
    await claims.start()
    yield claims
    await claims.close()


class Owner:
    """Another process that owns ``a``, and saves when it is told to."""

    def __init__(self, process: Process) -> None:
        self.process = process

    @classmethod
    async def started(cls, url: str) -> Owner:
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", OWNER, url, stdin=PIPE, stdout=PIPE)
        owner = cls(process)
        assert await owner.says() == "owner"
        return owner

    async def says(self) -> Any:
        assert self.process.stdout
        async with asyncio.timeout(60):
            return json.loads(await self.process.stdout.readline())

    async def save(self, text: str) -> Any:
        assert self.process.stdin
        self.process.stdin.write(text.encode() + b"\n")
        return await self.says()

    async def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        self.process._transport.close()  # type: ignore[attr-defined]


async def acquired(claims: StoredClaims, name: str = "a", within_s: float = 30) -> Claim:
    async with asyncio.timeout(within_s):
        while (claim := await claims.acquire(name)) is None:
            await asyncio.sleep(0.1)
        return claim


async def test_the_claim_of_a_process_that_was_killed_is_free_in_seconds(store_url: str, claims: StoredClaims) -> None:
    owner = await Owner.started(store_url)
    try:
        assert await owner.save("first") == [True, "saved", True]
        assert await claims.acquire("a") is None
        await owner.kill()
        claim = await acquired(claims, within_s=6)
        assert await claim.load() == {"by": "first"}
    finally:
        await owner.kill()


async def test_a_process_that_was_suspended_writes_nothing_over_its_successor(
    store_url: str, claims: StoredClaims
) -> None:
    owner = await Owner.started(store_url)
    try:
        os.kill(owner.process.pid, signal.SIGSTOP)
        claim = await acquired(claims)
        await claim.save({"by": "successor"})
        os.kill(owner.process.pid, signal.SIGCONT)
        assert await owner.save("late") == [False, "ClaimLost", False]
        assert await claims.load("a") == {"by": "successor"}
        await claim.save({"by": "successor again"})
    finally:
        await owner.kill()


async def test_of_many_who_want_the_same_one_gets_it(store_url: str) -> None:
    stores = [Store(store_url) for _ in range(4)]
    await stores[0].start()
    for store in stores[1:]:
        await store.start()
    fleet = [StoredClaims(store, checkpoint) for store in stores]
    try:
        await asyncio.gather(*(claims.start() for claims in fleet))
        for claims in fleet:
            await claims.renew()
        owners: dict[str, list[Claim]] = {f"n{n}": [] for n in range(12)}
        async with asyncio.timeout(30):
            while not all(owners.values()):
                found = await asyncio.gather(*(c.acquire(name) for c in fleet for name in owners))
                for claim in found:
                    if claim is not None:
                        owners[claim.name].append(claim)
                await asyncio.sleep(0.05)
        held = [[claim for claim in claims if claim.held] for claims in owners.values()]
        assert [len(claims) for claims in held] == [1] * 12
        results = await asyncio.gather(*(claims[0].save({"n": n}) for n, claims in enumerate(held)))
        assert results == [None] * 12
    finally:
        await asyncio.gather(*(claims.close() for claims in fleet))
        for store in stores:
            await store.close()


async def test_hundreds_of_saves_at_once_are_few_transactions(claims: StoredClaims, store: Store) -> None:
    names = [f"n{n}" for n in range(300)]
    held = await asyncio.gather(*(acquired(claims, name) for name in names))
    before = store.write
    writes = 0

    async def counting(work: Any) -> Any:
        nonlocal writes
        writes += 1
        return await before(work)

    store.write = counting  # type: ignore[method-assign]
    await asyncio.gather(*(claim.save({"n": n}) for n, claim in enumerate(held)))
    assert writes <= 5
    assert await claims.load("n299") == {"n": 299}
    await claims.forget("n")
    with pytest.raises(ClaimLost):
        await held[0].save({})


async def test_a_database_that_stops_ends_what_is_held_and_what_it_held_is_taken_again(
    private_postgres: PostgresServer,
) -> None:
    store = Store(private_postgres.create_database())
    await store.start()
    claims = StoredClaims(store, checkpoint)
    try:
        await claims.start()
        claim = await acquired(claims)
        await claim.save({"n": 1})
        private_postgres.kill()
        async with asyncio.timeout(20):
            with pytest.raises(CheckpointsUnavailable):
                await claim.save({"n": 2})
            while claim.held:
                await asyncio.sleep(0.05)
            await claim.release()
        private_postgres.start()
        async with asyncio.timeout(60):
            while True:
                try:
                    again = await acquired(claims)
                except CheckpointsUnavailable:
                    await asyncio.sleep(0.1)
                    continue
                break
        assert (await again.load())["n"] in (1, 2)
        await again.save({"n": 3})
        with pytest.raises(ClaimLost):
            await claim.save({"n": 0})
        assert await claims.load("a") == {"n": 3}
    finally:
        await claims.close()
        await store.close()


async def test_two_processes_share_the_shards_of_a_stream_and_nothing_is_lost_or_repeated(store_url: str) -> None:
    world = World("s0", "s1", "s2", "s3")
    stores = [Store(store_url) for _ in range(2)]
    for store in stores:
        await store.start()
    fleet = [StoredClaims(store, checkpoint) for store in stores]
    pollers = [world.poller(claims=claims) for claims in fleet]

    async def put(start: int) -> None:
        for n in range(start, start + 40):
            world.stream.put(f"s{n % 4}", n)
            await asyncio.sleep(0.01)

    def held() -> list[int]:
        return [sum(worker.signs.held is True for worker, _ in poller._workers.values()) for poller in pollers]

    try:
        await fleet[0].start()
        await pollers[0].start()
        await put(0)
        assert held() == [4, 0]
        await fleet[1].start()
        await pollers[1].start()
        await put(40)
        await world.until(lambda: held() == [2, 2], 30)
        await put(80)
        await pollers[0].close()
        await fleet[0].close()
        await world.until(lambda: held() == [0, 4], 30)
        await put(120)
        await world.until(lambda: len(world.seen) >= 160, 10)
        assert sorted(world.seen) == list(range(160))
        for shard in range(4):
            mine = [n for n in world.seen if n % 4 == shard]
            assert mine == sorted(mine)
    finally:
        for poller in pollers:
            await poller.close()
        for claims in fleet:
            await claims.close()
        for store in stores:
            await store.close()
