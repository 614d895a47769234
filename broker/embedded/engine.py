"""The broker as a pure machine: what clients ask changes its state and leaves what must be written, read and delivered.

Nothing here waits, reads a clock of its own or touches a disk. Whoever drives it does five things, in any order:
write ``take_batches`` and report :meth:`Engine.committed` or :meth:`Engine.failed`; answer ``take_reads``; hand over
``take_deliveries``; call :meth:`Engine.tick` at ``next_wake``; and call its methods for what clients ask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from broker.broker import Offset, QueueDepth
from broker.embedded import placing
from broker.embedded.backlog import Backlog
from broker.embedded.declaring import Declarer
from broker.embedded.dispatch import Dispatcher
from broker.embedded.state import Place, State
from broker.embedded.values import Batch, Consumer, Entry, Held, HeldState, Outcome, Read, Session, key
from broker.errors import AlreadySettled, BrokerError, DeliveryLost, QueueNotFound, Unavailable, Unroutable
from broker.message import Message
from broker.topology import Binding, Exchange, Topology


@dataclass(frozen=True, slots=True)
class Recovered:
    """What the journal held: topology, queues with their counts set, and the highest sequence number ever used."""

    exchanges: tuple[Exchange, ...]
    queues: tuple[Place, ...]
    bindings: tuple[Binding, ...]
    seq: int


class Engine:
    """See the module's docstring. ``clock`` gives epoch milliseconds."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._state = State(clock)
        self._dispatcher = Dispatcher(self._state)
        self._declarer = Declarer(self._state)

    def recover(self, found: Recovered) -> None:
        """Take over what an earlier process left. Call it first."""
        self._state.seq = found.seq
        self._declarer.restore(found.exchanges, found.queues, found.bindings)
        self._dispatcher.settle_down()

    # --- what the driver does

    @property
    def next_wake(self) -> int | None:
        """When to call :meth:`tick`, epoch milliseconds."""
        return self._state.next_wake

    @property
    def has_deliveries(self) -> bool:
        return bool(self._state.outbox)

    @property
    def is_asked(self) -> bool:
        """Somebody waits for a write."""
        return bool(self._state.asked)

    @property
    def owes(self) -> bool:
        """Something must be written, soon."""
        return bool(self._state.owed)

    @property
    def blocked(self) -> Unavailable | None:
        """Why nothing can be written at present."""
        return self._state.blocked

    def tick(self) -> None:
        """Time has passed: expire, retry, trim."""
        self._state.take_woken()
        self._dispatcher.settle_down()

    def take_batches(self) -> tuple[Batch, Batch]:
        """What is asked and what is owed, to be written in one transaction."""
        asked, owed = self._state.asked, self._state.owed
        self._state.asked, self._state.owed = Batch(), Batch()
        return asked, owed

    def take_reads(self) -> list[Read]:
        reads, self._state.reads = self._state.reads, []
        return reads

    def answered(self, read: Read, answer: object) -> None:
        read.done(answer)
        self._dispatcher.settle_down()

    def take_deliveries(self) -> list[Held]:
        """Assigned to consumers, to be handed over; those whose client is gone are left out."""
        outbox, self._state.outbox = self._state.outbox, []
        return [h for h in outbox if h.state is HeldState.OUT]

    def committed(self, asked: Batch, owed: Batch, still: Unavailable | None = None) -> None:
        """Both are written; ``still`` is why further writes are not accepted yet."""
        self._state.blocked = still
        for outcome in owed.outcomes:
            outcome(None)
        for outcome in asked.outcomes:
            outcome(None)
        self._dispatcher.settle_down()

    def failed(self, asked: Batch, owed: Batch, error: Unavailable) -> None:
        """Nothing was written: what was asked fails, what is owed stays owed, before all that came since."""
        self._state.blocked = error
        owed.extend(self._state.owed)
        self._state.owed = owed
        newer, self._state.asked = self._state.asked, Batch()
        for outcome in (*asked.outcomes, *newer.outcomes):
            outcome(type(error)(str(error)))
        self._dispatcher.settle_down()

    # --- topology

    def declare(self, topology: Topology, session: Session, done: Outcome) -> bool:
        """True: nothing new. False: ``done`` follows. Raises TopologyConflict, QueueNotFound."""
        if not self._declarer.declare(topology, session):
            self._dispatcher.settle_down()
            return True
        self._state.owed.outcomes.append(done)
        self._dispatcher.settle_down()
        return False

    def delete(self, topology: Topology, done: Outcome) -> None:
        self._declarer.delete(topology)
        self._state.owed.outcomes.append(done)
        self._dispatcher.settle_down()

    def depth(self, queue: str) -> QueueDepth:
        place = self._state.place(queue)
        return QueueDepth(place.ready, place.unsettled, len(place.consumers))

    def purge(self, queue: str, done: Outcome) -> int:
        """How many messages went; ``done`` follows. Raises QueueNotFound, BrokerError for a stream."""
        place = self._state.backlog(queue)
        if place is None:
            raise BrokerError(f"{queue!r} is a stream: it cannot be purged. Delete it, or bound it.")
        count = place.ready
        entries, rows = place.clear()
        for entry in entries:
            self._dispatcher.drop(place, entry)
        if rows is not None:
            self._state.owed.dropped_ranges.append((key(place.id, rows[0]), key(place.id, rows[1])))
        self._state.owed.outcomes.append(done)
        return count

    # --- publishing

    def publish(self, message: Message, exchange: str, routing_key: str, done: Outcome) -> bool:
        """True: taken. False: ``done`` follows. Raises Unroutable, Refused, HeadersNotCarried, Unavailable, Blocked."""
        return self._publish(message, exchange, routing_key, None, done)

    def _publish(self, message: Message, exchange: str, routing_key: str, replaces: int | None, done: Outcome) -> bool:
        places = self._state.route(exchange, routing_key, message.headers)
        if not places:
            raise Unroutable(
                f"no queue takes messages of exchange {exchange!r} with the routing key {routing_key!r}. "
                "Declare the queue, or correct the name."
            )
        placing.check_room(places)
        now = placing.put(
            self._state,
            places,
            message,
            exchange,
            routing_key,
            batch=self._state.asked,
            replaces=replaces,
            arrive=self._dispatcher.arrive,
            done=done,
        )
        self._dispatcher.settle_down()
        return now

    # --- consuming

    def subscribe(
        self,
        session: Session,
        queue: str,
        deliver: Callable[[Held], None],
        *,
        prefetch: int,
        offset: Offset | None = None,
    ) -> Consumer:
        """Raises QueueNotFound, also for a queue that belongs to another client alone."""
        place = self._state.place(queue)
        consumer = Consumer(session, queue, deliver, prefetch)
        if isinstance(place, Backlog):
            if offset is not None:
                raise BrokerError(f"{queue!r} is not a stream: it has no offsets")
            if place.owner not in (None, session):
                raise QueueNotFound(f"the queue {queue!r} belongs to another client alone")
            place.consumers.append(consumer)
        elif read := place.attach(consumer, offset):
            self._dispatcher.ask(place, read)
        session.consumers.append(consumer)
        self._look_at(queue)
        return consumer

    def missing(self, consumer: Consumer) -> str:
        """Why the consumer gets nothing: its queue does not exist. Empty otherwise."""
        if not consumer.active or consumer.queue in self._state.queues:
            return ""
        return f"the queue {consumer.queue!r} does not exist. Create it with `fnrunner queue create {consumer.queue}`."

    def set_prefetch(self, consumer: Consumer, prefetch: int) -> None:
        """From now on; what is assigned and not yet handed over counts as not assigned."""
        self._dispatcher.take_back(consumer)
        consumer.prefetch = prefetch
        self._look_at(consumer.queue)

    def cancel(self, consumer: Consumer) -> None:
        """Idempotent; deliveries that are out stay out."""
        if not consumer.active:
            return
        consumer.active = False
        self._dispatcher.take_back(consumer)
        consumer.session.consumers.remove(consumer)
        place = self._state.queues.get(consumer.queue)
        for consumers in (place.consumers if place else (), self._declarer.orphans.get(consumer.queue, ())):
            if consumer in consumers:
                consumers.remove(consumer)  # type: ignore[union-attr]
        self._look_at(consumer.queue)

    def get(self, session: Session, queue: str) -> Held | None:
        """One message, or None. Raises QueueNotFound, BrokerError for a stream."""
        place = self._own(session, queue)
        if (entry := place.peek()) is None:
            return None
        place.pop()
        held = self._dispatcher.hold(place, entry, session, None)
        self._look_at(queue)
        return held

    def must_wait(self, session: Session, queue: str) -> bool:
        """Messages are ready, but still in the journal: a page of them is asked for. Raises as :meth:`get`."""
        place = self._own(session, queue)
        place.getters = 1
        self._look_at(queue)
        place.getters = 0
        return place.peek() is None and place.paged > 0

    def _own(self, session: Session, queue: str) -> Backlog:
        place = self._state.backlog(queue)
        if place is None:
            raise BrokerError(f"{queue!r} is a stream: subscribe to it instead")
        if place.owner not in (None, session):
            raise QueueNotFound(f"the queue {queue!r} belongs to another client alone")
        return place

    def _look_at(self, queue: str) -> None:
        if (place := self._state.queues.get(queue)) is not None:
            self._state.dirty[place] = None
        self._dispatcher.settle_down()

    # --- settling

    def ack(self, held: Held) -> None:
        """Raises AlreadySettled, DeliveryLost, as all that settle."""
        _must_be_out(held)
        self._finish(held)
        self._dispatcher.settle_down()

    def requeue(self, held: Held) -> None:
        _must_be_out(held)
        self._dispatcher.give_back(held)
        self._dispatcher.settle_down()

    def reject(self, held: Held) -> None:
        _must_be_out(held)
        self._dispatcher.release(held, HeldState.SETTLED)
        if isinstance(held.source, Backlog) and isinstance(held.item, Entry):
            self._dispatcher.dead_letter(held.source, held.item, "rejected")
        self._dispatcher.settle_down()

    def replace(self, held: Held, message: Message, exchange: str, routing_key: str, done: Outcome) -> bool:
        """Publish ``message`` and settle the delivery, both or neither. Returns and raises as :meth:`publish`."""
        _must_be_out(held)
        item, source = held.item, held.source
        written = isinstance(item, Entry) and item.journaled and not source.deleted

        def settled(error: BaseException | None) -> None:
            if error is None:
                self._dispatcher.release(held, HeldState.SETTLED)
            elif held.session.open:
                held.state = HeldState.OUT
            else:
                self._dispatcher.give_back(held, HeldState.LOST)
            done(error)

        replaces = key(source.id, item.seq) if written and isinstance(item, Entry) else None
        now = self._publish(message, exchange, routing_key, replaces, settled)
        if now:
            self._dispatcher.release(held, HeldState.SETTLED)
        else:
            held.state = HeldState.SETTLING
        self._dispatcher.settle_down()
        return now

    def _finish(self, held: Held) -> None:
        self._dispatcher.release(held, HeldState.SETTLED)
        if isinstance(held.source, Backlog) and isinstance(held.item, Entry):
            self._dispatcher.drop(held.source, held.item)

    def close_session(self, session: Session) -> None:
        """As a lost connection: consumers end, unsettled deliveries come back, exclusive queues go.

        What is being replaced when this happens stays so: its transaction decides. Idempotent.
        """
        session.open = False
        for consumer in list(session.consumers):
            self.cancel(consumer)
        for held in _newest_first(session.held.values()):
            if held.state is HeldState.OUT:
                self._dispatcher.give_back(held, HeldState.LOST)
        for place in list(self._state.queues.values()):
            if isinstance(place, Backlog) and place.owner is session:
                self._declarer.delete_queue(place)
        self._dispatcher.settle_down()


def _newest_first(held: Iterable[Held]) -> list[Held]:
    return sorted(held, key=lambda h: -h.ticket)


def _must_be_out(held: Held) -> None:
    if held.state is HeldState.LOST or not held.session.open:
        raise DeliveryLost
    if held.state is not HeldState.OUT:
        raise AlreadySettled
