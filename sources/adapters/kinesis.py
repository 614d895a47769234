"""Streams at an AWS-compatible Kinesis endpoint, through boto3: those whose ARN is of another account than this installation's.

The endpoint is that of ``kinesis`` in FNRUNNER_AWS_ENDPOINTS. Kinesis does not say what its retention has dropped before it
was read, so that no loss is reported; a sequence number that it does not know means that the stream was made anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC
from hashlib import blake2b
from typing import Any

from sources.aws_client import AwsClient
from sources.aws_shard_reader import Page
from sources.aws_stream import AwsStream, stored_place
from sources.kinesis_record import KinesisRecords
from sources.mapping import EventSourceMapping, Kind, StartingPosition, account_of
from sources.shard_lineage import Shard
from sources.source import Services
from sources.stream import After, Record, Start, Stream, StreamAdapter

MOST = 10_000
"""So many records are the most that one call gives."""


class KinesisApi:
    """See :class:`sources.aws_shard_reader.ShardApi`."""

    def __init__(self, client: AwsClient, arn: str, account: str) -> None:
        self._client = client
        self._arn = arn
        self._records = KinesisRecords(arn, account)

    async def shards(self) -> Sequence[Shard]:
        found: list[Shard] = []
        page: dict[str, Any] = {"StreamARN": self._arn}
        while True:
            answer = await self._client.call("list_shards", **page)
            found += [_shard(each) for each in answer["Shards"]]
            if not (token := answer.get("NextToken")):
                return found
            page = {"NextToken": token}

    async def iterator(self, shard: str, start: Start, *, at: int | None = None) -> str:
        where: dict[str, Any]
        if at is not None:
            where = {"ShardIteratorType": "AT_SEQUENCE_NUMBER", "StartingSequenceNumber": str(at)}
        elif isinstance(start, After):
            where = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": str(start.position)}
        elif start.at is StartingPosition.AT_TIMESTAMP:
            where = {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": start.timestamp}
        else:
            where = {"ShardIteratorType": start.at.value}
        answer = await self._client.call("get_shard_iterator", StreamARN=self._arn, ShardId=shard, **where)
        return str(answer["ShardIterator"])

    async def records(self, iterator: str, limit: int) -> Page:
        answer = await self._client.call(
            "get_records", StreamARN=self._arn, ShardIterator=iterator, Limit=min(limit, MOST)
        )
        return Page(answer["Records"], answer.get("NextShardIterator"), answer.get("MillisBehindLatest") == 0)

    def record(self, shard: str, raw: Mapping[str, Any]) -> Record:
        data, key = bytes(raw["Data"]), str(raw["PartitionKey"])
        return self._records.record(
            shard,
            int(raw["SequenceNumber"]),
            data,
            key=key,
            arrived=raw["ApproximateArrivalTimestamp"].astimezone(UTC),
            identity=blake2b(data + key.encode(), digest_size=8).hexdigest(),
        )


def _shard(raw: Mapping[str, Any]) -> Shard:
    parents = tuple(raw[name] for name in ("ParentShardId", "AdjacentParentShardId") if raw.get(name))
    return Shard(raw["ShardId"], parents, raw["SequenceNumberRange"].get("EndingSequenceNumber") is not None)


def serves(mapping: EventSourceMapping, services: Services) -> bool:
    foreign = mapping.kind is Kind.KINESIS and account_of(mapping.source_arn) != services.account
    return foreign and "kinesis" in services.endpoints


def open_stream(mapping: EventSourceMapping, services: Services) -> Stream:
    arn = mapping.source_arn
    client = AwsClient("kinesis", services.endpoints["kinesis"], arn.split(":")[3])
    return AwsStream(client, KinesisApi(client, arn, services.account), stored_place(mapping, services))


ADAPTER = StreamAdapter("kinesis", serves, open_stream, requires=("boto3",))
