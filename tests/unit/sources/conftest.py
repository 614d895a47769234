from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.sources.memory_database import MemoryDatabase


@pytest.fixture
def database() -> Iterator[MemoryDatabase]:
    database = MemoryDatabase()
    yield database
    database.engine.dispose()
