"""Who gets which message, and when."""

from __future__ import annotations

from datetime import timedelta

import pytest

from broker.embedded import backlog
from broker.embedded.values import HeldState, Session
from broker.errors import AlreadySettled, Blocked, DeliveryLost, QueueNotFound, Refused, TopologyConflict, Unroutable
from broker.message import Message
from broker.topology import Binding, Exchange, Queue, QueueKind
from tests.unit.broker_embedded.driver import Driver

SECOND = timedelta(seconds=1)


@pytest.fixture
def driver() -> Driver:
    driver = Driver()
    driver.declare(Queue("q"), Queue("c", QueueKind.CLASSIC))
    return driver


def test_a_message_is_not_delivered_before_it_is_committed(driver: Driver) -> None:
    driver.subscribe("q")
    told: list[BaseException | None] = []
    assert driver.engine.publish(Message(b"m"), "", "q", told.append) is False
    assert driver.engine.take_deliveries() == []
    assert told == []
    driver.run()
    assert told == [None]
    assert driver.bodies() == [b"m"]


def test_a_transient_message_on_a_classic_queue_does_not_wait_for_the_journal(driver: Driver) -> None:
    assert driver.engine.publish(Message(b"m", persistent=False), "", "c", driver.outcomes.append) is True
    assert driver.journal.rows == {}
    assert driver.drain("c") == [b"m"]


def test_a_transient_message_does_not_overtake_one_that_is_being_written(driver: Driver) -> None:
    driver.engine.publish(Message(b"first"), "", "c", driver.outcomes.append)
    driver.engine.publish(Message(b"second", persistent=False), "", "c", driver.outcomes.append)
    driver.run()
    assert driver.drain("c") == [b"first", b"second"]


def test_a_consumer_never_holds_more_than_its_prefetch(driver: Driver) -> None:
    for n in range(5):
        driver.send(b"%d" % n, "q")
    driver.subscribe("q", prefetch=2)
    first, second = driver.held
    driver.engine.ack(second)
    driver.run()
    assert [h.item.message.body for h in driver.held] == [b"0", b"1", b"2"]
    assert first.state is HeldState.OUT


def test_consumers_take_turns(driver: Driver) -> None:
    seen: list[str] = []
    driver.subscribe("q", deliver=lambda _: seen.append("a"))
    driver.subscribe("q", deliver=lambda _: seen.append("b"))
    for _ in range(4):
        driver.send(b"m", "q")
    assert seen in (["a", "b"] * 2, ["b", "a"] * 2)


def test_a_requeued_message_comes_first_and_is_marked(driver: Driver) -> None:
    for n in range(3):
        driver.send(b"%d" % n, "q")
    held = driver.take("q")
    assert held is not None
    assert not held.redelivered
    driver.engine.requeue(held)
    again = driver.take("q")
    assert again is not None
    assert (again.item.message.body, again.redelivered, again.count) == (b"0", True, 1)


def test_lowering_the_prefetch_takes_back_what_was_not_handed_over(driver: Driver) -> None:
    consumer = driver.engine.subscribe(driver.session, "q", driver.held.append, prefetch=1)
    driver.engine.publish(Message(b"m"), "", "q", driver.outcomes.append)
    batches = driver.engine.take_batches()
    driver.journal.apply(*batches)
    driver.engine.committed(*batches)
    driver.engine.set_prefetch(consumer, 0)
    driver.run()
    assert driver.held == []
    held = driver.take("q")
    assert held is not None
    assert not held.redelivered


def test_a_delivery_is_settled_exactly_once(driver: Driver) -> None:
    driver.send(b"m", "q")
    held = driver.take("q")
    assert held is not None
    driver.engine.ack(held)
    for settle in (driver.engine.ack, driver.engine.requeue, driver.engine.reject):
        with pytest.raises(AlreadySettled):
            settle(held)


def test_a_closed_session_gives_back_its_deliveries_alone(driver: Driver) -> None:
    other = Session("other")
    driver.send(b"mine", "q")
    driver.send(b"other", "q")
    mine = driver.take("q")
    theirs = driver.engine.get(other, "q")
    assert mine is not None
    assert theirs is not None
    driver.engine.close_session(other)
    with pytest.raises(DeliveryLost):
        driver.engine.ack(theirs)
    again = driver.take("q")
    assert again is not None
    assert (again.item.message.body, again.redelivered) == (b"other", True)
    driver.engine.ack(mine)


def test_a_full_queue_refuses_and_no_other_queue_takes_the_message(driver: Driver) -> None:
    driver.declare(Exchange("x"), Queue("full", max_length=1), Binding("x", "q", "k"), Binding("x", "full", "k"))
    driver.send(b"1", "k", exchange="x")
    with pytest.raises(Refused):
        driver.send(b"2", "k", exchange="x")
    assert driver.drain("q") == [b"1"]


def test_what_is_on_its_way_counts_against_the_limit() -> None:
    driver = Driver()
    driver.declare(Queue("full", max_length=1))
    driver.engine.publish(Message(b"1"), "", "full", driver.outcomes.append)
    with pytest.raises(Refused):
        driver.engine.publish(Message(b"2"), "", "full", driver.outcomes.append)


def test_a_message_that_no_queue_takes_is_unroutable(driver: Driver) -> None:
    with pytest.raises(Unroutable):
        driver.send(b"m", "nowhere")
    with pytest.raises(Unroutable):
        driver.send(b"m", "k", exchange="nowhere")


def test_a_long_backlog_is_kept_in_the_journal_and_comes_in_order(driver: Driver) -> None:
    bodies = [b"%d" % n for n in range(backlog.MEMORY_ENTRIES * 2 + 7)]
    for body in bodies:
        driver.send(body, "q")
    place = driver.engine._state.place("q")
    assert isinstance(place, backlog.Backlog)
    assert len(place.head) == backlog.MEMORY_ENTRIES
    assert driver.engine.depth("q").ready == len(bodies)
    assert driver.drain("q") == bodies
    assert driver.journal.rows == {}


def test_a_purge_forgets_the_part_in_the_journal_too(driver: Driver) -> None:
    count = backlog.MEMORY_ENTRIES + 50
    for n in range(count):
        driver.send(b"%d" % n, "q")
    held = driver.take("q")
    assert held is not None
    assert driver.engine.purge("q", driver.outcomes.append) == count - 1
    driver.run()
    assert len(driver.journal.rows) == 1
    driver.send(b"new", "q")
    assert driver.drain("q") == [b"new"]


def test_a_commit_that_fails_takes_nothing_and_keeps_what_is_owed(driver: Driver) -> None:
    driver.send(b"acked", "q")
    held = driver.take("q")
    assert held is not None
    driver.engine.ack(held)
    told: list[BaseException | None] = []
    driver.engine.publish(Message(b"lost"), "", "q", told.append)
    driver.fail()
    assert isinstance(told[0], Blocked)
    assert len(driver.journal.rows) == 1
    with pytest.raises(Blocked):
        driver.engine.publish(Message(b"now"), "", "q", told.append)
    driver.run()
    assert driver.journal.rows == {}
    assert driver.engine.blocked is None
    driver.send(b"later", "q")
    assert driver.drain("q") == [b"later"]


def test_a_replacement_that_fails_leaves_the_delivery_unsettled(driver: Driver) -> None:
    driver.send(b"m", "q")
    held = driver.take("q")
    assert held is not None
    driver.engine.replace(held, Message(b"copy"), "", "c", driver.outcomes.append)
    with pytest.raises(AlreadySettled):
        driver.engine.ack(held)
    driver.fail()
    assert driver.session.held == {held.ticket: held}
    driver.send(b"unblock", "c", persistent=False)
    driver.engine.committed(*driver.engine.take_batches())
    driver.engine.replace(held, Message(b"copy"), "", "c", driver.outcomes.append)
    driver.run()
    assert driver.session.held == {}
    assert driver.drain("c") == [b"unblock", b"copy"]
    assert driver.drain("q") == []


def test_an_exclusive_queue_belongs_to_its_session_and_goes_with_it(driver: Driver) -> None:
    owner, other = Session("owner"), Session("other")
    driver.declare(Queue("mine", QueueKind.CLASSIC, exclusive=True), session=owner)
    with pytest.raises(TopologyConflict):
        driver.declare(Queue("mine", QueueKind.CLASSIC, exclusive=True), session=other)
    with pytest.raises(QueueNotFound):
        driver.subscribe("mine", session=other)
    driver.engine.close_session(owner)
    with pytest.raises(QueueNotFound):
        driver.engine.depth("mine")


def test_declaring_otherwise_is_a_conflict_and_changes_nothing(driver: Driver) -> None:
    with pytest.raises(TopologyConflict):
        driver.declare(Queue("new"), Queue("q", ttl=SECOND))
    with pytest.raises(QueueNotFound):
        driver.engine.depth("new")


def test_a_consumer_comes_back_when_its_deleted_queue_does(driver: Driver) -> None:
    from broker.topology import Topology

    driver.subscribe("q")
    driver.engine.delete(Topology(queues=(Queue("q"),)), driver.outcomes.append)
    driver.run()
    driver.declare(Queue("q"))
    driver.send(b"m", "q")
    assert driver.bodies() == [b"m"]
