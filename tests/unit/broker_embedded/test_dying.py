"""What happens to messages that are not consumed: expiry, rejection, the delivery limit."""

from __future__ import annotations

from datetime import timedelta

import pytest

from broker.embedded import backlog
from broker.message import Message
from broker.topology import Binding, Exchange, ExchangeKind, Queue, QueueKind
from tests.unit.broker_embedded.driver import Driver

SECOND = timedelta(seconds=1)
ZERO = timedelta(0)


@pytest.fixture
def driver() -> Driver:
    driver = Driver()
    driver.declare(
        Exchange("dlx", ExchangeKind.FANOUT),
        Queue("dead"),
        Queue("q", dead_letter_exchange="dlx", delivery_limit=2),
        Queue("slow", ttl=10 * SECOND, dead_letter_exchange="", dead_letter_routing_key="dead"),
        Queue("requests", QueueKind.CLASSIC, dead_letter_exchange="dlx"),
        Binding("dlx", "dead"),
    )
    return driver


def test_a_message_moves_on_when_the_ttl_of_its_queue_is_over(driver: Driver) -> None:
    driver.send(b"m", "slow")
    driver.advance(9 * SECOND)
    assert driver.engine.depth("slow").ready == 1
    driver.advance(SECOND)
    assert driver.engine.depth("slow").ready == 0
    assert driver.drain("dead") == [b"m"]


def test_the_dead_carry_what_rabbitmq_writes(driver: Driver) -> None:
    driver.send(b"m", "q", expiration=SECOND, headers={"own": 1})
    driver.advance(2 * SECOND)
    held = driver.take("dead")
    assert held is not None
    message = held.item.message
    assert message.expiration is None
    assert message.headers["own"] == 1
    assert message.headers["x-first-death-reason"] == "expired"
    assert message.headers["x-first-death-queue"] == "q"
    [death] = message.headers["x-death"]
    assert (death["reason"], death["queue"], death["count"]) == ("expired", "q", 1)
    assert death["routing-keys"] == ["q"]
    assert death["original-expiration"] == "1000"


def test_deaths_of_the_same_kind_are_counted(driver: Driver) -> None:
    driver.send(b"m", "q")
    for count in (1, 2):
        held = driver.take("q")
        assert held is not None
        driver.engine.reject(held)
        driver.run()
        dead = driver.take("dead")
        assert dead is not None
        [death] = dead.item.message.headers["x-death"]
        assert (death["reason"], death["count"]) == ("rejected", count)
        driver.engine.replace(dead, dead.item.message, "", "q", driver.outcomes.append)
        driver.run()


def test_a_message_expires_only_when_it_is_first(driver: Driver) -> None:
    driver.send(b"long", "q", expiration=5 * SECOND)
    driver.send(b"short", "q", expiration=SECOND)
    driver.advance(2 * SECOND)
    assert driver.engine.depth("dead").ready == 0
    driver.advance(3 * SECOND)
    assert driver.drain("dead") == [b"long", b"short"]


def test_expiration_zero_reaches_a_consumer_with_room(driver: Driver) -> None:
    driver.subscribe("requests", prefetch=1)
    driver.send(b"served", "requests", expiration=ZERO, persistent=False)
    assert driver.bodies() == [b"served"]
    driver.send(b"returned", "requests", expiration=ZERO, persistent=False)
    assert driver.drain("dead") == [b"returned"]


def test_expiration_zero_does_not_wait_behind_others(driver: Driver) -> None:
    driver.send(b"waits", "requests", expiration=SECOND, persistent=False)
    driver.send(b"at once", "requests", expiration=ZERO, persistent=False)
    assert driver.drain("dead") == [b"at once"]


def test_expiration_zero_is_for_persistent_messages_too(driver: Driver) -> None:
    driver.subscribe("q", prefetch=1)
    driver.send(b"served", "q", expiration=ZERO)
    driver.send(b"returned", "q", expiration=ZERO)
    assert driver.bodies() == [b"served"]
    assert driver.drain("dead") == [b"returned"]


def test_a_requeued_request_without_room_is_returned(driver: Driver) -> None:
    driver.subscribe("requests", prefetch=1)
    driver.send(b"m", "requests", expiration=ZERO, persistent=False)
    [held] = driver.held
    driver.engine.requeue(held)
    driver.run()
    assert driver.drain("dead") == [b"m"]


def test_a_delivery_limit_of_two_means_three_deliveries(driver: Driver) -> None:
    driver.send(b"m", "q")
    deliveries = 0
    while (held := driver.take("q")) is not None:
        deliveries += 1
        driver.engine.requeue(held)
        driver.run()
    assert deliveries == 3
    dead = driver.take("dead")
    assert dead is not None
    assert dead.item.message.headers["x-first-death-reason"] == "delivery_limit"


def test_the_original_stays_until_its_copy_is_committed(driver: Driver) -> None:
    driver.send(b"m", "q")
    held = driver.take("q")
    assert held is not None
    driver.engine.reject(held)
    driver.fail()
    assert len(driver.journal.rows) == 1
    driver.run()
    assert driver.drain("dead") == [b"m"]
    assert driver.journal.rows == {}


def test_the_dead_of_a_quorum_queue_wait_for_a_full_queue_to_empty() -> None:
    driver = Driver()
    driver.declare(Queue("dead", max_length=1), Queue("q", dead_letter_exchange="", dead_letter_routing_key="dead"))
    for body in (b"1", b"2"):
        driver.send(body, "q", expiration=SECOND)
    driver.advance(2 * SECOND)
    assert driver.drain("dead") == [b"1"]
    assert len(driver.journal.rows) == 1
    driver.advance(2 * SECOND)
    assert driver.drain("dead") == [b"2"]


def test_the_dead_of_a_quorum_queue_wait_for_a_queue_to_exist() -> None:
    driver = Driver()
    driver.declare(Queue("q", dead_letter_exchange="", dead_letter_routing_key="later"))
    driver.send(b"m", "q", expiration=SECOND)
    driver.advance(5 * SECOND)
    driver.declare(Queue("later"))
    driver.advance(2 * SECOND)
    assert driver.drain("later") == [b"m"]


def test_a_transient_message_that_only_goes_round_is_dropped() -> None:
    driver = Driver()
    driver.declare(
        Queue("round", QueueKind.CLASSIC, ttl=ZERO, dead_letter_exchange="", dead_letter_routing_key="round")
    )
    driver.send(b"m", "round", persistent=False)
    assert driver.engine.depth("round").ready == 0


def test_a_long_backlog_expires_page_by_page(driver: Driver) -> None:
    count = backlog.MEMORY_ENTRIES + 600
    for n in range(count):
        driver.engine.publish(Message(b"%d" % n), "", "slow", driver.outcomes.append)
    driver.run()
    driver.advance(11 * SECOND)
    assert driver.engine.depth("slow").ready == 0
    assert driver.drain("dead") == [b"%d" % n for n in range(count)]
