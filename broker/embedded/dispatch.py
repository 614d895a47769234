"""Move messages: from queues to consumers with room, and from queues to where the dead go."""

from __future__ import annotations

from broker.embedded import death, placing
from broker.embedded.backlog import Backlog
from broker.embedded.death import Reason
from broker.embedded.placing import Item
from broker.embedded.state import Place, State
from broker.embedded.stream import StreamLog, put_back, take
from broker.embedded.values import Consumer, Entry, Held, HeldState, Read, Record, Session, key
from broker.errors import Refused
from broker.topology import QueueKind

STUCK_RETRY_MS = 1_000
STUCK_LIMIT = 1_000
"""So many dead messages that nobody takes may wait in memory; then the queue stops until someone does."""


class Dispatcher:
    """Acts on :class:`State`; every public operation of the engine ends with :meth:`settle_down`."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._settling = False

    def settle_down(self) -> None:
        """Do all that has become possible: deliver, expire, ask for pages. Not re-entered."""
        if self._settling:
            return
        self._settling = True
        try:
            while self._state.dirty:
                place, _ = self._state.dirty.popitem()
                if isinstance(place, Backlog):
                    self._pump(place)
                else:
                    self._pump_stream(place)
        finally:
            self._settling = False

    def arrive(self, place: Place, item: Item) -> None:
        """A message is visible from now on."""
        if place.deleted:
            return
        self._state.dirty[place] = None
        if isinstance(place, StreamLog):
            assert isinstance(item, Record)
            place.arrive(item)
            return
        assert isinstance(item, Entry)
        if item.at_once and place.ready:
            self._pump(place)
            if place.ready:  # RabbitMQ would keep it until it is first; expired is what it would be then
                self.dead_letter(place, item, "expired")
                return
        place.push(item)

    def _pump(self, queue: Backlog) -> None:
        while not queue.deleted and (entry := queue.peek()) is not None:
            if reason := self._cause_of_death(queue, entry):
                if len(queue.stuck) >= STUCK_LIMIT:
                    break
                self.dead_letter(queue, queue.pop(), reason)
                continue
            consumer = queue.next_consumer()
            if consumer is None and not (entry.at_once and not entry.redelivered):
                if entry.expires_ms is not None:
                    self._state.wake(queue, entry.expires_ms)
                break
            queue.pop()
            if consumer is None:
                self.dead_letter(queue, entry, "expired")
            else:
                self._state.outbox.append(self.hold(queue, entry, consumer.session, consumer))
        if not queue.deleted:
            self._retry_stuck(queue)
            self._read_page(queue)

    def _cause_of_death(self, queue: Backlog, entry: Entry) -> Reason | None:
        if entry.expires_ms is not None and entry.expires_ms <= self._state.now():
            return None if entry.at_once and not entry.redelivered else "expired"
        limit = queue.spec.delivery_limit
        if limit is not None and entry.count > limit and queue.spec.kind is QueueKind.QUORUM:
            return "delivery_limit"
        return None

    def hold(self, queue: Backlog, entry: Entry, session: Session, consumer: Consumer | None) -> Held:
        """The entry is out with a consumer, or with a client that asked for one message."""
        if entry.journaled and entry.seq > queue.mark:
            queue.mark = entry.seq
            self._state.owed.marks[queue.id] = entry.seq
        queue.unsettled += 1
        return self._held(queue, entry, session, consumer)

    def _held(self, source: Place, item: Item, session: Session, consumer: Consumer | None) -> Held:
        redelivered, count = (item.redelivered, item.count) if isinstance(item, Entry) else (False, 0)
        held = Held(self._state.next_ticket(), session, source, item, consumer, redelivered, count)
        session.held[held.ticket] = held
        if consumer is not None:
            consumer.out += 1
        return held

    def release(self, held: Held, state: HeldState) -> None:
        """The delivery is over; its consumer has room again."""
        held.state = state
        held.session.held.pop(held.ticket, None)
        held.source.unsettled -= 1
        self._state.dirty[held.source] = None
        if held.consumer is not None:
            held.consumer.out -= 1

    def give_back(self, held: Held, state: HeldState = HeldState.SETTLED) -> None:
        """The delivery is over and its message is ready again, marked redelivered; on a stream nothing comes back."""
        self.release(held, state)
        queue, entry = held.source, held.item
        if not isinstance(queue, Backlog) or not isinstance(entry, Entry) or queue.deleted:
            return
        entry.redelivered, entry.count = True, entry.count + 1
        if entry.journaled and queue.spec.kind is QueueKind.QUORUM:
            self._state.owed.counts[key(queue.id, entry.seq)] = entry.count
        queue.give_back(entry)

    def take_back(self, consumer: Consumer) -> None:
        """What is assigned to the consumer and not yet handed over is ready again, as if nothing had been."""
        mine = [h for h in self._state.outbox if h.consumer is consumer and h.state is HeldState.OUT]
        for held in reversed(mine):
            self.release(held, HeldState.LOST)
            if isinstance(held.item, Record):
                put_back(consumer, held.item)
            elif isinstance(held.source, Backlog) and not held.source.deleted:
                held.source.give_back(held.item)

    def drop(self, queue: Backlog, entry: Entry) -> None:
        """The message is gone; its row goes with the next batch."""
        if entry.journaled and not queue.deleted:
            self._state.owed.drops.append(key(queue.id, entry.seq))

    def dead_letter(self, queue: Backlog, entry: Entry, reason: Reason) -> None:
        """Move the message to its queue's dead-letter exchange, or drop it where there is none."""
        exchange = queue.spec.dead_letter_exchange
        if exchange is None or queue.deleted:
            self.drop(queue, entry)
            return
        own_key = queue.spec.dead_letter_routing_key
        routing_key = entry.routing_key if own_key is None else own_key
        message = death.bury(
            entry.message,
            reason=reason,
            queue=queue.spec.name,
            exchange=entry.exchange,
            routing_key=entry.routing_key,
            at_ms=self._state.now(),
        )
        places = self._state.route(exchange, routing_key, message.headers)
        if not queue.keeps_dead and reason != "rejected":
            # at most once, as RabbitMQ: a message that only goes round is dropped
            places = [p for p in places if not death.went_round(entry.message, p.spec.name)]
        try:
            placing.check_room(places)
        except Refused:
            places = []
        if not places:
            self._nobody_takes(queue, entry, reason)
            return
        placing.put(
            self._state,
            places,
            message,
            exchange,
            routing_key,
            batch=self._state.owed,
            replaces=key(queue.id, entry.seq) if entry.journaled else None,
            arrive=self.arrive,
            done=_nothing_more,
        )

    def _nobody_takes(self, queue: Backlog, entry: Entry, reason: Reason) -> None:
        if not queue.keeps_dead:
            self.drop(queue, entry)
            return
        if not queue.stuck:
            queue.stuck_until = self._state.now() + STUCK_RETRY_MS
        queue.stuck.append((entry, reason))
        self._state.wake(queue, queue.stuck_until)

    def _retry_stuck(self, queue: Backlog) -> None:
        if not queue.stuck:
            return
        if self._state.now() >= queue.stuck_until:
            stuck, queue.stuck = queue.stuck, []
            for entry, reason in stuck:
                self.dead_letter(queue, entry, reason)
        else:
            self._state.wake(queue, queue.stuck_until)

    def _read_page(self, queue: Backlog) -> None:
        wanted = queue.wanted_page()
        if wanted is None:
            return
        queue.reading = True
        limit, limit_bytes = wanted
        queue_id, after, generation = queue.id, queue.tail_seq, queue.generation

        def loaded(entries: list[Entry]) -> None:
            queue.reading = False
            if queue.generation == generation:
                queue.loaded(entries)
            self._state.dirty[queue] = None

        self._state.reads.append(Read(lambda j: j.page(queue_id, after, limit, limit_bytes), loaded))

    def _pump_stream(self, stream: StreamLog) -> None:
        if stream.deleted:
            return
        for consumer in list(stream.consumers):
            while consumer.has_room and consumer.buffer:
                record = take(consumer)
                stream.unsettled += 1
                self._state.outbox.append(self._held(stream, record, consumer.session, consumer))
            self._ask(stream, stream.wanted(consumer))
        now = self._state.now()
        self._ask(stream, stream.wanted_trim(now))
        if (check := stream.next_check(now)) is not None:
            self._state.wake(stream, check)

    def _ask(self, stream: StreamLog, read: Read | None) -> None:
        if read is not None:
            self.ask(stream, read)

    def ask(self, stream: StreamLog, read: Read) -> None:
        """Put a stream's question to the journal and look at the stream again when the answer has come."""

        def done(answer: object) -> None:
            if not stream.deleted:
                read.done(answer)
                self._state.dirty[stream] = None

        self._state.reads.append(Read(read.run, done))


def _nothing_more(_: BaseException | None) -> None:
    """Dead-lettering is owed: it is tried until it succeeds, and nobody waits for it."""
