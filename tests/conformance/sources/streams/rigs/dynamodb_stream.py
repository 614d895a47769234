"""``aws:dynamodb`` as a stream of the own broker: read as ``aws:kinesis`` is, so that one of the brokers is enough."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from sources.stream import Record
from tests.conformance.sources.streams.rig import padded
from tests.conformance.sources.streams.rigs.broker_world import EmbeddedWorld


def _body(number: int, size: int) -> bytes:
    image = {"Id": {"S": padded(number, size)}}
    return json.dumps({"eventName": "INSERT", "dynamodb": {"NewImage": image, "SequenceNumber": "1"}}).encode()


def _identifier(record: Record) -> Any:
    return record.event["dynamodb"]["SequenceNumber"]


_PARTS: dict[str, Any] = {
    "arn": "arn:aws:dynamodb:eu-west-1:000000000000:table/{}/stream/2026-01-01T00:00:00.000",
    "body": _body,
    "identifier": _identifier,
}
WORLDS = {"embedded": partial(EmbeddedWorld, **_PARTS)}
