"""Who waits before anybody asks."""

from __future__ import annotations

import doctest
from pathlib import Path

from fnrunner.sandbox import ahead as ahead_module
from fnrunner.sandbox.ahead import KINDS, PLAIN, WANTED_S, Ahead, Waiter
from fnrunner.sandbox.home import Home

HOME = Home(Path("/nowhere"), None)


def waiter(number: int) -> Waiter:
    return Waiter(number, HOME, 0.0)


def filled(ahead: Ahead) -> list[bytes]:
    """Let everybody wait who should: their kinds, in the order in which they are made."""
    made: list[bytes] = []
    while (kind := ahead.missing()) is not None:
        ahead.add(kind, waiter(len(made) + 1))
        made.append(kind)
    return made


def test_one_of_each_kind_that_was_wanted_waits_after_those_for_whomever() -> None:
    ahead = Ahead(2)
    ahead.want(b"node", 1.0)
    ahead.want(b"other", 2.0)
    assert filled(ahead) == [PLAIN, PLAIN, b"node", b"other"]


def test_one_of_the_kind_is_taken_first_and_nobody_gets_one_of_another_kind() -> None:
    ahead = Ahead(1)
    ahead.want(b"node", 1.0)
    filled(ahead)
    taken = [ahead.take(b"node"), ahead.take(b"other"), ahead.take(b"node"), ahead.take(b"other")]
    assert [each and each.number for each in taken] == [2, 1, None, None]


def test_of_too_many_kinds_those_go_that_were_not_wanted_for_longest() -> None:
    ahead = Ahead(0)
    kinds = [b"%d" % number for number in range(KINDS + 2)]
    for now, kind in enumerate(kinds):
        ahead.want(kind, float(now))
    filled(ahead)
    ahead.want(kinds[0], 10.0)
    assert [each.number for each in ahead.superfluous(10.0)] == [2, 3]
    assert ahead.missing() is None


def test_a_kind_that_nobody_wants_any_more_goes_in_time() -> None:
    ahead = Ahead(1)
    assert ahead.next_look_s(0.0) is None
    ahead.want(b"node", 0.0)
    ahead.want(b"other", 100.0)
    filled(ahead)
    assert ahead.next_look_s(100.0) == WANTED_S - 100
    assert ahead.superfluous(WANTED_S) == []
    assert [each.number for each in ahead.superfluous(WANTED_S + 1)] == [2]
    assert ahead.next_look_s(WANTED_S + 1) == 99.0


def test_those_for_whomever_can_be_forgotten_alone() -> None:
    ahead = Ahead(1)
    ahead.want(b"node", 0.0)
    filled(ahead)
    assert [each.number for each in ahead.all(PLAIN)] == [1]
    assert [each.number for each in ahead.all()] == [2]


def test_the_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(ahead_module).failed == 0
