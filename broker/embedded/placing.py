"""Put one message into every queue that takes it, and take the one it replaces away, in one transaction.

Nothing is visible before its transaction is committed, unless no queue writes it down: then it is there at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from broker.delays import milliseconds
from broker.embedded.backlog import Backlog
from broker.embedded.state import Place, State
from broker.embedded.values import Batch, Entry, Outcome, Record, key
from broker.errors import Refused
from broker.message import Message

Item = Entry | Record
Arrive = Callable[[Place, Item], None]


class Placement:
    """The outcome of one placing: called with None it makes the message visible, with an error it takes all back."""

    __slots__ = ("_arrive", "_done", "_targets")

    def __init__(self, targets: Sequence[tuple[Place, Item]], arrive: Arrive, done: Outcome) -> None:
        self._targets, self._arrive, self._done = targets, arrive, done

    def __call__(self, error: BaseException | None) -> None:
        for place, item in self._targets:
            if isinstance(place, Backlog):
                place.incoming -= 1
            if error is None:
                self._arrive(place, item)
        self._done(error)


def check_room(places: Sequence[Place]) -> None:
    """Raises Refused when one of the queues is full: then none takes the message."""
    for place in places:
        if isinstance(place, Backlog) and place.is_full:
            raise Refused(f"the queue {place.spec.name!r} is full. Consume it, or raise its limit.")


def put(
    state: State,
    places: Sequence[Place],
    message: Message,
    exchange: str,
    routing_key: str,
    *,
    batch: Batch,
    replaces: int | None,
    arrive: Arrive,
    done: Outcome,
) -> bool:
    """Place the message; ``replaces`` is the journal key of the message that goes in the same transaction.

    True: it is visible already and ``done`` will not be called. False: ``done`` is called with the outcome.
    Raises HeadersNotCarried, and Unavailable when somebody waits for a write and nothing can be written now.
    """
    writes = replaces is not None or any(_journals(place, message) for place in places)
    if writes and state.blocked is not None and batch is state.asked:
        raise type(state.blocked)(str(state.blocked))
    planned = [
        _plan(state, place, message, exchange, routing_key) for place in places
    ]  # raises before anything changes
    targets = [(place, item) for place, (item, _) in zip(places, planned, strict=True)]
    if not writes:
        for place, item in targets:
            arrive(place, item)
        return True
    for place, (item, row) in zip(places, planned, strict=True):
        _write(batch, place, item, row)
    if replaces is not None:
        batch.drops.append(replaces)
    batch.outcomes.append(Placement(targets, arrive, done))
    return False


def _journals(place: Place, message: Message) -> bool:
    return place.journals(message) if isinstance(place, Backlog) else True


def _plan(state: State, place: Place, message: Message, exchange: str, routing_key: str) -> tuple[Item, bytes | None]:
    """What will be in the queue, and its row when it has one."""
    now = state.now()
    if not isinstance(place, Backlog):
        offset, at_ms = place.claim(now)
        row = state.encoder.encode(offset, at_ms, exchange, routing_key, message)
        return Record(offset, at_ms, exchange, routing_key, message, len(row)), row
    seq, expires_ms, journaled = state.next_seq(), None, place.journals(message)
    if message.expiration is not None or place.spec.ttl is not None:
        expires_ms = now + milliseconds(min(w for w in (message.expiration, place.spec.ttl) if w is not None))
    entry = Entry(seq, expires_ms, exchange, routing_key, message, journaled, at_once=expires_ms == now)
    return entry, state.encoder.encode(seq, expires_ms, exchange, routing_key, message) if journaled else None


def _write(batch: Batch, place: Place, item: Item, row: bytes | None) -> None:
    if isinstance(item, Record):
        assert row is not None
        batch.appends.append((key(place.id, item.offset), item.at_ms, row))
        batch.marks[place.id] = item.offset + 1
    elif isinstance(place, Backlog):
        place.incoming += 1
        if row is not None:
            survives = item.message.persistent or place.keeps_dead
            batch.puts.append((key(place.id, item.seq), row, not survives))
