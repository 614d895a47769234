from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from sources.pending import Backoff, Note, Pending


def keys(taken: list[tuple[str, Note]]) -> list[str]:
    return [key for key, _ in taken]


def test_a_key_is_taken_when_it_is_due_and_not_before() -> None:
    pending = Pending(10)
    pending.mark("a", due=5, now=0)
    assert pending.take(4.9, 10) == []
    assert pending.next_due() == 5
    assert keys(pending.take(5, 10)) == ["a"]


def test_news_makes_it_sooner_and_never_later() -> None:
    pending = Pending(10)
    pending.mark("a", due=5, now=0, appeared=True)
    pending.mark("a", due=9, now=0)
    pending.mark("a", due=2, now=0, written=True)
    ((_, note),) = pending.take(2, 10)
    assert (note.due, note.written, note.appeared) == (2, True, True)
    pending.finish("a")
    assert pending.next_due() is None


def test_a_key_that_is_marked_while_it_is_taken_waits_until_it_is_finished() -> None:
    pending = Pending(10)
    pending.mark("a", due=0, now=0)
    pending.take(0, 10)
    pending.mark("a", due=1, now=1)
    assert pending.take(1, 10) == []
    assert pending.next_due() is None
    pending.finish("a")
    assert pending.next_due() == 1
    assert keys(pending.take(1, 10)) == ["a"]


def test_what_is_put_back_keeps_what_is_known_and_merges_the_news() -> None:
    pending = Pending(10)
    pending.mark("a", due=0, now=0)
    ((_, note),) = pending.take(0, 10)
    pending.mark("a", due=3, now=1, written=True)
    pending.put_back("a", replace(note, due=30, accepted=frozenset({"id"}), attempts=2))
    ((_, note),) = pending.take(3, 10)
    assert (note.accepted, note.attempts, note.written, note.since) == (frozenset({"id"}), 2, True, 0)


def test_what_does_not_fit_is_refused_but_news_of_what_is_in_is_not() -> None:
    pending = Pending(2)
    assert pending.mark("a", due=0, now=0)
    assert pending.mark("b", due=0, now=0)
    assert not pending.mark("c", due=0, now=0)
    assert pending.mark("a", due=0, now=0, written=True)
    pending.take(0, 2)
    assert not pending.mark("c", due=0, now=0)
    assert pending.mark("a", due=0, now=0)
    pending.finish("b")
    pending.finish("a")
    assert pending.mark("c", due=0, now=0)


class Workers(RuleBasedStateMachine):
    """Whatever happens in whatever order: no mark is lost, no key is worked on twice at once."""

    def __init__(self) -> None:
        super().__init__()
        self.pending = Pending(1_000)
        self.now = 0.0
        self.owed: set[str] = set()
        self.working: dict[str, Note] = {}

    @rule(key=st.sampled_from("abcd"), wait=st.integers(0, 3))
    def mark(self, key: str, wait: int) -> None:
        assert self.pending.mark(key, due=self.now + wait, now=self.now)
        self.owed.add(key)

    @rule(seconds=st.integers(0, 3), limit=st.integers(1, 3))
    def take(self, seconds: int, limit: int) -> None:
        self.now += seconds
        for key, note in self.pending.take(self.now, limit):
            assert key not in self.working
            assert note.due <= self.now
            self.working[key] = note
            self.owed.remove(key)

    @rule(key=st.sampled_from("abcd"))
    def finish(self, key: str) -> None:
        if self.working.pop(key, None):
            self.pending.finish(key)

    @rule(key=st.sampled_from("abcd"), wait=st.integers(0, 9))
    def put_back(self, key: str, wait: int) -> None:
        if note := self.working.pop(key, None):
            self.pending.put_back(key, replace(note, due=self.now + wait))
            self.owed.add(key)

    @invariant()
    def it_counts_what_is_there(self) -> None:
        assert len(self.pending) == len(self.owed) + len(self.working)
        assert (self.pending.next_due() is not None) == bool(self.owed - set(self.working))

    def teardown(self) -> None:
        for key in list(self.working):
            self.finish(key)
        assert set(keys(self.pending.take(self.now + 100, 1_000))) == self.owed


TestWorkers = Workers.TestCase


def test_failures_double_the_wait_up_to_the_longest() -> None:
    gate = Backoff(1, 5, tolerance=1)
    waits, now = [], 0.0
    for _ in range(5):
        assert gate.failed("f", now)
        until = gate.until("f", now)
        assert until is not None
        waits.append(until - now)
        now = until
    assert waits == [1, 2, 4, 5, 5]


def test_failures_of_calls_that_ran_together_count_once() -> None:
    gate = Backoff(1, 60, tolerance=1)
    assert gate.failed("f", 0)
    assert not gate.failed("f", 0.5)
    assert gate.until("f", 0.9) == 1
    assert gate.until("f", 1) is None


def test_a_few_failures_among_successes_close_no_gate() -> None:
    gate = Backoff(1, 60, tolerance=3)
    for now in range(10):
        assert not gate.failed("f", now)
        assert not gate.failed("f", now)
        assert gate.until("f", now) is None
        gate.succeeded("f")
    assert [gate.failed("f", 20) for _ in range(3)] == [False, False, True]


def test_a_success_opens_the_gate_and_one_function_does_not_close_it_for_another() -> None:
    gate = Backoff(1, 60, tolerance=1)
    gate.failed("f", 0)
    assert gate.until("g", 0) is None
    assert list(gate.waiting) == ["f"]
    gate.succeeded("f")
    assert gate.until("f", 0) is None
    assert list(gate.waiting) == []


@given(st.integers(1, 10_000))
def test_a_wait_never_exceeds_the_longest(attempts: int) -> None:
    assert 0 < Backoff(0.25, 30).delay(attempts) <= 30
