"""A service of sharded streams in memory, as Kinesis is one: iterators that expire, limits, retention, splits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sources.aws_client import IteratorExpired, PositionTrimmed, PositionUnknown
from sources.aws_shard_reader import Page
from sources.errors import NotSupported
from sources.mapping import StartingPosition
from sources.shard_lineage import Shard
from sources.stream import After, Record, Start

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


class ShardService:
    """See :class:`sources.aws_shard_reader.ShardApi`. ``failures`` are raised by the calls to come, one each. An iterator is
    ``SHARD/INDEX/GENERATION``; raising ``generation`` expires all there are.
    """

    def __init__(self, *, knows_times: bool = True) -> None:
        self.known: dict[str, Shard] = {}
        self.positions: dict[str, list[int]] = {}
        self.failures: list[Exception] = []
        self.calls: Counter[str] = Counter()
        self.generation = 0
        self.trimmed: dict[str, int] = {}
        self._knows_times = knows_times

    def add(self, shard: str, *positions: int, parents: tuple[str, ...] = ()) -> None:
        self.known[shard] = Shard(shard, parents)
        self.positions.setdefault(shard, []).extend(positions)

    def end(self, shard: str) -> None:
        self.known[shard] = Shard(shard, self.known[shard].parents, closed=True)

    def trim(self, shard: str, before: int) -> None:
        self.trimmed[shard] = before
        self.positions[shard] = [position for position in self.positions[shard] if position >= before]

    def _fail(self) -> None:
        if self.failures:
            raise self.failures.pop(0)

    async def shards(self) -> Sequence[Shard]:
        self.calls["shards"] += 1
        self._fail()
        return list(self.known.values())

    async def iterator(self, shard: str, start: Start, *, at: int | None = None) -> str:
        self.calls["iterator"] += 1
        self._fail()
        positions = self.positions[shard]
        if at is not None or isinstance(start, After):
            wanted = at if at is not None else start.position  # type: ignore[union-attr]
            if wanted < self.trimmed.get(shard, 0):
                raise PositionTrimmed
            if wanted not in positions:
                raise PositionUnknown
            index = positions.index(wanted) + (at is None)
        elif start.at is StartingPosition.LATEST:
            index = len(positions)
        elif start.at is StartingPosition.AT_TIMESTAMP:
            if not self._knows_times:
                raise NotSupported("no times here")
            assert start.timestamp is not None
            index = sum(arrival(position) < start.timestamp for position in positions)
        else:
            index = 0
        return f"{shard}/{index}/{self.generation}"

    async def records(self, iterator: str, limit: int) -> Page:
        self.calls["records"] += 1
        self._fail()
        shard, index, generation = iterator.rsplit("/", 2)
        if int(generation) < self.generation:
            raise IteratorExpired
        found = self.positions[shard][int(index) : int(index) + limit]
        end = int(index) + len(found)
        over = self.known[shard].closed and end == len(self.positions[shard])
        return Page([{"position": each} for each in found], None if over else f"{shard}/{end}/{self.generation}")

    def record(self, shard: str, raw: Mapping[str, Any]) -> Record:
        position = raw["position"]
        return Record(position, "k", arrival(position), {"position": position}, b"%d" % position, f"id-{position}")


def arrival(position: int) -> datetime:
    """A record a second, by position."""
    return BEGAN + timedelta(seconds=position)
