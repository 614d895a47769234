"""``aws:kinesis`` as a stream of the own broker."""

from __future__ import annotations

from functools import partial
from typing import Any

from sources.stream import Record
from tests.conformance.sources.streams.rig import padded
from tests.conformance.sources.streams.rigs.broker_world import EmbeddedWorld, RabbitMQWorld


def _body(number: int, size: int) -> bytes:
    return padded(number, size).encode()


def _identifier(record: Record) -> Any:
    return record.event["kinesis"]["sequenceNumber"]


_PARTS: dict[str, Any] = {
    "arn": "arn:aws:kinesis:eu-west-1:000000000000:stream/{}",
    "body": _body,
    "identifier": _identifier,
}
WORLDS = {"embedded": partial(EmbeddedWorld, **_PARTS), "rabbitmq": partial(RabbitMQWorld, **_PARTS)}
