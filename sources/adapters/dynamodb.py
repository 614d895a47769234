"""Streams at an AWS-compatible DynamoDB Streams endpoint, through boto3: those whose ARN is of another account than this
installation's. The endpoint is that of ``dynamodb`` in FNRUNNER_AWS_ENDPOINTS.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sources.aws_client import AwsClient
from sources.aws_shard_reader import Page
from sources.aws_stream import AwsStream, stored_place
from sources.dynamodb_record import DynamoDBRecords
from sources.errors import NotSupported
from sources.mapping import EventSourceMapping, Kind, StartingPosition, account_of
from sources.shard_lineage import Shard
from sources.source import Services
from sources.stream import After, Record, Start, Stream, StreamAdapter

MOST = 1_000
"""So many records are the most that one call gives."""


class DynamoDBApi:
    """See :class:`sources.aws_shard_reader.ShardApi`."""

    def __init__(self, client: AwsClient, arn: str) -> None:
        self._client = client
        self._arn = arn
        self._records = DynamoDBRecords(arn)

    async def shards(self) -> Sequence[Shard]:
        found: list[Shard] = []
        page: dict[str, Any] = {}
        while True:
            answer = (await self._client.call("describe_stream", StreamArn=self._arn, **page))["StreamDescription"]
            found += [_shard(each) for each in answer["Shards"]]
            if not (last := answer.get("LastEvaluatedShardId")):
                return found
            page = {"ExclusiveStartShardId": last}

    async def iterator(self, shard: str, start: Start, *, at: int | None = None) -> str:
        where: dict[str, Any]
        if at is not None:
            where = {"ShardIteratorType": "AT_SEQUENCE_NUMBER", "SequenceNumber": str(at)}
        elif isinstance(start, After):
            where = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": str(start.position)}
        elif start.at is StartingPosition.AT_TIMESTAMP:
            raise NotSupported("a DynamoDB stream is not read from a time: take TRIM_HORIZON or LATEST")
        else:
            where = {"ShardIteratorType": start.at.value}
        answer = await self._client.call("get_shard_iterator", StreamArn=self._arn, ShardId=shard, **where)
        return str(answer["ShardIterator"])

    async def records(self, iterator: str, limit: int) -> Page:
        answer = await self._client.call("get_records", ShardIterator=iterator, Limit=min(limit, MOST))
        return Page(answer["Records"], answer.get("NextShardIterator"))

    def record(self, shard: str, raw: Mapping[str, Any]) -> Record:
        return self._records.of_service(raw)


def _shard(raw: Mapping[str, Any]) -> Shard:
    parents = (raw["ParentShardId"],) if raw.get("ParentShardId") else ()
    return Shard(raw["ShardId"], parents, raw["SequenceNumberRange"].get("EndingSequenceNumber") is not None)


def serves(mapping: EventSourceMapping, services: Services) -> bool:
    foreign = mapping.kind is Kind.DYNAMODB and account_of(mapping.source_arn) != services.account
    return foreign and "dynamodb" in services.endpoints


def open_stream(mapping: EventSourceMapping, services: Services) -> Stream:
    arn = mapping.source_arn
    client = AwsClient("dynamodbstreams", services.endpoints["dynamodb"], arn.split(":")[3])
    return AwsStream(client, DynamoDBApi(client, arn), stored_place(mapping, services))


ADAPTER = StreamAdapter(
    "dynamodb", serves, open_stream, data_key="dynamodb", batch_info="DDBStreamBatchInfo", requires=("boto3",)
)
