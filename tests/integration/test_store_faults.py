"""Full disks, damage, several processes on one file, and servers that die."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from contextlib import AsyncExitStack, suppress
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, func, insert, select, text

from fnrunner.app.node import _start
from fnrunner.settings import Settings
from fnrunner.store import schema
from fnrunner.store.attempt import Attempt
from fnrunner.store.engine import Store
from fnrunner.store.errors import StoreCorrupt, StoreFull, StoreUnavailable
from tests.postgres_server import PostgresServer

ROOT = Path(__file__).parents[2]


def add(key: str, size: int = 10) -> insert:
    row = {"source": "test", "key": key, "document": "x" * size, "updated_ms": 0}
    return insert(schema.checkpoint).values(row)


def count(connection: Connection) -> int:
    return connection.execute(select(func.count()).select_from(schema.checkpoint)).scalar_one()


async def test_a_full_disk_is_said_and_gets_over(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'store.sqlite'}")
    await store.start()
    await store.write(lambda connection: connection.execute(add("before")))

    def shrink(connection: Connection) -> None:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")

    await store.write(shrink)
    for _ in range(3):
        with pytest.raises(StoreFull, match="Free space"):
            await store.write(lambda connection: connection.execute(add("during", 1_000_000)))
    assert await store.read(count) == 1
    await store.write(lambda connection: connection.exec_driver_sql("PRAGMA max_page_count=1000000"))
    await store.write(lambda connection: connection.execute(add("after", 1_000_000)))
    assert await store.read(count) == 2
    await store.close()


async def test_a_file_that_is_no_database_is_corrupt_and_untouched(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    path.write_bytes(b"dear diary, " * 1000)
    with pytest.raises(StoreCorrupt):
        await Store(f"sqlite:///{path}").start()
    assert path.read_bytes() == b"dear diary, " * 1000


async def test_a_lock_that_another_process_keeps_is_waited_for(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'store.sqlite'}"
    store = Store(url, patience=timedelta(seconds=60))
    await store.start()
    program = (
        "import sqlite3, sys\n"
        "db = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "db.execute('BEGIN IMMEDIATE'); print('locked', flush=True); sys.stdin.readline(); db.execute('COMMIT')\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "store.sqlite")],
        text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert other.stdout is not None
    assert other.stdout.readline() == "locked\n"
    writing = asyncio.create_task(store.write(lambda connection: connection.execute(add("one"))))
    assert await store.read(count) == 0
    await asyncio.to_thread(other.communicate, "go\n", 60)
    await writing
    assert await store.read(count) == 1
    await store.close()


WRITER = """
import asyncio, sys
from sqlalchemy import insert
from fnrunner.store import schema
from fnrunner.store.attempt import Attempt
from fnrunner.store.engine import Store
async def main():
    url, name, batches, rows = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    store = Store(url)
    await store.start()
    for batch in range(batches):
        values = [
            {"source": name, "key": f"{batch}.{row}", "document": "x" * 300, "updated_ms": 0} for row in range(rows)
        ]
        await store.write(lambda connection: connection.execute(insert(schema.checkpoint), values))
    await store.close()
asyncio.run(main())
"""


async def test_four_processes_write_batches_into_one_store(empty_store_url: str) -> None:
    writers = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", WRITER, empty_store_url, f"writer-{number}", "40", "100",
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        for number in range(4)
    ]  # fmt: skip
    async with asyncio.timeout(120):
        outputs = [await writer.communicate() for writer in writers]
    assert [(writer.returncode, out) for writer, (out, _) in zip(writers, outputs, strict=True)] == [(0, b"")] * 4
    store = Store(empty_store_url)
    await store.start()
    assert await store.read(count) == 4 * 40 * 100
    await store.close()


async def test_writes_while_the_server_is_killed_all_count_once(private_postgres: PostgresServer) -> None:
    store = Store(private_postgres.create_database(), patience=timedelta(seconds=90))
    await store.start()
    done = 0
    enough = asyncio.Event()

    async def write_all() -> None:
        nonlocal done
        for number in range(300):
            await store.write(lambda connection, number=number: connection.execute(add(str(number))))
            done += 1
            if done in (50, 150):
                enough.set()

    writing = asyncio.create_task(write_all())
    for _ in range(2):
        waiting = asyncio.create_task(enough.wait())
        await asyncio.wait({writing, waiting}, timeout=60, return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            await asyncio.wait_for(writing, 1)  # raises what ended the writes
        enough.clear()
        await asyncio.to_thread(private_postgres.kill)
        await asyncio.to_thread(private_postgres.start)
    await asyncio.wait_for(writing, 120)
    # A write that was repeated although it had been applied would have raised StoreConflict.
    assert await store.read(count) == 300
    await store.close()


async def test_a_server_that_stays_away_is_unavailable_within_the_patience(private_postgres: PostgresServer) -> None:
    store = Store(private_postgres.create_database(), patience=timedelta(seconds=1))
    await store.start()
    await asyncio.to_thread(private_postgres.stop)
    with pytest.raises(StoreUnavailable):
        await store.write(lambda connection: connection.execute(add("one")))
    with pytest.raises(StoreUnavailable):
        await store.read(count)
    await asyncio.to_thread(private_postgres.start)
    assert await store.read(count) == 0
    await store.close()


async def test_a_server_that_is_not_there_at_the_start_is_named_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    store = Store(f"postgresql://me:s3cret@127.0.0.1:{port}/x", patience=timedelta(minutes=10))
    async with asyncio.timeout(30):
        with pytest.raises(StoreUnavailable, match=rf"127.0.0.1:{port}/x cannot be used.*FNRUNNER_STORE_URL") as error:
            await store.start()
    assert "s3cret" not in str(error.value)


async def test_a_part_that_waits_for_its_store_says_so_and_can_be_stopped(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, store_url="postgresql://me@127.0.0.1:1/x")
    said, stop = asyncio.Event(), asyncio.Event()
    words: list[str] = []

    def announce(text: str) -> None:
        words.append(text)
        said.set()

    async with AsyncExitStack() as stack:
        starting = asyncio.create_task(_start(settings, ("api",), stack, stop, words.append, announce))
        async with asyncio.timeout(30):
            await said.wait()
            stop.set()
            assert await starting is None
    assert words[0].startswith("waiting: The store at postgresql")
    assert "FNRUNNER_STORE_URL" in words[0]


class CommitCutter:
    """A proxy that cuts the connection at the ``at``-th COMMIT, before or after the server has it."""

    def __init__(self, port: int, *, deliver: bool, at: int) -> None:
        self._port, self._deliver, self._left = port, deliver, at
        self._server: asyncio.Server | None = None
        self._handlers: list[asyncio.Task[None] | None] = []
        self.cuts = 0

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        await asyncio.gather(*(handler for handler in self._handlers if handler is not None))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._handlers.append(asyncio.current_task())
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._port)
        answers = asyncio.create_task(self._pump(up_reader, writer))
        while data := await reader.read(65536):
            if b"COMMIT" in data:
                self._left -= 1
                if self._left == 0:
                    self.cuts += 1
                    answers.cancel()
                    await asyncio.gather(answers, return_exceptions=True)
                    if self._deliver:
                        up_writer.write(data)
                        await up_reader.readexactly(5)
                    break
            up_writer.write(data)
        answers.cancel()
        for one in (writer, up_writer):
            one.close()
            with suppress(ConnectionError):
                await one.wait_closed()

    @staticmethod
    async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)


@pytest.mark.parametrize("deliver", [True, False], ids=["applied", "not applied"])
async def test_a_commit_whose_answer_was_lost_takes_effect_once(postgres: PostgresServer, deliver: bool) -> None:
    url = postgres.create_database()
    direct = Store(url)
    await direct.start()
    cutter = CommitCutter(postgres.port, deliver=deliver, at=3)
    port = await cutter.start()
    store = Store(url.replace(f":{postgres.port}/", f":{port}/"))
    await store.start()
    runs = []

    def work(number: int, connection: Connection) -> int:
        runs.append(number)
        connection.execute(add(f"{number}.{len(runs)}"))
        return number

    results = [await store.write(lambda connection, n=n: work(n, connection)) for n in range(6)]
    assert results == list(range(6))
    assert cutter.cuts == 1
    assert len(runs) == (6 if deliver else 7)
    assert await direct.read(count) == 6
    await store.close()
    await direct.close()
    await cutter.close()


async def test_an_id_that_the_server_gave_away_a_second_time_is_not_taken_for_ones_own(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that is killed forgets ids of which it had written nothing, and the next transaction gets one."""
    url = postgres.create_database()
    other = Store(url)
    await other.start()
    current = text("SELECT pg_current_xact_id()::text")

    def written(connection: Connection) -> str:
        connection.execute(add("of another"))
        return str(connection.execute(current).scalar_one())

    reused = await other.write(written)
    marked = Attempt._mark
    monkeypatch.setattr(Attempt, "_mark", lambda self, *values: marked(self, *values) and reused)
    cutter = CommitCutter(postgres.port, deliver=False, at=2)
    store = Store(url.replace(f":{postgres.port}/", f":{await cutter.start()}/"))
    await store.start()
    for number in range(3):
        await store.write(lambda connection, number=number: connection.execute(add(f"{number}")))
    assert cutter.cuts == 1
    assert await other.read(count) == 4
    await store.close()
    await other.close()
    await cutter.close()
