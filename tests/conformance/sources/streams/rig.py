"""What the suite needs of each stream adapter: a world with a stream in it, that can be taken away.

Records are numbers: a world stores them as whatever its source takes, and reads them back from what the adapter gives.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, cast

from sources.mapping import EventSourceMapping
from sources.source import Services
from sources.stream import Record

Fixture = Callable[[str], Any]


class World(Protocol):
    """Some cannot do everything, and say so: ``forgets`` (retention can be brought about), ``goes_away``, ``remakes`` (a
    stream that is created again takes the positions of the old one), ``knows_times`` (reading can begin at one),
    ``vanishes`` (with its records when it is deleted). ``most_bytes`` is what the largest record has, ``most_shards`` what
    the largest stream, ``kept_bytes`` what it can be filled with in a test.
    """

    forgets: bool
    goes_away: bool
    remakes: bool
    knows_times: bool
    vanishes: bool
    most_bytes: int
    most_shards: int
    kept_bytes: int

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    def services(self) -> Services: ...

    def mapping(self) -> EventSourceMapping: ...

    async def create(self, shards: int = 1, *, forgetful: bool = False) -> None:
        """Make the stream, empty; returns when it can be written and read. A ``forgetful`` one keeps little."""

    async def delete(self) -> None: ...

    async def put(self, numbers: Iterable[int], shard: int = 0, size: int = 0) -> None:
        """Store the records in this order; each has about ``size`` bytes, or a few."""

    async def forget(self) -> None:
        """Add records to the forgetful stream until the first ones are gone."""

    async def lose(self) -> None:
        """Take the source away."""

    async def restore(self) -> None:
        """Bring it back as it was."""

    def identifier(self, record: Record) -> Any:
        """What a function names the record by in a partial batch response."""


def padded(number: int, size: int) -> str:
    """Text of at least ``size`` characters that ends with the number."""
    return f"#{number}".rjust(size, ".")


def number(record: Record) -> int:
    """The number that the record's data ends with."""
    assert record.data is not None
    return int(record.data.rpartition(b"#")[2].partition(b'"')[0])


def worlds(adapter: str) -> Mapping[str, Callable[[Path, Fixture], World]]:
    """``WORLDS`` of the module in ``rigs`` that is called like the adapter: by name, each takes a directory of its own
    and what gets a fixture by name. Raises ModuleNotFoundError."""
    module = importlib.import_module(f"tests.conformance.sources.streams.rigs.{adapter.replace('-', '_')}")
    return cast("Mapping[str, Callable[[Path, Fixture], World]]", module.WORLDS)
