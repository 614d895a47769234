"""A stream of the own broker: on RabbitMQ, behind a proxy that can be cut, and on the embedded broker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiormq

from broker.broker import Broker, Delivery
from broker.embedded import EmbeddedBroker
from broker.message import Message
from broker.rabbitmq import RabbitMQBroker
from broker.topology import Queue, QueueKind, Topology
from sources.mapping import EventSourceMapping
from sources.source import Services
from sources.stream import Record
from tests.conformance.sources.streams.rig import Fixture
from tests.faults.proxy import Proxy
from tests.rabbitmq_server import RabbitMQServer

KEPT_BYTES = 300_000
Body = Callable[[int, int], bytes]


class BrokerWorld:
    """``arn`` has ``{}`` where the stream's name goes. ``body`` makes a record's body of its number and size."""

    forgets = True
    goes_away = False
    remakes = True
    knows_times = True
    vanishes = True
    most_shards = 3
    kept_bytes = 1 << 40
    most_bytes = (1 << 20) + 1
    broker: Broker
    writer: Broker

    def __init__(self, arn: str, body: Body, identifier: Callable[[Record], Any]) -> None:
        self.name = f"clicks-{uuid4().hex}"  # Several worlds share one RabbitMQ.
        self.identifier = identifier
        self._arn = arn.format(self.name)
        self._body = body
        self._queues: tuple[Queue, ...] = ()

    def services(self) -> Services:
        absent: Any = None
        return Services(absent, absent, absent, broker=self.broker)

    def mapping(self) -> EventSourceMapping:
        return EventSourceMapping("uuid-1", "f", source_arn=self._arn)

    async def start(self) -> None: ...

    async def close(self) -> None:
        await self.broker.close()
        await self.writer.close()

    async def create(self, shards: int = 1, *, forgetful: bool = False) -> None:
        names = [self.name] if shards == 1 else [f"{self.name}-{number}" for number in range(shards)]
        self._queues = tuple(
            Queue(name, QueueKind.STREAM, max_size_bytes=KEPT_BYTES if forgetful else None) for name in names
        )
        await self.declare(self._queues)

    async def declare(self, queues: tuple[Queue, ...]) -> None:
        await self.writer.declare(Topology(queues=queues))

    async def delete(self) -> None:
        await self.writer.delete(Topology(queues=self._queues))

    async def put(self, numbers: Iterable[int], shard: int = 0, size: int = 0) -> None:
        queue = self._queues[shard].name
        for each in numbers:
            message = Message(
                self._body(each, size),
                message_id=f"m{each}",
                headers={"partition-key": f"k{each % 3}"},
                timestamp=datetime.now(UTC),
            )
            await self.writer.publish(message, routing_key=queue)

    async def forget(self) -> None:
        await self.put(range(1000, 1100), size=10_000)
        while await self._first() < 3:
            await self.put(range(1000, 1100), size=10_000)

    async def _first(self) -> int:
        """The first offset there is."""
        first: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def hear(delivery: Delivery) -> None:
            if not first.done() and delivery.offset is not None:
                first.set_result(delivery.offset)

        subscription = await self.writer.subscribe(self._queues[0].name, hear, prefetch=1, offset="first")
        found = await first
        await subscription.cancel()
        return found

    async def lose(self) -> None:
        raise NotImplementedError

    async def restore(self) -> None:
        raise NotImplementedError


class EmbeddedWorld(BrokerWorld):
    def __init__(self, directory: Path, fixture: Fixture, **parts: Any) -> None:
        super().__init__(**parts)
        self._engine = EmbeddedBroker(directory / "broker", delays=())
        self.broker = self._engine
        self.writer = self._engine.sibling("writer")

    async def start(self) -> None:
        await self.broker.start()
        await self.writer.start()


class RabbitMQWorld(BrokerWorld):
    goes_away = True

    def __init__(self, directory: Path, fixture: Fixture, **parts: Any) -> None:
        super().__init__(**parts)
        server: RabbitMQServer = fixture("rabbitmq")
        self._url = server.url
        self._proxy = Proxy(server.port)
        self.broker = RabbitMQBroker(self._url.replace(str(server.port), str(self._proxy.port)), delays=())
        self.writer = RabbitMQBroker(self._url, delays=())

    async def start(self) -> None:
        await self.broker.start()
        await self.writer.start()

    async def close(self) -> None:
        await self.delete()
        await super().close()
        self._proxy.close()

    async def declare(self, queues: tuple[Queue, ...]) -> None:
        """With small segments, since retention drops whole ones; the port makes no such streams."""
        connection = await aiormq.connect(self._url)
        channel = await connection.channel()
        for queue in queues:
            arguments: dict[str, Any] = {"x-queue-type": "stream"}
            if queue.max_size_bytes is not None:
                arguments |= {"x-max-length-bytes": queue.max_size_bytes, "x-stream-max-segment-size-bytes": 100_000}
            await channel.queue_declare(queue.name, durable=True, arguments=arguments)
        await connection.close()

    async def lose(self) -> None:
        self._proxy.deaf(True)
        self._proxy.cut()

    async def restore(self) -> None:
        self._proxy.deaf(False)
