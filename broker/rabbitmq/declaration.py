"""Exchanges, queues and bindings on RabbitMQ: their arguments, and the memory from which a lost queue is restored."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from aiormq.abc import AbstractChannel
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from broker.broker import QueueDepth
from broker.delays import milliseconds
from broker.errors import QueueNotFound, TopologyConflict, Unroutable
from broker.rabbitmq.connection import Link, Session, whole
from broker.rabbitmq.failure import Border, Busy, Lost
from broker.topology import DELIVERY_LIMIT, Binding, Exchange, Queue, QueueKind, Topology

INSIST_S = 15.0
"""How long an order is repeated; an exclusive queue may stay held by a connection that has gone for some seconds."""

T = TypeVar("T")


def queue_arguments(queue: Queue) -> dict[str, Any]:
    """RabbitMQ's arguments of a queue.

    Every quorum queue has an explicit delivery limit: RabbitMQ 4 would use 20, and RabbitMQ 3 would put a message that
    is given back at the tail.

    >>> queue_arguments(Queue("q", delivery_limit=5))
    {'x-queue-type': 'quorum', 'x-delivery-limit': 5}
    >>> queue_arguments(Queue("q", QueueKind.CLASSIC))
    {}
    """
    arguments: dict[str, Any] = {} if queue.kind is QueueKind.CLASSIC else {"x-queue-type": queue.kind.value}
    if queue.kind is QueueKind.STREAM:
        if queue.max_age is not None:
            arguments["x-max-age"] = f"{max(1, int(queue.max_age.total_seconds()))}s"
        if queue.max_size_bytes is not None:
            arguments["x-max-length-bytes"] = queue.max_size_bytes
        return arguments
    if queue.kind is QueueKind.QUORUM:
        arguments["x-delivery-limit"] = DELIVERY_LIMIT if queue.delivery_limit is None else queue.delivery_limit
        if queue.dead_letter_exchange is not None:
            arguments["x-dead-letter-strategy"] = "at-least-once"
            arguments["x-overflow"] = "reject-publish"
    if queue.dead_letter_exchange is not None:
        arguments["x-dead-letter-exchange"] = queue.dead_letter_exchange
        if queue.dead_letter_routing_key is not None:
            arguments["x-dead-letter-routing-key"] = queue.dead_letter_routing_key
    if queue.ttl is not None:
        arguments["x-message-ttl"] = milliseconds(queue.ttl)
    if queue.max_length is not None:
        arguments["x-max-length"] = queue.max_length
    return arguments


def _binding_arguments(binding: Binding) -> dict[str, Any]:
    return {k: bytearray(v) if isinstance(v, bytes) else v for k, v in binding.arguments.items()}


async def declare_exchange(channel: AbstractChannel, exchange: Exchange) -> None:
    arguments: dict[str, Any] = {} if exchange.alternate is None else {"alternate-exchange": exchange.alternate}
    await channel.exchange_declare(exchange.name, exchange_type=exchange.kind.value, durable=True, arguments=arguments)


def kinds(queue: Queue, *, cluster: bool) -> tuple[dict[str, Any], ...]:
    """The arguments with which a ``replicated`` queue may exist, those that it should have first.

    What is classic goes with its node: on a cluster it is a quorum queue. Arguments cannot change, so one that is of the
    other kind already, made by a client that was told of one host only or before there were three, is taken as it is. Its
    dead letters are sent at most once, as those of a classic queue.

    >>> kinds(Queue("q", QueueKind.CLASSIC, dead_letter_exchange="x"), cluster=True)[0]
    {'x-dead-letter-exchange': 'x', 'x-queue-type': 'quorum', 'x-delivery-limit': 1000}
    """
    classic = queue_arguments(queue)
    limit = DELIVERY_LIMIT if queue.delivery_limit is None else queue.delivery_limit
    quorum = {**classic, "x-queue-type": QueueKind.QUORUM.value, "x-delivery-limit": limit}
    return (quorum, classic) if cluster else (classic, quorum)


async def declare_queue(channel: AbstractChannel, queue: Queue) -> None:
    """An exclusive queue is classic and goes with its connection; every other queue is durable."""
    await channel.queue_declare(
        queue.name, durable=not queue.exclusive, exclusive=queue.exclusive, arguments=queue_arguments(queue)
    )


async def bind(channel: AbstractChannel, binding: Binding) -> None:
    await channel.queue_bind(
        binding.queue, binding.exchange, binding.routing_key, arguments=_binding_arguments(binding)
    )


class Declarations:
    """Each order runs on a channel of its own, since a refusal closes the channel."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._exchanges: dict[str, Exchange] = {}
        self._queues: dict[str, Queue] = {}
        self._bindings: dict[str, list[Binding]] = {}
        self._known: set[str] = {""}

    @asynccontextmanager
    async def _channel(self, session: Session | None = None) -> AsyncIterator[AbstractChannel]:
        channel = await (session or await self._link.connected_soon()).channel()
        try:
            async with Border():
                yield channel
        finally:
            if not channel.is_closed:
                async with Border():
                    await channel.close()

    async def declare(self, topology: Topology) -> None:
        """Raises TopologyConflict, Unavailable."""
        await self._insist(lambda: self._declare(topology))
        self._remember(topology)

    async def _insist(self, order: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Every order here can be given twice: do so when the connection goes, or an exclusive queue is not free yet."""
        retrying = AsyncRetrying(
            retry=retry_if_exception_type((Lost, Busy)),
            wait=wait_random_exponential(multiplier=0.05, max=1.0),
            stop=stop_after_delay(INSIST_S),
            reraise=True,
        )

        async def attempt() -> T:
            return await whole(order())

        return await retrying(attempt)

    async def _declare(self, topology: Topology, session: Session | None = None) -> None:
        async with self._channel(session) as channel:
            for exchange in topology.exchanges:
                await declare_exchange(channel, exchange)
            for queue in topology.queues:
                if queue.replicated:
                    await self._declare_either(queue, session)
                else:
                    await declare_queue(channel, queue)
            for binding in topology.bindings:
                await bind(channel, binding)

    async def _declare_either(self, queue: Queue, session: Session | None) -> None:
        """Raises TopologyConflict when it exists and is neither; each attempt on a channel that may be closed by it."""
        wanted, other = kinds(queue, cluster=self._link.address.cluster)
        try:
            await self._declare_with(queue.name, wanted, session)
        except TopologyConflict as conflict:
            try:
                await self._declare_with(queue.name, other, session)
            except TopologyConflict:
                raise conflict from conflict.__cause__

    async def _declare_with(self, name: str, arguments: dict[str, Any], session: Session | None) -> None:
        async with self._channel(session) as channel:
            await channel.queue_declare(name, durable=True, arguments=arguments)

    def _remember(self, topology: Topology) -> None:
        self._exchanges.update({e.name: e for e in topology.exchanges})
        self._known.update(e.name for e in topology.exchanges)
        self._queues.update({q.name: q for q in topology.queues})
        for binding in topology.bindings:
            bindings = self._bindings.setdefault(binding.queue, [])
            if binding not in bindings:
                bindings.append(binding)

    async def restore(self, name: str, session: Session) -> None:
        """Make a queue that went exist again, as this client declared it. Raises QueueNotFound when it never did."""
        if name not in self._queues:
            raise QueueNotFound(f"queue {name!r} has gone. Create it with `fnrunner queue create NAME`")
        bindings = tuple(self._bindings.get(name, ()))
        exchanges = tuple(self._exchanges[b.exchange] for b in bindings if b.exchange in self._exchanges)
        await self._declare(Topology(exchanges, (self._queues[name],), bindings), session)

    async def delete(self, topology: Topology) -> None:
        await self._insist(lambda: self._delete(topology))

    async def _delete(self, topology: Topology) -> None:
        async with self._channel() as channel:
            for queue in topology.queues:
                self._queues.pop(queue.name, None)
                self._bindings.pop(queue.name, None)
                await channel.queue_delete(queue.name)
            for exchange in topology.exchanges:
                self._exchanges.pop(exchange.name, None)
                self._known.discard(exchange.name)
                await channel.exchange_delete(exchange.name)

    def kind(self, queue: str) -> QueueKind | None:
        """The kind of a queue that this client declared."""
        declared = self._queues.get(queue)
        return None if declared is None else declared.kind

    def is_exclusive(self, queue: str) -> bool:
        """This client declared it, and it goes with the connection."""
        declared = self._queues.get(queue)
        return declared is not None and declared.exclusive

    def knows(self, exchange: str) -> bool:
        return exchange in self._known

    def forget(self, exchange: str) -> None:
        self._known.discard(exchange)

    async def require(self, exchange: str) -> None:
        """Publishing to an exchange that is not there would break the channel of everybody: look first, once.

        Raises Unroutable.
        """
        try:
            await self._insist(lambda: self._look(exchange))
        except QueueNotFound as missing:
            raise Unroutable(f"exchange {exchange!r} does not exist. Declare it, or correct the name") from missing
        self._known.add(exchange)

    async def _look(self, exchange: str) -> None:
        async with self._channel() as channel:
            await channel.exchange_declare(exchange, passive=True)

    async def depth(self, queue: str) -> QueueDepth:
        return await self._insist(lambda: self._depth(queue))

    async def _depth(self, queue: str) -> QueueDepth:
        async with self._channel() as channel:
            return await _ask_depth(channel, queue)
        raise AssertionError("unreachable")

    async def depths(self, queues: Iterable[str]) -> dict[str, QueueDepth]:
        found: dict[str, QueueDepth] = {}
        left = list(queues)
        while left:
            try:
                await self._insist(lambda: self._depths(left, found))
            except QueueNotFound:
                del left[0]  # it was the one asked for last
        return found

    async def _depths(self, left: list[str], found: dict[str, QueueDepth]) -> None:
        """Ask on one channel until nothing is left, or a queue that does not exist closes it."""
        async with self._channel() as channel:
            while left:
                found[left[0]] = await _ask_depth(channel, left[0])
                del left[0]

    async def purge(self, queue: str) -> int:
        return await self._insist(lambda: self._purge(queue))

    async def _purge(self, queue: str) -> int:
        async with self._channel() as channel:
            return (await channel.queue_purge(queue)).message_count or 0
        raise AssertionError("unreachable")


async def _ask_depth(channel: AbstractChannel, queue: str) -> QueueDepth:
    answer = await channel.queue_declare(queue, passive=True)
    return QueueDepth(answer.message_count or 0, None, answer.consumer_count or 0)
