"""Streams by hand: create, list, put. A stream of n partitions is the RabbitMQ super stream: NAME-0 … NAME-(n-1).

A key always goes to the same partition, the one that RabbitMQ's own stream clients choose: murmur3 of the key, modulo n.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from starlette.responses import Response

from broker.broker import Broker
from broker.errors import BrokerError
from broker.message import Message
from broker.topology import Binding, Exchange, Queue, QueueKind, Topology
from fnrunner.api.admin import created
from fnrunner.api.admin.endpoint import Ask, BrokerSaid, Endpoint, answer, field, only
from fnrunner.api.body import parse, parse_object
from fnrunner.api.errors import ApiError, InvalidParameter, InvalidRequestContent, ResourceNotFound

MAX_PARTITIONS = 100
MAX_RECORDS = 100_000
PARTITION_KEY = "partition-key"
TIMESTAMP = "timestamp_in_ms"
"""When the record was put, to the millisecond, under the name of RabbitMQ's own timestamp interceptor."""

_SEED = 104729
"""Source: RabbitMQ stream clients, hash routing of super streams."""


def partitions(name: str, count: int) -> tuple[str, ...]:
    """The queues of a stream.

    >>> partitions("clicks", 1), partitions("clicks", 2)
    (('clicks',), ('clicks-0', 'clicks-1'))
    """
    return (name,) if count == 1 else tuple(f"{name}-{index}" for index in range(count))


def partition_of(key: str, count: int) -> int:
    """Source: RabbitMQ stream clients, hash routing of super streams.

    >>> [partition_of(key, 3) for key in ("hello1", "hello2", "hello5", "hello10", "hello88")]
    [1, 0, 0, 2, 1]
    """
    return murmur3(key.encode("utf-8", "replace"), _SEED) % count


def murmur3(data: bytes, seed: int) -> int:
    """MurmurHash3, x86, 32 bit.

    >>> hex(murmur3(b"", 1)), hex(murmur3(b"abcd", 0)), hex(murmur3(b"hello", 0))
    ('0x514e28b7', '0x43ed676a', '0x248bfa47')
    """
    state, whole = seed, len(data) // 4 * 4
    for start in range(0, whole, 4):
        state ^= _mixed(int.from_bytes(data[start : start + 4], "little"))
        state = (_rotated(state, 13) * 5 + 0xE6546B64) & 0xFFFFFFFF
    if whole < len(data):
        state ^= _mixed(int.from_bytes(data[whole:], "little"))
    state ^= len(data)
    state = ((state ^ (state >> 16)) * 0x85EBCA6B) & 0xFFFFFFFF
    state = ((state ^ (state >> 13)) * 0xC2B2AE35) & 0xFFFFFFFF
    return state ^ (state >> 16)


def _mixed(block: int) -> int:
    return (_rotated((block * 0xCC9E2D51) & 0xFFFFFFFF, 15) * 0x1B873593) & 0xFFFFFFFF


def _rotated(value: int, bits: int) -> int:
    return ((value << bits) | (value >> (32 - bits))) & 0xFFFFFFFF


def topology(name: str, count: int) -> Topology:
    """The stream, or the super stream: an exchange that routes the partition's number to its queue."""
    queues = tuple(Queue(partition, QueueKind.STREAM) for partition in partitions(name, count))
    if count == 1:
        return Topology(queues=queues)
    bindings = tuple(Binding(name, queue.name, str(index)) for index, queue in enumerate(queues))
    return Topology(exchanges=(Exchange(name),), queues=queues, bindings=bindings)


async def create(ask: Ask) -> Response:
    """Declare it; nothing changes where it exists with as many partitions."""
    name = created.checked_name(ask.path("name"))
    document = await ask.document()
    only(document, "partitions")
    count = field(document, "partitions", int, "a number", 1)
    if not 1 <= count <= MAX_PARTITIONS:
        raise InvalidParameter(f"partitions takes a number from 1 to {MAX_PARTITIONS}")
    known = await created.find(ask.services.store, name)
    if known is not None and (not known.kind.startswith(created.STREAM) or known.partitions != count):
        raise Exists(f"{name} exists already as {known.kind}: the number of partitions cannot change")
    await ask.services.broker.declare(topology(name, count))
    kind = created.STREAM if count == 1 else f"{created.STREAM}/{count}"
    await created.remember(ask.services.store, name, kind, ask.services.now())
    return answer(_described(ask, name, count))


async def every(ask: Ask) -> Response:
    streams = await created.every(ask.services.store, created.STREAM)
    return answer({"streams": [_described(ask, stream.name, stream.partitions) for stream in streams]})


def _described(ask: Ask, name: str, count: int) -> dict[str, Any]:
    home = ask.services.home
    return {
        "name": name,
        "arn": f"arn:aws:kinesis:{home.region}:{home.account}:stream/{name}",
        "partitions": list(partitions(name, count)),
    }


async def put(ask: Ask) -> Response:
    """Publish every record with confirm; those of one partition in the order given."""
    name = created.checked_name(ask.path("name"))
    known = await created.find(ask.services.store, name)
    if known is None or not known.kind.startswith(created.STREAM):
        raise ResourceNotFound(f"There is no stream {name}. Create it with `fnrunner stream create {name}`.")
    records = list(_records(await ask.content(), ask.services.now()))
    if not 1 <= len(records) <= MAX_RECORDS:
        raise InvalidRequestContent(f"one request takes 1 to {MAX_RECORDS} records")
    queues = partitions(name, known.partitions)
    lanes: dict[str, list[Message]] = {queue: [] for queue in queues}
    for index, (key, message) in enumerate(records):
        lanes[queues[index % len(queues) if key is None else partition_of(key, len(queues))]].append(message)
    stored = await asyncio.gather(*(_publish(ask.services.broker, queue, lane) for queue, lane in lanes.items()))
    total = sum(count for count, _ in stored)
    for _, error in stored:
        if error is not None:
            raise _PartlyStored(error, total, len(records)) from error
    return answer({"stored": total, "by_partition": dict(zip(lanes, (count for count, _ in stored), strict=True))})


async def _publish(broker: Broker, queue: str, messages: list[Message]) -> tuple[int, BrokerError | None]:
    for done, message in enumerate(messages):
        try:
            await broker.publish(message, routing_key=queue)
        except BrokerError as error:
            return done, error
    return len(messages), None


def _records(content: bytes, now: datetime) -> Iterator[tuple[str | None, Message]]:
    """``{"records": […]}``, or one record a line."""
    lines = [line for line in content.splitlines() if line.strip()]
    first = parse(lines[0]) if len(lines) == 1 else None
    if isinstance(first, dict) and "records" in first:
        given = first["records"]
    elif lines and lines[0].strip() in (b"{", b"["):  # one document over several lines
        given = parse_object(content).get("records")
    else:
        given = [parse(line) for line in lines]
    if not isinstance(given, list):
        raise InvalidRequestContent('the body takes {"records": […]}, or a record a line')
    for index, item in enumerate(given):
        yield _record(item, index, now)


def _record(item: Any, index: int, now: datetime) -> tuple[str | None, Message]:
    if not isinstance(item, Mapping) or "data" not in item:
        raise InvalidRequestContent(f'record {index} takes {{"key": …, "data": …}}')
    only(dict(item), "key", "data")
    key, data = item.get("key"), item["data"]
    if key is not None and not isinstance(key, str):
        raise InvalidRequestContent(f"the key of record {index} takes a string")
    body = data if isinstance(data, str) else json.dumps(data, separators=(",", ":"), ensure_ascii=False)
    try:
        message = Message(
            body.encode(),
            message_id=str(uuid.uuid4()),
            headers={TIMESTAMP: round(now.timestamp() * 1000), **({} if key is None else {PARTITION_KEY: key})},
            content_type="text/plain" if isinstance(data, str) else "application/json",
            timestamp=now,
        )
    except UnicodeEncodeError as error:
        raise InvalidRequestContent(f"record {index} holds half of a surrogate pair") from error
    return key, message


class Exists(ApiError):
    """It exists already, otherwise."""

    code, status = "ResourceConflictException", 409


class _PartlyStored(BrokerSaid):
    def __init__(self, error: BrokerError, stored: int, total: int) -> None:
        super().__init__(error)
        self.args = (f"{stored} of {total} records were stored, then: {error}",)


ROUTES = (
    Endpoint("GET", "/streams", every),
    Endpoint("POST", "/streams/{name:path}/records", put),
    Endpoint("PUT", "/streams/{name:path}", create),
)
