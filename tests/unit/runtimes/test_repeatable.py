"""The clock and the sequence of bytes that a repeatable run reads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fnrunner.runtimes.python_repeatable import STEP_US, Clock, Entropy


def test_readings_are_a_step_apart_from_the_start_on() -> None:
    clock = Clock(1_000_000)
    assert [clock.read() for _ in range(3)] == [1_000_000, 1_000_000 + STEP_US, 1_000_000 + 2 * STEP_US]


def test_a_sleep_moves_the_clock_by_its_length_and_the_longest_of_several_counts() -> None:
    clock = Clock(0)
    dues = [clock.due(seconds) for seconds in (2.0, 0.5, 1.0)]
    for due in reversed(dues):
        clock.reach(due)
    assert clock.read() == 2_000_000
    clock.reach(1_000_000)
    assert clock.read() > 2_000_000, "it never goes back"


def test_the_debugger_reads_the_real_clock_and_moves_nothing() -> None:
    clock = Clock(0, exempt=__file__)
    assert clock.read_for(0) > 1_000_000_000_000_000
    assert clock.read() == 0
    assert Clock(0, exempt="/elsewhere/").read_for(0) == 0


@given(st.text(), st.lists(st.integers(0, 300), max_size=8))
def test_the_same_seed_gives_the_same_bytes(seed: str, sizes: list[int]) -> None:
    first, second = Entropy(seed), Entropy(seed)
    read = [first.read(size) for size in sizes]
    assert read == [second.read(size) for size in sizes]
    assert [len(data) for data in read] == sizes


def test_every_read_and_every_seed_gives_something_else() -> None:
    first, second = Entropy("1"), Entropy("2")
    assert len({first.read(16), first.read(16), second.read(16), second.read(16)}) == 4


def test_a_child_draws_another_sequence_than_its_parent_and_its_siblings() -> None:
    def family(children: int) -> bytes:
        entropy = Entropy("1")
        for _ in range(children):
            entropy.before_fork()
        if children:
            entropy.in_child()
        return entropy.read(16)

    assert len({family(0), family(1), family(2)}) == 3
    assert family(2) == family(2)


def test_a_negative_size_is_refused_as_by_the_system() -> None:
    with pytest.raises(ValueError, match="negative"):
        Entropy("1").read(-1)
