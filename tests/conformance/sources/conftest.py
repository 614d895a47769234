from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from sources.checkpoints import StoredCheckpoints
from sources.lease import StoredLease
from sources.registry import adapters
from sources.source import Adapter, Services, Source
from tests.conformance.sources.faulty_checkpoints import FaultyCheckpoints
from tests.conformance.sources.file_database import FileDatabase
from tests.conformance.sources.inbox import Inbox
from tests.conformance.sources.rig import Rig, rig_of


@pytest.fixture(params=sorted(name for name, adapter in adapters(Adapter).items() if adapter.watches))
def adapter(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def rig(adapter: str, tmp_path: Path) -> Rig:
    return rig_of(adapter)(tmp_path)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[FileDatabase]:
    database = FileDatabase(tmp_path / "checkpoints.sqlite")
    yield database
    database.close()


@pytest.fixture
def checkpoints(database: FileDatabase) -> FaultyCheckpoints:
    return FaultyCheckpoints(StoredCheckpoints(database, database.seen, database.checkpoint))


@pytest.fixture
async def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
def services(inbox: Inbox, checkpoints: FaultyCheckpoints, database: FileDatabase) -> Services:
    return Services(
        inbox, checkpoints, lambda name: StoredLease(database, database.checkpoint, name, ttl=timedelta(seconds=6))
    )


@pytest.fixture
async def make(rig: Rig, services: Services) -> AsyncIterator[Callable[[], Source]]:
    """Make a source over the world; whatever was made is closed after the test."""
    made: list[Source] = []

    def make() -> Source:
        made.append(rig.source(services))
        return made[-1]

    yield make
    for source in made:
        await source.close()
