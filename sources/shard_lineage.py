"""Which shards of a stream may be read: a shard that came of a split or a merge only when those it came of are read to their
end, so that the records of a key stay in order. Source: Kinesis developer guide, "Resharding"; DynamoDB Streams, "Shards".
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shard:
    """``closed``: nothing is added to it any more. ``parents`` are those it came of."""

    id: str
    parents: tuple[str, ...] = ()
    closed: bool = False


def readable(shards: Sequence[Shard], finished: Collection[str]) -> list[Shard]:
    """Those that may be read now. A parent that is not among ``shards`` has been dropped with its records.

    >>> shards = [Shard("a", closed=True), Shard("b", ("a",)), Shard("c", ("a", "z"))]
    >>> [s.id for s in readable(shards, [])], [s.id for s in readable(shards, ["a"])]
    (['a'], ['b', 'c'])
    """
    waited_for = {shard.id for shard in shards} - set(finished)
    return [shard for shard in shards if shard.id in waited_for and waited_for.isdisjoint(shard.parents)]
