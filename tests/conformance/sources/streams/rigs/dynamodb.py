"""The stream of a table of moto's DynamoDB. Its streams have one shard."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sources.stream import Record
from tests.conformance.sources.streams.rig import Fixture, padded
from tests.conformance.sources.streams.rigs.moto_world import REGION, MotoWorld


class DynamoDBWorld(MotoWorld):
    vanishes = False
    most_bytes = 300_000
    most_shards = 1

    def __init__(self, directory: Path, fixture: Fixture) -> None:
        super().__init__("dynamodb", fixture)
        self._arn = f"arn:aws:dynamodb:{REGION}:123456789012:table/{self.name}/stream/2026-01-01T00:00:00.000"

    def arn(self) -> str:
        return self._arn

    def identifier(self, record: Record) -> Any:
        return record.event["dynamodb"]["SequenceNumber"]

    async def create(self, shards: int = 1, *, forgetful: bool = False) -> None:
        answer = await asyncio.to_thread(
            self.writer.create_table,
            TableName=self.name,
            KeySchema=[{"AttributeName": "Id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "Id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
        )
        self._arn = answer["TableDescription"]["LatestStreamArn"]

    async def delete(self) -> None:
        await asyncio.to_thread(self.writer.delete_table, TableName=self.name)

    async def put(self, numbers: Iterable[int], shard: int = 0, size: int = 0) -> None:
        await asyncio.to_thread(self._put, list(numbers), size)

    def _put(self, numbers: list[int], size: int) -> None:
        for each in numbers:
            item = {"Id": {"S": f"k{each}"}, "Z": {"S": padded(each, size)}}
            self.writer.put_item(TableName=self.name, Item=item)


WORLDS = {"moto": DynamoDBWorld}
