"""A stream at an AWS-compatible endpoint: what Kinesis and DynamoDB Streams have in common.

A shard that was split or merged away is offered until it is done with: everything in it is settled, as far as it is stored,
and nothing follows. Only then those are offered that came of it, by whichever process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from sources import shard_place
from sources.aws_client import AwsClient, Busy, IteratorExpired, PositionTrimmed, PositionUnknown
from sources.aws_shard_reader import AwsShardReader, ShardApi
from sources.errors import NotSupported, SourceUnavailable
from sources.mapping import EventSourceMapping, StartingPosition
from sources.shard_lineage import readable
from sources.source import Services
from sources.stream import Begin, Start, records_payload, sequence_number

_MOST_PAGES = 10
"""Pages of a closed shard may be empty where records have been dropped; so many are looked at in one go."""

Settled = Callable[[str], Awaitable[Start | None]]


def stored_place(mapping: EventSourceMapping, services: Services) -> Settled:
    """Up to where a shard of the mapping is settled, whoever works on it."""

    async def settled(shard: str) -> Start | None:
        place = shard_place.read(await services.claims.load(f"esm:{mapping.uuid}:{shard}"))
        return place.low or place.start

    return settled


class AwsStream:
    """See :class:`sources.stream.Stream`."""

    def __init__(self, client: AwsClient, api: ShardApi, settled: Settled) -> None:
        self._client = client
        self._api = api
        self._settled = settled
        self._finished: set[str] = set()
        self._readers: set[AwsShardReader] = set()

    async def start(self) -> None:
        """Nothing to do before the first call."""

    async def close(self) -> None:
        readers, self._readers = self._readers, set()
        await asyncio.gather(*(reader.close() for reader in readers))
        self._client.close()

    async def shards(self) -> Sequence[str]:
        try:
            listed = await self._api.shards()
        except (Busy, PositionUnknown) as error:
            raise SourceUnavailable(str(error)) from error
        while True:
            now = readable(listed, self._finished)
            closed = [shard.id for shard in now if shard.closed]
            done = {shard for shard in closed if await self._is_done_with(shard)}
            if not done:
                return [shard.id for shard in now]
            self._finished |= done

    async def open(self, shard: str, start: Start) -> AwsShardReader:
        reader = AwsShardReader(self._api, shard, start)
        await reader.open()
        self._readers.add(reader)
        reader.on_close = lambda: self._readers.discard(reader)
        return reader

    def payload(self, records: Sequence[Mapping[str, Any]], more: Mapping[str, Any]) -> bytes:
        return records_payload(records, more)

    def failure_key(self, identifier: Any) -> int | None:
        return sequence_number(identifier)

    async def _is_done_with(self, shard: str) -> bool:
        """Whether nothing follows what is settled of a closed shard; what cannot be told now is told the next time."""
        settled = await self._settled(shard)
        if settled is None:
            return False
        try:
            iterator = await self._iterator(shard, settled)
            for _ in range(_MOST_PAGES):
                page = await self._api.records(iterator, 1)
                if page.records:
                    return False
                if page.newest or page.next is None:
                    return True
                iterator = page.next
        except (Busy, IteratorExpired):
            pass
        return False

    async def _iterator(self, shard: str, start: Start) -> str:
        try:
            return await self._api.iterator(shard, start)
        except (PositionTrimmed, PositionUnknown, NotSupported):
            return await self._api.iterator(shard, Begin(StartingPosition.TRIM_HORIZON))
