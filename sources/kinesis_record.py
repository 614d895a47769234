"""A record of a Kinesis stream as a function sees it. Source: Lambda developer guide, "Using Lambda with Kinesis"."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sources.stream import Record

EVENT_SOURCE = "aws:kinesis"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def role(account: str) -> str:
    """The role in whose name records are read.

    >>> role("000000000000")
    'arn:aws:iam::000000000000:role/fnrunner'
    """
    return f"arn:aws:iam::{account}:role/fnrunner"


def seconds(moment: datetime) -> float:
    """Since 1970, with milliseconds.

    >>> seconds(datetime(2018, 12, 17, 22, 10, 50, 987654, tzinfo=UTC))
    1545084650.987
    """
    delta = moment - _EPOCH
    return (delta.days * 86_400_000 + delta.seconds * 1000 + delta.microseconds // 1000) / 1000


class KinesisRecords:
    """Makes the records of one stream. ``account`` is whose role reads it."""

    def __init__(self, arn: str, account: str) -> None:
        self._arn = arn
        self._region = arn.split(":")[3]
        self._role = role(account)

    def record(
        self,
        shard: str,
        position: int,
        data: bytes,
        /,
        *,
        key: str,
        arrived: datetime,
        identity: str = "",
        traceparent: str = "",
    ) -> Record:
        """The record at ``position``, whose decimal text is its sequence number."""
        return Record(
            position, key, arrived, self._event(shard, str(position), data, key, arrived), data, identity, traceparent
        )

    def _event(self, shard: str, number: str, data: bytes, key: str, arrived: datetime) -> Mapping[str, Any]:
        return {
            "kinesis": {
                "kinesisSchemaVersion": "1.0",
                "partitionKey": key,
                "sequenceNumber": number,
                "data": b64encode(data).decode(),
                "approximateArrivalTimestamp": seconds(arrived),
            },
            "eventSource": EVENT_SOURCE,
            "eventVersion": "1.0",
            "eventID": f"{shard}:{number}",
            "eventName": "aws:kinesis:record",
            "invokeIdentityArn": self._role,
            "awsRegion": self._region,
            "eventSourceARN": self._arn,
        }
