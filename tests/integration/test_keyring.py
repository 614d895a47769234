"""The managed keys in both databases: changed by several processes at once, and known to all of them."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import delete, insert, select

from fnrunner.auth import keyring as keyring_module
from fnrunner.auth.keyring import KeyDisabled, KeyNotFound, Keyring
from fnrunner.auth.managed_key import new_version
from fnrunner.auth.master_key import MasterKey, MasterKeys
from fnrunner.catalogue import snapshot
from fnrunner.store.engine import Store
from fnrunner.store.errors import StoreUnavailable
from fnrunner.store.schema import encryption_key

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)
MASTER = MasterKeys((MasterKey(b"k" * 32, "master.key"),))


async def keyring_of(store: Store) -> Keyring:
    keyring = Keyring(store, MASTER)
    await keyring.load()
    return keyring


async def test_rotations_of_several_processes_at_once_lose_no_version(
    store: Store, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = threading.Barrier(2)

    def slowly(*given: Any) -> Any:
        # both have read what there is before either writes, unless one waits for the other
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(timeout=1)
        return new_version(*given)

    other = Store(store_url)
    await other.start()
    try:
        rings = [await keyring_of(one) for one in (store, other)]
        monkeypatch.setattr(keyring_module, "new_version", slowly)
        await asyncio.gather(*(ring.rotate("fnrunner") for ring in rings))
        for ring in rings:
            await ring.load()
        sealed = [ring.seal(b"x", "here") for ring in rings]
        fresh = await keyring_of(store)
    finally:
        await other.close()
    assert [version.number for version in fresh.find().versions] == [1, 2, 3]
    assert [fresh.open(data, "here") for data in sealed] == [b"x", b"x"]


async def test_a_version_whose_rotation_was_lost_does_not_seal(store: Store) -> None:
    lost, kept = await keyring_of(store), await keyring_of(store)
    before = await store.read(lambda connection: dict(connection.execute(select(encryption_key)).mappings().one()))
    await lost.rotate("fnrunner")
    lost.seal(b"x", "here")
    # as where the store's backup came back: the number is given a second time
    await store.write(lambda connection: connection.execute(delete(encryption_key)))
    await store.write(lambda connection: connection.execute(insert(encryption_key).values(**before)))
    await kept.rotate("fnrunner")
    await lost.load()
    assert kept.open(lost.seal(b"y", "here"), "here") == b"y"


async def test_a_version_that_another_process_made_a_moment_ago_opens_in_a_thread_and_after_fresh(store: Store) -> None:
    here, there, third = await keyring_of(store), await keyring_of(store), await keyring_of(store)
    await here.rotate("fnrunner")
    text = here.seal_text("x", "here")
    assert await asyncio.to_thread(there.open_text, text, "here") == "x"
    await third.fresh(text)
    assert third.open_text(text, "here") == "x"


async def test_a_key_that_another_process_made_a_moment_ago_can_be_rotated_and_disabled(store: Store) -> None:
    here, there = await keyring_of(store), await keyring_of(store)
    await here.create("other")
    assert len((await there.rotate("other")).versions) == 2
    await here.enable("other", False)
    await there.load()
    with pytest.raises(KeyDisabled):
        there.check("other")


async def test_what_was_looked_for_in_vain_is_not_looked_for_each_time(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = await keyring_of(store), await keyring_of(store)
    await here.rotate("fnrunner")
    text = here.seal_text("x", "here")
    looks = []

    def nothing(work: object) -> list[object]:
        looks.append(work)
        return list(there._keys.values())

    monkeypatch.setattr(store, "read_blocking", nothing)
    for _ in range(3):
        there._looked += 60
        with pytest.raises(KeyNotFound, match="no version 2"):
            await asyncio.to_thread(there.open_text, text, "here")
    assert len(looks) == 1


async def test_an_event_loop_never_waits_for_the_store(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    keyring = await keyring_of(store)

    def never(work: object) -> object:
        raise AssertionError("the event loop waits for the store")

    monkeypatch.setattr(store, "read_blocking", never)
    keyring._looked -= 60
    assert keyring.open_text(keyring.seal_text("x", "here"), "here") == "x"
    keyring.check("")


async def test_a_store_that_does_not_answer_leaves_what_is_known(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    keyring = await keyring_of(store)

    async def away(work: object) -> object:
        raise StoreUnavailable

    monkeypatch.setattr(store, "read", away)
    keyring._looked -= 60
    await keyring.fresh()
    assert keyring.open_text(keyring.seal_text("x", "here"), "here") == "x"


async def test_a_snapshot_is_read_with_the_keys_as_they_are_now(store: Store, store_url: str) -> None:
    other = Store(store_url)
    await other.start()
    try:
        here, there = await keyring_of(store), await keyring_of(other)
        store.seal_with(here)
        other.seal_with(there)
        await here.enable("fnrunner", False)
        assert there.find().enabled
        await store.write(lambda connection: snapshot.count_change(connection, store, NOW))
        await other.read(lambda connection: snapshot.load(connection, snapshot.Snapshot()))
        assert not there.find().enabled
        await here.enable("fnrunner", True)
        await here.rotate("fnrunner")
        await store.write(lambda connection: snapshot.count_change(connection, store, NOW))
        await other.read(lambda connection: snapshot.load(connection, snapshot.Snapshot()))
        assert len(there.find().versions) == 2
    finally:
        await other.close()
