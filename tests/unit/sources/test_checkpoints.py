from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sources.checkpoints import StoredCheckpoints
from sources.errors import CheckpointsUnavailable
from sources.snapshot import Change, Identity, Remembered, Root
from tests.conformance.sources.file_database import tables
from tests.unit.sources.memory_database import MemoryDatabase

ONE, TWO = Identity(1, 2, 3), Identity(4, -5, 2**64 - 1)


@pytest.fixture
def checkpoints(database: MemoryDatabase) -> StoredCheckpoints:
    return StoredCheckpoints(database, database.seen, database.checkpoint)


async def objects(checkpoints: StoredCheckpoints, bucket: str = "b") -> dict[str, Identity]:
    return dict((await checkpoints.load(bucket)).objects)


async def test_what_is_recorded_is_remembered_and_what_is_removed_is_not(checkpoints: StoredCheckpoints) -> None:
    await checkpoints.record("b", [Change("x", ONE, "tag"), Change("y", TWO), Change("never", None)])
    assert await objects(checkpoints) == {"x": ONE, "y": TWO}
    await checkpoints.record("b", [Change("x", TWO), Change("y", None)])
    assert await objects(checkpoints) == {"x": TWO}
    await checkpoints.record("b", [])
    assert await objects(checkpoints) == {"x": TWO}


async def test_buckets_do_not_see_each_other(checkpoints: StoredCheckpoints) -> None:
    await checkpoints.record("b", [Change("x", ONE)])
    await checkpoints.remember_root("b", Root(1, 2))
    await checkpoints.record("c", [Change("x", TWO)])
    await checkpoints.delete("b")
    loaded = await checkpoints.load("b")
    assert (loaded.root, len(loaded.objects)) == (None, 0)
    assert await objects(checkpoints, "c") == {"x": TWO}


async def test_the_directory_is_remembered_and_replaced(checkpoints: StoredCheckpoints) -> None:
    assert (await checkpoints.load("b")).root is None
    await checkpoints.remember_root("b", Root(1, 2))
    await checkpoints.remember_root("b", Root(2**63, 3))
    assert (await checkpoints.load("b")).root == Root(2**63, 3)


byte_names = st.binary(min_size=1, max_size=8).filter(lambda b: b"\0" not in b and not b.startswith(b"/"))
identities = st.builds(Identity, st.integers(0, 2**63 - 1), st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**64 - 1))


@given(st.dictionaries(byte_names.map(lambda b: b.decode("utf-8", "surrogateescape")), identities, max_size=5))
def test_any_object_comes_back_as_it_was(found: dict[str, Identity]) -> None:
    database = MemoryDatabase()
    checkpoints = StoredCheckpoints(database, database.seen, database.checkpoint)

    async def there_and_back() -> Remembered:
        await checkpoints.record("b", [Change(key, identity) for key, identity in found.items()])
        return await checkpoints.load("b")

    assert dict(asyncio.run(there_and_back()).objects) == found
    database.engine.dispose()


async def test_a_database_that_fails_is_an_error_of_this_package(
    checkpoints: StoredCheckpoints, database: MemoryDatabase
) -> None:
    database.failing = True
    for call in (
        checkpoints.load("b"),
        checkpoints.record("b", [Change("x", ONE)]),
        checkpoints.remember_root("b", Root(1, 2)),
        checkpoints.delete("b"),
    ):
        with pytest.raises(CheckpointsUnavailable, match="disk I/O error") as caught:
            await call
        assert isinstance(caught.value.__cause__, OSError)


def test_the_tables_are_those_of_the_shared_schema() -> None:
    from sqlalchemy import MetaData

    from fnrunner.store import schema

    seen, checkpoint = tables(MetaData())
    for mine, shared in ((seen, schema.seen_object), (checkpoint, schema.checkpoint)):
        assert mine.name == shared.name
        assert [(c.name, str(c.type), c.primary_key) for c in mine.columns] == [
            (c.name, str(c.type), c.primary_key) for c in shared.columns
        ]
