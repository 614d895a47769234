"""The idempotency helper's stores and its transactional form against real databases: what they keep, refuse and survive."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from fnrunner.runtimes.python_library.fnrunner_idempotency import (
    IdempotencyAlreadyInProgressError,
    IdempotencyConfigurationError,
    IdempotencyPersistenceLayerError,
    IdempotencyPlaceError,
    IdempotencyResultError,
    IdempotencyStoreBusyError,
    IdempotencyStoreFullError,
    IdempotencyStoreUnreachableError,
    IdempotencyTransactionError,
    IdempotencyValidationError,
    PostgresStore,
    SQLiteStore,
    idempotent,
    idempotent_function,
    invocation,
    once,
)
from fnrunner.runtimes.python_library.fnrunner_idempotency.record import COMPLETED, IN_PROGRESS, Claim
from tests.postgres_server import PostgresServer

Store = SQLiteStore | PostgresStore
LIBRARY = Path(__file__).parents[2] / "fnrunner" / "runtimes" / "python_library"
MS = timedelta(milliseconds=1)


class Context:
    aws_request_id = "r-1"

    def __init__(self, left_ms: int = 20_000) -> None:
        self.left_ms = left_ms

    def get_remaining_time_in_millis(self) -> int:
        return self.left_ms


def a_claim(owner: str = "me", key: str = "k", **changes: Any) -> Claim:
    values: dict[str, Any] = {"scope": "f", "key": key, "owner": owner, "lease_ms": 60_000, "expires_ms": 60_000}
    return Claim(**(values | changes))


@pytest.fixture(scope="module")
def database(postgres: PostgresServer) -> str:
    return postgres.create_database()


@pytest.fixture
def postgres_url(database: str) -> str:
    """An empty schema: a database for each test would be slow to make and to remove."""
    schema = f"test_{uuid4().hex}"
    with psycopg.connect(database) as connection:
        connection.execute(f"CREATE SCHEMA {schema}")
    return f"{database}?options=-csearch_path%3D{schema}"


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made: Store
    if request.param == "sqlite":
        made = SQLiteStore(tmp_path / ".idempotency.sqlite")
    else:
        made = PostgresStore(request.getfixturevalue("postgres_url"))
    yield made
    made.close()


class TestStore:
    def test_a_key_is_one_owners_until_it_is_forgotten(self, store: Store) -> None:
        assert store.claim(a_claim("a"), 5)
        assert store.claim(a_claim("a"), 5), "a claim whose confirmation was lost is done again"
        assert not store.claim(a_claim("b"), 5)
        assert store.claim(a_claim("b", key="other"), 5)
        assert store.claim(a_claim("b", scope="other"), 5)
        store.forget(a_claim("b"), 5)
        assert not store.claim(a_claim("b"), 5)
        store.forget(a_claim("a"), 5)
        assert store.find(a_claim(), 5) is None
        assert store.claim(a_claim("b"), 5)

    def test_a_record_says_how_long_it_holds(self, store: Store) -> None:
        store.claim(a_claim("a", lease_ms=50_000, payload_hash="h"), 5)
        found = store.find(a_claim(), 5)
        assert found is not None
        assert (found.status, found.owner, found.payload_hash, found.result) == (IN_PROGRESS, "a", "h", None)
        assert 30_000 < found.lease_left_ms <= 50_000
        assert 90_000 < found.expires_in_ms <= 110_000
        assert store.complete(a_claim("a"), '"ü"', 5)
        assert store.complete(a_claim("a"), '"ü"', 5), "a completion whose confirmation was lost is done again"
        found = store.find(a_claim(), 5)
        assert found is not None
        assert (found.status, found.result) == (COMPLETED, '"ü"')
        assert 30_000 < found.expires_in_ms <= 60_000
        assert not store.claim(a_claim("b"), 5)
        store.forget(a_claim("a"), 5)
        assert store.find(a_claim(), 5) is not None

    def test_a_lease_that_ended_and_a_record_that_expired_are_free(self, store: Store) -> None:
        assert store.claim(a_claim("killed", lease_ms=0, payload_hash="1"), 5)
        assert store.claim(a_claim("b", payload_hash="2"), 5)
        assert not store.complete(a_claim("killed"), "1", 5)
        assert store.complete(a_claim("b", expires_ms=0), "1", 5)
        assert store.claim(a_claim("c"), 5)
        found = store.find(a_claim(), 5)
        assert found is not None
        assert (found.status, found.owner, found.result) == (IN_PROGRESS, "c", None)

    def test_expired_records_are_removed_and_no_others(self, store: Store) -> None:
        for number in range(250):
            expired = a_claim("a", key=str(number), lease_ms=0, expires_ms=0 if number % 2 else 60_000)
            store.claim(expired, 5)
        assert store.purge(at_most=50) == 50
        assert store.purge() == 75
        assert store.purge() == 0
        assert all(store.find(a_claim(key=str(number)), 5) for number in range(0, 250, 2))

    def test_a_claim_now_and_then_removes_expired_records(self, store: Store) -> None:
        store.claim(a_claim("a", key="old", lease_ms=0, expires_ms=0), 5)
        store.claim(a_claim("a", key="new"), 5)
        assert store.claim(a_claim("00", key="newer"), 5)
        assert store.purge() == 0
        assert store.find(a_claim(key="new"), 5) is not None

    def test_a_new_store_is_made_by_many_at_once(self, store: Store) -> None:
        address = store._path if isinstance(store, SQLiteStore) else store._conninfo
        stores = [type(store)(address) for _ in range(12)]
        together, faults, claimed = threading.Barrier(len(stores)), [], []

        def begin(own: Store) -> None:
            together.wait(30)
            try:
                claimed.append(own.claim(a_claim(str(id(own))), 30))
            except Exception as error:
                faults.append(error)
            own.close()

        threads = [threading.Thread(target=begin, args=(own,)) for own in stores]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert faults == []
        assert sorted(claimed) == [False] * 11 + [True]

    def test_threads_share_a_store(self, store: Store) -> None:
        ran, results = [], []

        @idempotent(store=store)
        def handler(event: Any, context: Any) -> int:
            ran.append(1)
            threading.Event().wait(0.1)
            return 5

        threads = [threading.Thread(target=lambda: results.append(handler({}, Context()))) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert (ran, results) == ([1], [5] * 6)

    def test_a_forked_child_has_a_connection_of_its_own(self, store: Store) -> None:
        store.claim(a_claim("parent"), 5)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # threads of other tests may be alive
            child = os.fork()
        if child == 0:
            claimed = store.claim(a_claim("child"), 5), store.claim(a_claim("child", key="c"), 5)
            os._exit(0 if claimed == (False, True) else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert store.complete(a_claim("parent"), "1", 5)
        assert store.find(a_claim(key="c"), 5) is not None

    def test_the_tables_name_can_be_chosen(self, tmp_path: Path, postgres: PostgresServer) -> None:
        url = postgres.create_database()
        with psycopg.connect(url) as connection:
            connection.execute("CREATE SCHEMA own")
        made: list[Store] = [SQLiteStore(tmp_path / "x", table="Mine"), PostgresStore(url, table="own.Mine")]
        for store in made:
            assert store.claim(a_claim(), 5)
            store.close()
            assert store.find(a_claim(), 5) is not None
            store.close()
        with psycopg.connect(url) as connection:
            assert connection.execute('SELECT count(*) FROM own."Mine"').fetchone() == (1,)


FILL_UP = """
import resource, sys
from datetime import timedelta
from fnrunner_idempotency import IdempotencyStoreFullError, SQLiteStore, idempotent_function

store = SQLiteStore(sys.argv[1])

@idempotent_function(store=store, key="key", lease=timedelta(seconds=2))
def effect(key):
    print("ran", key)
    return "x" * int(sys.argv[2])

resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, resource.RLIM_INFINITY))
for key in range(10_000):
    try:
        effect(key)
    except IdempotencyStoreFullError as error:
        print(error)
        print(key)
        break
"""


class TestSQLiteFaults:
    def test_a_place_that_cannot_serve_is_refused_with_the_remedy(self, tmp_path: Path) -> None:
        for path, reason in ((tmp_path / "nowhere" / "x", "does not exist"), (tmp_path, "is a directory")):
            with pytest.raises(IdempotencyPlaceError, match=reason):
                SQLiteStore(path).claim(a_claim(), 5)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
    def test_a_directory_that_cannot_be_written_is_refused(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o555)
        with pytest.raises(IdempotencyPlaceError, match="cannot be written"):
            SQLiteStore(tmp_path / "x").claim(a_claim(), 5)

    def test_a_file_that_is_no_database_is_named_and_untouched(self, tmp_path: Path) -> None:
        path = tmp_path / "x"
        path.write_bytes(b"dear diary, " * 1000)
        with pytest.raises(IdempotencyPersistenceLayerError, match="no intact SQLite database"):
            SQLiteStore(path).claim(a_claim(), 5)
        assert path.read_bytes() == b"dear diary, " * 1000

    def test_a_lock_that_is_kept_is_waited_for_as_long_as_there_is_time(self, tmp_path: Path) -> None:
        store = SQLiteStore(tmp_path / "x")
        store.claim(a_claim("a", key="first"), 5)
        ran: list[int] = []
        handler = idempotent(store=store, scope="s")(lambda event, context: ran.append(1))
        with closing(sqlite3.connect(tmp_path / "x", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(IdempotencyStoreBusyError, match="short"):
                handler({}, Context(left_ms=700))
            assert ran == []
            other.execute("ROLLBACK")
        handler({}, Context())
        assert ran == [1]
        store.close()

    def test_a_file_that_was_removed_is_made_again(self, tmp_path: Path) -> None:
        store = SQLiteStore(tmp_path / "x")
        store.claim(a_claim("a"), 5)
        for file in tmp_path.iterdir():
            file.unlink()
        assert store.claim(a_claim("b"), 5)
        other = SQLiteStore(tmp_path / "x")
        assert not other.claim(a_claim("c"), 5)
        store.close()
        other.close()

    def test_a_disk_that_fills_up_is_said_with_whether_the_function_has_run(self, tmp_path: Path) -> None:
        """A limit on the size of files, as functions have one, stands for the disk."""
        for size in (60, 20_000, 100_000):
            done = subprocess.run(
                [sys.executable, "-c", FILL_UP, str(tmp_path / f"x{size}"), str(size)],
                env={**os.environ, "PYTHONPATH": str(LIBRARY)},
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
            assert done.returncode == 0, done.stderr
            *ran, error, failed = done.stdout.splitlines()
            assert "no space left" in error
            assert "EphemeralStorage" in error
            assert (f"ran {failed}" in ran) is ("has run" in error)

    def test_a_store_that_is_full_from_the_start_runs_nothing(self, tmp_path: Path) -> None:
        store = SQLiteStore(tmp_path / "x")
        store.claim(a_claim("a"), 5)
        pages = store._connection(5).execute("PRAGMA page_count").fetchone()[0]
        store._connection(5).execute(f"PRAGMA max_page_count = {pages}")
        ran: list[int] = []
        handler = idempotent(store=store, key="id", scope="s" * 4000)(lambda event, context: ran.append(1))
        with pytest.raises(IdempotencyStoreFullError, match="Free space"):
            handler({"id": 1}, Context())
        assert ran == []
        handler({"id": 1}, Context())
        assert ran == [1], "the connection was made anew, and there is space"
        store.close()


class TestPostgresFaults:
    def test_an_unreachable_server_is_said_and_nothing_is_run(self, private_postgres: PostgresServer) -> None:
        store = PostgresStore(private_postgres.url())
        ran: list[int] = []
        handler = idempotent(store=store, key="id", scope="s")(lambda event, context: ran.append(1))
        handler({"id": 1}, Context())
        private_postgres.kill()
        for _ in range(2):
            with pytest.raises(IdempotencyStoreUnreachableError, match="Check that it runs"):
                handler({"id": 2}, Context())
        assert ran == [1]
        private_postgres.start()
        handler({"id": 1}, Context())
        handler({"id": 2}, Context())
        assert ran == [1, 1]
        private_postgres.stop()
        private_postgres.start()
        # the connection is dead and does not know it: made anew within the call
        handler({"id": 3}, Context())
        assert ran == [1, 1, 1]
        store.close()

    def test_a_password_is_in_no_error_and_no_repr(self) -> None:
        store = PostgresStore("postgresql://u:hunter2@127.0.0.1:1/db")
        with pytest.raises(IdempotencyStoreUnreachableError) as caught:
            store.claim(a_claim(), 1)
        assert "hunter2" not in f"{caught.value!r}{store!r}"

    def test_a_user_who_may_not_make_the_table_is_told_what_to_do(self, postgres: PostgresServer) -> None:
        url = postgres.create_database()
        with psycopg.connect(url, autocommit=True) as connection:
            user = f"u{os.getpid()}"
            connection.execute("REVOKE CREATE ON SCHEMA public FROM public")
            connection.execute(f"CREATE USER {user}")
            try:
                store = PostgresStore(url.replace("postgres@", f"{user}@"))
                with pytest.raises(IdempotencyPersistenceLayerError, match="CREATE TABLE"):
                    store.claim(a_claim(), 5)
            finally:
                connection.execute(f"DROP USER {user}")

    def test_a_wrong_address_is_refused(self) -> None:
        with pytest.raises(IdempotencyPersistenceLayerError):
            PostgresStore("no such thing").claim(a_claim(), 1)


class Ledger:
    """A database of the user's with a table ``effect``, connected in one of its ways."""

    def __init__(self, connect: Any) -> None:
        self.connect = connect
        with closing(connect()) as connection:
            connection.execute("CREATE TABLE effect (n INTEGER)")
            connection.commit()

    def effects(self) -> int:
        with closing(self.connect()) as connection:
            row = connection.execute("SELECT count(*) AS n FROM effect").fetchone()
            return int(row["n"] if isinstance(row, dict) else row[0])


def add(connection: Any) -> None:
    connection.execute("INSERT INTO effect VALUES (1)")


def add_and_fail(connection: Any, error: type[BaseException], key: str = "k", **options: Any) -> None:
    with once(connection, key, **options):
        add(connection)
        raise error


def add_and_close(connection: Any) -> None:
    with once(connection, "k"):
        add(connection)
        connection.close()


def add_and_keep(connection: Any, result: object) -> None:
    with once(connection, "k") as first:
        add(connection)
        first.keep(result)


def modes() -> list[str]:
    return [
        "sqlite",
        "sqlite isolation_level=None",
        "sqlite rows",
        "postgresql",
        "postgresql autocommit",
        "postgresql rows",
    ]


@pytest.fixture(params=modes())
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Ledger:
    kind, _, mode = request.param.partition(" ")
    if kind == "sqlite":

        def to_file() -> sqlite3.Connection:
            connection = sqlite3.connect(tmp_path / "ledger", timeout=30)
            if mode == "rows":
                connection.row_factory = lambda cursor, row: {
                    c[0]: v for c, v in zip(cursor.description, row, strict=True)
                }
                connection.text_factory = bytes
            elif mode:
                connection.isolation_level = None
            return connection

        return Ledger(to_file)
    url = request.getfixturevalue("postgres_url")

    def to_server() -> psycopg.Connection[Any]:
        connection: psycopg.Connection[Any] = psycopg.connect(url, autocommit=mode == "autocommit")
        if mode == "rows":
            connection.row_factory = psycopg.rows.dict_row
        return connection

    return Ledger(to_server)


class TestOnce:
    def test_the_first_commits_and_a_duplicate_gets_what_it_kept(self, ledger: Ledger) -> None:
        with closing(ledger.connect()) as connection:
            for turn in range(3):
                with once(connection, ["order", 7]) as first:
                    assert bool(first) is (turn == 0)
                    if first:
                        add(connection)
                        assert first.keep({"n": (1,)}) == {"n": [1]}
                    else:
                        with pytest.raises(IdempotencyTransactionError, match="duplicate"):
                            first.keep(2)
                assert first.result == {"n": [1]}
        assert ledger.effects() == 1

    def test_an_error_undoes_record_and_effect(self, ledger: Ledger) -> None:
        with closing(ledger.connect()) as connection:
            for error in (ValueError, KeyboardInterrupt):
                with pytest.raises(error):
                    add_and_fail(connection, error)
            assert ledger.effects() == 0
            with once(connection, "k") as first:
                assert first
                add(connection)
        assert ledger.effects() == 1

    def test_a_connection_that_is_closed_in_the_middle_leaves_nothing(self, ledger: Ledger) -> None:
        connection = ledger.connect()
        with pytest.raises((IdempotencyTransactionError, IdempotencyPersistenceLayerError)):
            add_and_close(connection)
        with closing(ledger.connect()) as connection, once(connection, "k") as first:
            assert first
        assert ledger.effects() == 0

    def test_a_duplicate_waits_for_the_first_and_finds_what_it_did(self, ledger: Ledger) -> None:
        found: list[Any] = []
        begun = threading.Event()

        def duplicate() -> None:
            with closing(ledger.connect()) as connection:
                begun.set()
                with once(connection, "k") as first:
                    found.append((bool(first), first.result))

        thread = threading.Thread(target=duplicate)
        with closing(ledger.connect()) as connection, once(connection, "k") as first:
            add(connection)
            thread.start()
            begun.wait(30)
            thread.join(0.2)
            assert found == []
            first.keep("kept")
        thread.join(30)
        assert found == [(False, "kept")]

    def test_a_wait_has_an_end_and_then_nothing_is_run(self, ledger: Ledger) -> None:
        with closing(ledger.connect()) as one, closing(ledger.connect()) as other:
            with once(one, "before"):
                pass
            with once(one, "k"):
                with pytest.raises(IdempotencyStoreBusyError), once(other, "k", wait=50 * MS):
                    raise AssertionError("it ran")
                with invocation(Context(left_ms=550)), pytest.raises(IdempotencyStoreBusyError), once(other, "k"):
                    raise AssertionError("it ran")
            with once(other, "k") as first:
                assert not first

    def test_work_that_is_uncommitted_is_neither_committed_nor_lost_by_surprise(self, ledger: Ledger) -> None:
        with closing(ledger.connect()) as connection:
            if getattr(connection, "isolation_level", "") is None or getattr(connection, "autocommit", None) is True:
                connection.execute("BEGIN")
            add(connection)
            with pytest.raises(IdempotencyTransactionError, match="commit=False"), once(connection, "k"):
                raise AssertionError("it ran")
            with once(connection, "k", commit=False) as first:
                assert first
                add(connection)
            with pytest.raises(ValueError):  # noqa: PT011
                add_and_fail(connection, ValueError, key="l", commit=False)
            assert ledger.effects() == 0
            connection.rollback()
            with once(connection, "k") as first:
                assert first

    def test_commit_false_leaves_the_commit_to_the_caller(self, ledger: Ledger) -> None:
        with closing(ledger.connect()) as connection:
            if getattr(connection, "autocommit", None) is True:
                with pytest.raises(IdempotencyTransactionError, match="commits each statement"):
                    once(connection, "k", commit=False).__enter__()
                return
            with once(connection, "k", commit=False):
                add(connection)
            with once(connection, "k", commit=False) as first:
                assert not first
            assert ledger.effects() == 0
            connection.commit()
        assert ledger.effects() == 1

    def test_the_same_key_with_another_payload_is_refused(self, ledger: Ledger) -> None:
        with closing(ledger.connect()) as connection:
            with once(connection, "k", payload={"amount": 5}):
                add(connection)
            with once(connection, "k", payload={"amount": 5}) as first:
                assert not first
            with pytest.raises(IdempotencyValidationError), once(connection, "k", payload={"amount": 6}):
                raise AssertionError("it ran")
            with once(connection, "k", scope="other", payload={"amount": 6}) as first:
                assert first

    def test_an_expired_record_is_first_again(self, ledger: Ledger) -> None:
        with closing(ledger.connect()) as connection:
            with once(connection, "k", expires=MS):
                add(connection)
            threading.Event().wait(0.02)
            with once(connection, "k") as first:
                assert first
                assert first.result is None

    def test_the_transaction_now_and_then_removes_expired_records(
        self, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            "fnrunner.runtimes.python_library.fnrunner_idempotency.transactional.new_owner", lambda: "00"
        )
        with closing(ledger.connect()) as connection:
            for key in ("old", "older"):
                with once(connection, key, expires=MS):
                    pass
            threading.Event().wait(0.02)
            with once(connection, "new"):
                pass
            rows = connection.execute("SELECT count(*) AS n FROM fnrunner_idempotency").fetchone()
            assert (rows["n"] if isinstance(rows, dict) else rows[0]) == 1

    def test_what_is_no_json_is_not_kept_and_all_is_undone(self, ledger: Ledger) -> None:
        with closing(ledger.connect()) as connection:
            with pytest.raises(IdempotencyResultError, match="object"):
                add_and_keep(connection, object())
            with once(connection, "k") as first:
                assert first
        assert ledger.effects() == 0


def test_a_transaction_that_ended_inside_the_block_is_reported(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "x")) as connection:
        for ending in (connection.commit, connection.rollback, lambda: connection.executescript("SELECT 1")):
            with pytest.raises(IdempotencyTransactionError, match="ended inside"), once(connection, str(ending)):
                ending()
            assert not connection.in_transaction


def test_a_commit_inside_the_block_is_refused_by_psycopg_or_reported(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        with pytest.raises(psycopg.ProgrammingError), once(connection, "k"):
            connection.commit()
        with pytest.raises(IdempotencyTransactionError, match="ended inside"), once(connection, "k"):
            connection.execute("COMMIT")
        with pytest.raises(IdempotencyTransactionError, match="pipeline"), connection.pipeline(), once(connection, "p"):
            raise AssertionError("it ran")


def test_a_stricter_isolation_level_makes_a_collision_an_error_that_a_retry_gets_over(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(psycopg.connect(postgres_url)) as one, closing(psycopg.connect(postgres_url)) as other:
        other.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        with once(one, "before") as first:
            assert first
        other.execute("SELECT count(*) FROM fnrunner_idempotency")  # its view of the database is from before
        with once(one, "k"):
            pass
        with pytest.raises(IdempotencyStoreBusyError), once(other, "k", commit=False):
            raise AssertionError("it ran")
        other.rollback()
        # removing what another removes meanwhile is no reason to fail
        monkeypatch.setattr(
            "fnrunner.runtimes.python_library.fnrunner_idempotency.transactional.new_owner", lambda: "00"
        )
        one.execute("UPDATE fnrunner_idempotency SET expiry_ms = 0 WHERE key LIKE '%before%'")
        one.commit()
        other.execute("SELECT count(*) FROM fnrunner_idempotency")
        one.execute("DELETE FROM fnrunner_idempotency WHERE expiry_ms = 0")
        one.commit()
        with once(other, "l", commit=False) as first:
            assert first
        other.rollback()
        with once(other, "k") as first:
            assert not first


def test_a_failed_transaction_is_to_be_rolled_back_first(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        with pytest.raises(psycopg.Error):
            connection.execute("SELECT nothing")
        with pytest.raises(IdempotencyTransactionError, match="Roll it back"), once(connection, "k", commit=False):
            raise AssertionError("it ran")


def test_the_users_own_errors_and_timeouts_are_left_alone(postgres_url: str, tmp_path: Path) -> None:
    with psycopg.connect(postgres_url) as connection:
        with pytest.raises(psycopg.errors.UndefinedTable), once(connection, "k"):
            connection.execute("SELECT * FROM nothing")
        with once(connection, "k", wait=timedelta(seconds=3)):
            assert connection.execute("SHOW lock_timeout").fetchone() == ("0",)
    with closing(sqlite3.connect(tmp_path / "x", timeout=7)) as file:
        with pytest.raises(sqlite3.OperationalError, match="nothing"), once(file, "k", wait=MS):
            file.execute("SELECT * FROM nothing")
        assert file.execute("PRAGMA busy_timeout").fetchone() == (7000,)


def test_a_record_that_a_decorator_has_in_progress_is_respected(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "x")
    store.claim(a_claim("other"), 5)
    with closing(sqlite3.connect(tmp_path / "x")) as connection:
        with pytest.raises(IdempotencyAlreadyInProgressError), once(connection, "k", scope="f"):
            raise AssertionError("it ran")
        store.forget(a_claim("other"), 5)
        with once(connection, "k", scope="f") as first:
            assert first
    store.close()


def test_a_constraint_that_is_violated_at_the_end_is_the_users_own_error(postgres_url: str, tmp_path: Path) -> None:
    def add_orphan(connection: Any) -> None:
        with once(connection, "k"):
            connection.execute("INSERT INTO child VALUES (7)")

    with closing(sqlite3.connect(tmp_path / "x")) as file, closing(psycopg.connect(postgres_url)) as server:
        file.execute("PRAGMA foreign_keys = ON")
        for connection in (file, server):
            connection.execute("CREATE TABLE parent (id INTEGER PRIMARY KEY)")
            connection.execute("CREATE TABLE child (id INTEGER REFERENCES parent DEFERRABLE INITIALLY DEFERRED)")
            connection.commit()
            for _ in range(2):
                with pytest.raises((sqlite3.IntegrityError, psycopg.IntegrityError)):
                    add_orphan(connection)
            with once(connection, "k") as first:
                assert first


@pytest.mark.parametrize("connection", [None, "sqlite:///x", object()])
def test_what_is_no_connection_is_refused_by_name(connection: object) -> None:
    with pytest.raises(IdempotencyConfigurationError, match=type(connection).__name__):
        once(connection, "k").__enter__()


@pytest.mark.parametrize("wrong", [{"expires": 5}, {"wait": 5}, {"table": "a b"}, {"scope": 5}])
def test_a_wrong_option_is_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with closing(sqlite3.connect(tmp_path / "x")) as connection:
        with pytest.raises(IdempotencyConfigurationError):
            once(connection, "k", **wrong).__enter__()
        assert not connection.in_transaction


def test_the_effect_and_its_record_can_be_guarded_in_one_function(tmp_path: Path) -> None:
    """An effect in the database by ``once``, and one elsewhere by a decorator, in the same file."""
    store, sent = SQLiteStore(tmp_path / "x"), []

    @idempotent_function(store=store, key="order")
    def send(order: int) -> None:
        sent.append(order)

    with closing(sqlite3.connect(tmp_path / "x")) as connection, invocation(Context()):
        for _ in range(2):
            with once(connection, 7):
                pass
            send(7)
    assert sent == [7]
    store.close()
