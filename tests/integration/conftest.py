"""A PostgreSQL a session, and stores on both databases: the schema is made once, and copied for each test. The command line
in this process.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from fnrunner.cli.main import run
from fnrunner.store.engine import Store
from tests import postgres_server
from tests.api_server import ApiServer
from tests.conftest import missing
from tests.postgres_server import PostgresServer
from tests.store_template import make_schema, new_sqlite_store


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """Shared by the session: make databases in it, do not stop it."""
    if not postgres_server.available():
        missing("PostgreSQL (apt-get install postgresql)")
    with PostgresServer() as server:
        yield server


@pytest.fixture
def private_postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL for one test, to stop and kill at will."""
    if not postgres_server.available():
        missing("PostgreSQL (apt-get install postgresql)")
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_template(postgres: PostgresServer) -> str:
    """The name of a database with the schema of this release: make others from it."""
    url = postgres.create_database()
    make_schema(url)
    return url.rpartition("/")[2]


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database of each kind with nothing in it."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.sqlite'}"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.create_database()


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database of each kind as the first start leaves it."""
    if request.param == "sqlite":
        return new_sqlite_store(tmp_path / "store.sqlite")
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.create_database(request.getfixturevalue("postgres_template"))


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[Store]:
    store = Store(store_url)
    await store.start()
    yield store
    await store.close()


@pytest.fixture
def cli(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., tuple[int, str, str]]:
    """Run a command line in this process against the module's ``server``: its exit status, output and errors."""
    monkeypatch.setenv("FNRUNNER_ENDPOINT_URL", server.url)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def call(*arguments: str) -> tuple[int, str, str]:
        status = run(arguments)
        out, err = capsys.readouterr()
        assert "\x1b" not in out + err
        return status, out, err

    return call
