"""Dead letters from the queue to the store and back to the function, over a real store and the embedded broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar, cast

import pytest
from sqlalchemy import Connection, select, update

from broker import names
from broker.broker import Broker
from broker.embedded import EmbeddedBroker
from broker.envelope import SYNC_LIMIT_BYTES, Attempt, Envelope, decode, encode, to_message
from broker.errors import Refused, Unavailable
from broker.message import Message
from broker.topology import function_queues
from fnrunner.delivery.archivist import Archivist
from fnrunner.delivery.dead_letters import DeadLetterDetail, DeadLetters
from fnrunner.delivery.errors import (
    DeadLetterNotFound,
    DeadLetterNotHeld,
    MarkerInvalid,
    PayloadNotJson,
    PayloadTooLarge,
)
from fnrunner.delivery.letter import dead_message
from fnrunner.delivery.redrive import REDRIVING, Redriver
from fnrunner.model import limits
from fnrunner.model.arn import Home
from fnrunner.store.engine import Store
from fnrunner.store.errors import StoreConflict, StoreUnavailable
from fnrunner.store.schema import dead_letter
from fnrunner.telemetry.tracing import Untraced

NOW_MS = 1_700_000_000_000
PATIENCE_S = 30
SOON = timedelta(milliseconds=20)

T = TypeVar("T")


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[EmbeddedBroker]:
    broker = EmbeddedBroker(tmp_path / "broker", delays=[timedelta(seconds=1)])
    await broker.start()
    await broker.declare(function_queues("f"))
    yield broker
    await broker.close()


@pytest.fixture
async def archivist(store: Store, broker: Broker) -> AsyncIterator[Archivist]:
    archivist = Archivist(store, broker, clock=lambda: NOW_MS)
    await archivist.start()
    await archivist.watch("f")
    yield archivist
    await archivist.close()


@pytest.fixture
def letters(store: Store, broker: Broker) -> DeadLetters:
    return DeadLetters(store, broker, Home(), clock=lambda: NOW_MS)


def event(number: int = 1, **more: object) -> Envelope:
    attempts = (Attempt(1, 5, "ValueError", "no"),)
    trace = {"traceparent": "00-aa-bb-01"}
    fields = {"payload": b'{"n":1}', "attempt": 3, "throttles": 2, "suspect": True, "trace": trace, **more}
    return Envelope(id=f"e{number}", function="f", accepted_at_ms=7, attempts=attempts, **fields)  # type: ignore[arg-type]


async def bury(broker: Broker, envelope: Envelope) -> None:
    message = dead_message(envelope, "RetriesExhausted", "ValueError", "no", "d1", at_ms=9)
    await broker.publish(message, exchange=names.DEAD, routing_key=envelope.function)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not true():
            await asyncio.sleep(0.005)


async def filed(archivist: Archivist, count: int) -> None:
    await until(lambda: archivist.health.filed >= count)


async def taken(broker: Broker) -> Envelope:
    delivery = await broker.get(names.events("f"))
    assert delivery is not None
    await delivery.ack()
    return decode(delivery.message.body)


async def test_a_letter_is_filed_with_all_it_says_and_leaves_the_queue(
    broker: Broker, archivist: Archivist, letters: DeadLetters
) -> None:
    await bury(broker, event())
    await filed(archivist, 1)
    (summary,) = (await letters.list("f")).letters
    assert (summary.event_id, summary.reason, summary.error_type, summary.at_ms) == (
        "e1",
        "RetriesExhausted",
        "ValueError",
        9,
    )
    assert (summary.state, summary.digest, summary.traceparent) == ("held", "d1", "00-aa-bb-01")
    detail = await letters.get("f", "e1")
    assert (detail.envelope, detail.original, detail.edited) == (event(), b'{"n":1}', False)
    depth = await broker.depth(names.dead("f"))
    assert depth.ready + (depth.unsettled or 0) == 0


async def test_the_same_letter_twice_is_filed_once(broker: Broker, archivist: Archivist, letters: DeadLetters) -> None:
    await bury(broker, event())
    await bury(broker, event())
    await filed(archivist, 2)
    assert await letters.count("f") == 1


async def test_two_foreign_messages_under_one_id_are_both_kept(
    broker: Broker, archivist: Archivist, letters: DeadLetters
) -> None:
    for body in (b"one", b"two", b"one", b"two"):
        await broker.publish(Message(body, message_id="same"), exchange=names.DEAD, routing_key="f")
    await filed(archivist, 4)
    page = await letters.list("f")
    bodies = {(await letters.get("f", letter.event_id)).envelope.payload for letter in page.letters}
    assert (len(page.letters), bodies) == (2, {b"one", b"two"})


async def test_a_foreign_message_never_takes_the_place_of_an_events_letter(
    broker: Broker, archivist: Archivist, letters: DeadLetters
) -> None:
    await bury(broker, event())
    await filed(archivist, 1)
    await broker.publish(Message(b"?", message_id="e1"), exchange=names.DEAD, routing_key="f")
    await filed(archivist, 2)
    assert sorted(s.reason for s in (await letters.list("f")).letters) == ["RetriesExhausted", "Undecodable"]


async def test_what_no_queue_takes_any_more_is_filed_from_the_orphans(
    broker: Broker, archivist: Archivist, letters: DeadLetters
) -> None:
    await broker.publish(
        to_message(Envelope("e9", "gone", b"{}", 1)), exchange=names.DUE, routing_key=names.events("gone")
    )
    await filed(archivist, 1)
    assert [s.reason for s in (await letters.list("gone")).letters] == ["Orphaned"]


async def test_a_store_that_is_away_leaves_letters_on_the_broker_until_it_is_back(
    store: Store, store_url: str, broker: Broker
) -> None:
    class AwayTwice(Store):
        troubles = 2

        async def write(self, work: Callable[[Connection], object]) -> object:  # type: ignore[override]
            if self.troubles:
                self.troubles -= 1
                depth = await broker.depth(names.dead("f"))
                assert depth.ready + (depth.unsettled or 0) == 1
                raise StoreUnavailable("away")
            return await store.write(work)

    archivist = Archivist(AwayTwice(store_url), broker, clock=lambda: NOW_MS)
    await archivist.start()
    await archivist.watch("f")
    await bury(broker, event())
    await until(lambda: archivist.health.reason == "away")
    assert archivist.health.problem == "dead letters are not filed: away"
    await filed(archivist, 1)
    assert archivist.health.filing
    await archivist.close()


class Picky(Store):
    """Another store on the same database, which refuses one letter while ``refuses`` is set."""

    refuses = "e1"

    async def write(self, work: Callable[[Connection], T]) -> T:
        def picky(connection: Connection) -> T:
            result = work(connection)
            if connection.execute(select(dead_letter.c.id).where(dead_letter.c.event_id == self.refuses)).first():
                raise StoreConflict("not that one")
            return result

        return await super().write(picky)


async def test_a_letter_that_the_store_refuses_holds_no_other_back_and_is_not_lost(
    store: Store, store_url: str, broker: EmbeddedBroker, letters: DeadLetters
) -> None:
    picky = Picky(store_url)
    await picky.start()
    client = broker.sibling("doomed")
    await client.start()
    doomed = Archivist(picky, client, clock=lambda: NOW_MS)
    for number in (1, 2, 3):
        await bury(broker, event(number))
    await doomed.start()
    await doomed.watch("f")
    await until(lambda: doomed.health.stuck == 1 and doomed.health.filed == 2)
    assert doomed.health.problem.startswith("1 dead letters cannot be filed")
    await doomed.close()
    await client.close()
    await picky.close()
    successor = Archivist(store, broker, clock=lambda: NOW_MS)
    await successor.start()
    await successor.watch("f")
    await filed(successor, 1)
    await successor.close()
    assert await letters.count("f") == 3


async def test_a_letter_that_the_store_refused_is_filed_once_it_takes_it(
    store_url: str, broker: EmbeddedBroker, letters: DeadLetters
) -> None:
    picky = Picky(store_url)
    await picky.start()
    archivist = Archivist(picky, broker, clock=lambda: NOW_MS, stuck_pause=SOON)
    await archivist.start()
    await archivist.watch("f")
    await bury(broker, event())
    await until(lambda: archivist.health.stuck == 1)
    picky.refuses = ""
    await filed(archivist, 1)
    assert await letters.count("f") == 1
    assert archivist.health.problem == ""
    await archivist.close()
    await picky.close()


async def test_an_archivist_says_that_it_does_not_file(store: Store, broker: Broker) -> None:
    archivist = Archivist(store, broker, clock=lambda: NOW_MS)
    assert archivist.health.problem == "dead letters are not filed: the archivist has ended"
    await archivist.start()
    assert archivist.health.problem == ""
    await archivist.close()


async def test_a_forgotten_function_is_not_consumed(broker: Broker, archivist: Archivist) -> None:
    await archivist.forget("f")
    await archivist.forget("f")
    await bury(broker, event())
    assert (await broker.depth(names.dead("f"))).ready == 1
    await archivist.watch("f")
    await archivist.watch("f")
    await filed(archivist, 1)


async def test_a_redriven_event_is_as_new_and_remembers_everything(
    broker: Broker, archivist: Archivist, letters: DeadLetters
) -> None:
    await bury(broker, event())
    await filed(archivist, 1)
    done = await letters.redrive("f", ["e1", "nobody"])
    assert done.event_ids == ("e1",)
    assert [event_id for event_id, _ in done.refused] == ["nobody"]
    again = await taken(broker)
    assert (again.id, again.attempt, again.throttles, again.suspect, again.redrives) == ("e1", 0, 0, False, 1)
    assert (again.accepted_at_ms, again.extra["first_accepted_at_ms"]) == (NOW_MS, 7)
    assert (again.attempts, again.trace, again.payload) == (event().attempts, event().trace, b'{"n":1}')
    assert (await letters.get("f", "e1")).summary.state == "redriven"
    assert (await letters.redrive("f")).event_ids == ()


async def test_a_redriven_event_that_fails_again_gets_a_letter_of_its_own(
    broker: Broker, archivist: Archivist, letters: DeadLetters
) -> None:
    await bury(broker, event())
    await filed(archivist, 1)
    await letters.redrive("f")
    await bury(broker, await taken(broker))
    await filed(archivist, 2)
    assert [(s.redrives, s.state) for s in (await letters.list("f", state="")).letters] == [
        (0, "redriven"),
        (1, "held"),
    ]
    assert (await letters.get("f", "e1")).summary.redrives == 1


async def test_two_people_who_redrive_everything_at_once_publish_each_letter_once(
    broker: Broker, archivist: Archivist, letters: DeadLetters
) -> None:
    for number in range(250):
        await bury(broker, event(number))
    await filed(archivist, 250)
    one, two = await asyncio.gather(letters.redrive("f"), letters.redrive("f"))
    assert sorted(one.event_ids + two.event_ids) == sorted(f"e{n}" for n in range(250))
    assert (await broker.depth(names.events("f"))).ready == 250


@dataclass
class Clock:
    now_ms: int = NOW_MS

    def __call__(self) -> int:
        return self.now_ms


class Troubled:
    """A broker that raises for some events what it is told to, before or after it has taken them."""

    def __init__(self, broker: Broker, errors: dict[str, Exception], *, taken: bool = False) -> None:
        self._broker = broker
        self._taken = taken
        self.errors = errors

    async def publish(self, message: Message, *, routing_key: str) -> None:
        error = self.errors.get(message.message_id or "")
        if error is None or self._taken:
            await self._broker.publish(message, routing_key=routing_key)
        if error is not None:
            raise error


async def mark(store: Store, marked_ms: int, *event_ids: str) -> None:
    which = dead_letter.c.event_id.in_(event_ids)
    await store.write(
        lambda c: c.execute(update(dead_letter).where(which).values(state=REDRIVING, marked_ms=marked_ms))
    )


async def states(letters: DeadLetters) -> dict[str, str]:
    return {letter.event_id: letter.state for letter in (await letters.list("f", state="")).letters}


async def test_a_redrive_that_a_dead_process_left_is_finished_by_another(
    store: Store, broker: Broker, archivist: Archivist, letters: DeadLetters
) -> None:
    await bury(broker, event())
    await filed(archivist, 1)
    await mark(store, NOW_MS - 60_000, "e1")
    assert await letters.finish() == 1
    assert (await taken(broker)).redrives == 1
    assert await states(letters) == {"e1": "redriven"}
    assert await letters.finish() == 0


async def test_a_redrive_that_another_process_is_at_is_left_to_it(
    store: Store, broker: Broker, archivist: Archivist, letters: DeadLetters
) -> None:
    await bury(broker, event())
    await filed(archivist, 1)
    await mark(store, NOW_MS - 59_999, "e1")
    assert await letters.finish() == 0
    assert (await broker.depth(names.events("f"))).ready == 0
    done = await letters.redrive("f", ["e1"])
    assert (done.event_ids, done.refused, [event_id for event_id, _ in done.pending]) == ((), (), ["e1"])


async def test_two_processes_finish_what_a_third_left_once(
    store: Store, broker: Broker, archivist: Archivist, letters: DeadLetters
) -> None:
    ids = [f"e{number}" for number in range(250)]
    for number in range(250):
        await bury(broker, event(number))
    await filed(archivist, 250)
    await mark(store, NOW_MS - 60_000, *ids)
    other = DeadLetters(store, broker, Home(), clock=lambda: NOW_MS)
    assert sum(await asyncio.gather(letters.finish(), other.finish())) == 250
    assert (await broker.depth(names.events("f"))).ready == 250


async def test_a_half_done_redrive_is_finished_without_a_restart(
    store: Store, broker: EmbeddedBroker, archivist: Archivist
) -> None:
    await bury(broker, event())
    await filed(archivist, 1)
    troubled = Troubled(broker, {"e1": Unavailable("the broker is away")})
    redriver = Redriver(store, cast(Broker, troubled), Home(), Untraced(), clock=lambda: NOW_MS, every=SOON)
    await mark(store, NOW_MS - 60_000, "e1")
    redriver.start()
    redriver.start()
    async with asyncio.timeout(PATIENCE_S):
        while (await store.read(lambda c: c.execute(select(dead_letter.c.marked_ms)).scalar_one())) != NOW_MS:
            await asyncio.sleep(0.005)
        troubled.errors.clear()
        await mark(store, NOW_MS - 60_000, "e1")
        while (await broker.depth(names.events("f"))).ready == 0:
            await asyncio.sleep(0.005)
    await redriver.close()
    await redriver.close()
    assert (await taken(broker)).id == "e1"


async def test_one_letter_that_cannot_be_redriven_holds_no_other_back_at_the_start(
    store: Store, broker: Broker, archivist: Archivist
) -> None:
    for number in range(4):
        await bury(broker, event(number))
    body = b'"' + b"x" * limits.ASYNC_PAYLOAD_BYTES + b'"'
    await broker.publish(Message(body, message_id="huge"), exchange=names.DEAD, routing_key="f")
    await filed(archivist, 5)
    troubled = Troubled(broker, {"e1": Refused(), "e2": ValueError("unexpected")})
    letters = DeadLetters(store, cast(Broker, troubled), Home(), clock=lambda: NOW_MS)
    await mark(store, NOW_MS - 60_000, "e0", "e1", "e2", "e3", "huge")
    await letters.start()
    expected = {"e0": "redriven", "e1": "held", "e2": "held", "e3": "redriven", "huge": "held"}
    async with asyncio.timeout(PATIENCE_S):
        while await states(letters) != expected:
            await asyncio.sleep(0.005)
    await letters.close()
    done = await letters.redrive("f")
    assert {event_id for event_id, _ in done.refused} == {"e1", "e2", "huge"}
    assert "too large" in dict(done.refused)["huge"]
    assert await states(letters) == expected


async def test_what_may_have_been_published_is_published_again_later_under_its_id(
    store: Store, broker: Broker, archivist: Archivist
) -> None:
    await bury(broker, event())
    await filed(archivist, 1)
    clock = Clock()
    troubled = Troubled(broker, {"e1": Unavailable("the broker is away")}, taken=True)
    letters = DeadLetters(store, cast(Broker, troubled), Home(), clock=clock)
    done = await letters.redrive("f")
    ((event_id, why),) = done.pending
    assert (done.event_ids, done.refused, event_id) == ((), (), "e1")
    assert "the broker is away" in why
    assert await states(letters) == {"e1": "redriving"}
    assert (await letters.redrive("f", ["e1"])).refused == ()
    troubled.errors.clear()
    assert await letters.finish() == 0
    clock.now_ms += 60_000
    assert await letters.finish() == 1
    first, second = await taken(broker), await taken(broker)
    assert (first.id, first.redrives) == (second.id, second.redrives) == ("e1", 1)
    assert await states(letters) == {"e1": "redriven"}


async def test_an_edit_keeps_the_payload_that_failed_and_is_what_is_redriven(
    broker: Broker, archivist: Archivist, letters: DeadLetters
) -> None:
    await bury(broker, event())
    await filed(archivist, 1)
    await letters.edit("f", "e1", b'{"n":2}')
    detail = await letters.edit("f", "e1", b'{"n":3}')
    assert (detail.envelope.payload, detail.original, detail.edited) == (b'{"n":3}', b'{"n":1}', True)
    await letters.redrive("f")
    again = await taken(broker)
    assert (again.payload, set(again.extra)) == (b'{"n":3}', {"first_accepted_at_ms"})
    assert (await letters.get("f", "e1")).original == b'{"n":1}'


async def test_an_edit_is_checked(broker: Broker, archivist: Archivist, letters: DeadLetters) -> None:
    await bury(broker, event())
    await filed(archivist, 1)
    with pytest.raises(PayloadNotJson):
        await letters.edit("f", "e1", b"{")
    with pytest.raises(PayloadTooLarge):
        await letters.edit("f", "e1", b" " * limits.ASYNC_PAYLOAD_BYTES + b"1")
    with pytest.raises(DeadLetterNotFound):
        await letters.edit("f", "e2", b"1")
    await letters.purge("f", ["e1"])
    with pytest.raises(DeadLetterNotHeld):
        await letters.edit("f", "e1", b"1")


async def test_what_is_no_json_is_redriven_only_after_an_edit(
    broker: Broker, archivist: Archivist, letters: DeadLetters
) -> None:
    await broker.publish(Message(b"hello", message_id="m1"), exchange=names.DEAD, routing_key="f")
    await filed(archivist, 1)
    ((refused, why),) = (await letters.redrive("f")).refused
    assert refused == "m1"
    assert "dlq edit" in why
    assert (await letters.edit("f", "m1", b'"hello"')).original == b"hello"
    assert (await letters.redrive("f")).event_ids == ("m1",)
    again = await taken(broker)
    assert (again.id, again.payload, again.invoked_arn) == ("m1", b'"hello"', Home().function("f"))


async def test_foreign_json_is_redriven_as_an_event(broker: Broker, archivist: Archivist, letters: DeadLetters) -> None:
    await broker.publish(Message(b'{"a":1}'), exchange=names.DEAD, routing_key="f")
    await filed(archivist, 1)
    await letters.redrive("f")
    assert (await taken(broker)).payload == b'{"a":1}'


async def test_an_envelope_of_a_newer_release_is_redriven_once_it_can_be_read(
    store: Store, broker: Broker, archivist: Archivist, letters: DeadLetters
) -> None:
    newer = encode(event(5)).replace(b"\xa1v\x01", b"\xa1v\x02", 1)
    await broker.publish(Message(newer, message_id="e5"), exchange=names.DEAD, routing_key="f")
    await filed(archivist, 1)
    row = (await letters.get("f", "e5")).envelope
    upgraded = encode(Envelope(**{**_fields(row), "payload": encode(event(5))}))
    await store.write(lambda c: c.execute(update(dead_letter).values(envelope=upgraded)))
    await letters.redrive("f")
    again = await taken(broker)
    assert (again.id, again.payload, again.attempts) == ("e5", b'{"n":1}', event().attempts)


def _fields(envelope: Envelope) -> dict[str, object]:
    return {name: getattr(envelope, name) for name in Envelope.__slots__}


async def test_a_huge_foreign_message_is_kept_whole(broker: Broker, archivist: Archivist, letters: DeadLetters) -> None:
    body = b"x" * (SYNC_LIMIT_BYTES + 1)
    await broker.publish(Message(body, message_id="m"), exchange=names.DEAD, routing_key="f")
    await filed(archivist, 1)
    detail: DeadLetterDetail = await letters.get("f", "m")
    assert detail.envelope.payload == body
    assert (await letters.edit("f", "m", b"1")).original == body


async def test_purging_drops_the_contents_and_keeps_the_row(
    broker: Broker, archivist: Archivist, letters: DeadLetters
) -> None:
    for number in range(3):
        await bury(broker, event(number))
    await filed(archivist, 3)
    assert await letters.purge("f", ["e0", "e0", "nobody"]) == 1
    assert await letters.purge("f") == 2
    assert await letters.purge("f") == 0
    detail = await letters.get("f", "e0")
    assert (detail.summary.state, detail.envelope.payload, detail.original) == ("purged", b"", b"")
    assert (await letters.redrive("f")).event_ids == ()


async def test_a_listing_is_paged_by_marker(broker: Broker, archivist: Archivist, letters: DeadLetters) -> None:
    for number in range(5):
        await bury(broker, event(number))
    await filed(archivist, 5)
    seen, marker = [], ""
    while True:
        page = await letters.list("f", marker=marker, limit=2)
        seen.append([letter.event_id for letter in page.letters])
        if not (marker := page.marker):
            break
    assert seen == [["e0", "e1"], ["e2", "e3"], ["e4"]]
    with pytest.raises(MarkerInvalid):
        await letters.list("f", marker="x")
