"""Slots: caps and capacity hold, nobody starves, nothing idles while someone could run."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fnrunner.concurrency.accounting import Shortage, Slots

FUNCTIONS = ("a", "b", "c")
functions = st.sampled_from(FUNCTIONS)


class AnySequenceOfCalls(RuleBasedStateMachine):
    """A model of callers against Slots: every ticket is granted once, refused once or withdrawn once."""

    newcomers = 0

    def __init__(self) -> None:
        super().__init__()
        self.slots = Slots(capacity=2, caps={"b": 1}, newcomers=self.newcomers)
        self.running: dict[str, int] = dict.fromkeys(FUNCTIONS, 0)
        self.line: dict[str, list[int]] = {f: [] for f in FUNCTIONS}
        self.overtaken: dict[int, int] = {}
        self.next_ticket = 0

    def _granted(self, tickets: tuple[int, ...]) -> None:
        for ticket in tickets:
            function = next(f for f, line in self.line.items() if ticket in line)
            assert self.line[function][0] == ticket, "first come, first served within a function"
            self.line[function].pop(0)
            self.running[function] += 1
            assert self.running[function] <= (
                cap if (cap := self.slots.cap_of(function)) is not None else max(self.slots.capacity, self.newcomers)
            )
            assert sum(self.running.values()) <= self.slots.capacity + self.newcomers
            del self.overtaken[ticket]
            for other in FUNCTIONS:
                if other != function and self.line[other] and self.slots.shortage(other) is not Shortage.CAP:
                    self.overtaken[self.line[other][0]] += 1

    @rule(function=functions)
    def ask(self, function: str) -> None:
        could = self.slots.shortage(function) is None
        assert self.slots.take(function) == could
        if could:
            assert not self.line[function], "a newcomer never overtakes its own line"
            self.running[function] += 1
            return
        ticket, self.next_ticket = self.next_ticket, self.next_ticket + 1
        self.slots.wait(function, ticket)
        self.line[function].append(ticket)
        self.overtaken[ticket] = 0

    @precondition(lambda self: any(self.running.values()))
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        function = data.draw(st.sampled_from([f for f, n in self.running.items() if n]))
        self.running[function] -= 1
        self._granted(self.slots.give_back(function))

    @precondition(lambda self: any(self.line.values()))
    @rule(data=st.data())
    def walk_away(self, data: st.DataObject) -> None:
        function = data.draw(st.sampled_from([f for f, line in self.line.items() if line]))
        ticket = data.draw(st.sampled_from(self.line[function]))
        assert self.slots.withdraw(function, ticket)
        assert not self.slots.withdraw(function, ticket)
        self.line[function].remove(ticket)
        del self.overtaken[ticket]

    @rule(capacity=st.integers(0, 4))
    def resize(self, capacity: int) -> None:
        self._granted(self.slots.resize(capacity))

    @rule(function=functions, cap=st.none() | st.integers(0, 3))
    def cap(self, function: str, cap: int | None) -> None:
        self._granted(self.slots.set_cap(function, cap))

    @rule(function=functions)
    def refuse(self, function: str) -> None:
        assert list(self.slots.refuse(function)) == self.line[function]
        for ticket in self.line[function]:
            del self.overtaken[ticket]
        self.line[function] = []

    @invariant()
    def the_counts_are_the_models(self) -> None:
        assert self.slots.total == sum(self.running.values())
        assert {f: self.slots.running(f) for f in FUNCTIONS} == self.running
        assert {f: self.slots.waiting(f) for f in FUNCTIONS} == {f: len(line) for f, line in self.line.items()}

    @invariant()
    def nobody_waits_who_could_run(self) -> None:
        assert not [f for f in FUNCTIONS if self.line[f] and self.slots.shortage(f) is None]

    @invariant()
    def nobody_is_passed_over_twice_by_the_same_crowd(self) -> None:
        """Each other function may go once before it, and once more after it came back below its cap."""
        assert all(count <= 2 * len(FUNCTIONS) for count in self.overtaken.values())


AnySequenceOfCalls.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestAnySequenceOfCalls = AnySequenceOfCalls.TestCase


class AnySequenceOfCallsWithRoomForNewcomers(AnySequenceOfCalls):
    newcomers = 1


AnySequenceOfCallsWithRoomForNewcomers.TestCase.settings = AnySequenceOfCalls.TestCase.settings
TestAnySequenceOfCallsWithRoomForNewcomers = AnySequenceOfCallsWithRoomForNewcomers.TestCase


def test_a_function_that_fills_the_process_leaves_room_for_another_to_begin() -> None:
    slots = Slots(capacity=16, newcomers=2)
    assert [slots.take("long") for _ in range(18)] == [True] * 16 + [False] * 2
    slots.wait("long", 1)
    assert [slots.take("quick") for _ in range(3)] == [True, True, False]
    assert slots.shortage("quick") is Shortage.CAPACITY
    slots.wait("quick", 2)
    assert slots.give_back("quick") == (2,), "the room beyond the capacity does not go to the one that fills it"
    assert slots.give_back("long") == ()
    assert slots.give_back("quick") == ()
    assert slots.give_back("quick") == (1,)


def test_turns_go_round_the_functions_when_a_slot_frees() -> None:
    slots = Slots(capacity=1)
    assert slots.take("flood")
    for ticket in range(100):
        slots.wait("flood", ticket)
    slots.wait("quiet", 1000)
    first = slots.give_back("flood")
    second = slots.give_back("flood")
    assert (first, second) == ((0,), (1000,))


def test_a_function_at_its_cap_does_not_hold_the_others_back() -> None:
    slots = Slots(capacity=2, caps={"a": 1})
    assert slots.take("a")
    slots.wait("a", 1)
    assert slots.take("b")
    slots.wait("b", 2)
    assert slots.give_back("b") == (2,)
    assert slots.shortage("a") is Shortage.CAP


def test_lowering_a_cap_lets_what_runs_finish_and_raising_it_starts_who_waits() -> None:
    slots = Slots(capacity=4)
    assert all(slots.take("a") for _ in range(3))
    assert slots.set_cap("a", 1) == ()
    slots.wait("a", 1)
    slots.wait("a", 2)
    assert slots.give_back("a") == ()
    assert slots.give_back("a") == ()
    assert slots.running("a") == 1
    assert slots.set_cap("a", None) == (1, 2)


def test_giving_back_what_was_never_taken_is_refused() -> None:
    with pytest.raises(ValueError, match="does not hold"):
        Slots(capacity=1).give_back("a")


@pytest.mark.parametrize("make", [lambda: Slots(-1), lambda: Slots(1, {"a": -1}), lambda: Slots(1).set_cap("a", -1)])
def test_a_negative_number_of_slots_is_refused(make: object) -> None:
    with pytest.raises(ValueError, match="at least 0"):
        make()  # type: ignore[operator]
