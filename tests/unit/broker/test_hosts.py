"""Which host of a cluster is tried next."""

from __future__ import annotations

import doctest

from broker.rabbitmq import declaration, hosts
from broker.rabbitmq.hosts import LONGEST_ATTEMPT_S, LONGEST_AVOIDED_S, Hosts


def of(*names: str) -> Hosts[str]:
    return Hosts(names, order=tuple)


def test_the_examples_are_true() -> None:
    for module in (hosts, declaration):
        assert doctest.testmod(module).failed == 0


def test_a_host_that_failed_comes_last_until_it_is_due_again() -> None:
    found = of("one", "two", "three")
    assert found.next(0.0) == "one"
    found.failed("one", 0.0)
    assert [found.next(1.0) for _ in range(4)] == ["two", "three", "two", "three"]
    assert "one" in [found.next(10.0) for _ in range(3)]


def test_where_all_have_failed_the_one_that_is_due_first_is_tried() -> None:
    found = of("one", "two")
    found.failed("two", 0.0)
    found.failed("one", 1.0)
    assert found.next(2.0) == "two"


def test_a_host_that_was_reached_is_trusted_again() -> None:
    found = of("one", "two")
    found.failed("one", 0.0)
    found.reached("one")
    assert found.next(0.1) == "one"
    assert found.attempt_s("one") == of("one", "two").attempt_s("one")


def test_hours_of_failures_stay_within_the_longest_waits() -> None:
    found = of("one", "two")
    for second in range(5_000):
        found.failed("one", float(second))
    assert found.attempt_s("one") == LONGEST_ATTEMPT_S
    found.failed("two", 5_000.0 + LONGEST_AVOIDED_S)
    assert found.next(5_000.0 + LONGEST_AVOIDED_S) == "one"


def test_a_single_host_is_always_next_and_never_given_up_early() -> None:
    found = of("one")
    found.failed("one", 0.0)
    assert found.next(0.0) == "one"
    assert found.attempt_s("one") == LONGEST_ATTEMPT_S


def test_every_process_has_an_order_of_its_own() -> None:
    firsts = {Hosts(range(20)).next(0.0) for _ in range(200)}
    assert len(firsts) > 5
