"""Make exchanges, queues and bindings exist, and keep them written down. Checks everything first, then changes all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from datetime import timedelta
from typing import Any

import msgpack

from broker.delays import milliseconds
from broker.embedded.backlog import Backlog
from broker.embedded.state import Place, State
from broker.embedded.stream import StreamLog
from broker.embedded.values import KEY_BITS, MAX_QUEUES, Consumer, Session, key
from broker.errors import QueueNotFound, TopologyConflict, Unavailable
from broker.topology import Binding, Exchange, ExchangeKind, Queue, QueueKind, Topology

ALL_NUMBERS = (1 << KEY_BITS) - 1


class Declarer:
    """Acts on :class:`State`. Consumers of a deleted queue wait in ``orphans`` until it is declared again."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._free_ids: Iterator[int] = iter(range(1, MAX_QUEUES))
        self.orphans: dict[str, list[Consumer]] = {}

    def restore(self, exchanges: Iterable[Exchange], queues: Iterable[Place], bindings: Iterable[Binding]) -> None:
        """Take over what the journal knows."""
        for exchange in exchanges:
            self._state.router.add(exchange)
        for place in queues:
            self._state.queues[place.spec.name] = place
            self._state.dirty[place] = None
        for binding in bindings:
            self._state.router.bind(binding)
        used = {p.id for p in self._state.queues.values()}
        self._free_ids = (i for i in range(1, MAX_QUEUES) if i not in used)

    def declare(self, topology: Topology, session: Session) -> bool:
        """Whether anything is new and must be written. Raises TopologyConflict, QueueNotFound; then nothing changed."""
        self._check(topology, session)
        statements = self._state.owed.statements
        before = len(statements)
        for exchange in topology.exchanges:
            if self._state.router.check(exchange):
                self._state.router.add(exchange)
                row = (exchange.name, exchange.kind.value, exchange.alternate)
                statements.append(("INSERT OR REPLACE INTO exchanges VALUES (?, ?, ?)", row))
        for queue in topology.queues:
            if queue.name not in self._state.queues:
                self._add_queue(queue, session)
        for binding in topology.bindings:
            self.bind(binding)
        return len(statements) > before

    def _check(self, topology: Topology, session: Session) -> None:
        new_exchanges = {e.name: e for e in topology.exchanges if self._state.router.check(e)}
        new_queues: dict[str, Queue] = {}
        for queue in topology.queues:
            known = self._state.queues.get(queue.name)
            spec = known.spec if known is not None else new_queues.setdefault(queue.name, queue)
            if spec != queue:
                raise TopologyConflict(f"the queue {queue.name!r} exists with other arguments: {spec}")
            if isinstance(known, Backlog) and known.owner not in (None, session):
                raise TopologyConflict(f"the queue {queue.name!r} belongs to another client alone")
        for binding in topology.bindings:
            if binding.exchange not in new_exchanges and self._state.router.get(binding.exchange) is None:
                raise TopologyConflict(f"cannot bind: the exchange {binding.exchange!r} does not exist")
            if binding.queue not in new_queues and binding.queue not in self._state.queues:
                raise QueueNotFound(f"cannot bind: the queue {binding.queue!r} does not exist")

    def _add_queue(self, spec: Queue, session: Session) -> None:
        queue_id = next(self._free_ids, None)
        if queue_id is None:
            raise Unavailable("the journal has no room for another queue. Delete some, then restart.")
        place: Place
        if spec.kind is QueueKind.STREAM:
            place = StreamLog(spec, queue_id)
        else:
            place = Backlog(spec, queue_id, session if spec.exclusive else None)
            place.tail_seq = place.last_seq = self._state.seq
        self._state.queues[spec.name] = place
        if not spec.exclusive:
            row = (queue_id, spec.name, pack_spec(spec))
            self._state.owed.statements.append(("INSERT OR REPLACE INTO queues (id, name, spec) VALUES (?, ?, ?)", row))
        for consumer in self.orphans.pop(spec.name, []):
            if isinstance(place, StreamLog):
                place.attach(consumer, "first")
            else:
                place.consumers.append(consumer)
        self._state.dirty[place] = None

    def bind(self, binding: Binding) -> None:
        """Bind unless it is bound."""
        if self._state.router.bind(binding) and not self._is_exclusive(binding.queue):
            row = (binding.exchange, binding.queue, binding.routing_key, pack_table(binding.arguments))
            self._state.owed.statements.append(("INSERT OR IGNORE INTO bindings VALUES (?, ?, ?, ?)", row))

    def _is_exclusive(self, queue: str) -> bool:
        return self._state.queues[queue].spec.exclusive

    def delete(self, topology: Topology) -> None:
        """Delete queues with what is in them, and exchanges. What does not exist is passed over."""
        for queue in topology.queues:
            if place := self._state.queues.get(queue.name):
                self.delete_queue(place)
        for exchange in topology.exchanges:
            if self._state.router.remove(exchange.name):
                self._state.owed.statements += [
                    ("DELETE FROM exchanges WHERE name = ?", (exchange.name,)),
                    ("DELETE FROM bindings WHERE exchange = ?", (exchange.name,)),
                ]

    def delete_queue(self, place: Place) -> None:
        name = place.spec.name
        place.deleted = True
        del self._state.queues[name]
        self._state.router.unbind_queue(name)
        if place.consumers and not place.spec.exclusive:
            waiting = self.orphans.setdefault(name, [])
            for consumer in place.consumers:
                consumer.buffer.clear()
                consumer.reading, consumer.live, consumer.buffer_bytes = False, False, 0
                waiting.append(consumer)
        place.consumers.clear()
        if isinstance(place, Backlog):
            place.clear()
            place.stuck.clear()
        if not place.spec.exclusive:
            self._state.owed.statements += [
                ("DELETE FROM queues WHERE id = ?", (place.id,)),
                ("DELETE FROM bindings WHERE queue = ?", (name,)),
            ]
            everything = (key(place.id, 0), key(place.id, ALL_NUMBERS))
            ranges = self._state.owed.dropped_ranges if isinstance(place, Backlog) else self._state.owed.dropped_records
            ranges.append(everything)


def pack_table(arguments: Mapping[str, Any]) -> bytes:
    """The arguments of a binding, the same bytes for the same arguments."""
    return msgpack.packb(dict(sorted(arguments.items())), datetime=True)  # type: ignore[no-any-return]


def pack_spec(queue: Queue) -> bytes:
    """A queue's arguments as the journal keeps them: durations in milliseconds, defaults left out, and what does not
    make it another queue.
    """
    row: dict[str, Any] = {}
    for f in fields(Queue):
        value = getattr(queue, f.name)
        if f.name != "name" and f.compare and value != f.default:
            row[f.name] = value.value if isinstance(value, QueueKind) else value
            if isinstance(value, timedelta):
                row[f.name] = milliseconds(value)
    return msgpack.packb(row)  # type: ignore[no-any-return]


def unpack_spec(name: str, spec: bytes) -> Queue:
    """The inverse of :func:`pack_spec`."""
    row = msgpack.unpackb(spec)
    for field in ("ttl", "max_age"):
        if field in row:
            row[field] = timedelta(milliseconds=row[field])
    return Queue(name, **{**row, "kind": QueueKind(row.get("kind", QueueKind.QUORUM.value))})


def unpack_binding(exchange: str, queue: str, routing_key: str, arguments: bytes) -> Binding:
    """The inverse of :func:`pack_table`, for a whole row."""
    table = msgpack.unpackb(arguments, timestamp=3, strict_map_key=False)
    return Binding(exchange, queue, routing_key, table) if table else Binding(exchange, queue, routing_key)


def unpack_exchange(name: str, kind: str, alternate: str | None) -> Exchange:
    return Exchange(name, ExchangeKind(kind), alternate)
