"""Exchanges, queues and bindings as values; an implementation declares them, idempotently."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from typing import Any

from broker import names
from broker.delays import milliseconds


class ExchangeKind(Enum):
    DIRECT = "direct"
    FANOUT = "fanout"
    TOPIC = "topic"
    HEADERS = "headers"


class QueueKind(Enum):
    QUORUM = "quorum"
    CLASSIC = "classic"
    STREAM = "stream"


@dataclass(frozen=True, slots=True)
class Exchange:
    """``alternate`` names the exchange that gets what no binding of this one takes."""

    name: str
    kind: ExchangeKind = ExchangeKind.DIRECT
    alternate: str | None = None


@dataclass(frozen=True, slots=True)
class Queue:
    """``ttl`` is the longest wait of any message, ``dead_letter_exchange`` where it goes then or when rejected
    (``dead_letter_routing_key`` None keeps its own). Dead-lettering of quorum queues is at least once, which needs
    ``overflow: reject-publish``. ``delivery_limit`` is a backstop on quorum queues. ``max_age`` and
    ``max_size_bytes`` bound a stream. Exclusive queues go with the connection that declared them. A classic queue that is
    ``replicated`` is a quorum queue where the broker is a cluster, and taken as it is where it exists as the other kind.
    """

    name: str
    kind: QueueKind = QueueKind.QUORUM
    dead_letter_exchange: str | None = None
    dead_letter_routing_key: str | None = None
    ttl: timedelta | None = None
    delivery_limit: int | None = None
    max_length: int | None = None
    max_age: timedelta | None = None
    max_size_bytes: int | None = None
    exclusive: bool = False
    replicated: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Binding:
    """``arguments`` are the headers to match for a headers exchange (``x-match`` defaults to ``all``)."""

    exchange: str
    queue: str
    routing_key: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Topology:
    """What must exist. Declared in the order exchanges, queues, bindings."""

    exchanges: tuple[Exchange, ...] = ()
    queues: tuple[Queue, ...] = ()
    bindings: tuple[Binding, ...] = ()

    def __add__(self, other: Topology) -> Topology:
        return Topology(self.exchanges + other.exchanges, self.queues + other.queues, self.bindings + other.bindings)


KEPT_LIMIT = 1_000_000
"""For queues whose messages have nowhere to go: no number of crashes may drop a dead letter."""

DELIVERY_LIMIT = 1_000
"""Backstop only: the attempt count that decides is in the envelope. High enough that draining never reaches it."""


def foundation(delays: Sequence[timedelta]) -> Topology:
    """What every process needs before anything else: the shared exchanges, the orphans and the delay queues."""
    shared = Topology(
        exchanges=(
            Exchange(names.ORPHANS, ExchangeKind.FANOUT),
            Exchange(names.DUE, ExchangeKind.DIRECT, alternate=names.ORPHANS),
            Exchange(names.DEAD, ExchangeKind.TOPIC, alternate=names.ORPHANS),
            Exchange(names.RETURNED, ExchangeKind.HEADERS),
            Exchange(names.CONTROL, ExchangeKind.FANOUT),
        ),
        queues=(Queue(names.ORPHANS, delivery_limit=KEPT_LIMIT),),
        bindings=(Binding(names.ORPHANS, names.ORPHANS),),
    )
    return sum((delay_queue(d) for d in delays), shared)


def delay_queue(delay: timedelta) -> Topology:
    """One fixed delay. Publish to its exchange with the routing key of the queue to come back to."""
    name = names.delay(milliseconds(delay))
    return Topology(
        exchanges=(Exchange(name, ExchangeKind.FANOUT),),
        queues=(Queue(name, dead_letter_exchange=names.DUE, ttl=delay),),
        bindings=(Binding(name, name),),
    )


def delays_of(topology: Topology) -> frozenset[timedelta]:
    """The fixed delays whose queues are part of it, as :func:`delay_queue` makes them.

    >>> delays_of(delay_queue(timedelta(seconds=7)) + Topology(queues=(Queue("q", ttl=timedelta(seconds=8)),)))
    frozenset({datetime.timedelta(seconds=7)})
    """
    return frozenset(q.ttl for q in topology.queues if q.ttl is not None and q.name == names.delay(milliseconds(q.ttl)))


def function_queues(function: str) -> Topology:
    """The queues of one function: its events, its requests and its dead letters."""
    events, requests, dead = names.events(function), names.requests(function), names.dead(function)
    return Topology(
        queues=(
            Queue(
                events,
                dead_letter_exchange=names.DEAD,
                dead_letter_routing_key=function,
                delivery_limit=DELIVERY_LIMIT,
            ),
            Queue(requests, QueueKind.CLASSIC, dead_letter_exchange=names.RETURNED, replicated=True),
            Queue(dead, delivery_limit=KEPT_LIMIT),
        ),
        bindings=(
            Binding(names.DUE, events, events),
            Binding(names.DEAD, dead, function),
        ),
    )
