"""The implementations that the suite holds to the contract, behind one factory.

A test asks for ``broker`` (a started client), for ``broker_factory`` when it needs ``another()`` client of the same
broker, and for ``declare``, which removes after the test what it made. Queue names are unique, so that tests can share
one RabbitMQ.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Protocol
from uuid import uuid4

import pytest

from broker.broker import Broker
from broker.topology import Binding, Exchange, Queue, QueueKind, Topology

SHORT, MEDIUM, LONG = timedelta(milliseconds=50), timedelta(milliseconds=200), timedelta(milliseconds=600)
DELAYS = (SHORT, MEDIUM, LONG)
IMPLEMENTATIONS = ("embedded", "rabbitmq-3", "rabbitmq-4")

Declare = Callable[..., Awaitable[Topology]]


class BrokerFactory(Protocol):
    """Clients of one and the same broker; what it made is closed after the test."""

    async def first(self) -> Broker:
        """The first client, started; the same one at every call."""

    async def another(self) -> Broker:
        """One more client, started. Closing it loses only its own consumers."""

    async def remove(self, topologies: list[Topology]) -> None:
        """Close every client, then delete what a test declared where it would stay."""

    async def close(self) -> None: ...


class RabbitMQFactory:
    def __init__(self, url: str) -> None:
        self._url = url
        self._clients: list[Broker] = []

    async def first(self) -> Broker:
        return self._clients[0] if self._clients else await self.another()

    async def another(self) -> Broker:
        from broker.rabbitmq import RabbitMQBroker

        client = RabbitMQBroker(self._url, delays=DELAYS)
        self._clients.append(client)
        await client.start()
        return client

    async def remove(self, topologies: list[Topology]) -> None:
        # First the consumers: a queue that is deleted under one is declared again.
        await self.close()
        cleaner = await self.another()
        for topology in reversed(topologies):
            await cleaner.delete(topology)

    async def close(self) -> None:
        for client in reversed(self._clients):
            await client.close()


class EmbeddedFactory:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._clients: list[Broker] = []

    async def first(self) -> Broker:
        from broker.embedded import EmbeddedBroker

        if not self._clients:
            self._engine = EmbeddedBroker(self._directory, delays=DELAYS)
            self._clients.append(self._engine)
            await self._engine.start()
        return self._clients[0]

    async def another(self) -> Broker:
        await self.first()
        client = self._engine.sibling(f"sibling-{uuid4().hex[:8]}")
        self._clients.append(client)
        await client.start()
        return client

    async def remove(self, topologies: list[Topology]) -> None:
        """The directory goes with the test."""

    async def close(self) -> None:
        for client in reversed(self._clients):
            await client.close()


@pytest.fixture(params=IMPLEMENTATIONS)
def unopened_factory(request: pytest.FixtureRequest, tmp_path: Path) -> BrokerFactory:
    match request.param:
        case "embedded":
            return EmbeddedFactory(tmp_path / "broker")
        case "rabbitmq-3":
            return RabbitMQFactory(request.getfixturevalue("rabbitmq").url)
        case _:
            return RabbitMQFactory(request.getfixturevalue("rabbitmq_4_url"))


@pytest.fixture
async def broker_factory(unopened_factory: BrokerFactory) -> AsyncIterator[BrokerFactory]:
    yield unopened_factory
    await unopened_factory.close()


@pytest.fixture
async def broker(broker_factory: BrokerFactory) -> Broker:
    return await broker_factory.first()


@pytest.fixture
def name() -> str:
    """A name for a queue that nothing has used before."""
    return f"conformance-{uuid4().hex}"


@pytest.fixture
async def declare(broker: Broker, broker_factory: BrokerFactory) -> AsyncIterator[Declare]:
    """Declare exchanges, queues and bindings, in any order of arguments, and delete them after the test."""
    made: list[Topology] = []

    async def declare(*parts: Exchange | Queue | Binding) -> Topology:
        topology = Topology(
            exchanges=tuple(p for p in parts if isinstance(p, Exchange)),
            queues=tuple(p for p in parts if isinstance(p, Queue)),
            bindings=tuple(p for p in parts if isinstance(p, Binding)),
        )
        made.append(topology)
        await broker.declare(topology)
        return topology

    yield declare
    await broker_factory.remove(made)


@pytest.fixture
async def queue(declare: Declare, name: str) -> str:
    """A quorum queue."""
    await declare(Queue(name))
    return name


@pytest.fixture(params=[QueueKind.QUORUM, QueueKind.CLASSIC], ids=["quorum", "classic"])
async def either_queue(request: pytest.FixtureRequest, declare: Declare, name: str) -> str:
    """A quorum queue, and in a second run a classic queue."""
    await declare(Queue(name, request.param))
    return name
