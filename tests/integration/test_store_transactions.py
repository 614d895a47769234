"""What the store promises of transactions and of its schema, on both databases."""

from __future__ import annotations

import asyncio
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, func, insert, select, text

from fnrunner.store import migration, schema
from fnrunner.store.engine import Store
from fnrunner.store.errors import StoreClosed, StoreConflict, StoreError, StoreTooNew, StoreUnavailable

ROOT = Path(__file__).parents[2]


def add(name: str, directory: str = "/d") -> insert:
    return insert(schema.bucket).values(name=name, directory=directory)


def names(connection: Connection) -> list[str]:
    return sorted(connection.execute(select(schema.bucket.c.name)).scalars())


async def test_the_migrated_schema_is_the_one_that_the_code_describes(store: Store) -> None:
    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, schema.metadata))

    assert await store.read(differences) == []


async def test_what_was_written_can_be_read(store: Store) -> None:
    def work(connection: Connection) -> str:
        connection.execute(add("one"))
        return "done"

    assert await store.write(work) == "done"
    assert await store.read(names) == ["one"]


async def test_work_that_raises_leaves_nothing_behind(store: Store) -> None:
    def work(connection: Connection) -> None:
        connection.execute(add("one"))
        raise LookupError("changed my mind")

    with pytest.raises(LookupError, match="changed my mind"):
        await store.write(work)
    assert await store.read(names) == []


async def test_a_reader_cannot_write(store: Store) -> None:
    with pytest.raises(StoreError):
        await store.read(lambda connection: connection.execute(add("one")))
    assert await store.read(names) == []


async def test_a_reader_sees_one_commit_throughout(store: Store) -> None:
    looked, written = threading.Event(), threading.Event()

    def work(connection: Connection) -> tuple[list[str], list[str]]:
        before = names(connection)
        looked.set()
        assert written.wait(30)
        return before, names(connection)

    reading = asyncio.create_task(store.read(work))
    assert await asyncio.to_thread(looked.wait, 30)
    await store.write(lambda connection: connection.execute(add("one")))
    written.set()
    assert await reading == ([], [])
    assert await store.read(names) == ["one"]


async def test_a_row_that_exists_is_a_conflict(store: Store) -> None:
    await store.write(lambda connection: connection.execute(add("one")))
    with pytest.raises(StoreConflict):
        await store.write(lambda connection: connection.execute(add("one")))


async def test_an_upsert_overwrites_and_an_ignoring_insert_does_not(store: Store) -> None:
    rows = [{"name": "one", "directory": "/new"}, {"name": "two", "directory": "/new"}]
    await store.write(lambda connection: connection.execute(add("one", "/old")))
    await store.write(lambda connection: connection.execute(store.insert_or_ignore(schema.bucket), rows))
    query = select(schema.bucket.c.directory).order_by(schema.bucket.c.name)
    assert await store.read(lambda connection: connection.execute(query).scalars().all()) == ["/old", "/new"]
    await store.write(lambda connection: connection.execute(store.upsert(schema.bucket, ["name"]), rows))
    assert await store.read(lambda connection: connection.execute(query).scalars().all()) == ["/new", "/new"]


async def test_work_that_has_begun_is_finished_when_its_caller_is_cancelled(store: Store) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def work(connection: Connection) -> None:
        begun.set()
        assert go_on.wait(30)
        connection.execute(add("one"))

    writing = asyncio.create_task(store.write(work))
    assert await asyncio.to_thread(begun.wait, 30)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    go_on.set()
    await store.write(lambda connection: None)
    assert await store.read(names) == ["one"]


async def test_starting_and_closing_twice_is_harmless(empty_store_url: str) -> None:
    store = Store(empty_store_url)
    await store.start()
    await store.start()
    await store.close()
    await store.close()
    with pytest.raises(StoreClosed):
        await store.read(names)
    with pytest.raises(StoreClosed):
        await store.write(names)


async def test_a_second_start_finds_what_the_first_left(empty_store_url: str) -> None:
    for expected in ([], ["one"]):
        store = Store(empty_store_url)
        await store.start()
        assert await store.read(names) == expected
        statement = store.insert_or_ignore(schema.bucket).values(name="one", directory="/d")
        await store.write(lambda connection, statement=statement: connection.execute(statement))
        await store.close()


async def test_a_store_of_a_newer_release_is_refused_and_stays_as_it_is(store_url: str) -> None:
    store = Store(store_url)
    await store.start()
    await store.write(lambda connection: connection.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    await store.close()
    with pytest.raises(StoreTooNew, match="9999"):
        await Store(store_url).start()
    with pytest.raises(StoreTooNew):
        await Store(store_url).start()


async def test_processes_that_start_at_once_make_the_schema_once(empty_store_url: str) -> None:
    program = (
        "import asyncio, sys\n"
        "from fnrunner.store.engine import Store\n"
        "async def main():\n"
        "    store = Store(sys.argv[1])\n"
        "    print('ready', flush=True); sys.stdin.readline()\n"
        "    await store.start(); await store.close()\n"
        "asyncio.run(main())\n"
    )
    starters = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", program, empty_store_url],
            cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for _ in range(5)
    ]  # fmt: skip
    for starter in starters:
        assert starter.stdout is not None
        assert starter.stdout.readline() == "ready\n"
    ends = await asyncio.gather(*(asyncio.to_thread(starter.communicate, "go\n", 90) for starter in starters))
    assert [(starter.returncode, end[1]) for starter, end in zip(starters, ends, strict=True)] == [(0, "")] * 5
    store = Store(empty_store_url)
    await store.start()
    count = select(func.count()).select_from(text("alembic_version"))
    assert await store.read(lambda connection: connection.execute(count).scalar()) == 1
    await store.close()


async def test_only_the_owner_can_read_a_new_sqlite_file(tmp_path: Path) -> None:
    path = tmp_path / "made" / "store.sqlite"
    store = Store(f"sqlite:///{path}")
    await store.start()
    await store.write(lambda connection: connection.execute(add("one")))
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    await store.close()
    assert set(modes) >= {"store.sqlite", "store.sqlite-wal"}
    assert set(modes.values()) == {0o600}


async def test_a_file_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnavailable, match="file"):
        await Store(f"sqlite:///{tmp_path}/file/store.sqlite").start()


def test_the_newest_revision_is_the_one_that_the_code_names() -> None:
    scripts = ScriptDirectory.from_config(migration._config())
    assert scripts.get_heads() == [migration.HEAD]
