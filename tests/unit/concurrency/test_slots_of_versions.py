"""Slots beside the capacity: the share of the account's pool, and those of provisioned environments."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fnrunner.concurrency.accounting import Shortage, Slots
from fnrunner.concurrency.permits import LocalPermits
from fnrunner.model.invocation import Throttled, ThrottleReason

FUNCTIONS, VERSIONS = ("a", "b", "r"), ("1", "2")
functions, versions = st.sampled_from(FUNCTIONS), st.sampled_from(VERSIONS)
LONG = timedelta(seconds=30)


class AnySequence(RuleBasedStateMachine):
    """A model of callers with versions: what is granted fits, and whoever waits could not run."""

    def __init__(self) -> None:
        super().__init__()
        self.slots = Slots(capacity=4, caps={"r": 3})
        self.slots.set_reserved({"r"})
        self.capacity, self.share, self.held_back = 4, 4, 0
        self.slots.limit_unreserved(4)
        self.own: Counter[tuple[str, str]] = Counter()
        self.on_demand: Counter[str] = Counter()
        self.own_running: Counter[tuple[str, str]] = Counter()
        self.line: dict[int, tuple[str, str]] = {}
        self.next_ticket = 0

    def _cap(self, function: str) -> int:
        return 3 if function == "r" else 1000

    def _running(self, function: str) -> int:
        return self.on_demand[function] + sum(n for (name, _), n in self.own_running.items() if name == function)

    def _own_free(self, function: str, version: str) -> bool:
        total = self.on_demand.total() + self.own_running.total()
        free = self.own_running[function, version] < self.own[function, version]
        return free and total < self.capacity and self._running(function) < self._cap(function)

    def _on_demand_free(self, function: str) -> bool:
        own = self.own_running.total()
        room = self.on_demand.total() < self.capacity - max(self.held_back, own)
        unreserved = sum(n for name, n in self.on_demand.items() if name != "r")
        return room and self._running(function) < self._cap(function) and (function == "r" or unreserved < self.share)

    def _granted(self, tickets: tuple[int, ...]) -> None:
        for ticket in tickets:
            function, version = self.line.pop(ticket)
            if self.slots.was_own(ticket):
                assert self._own_free(function, version)
                self.own_running[function, version] += 1
            else:
                assert self._on_demand_free(function)
                self.on_demand[function] += 1

    @rule(function=functions, version=versions)
    def ask(self, function: str, version: str) -> None:
        own, on_demand = self._own_free(function, version), self._on_demand_free(function)
        assert self.slots.take_own(function, version) == own
        if own:
            self.own_running[function, version] += 1
            return
        assert self.slots.take(function) == on_demand
        if on_demand:
            self.on_demand[function] += 1
            return
        self.next_ticket += 1
        self.line[self.next_ticket] = function, version
        self.slots.wait(function, self.next_ticket, version)

    @precondition(lambda self: self.on_demand.total())
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        function = data.draw(st.sampled_from(sorted(+self.on_demand)))
        self.on_demand[function] -= 1
        self._granted(self.slots.give_back(function))

    @precondition(lambda self: self.own_running.total())
    @rule(data=st.data())
    def finish_own(self, data: st.DataObject) -> None:
        function, version = data.draw(st.sampled_from(sorted(+self.own_running)))
        self.own_running[function, version] -= 1
        self._granted(self.slots.give_back_own(function, version))

    @precondition(lambda self: self.line)
    @rule(data=st.data())
    def walk_away(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(sorted(self.line)))
        assert self.slots.withdraw(self.line.pop(ticket)[0], ticket)

    @rule(share=st.integers(0, 5))
    def change_the_share(self, share: int) -> None:
        self.share = share
        self._granted(self.slots.limit_unreserved(share))

    @rule(function=functions, version=versions, held=st.integers(0, 2))
    def provision(self, function: str, version: str, held: int) -> None:
        self.own[function, version] = held
        self.held_back = self.own.total()
        self._granted(self.slots.hold_back(self.held_back))
        self._granted(self.slots.set_own(function, version, held))

    @invariant()
    def nobody_waits_who_could_run(self) -> None:
        for function, version in self.line.values():
            assert not self._own_free(function, version)
            assert not self._on_demand_free(function)

    @invariant()
    def the_counts_are_the_models(self) -> None:
        assert self.slots.total == self.on_demand.total() + self.own_running.total() <= self.capacity
        assert self.slots.unreserved_running == self.on_demand["a"] + self.on_demand["b"]


AnySequence.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestAnySequence = AnySequence.TestCase


def test_a_reserved_function_runs_while_the_share_is_used_up() -> None:
    slots = Slots(capacity=4)
    slots.set_reserved({"mine"})
    slots.limit_unreserved(1)
    assert slots.take("other")
    assert not slots.take("other")
    assert slots.shortage("other") is Shortage.UNRESERVED
    assert slots.take("mine")


def test_a_function_that_gets_a_reservation_gives_its_part_of_the_share_back() -> None:
    slots = Slots(capacity=4)
    slots.limit_unreserved(1)
    assert slots.take("a")
    slots.wait("b", 1)
    assert slots.set_reserved({"a"}) == (1,)
    assert slots.unreserved_running == 1


def test_a_flood_leaves_provisioned_slots_to_their_version() -> None:
    slots = Slots(capacity=3)
    slots.hold_back(2)
    slots.set_own("calm", "1", 2)
    assert [slots.take("flood") for _ in range(3)] == [True, False, False]
    slots.wait("flood", 1)
    assert [slots.take_own("calm", version) for version in ("1", "2", "1", "1")] == [True, False, True, False]
    assert slots.give_back_own("calm", "1") == ()


def test_room_is_held_back_before_the_environments_are_ready() -> None:
    slots = Slots(capacity=2)
    slots.hold_back(1)
    assert slots.take("a")
    assert not slots.take("a")
    assert slots.shortage("a") is Shortage.CAPACITY


def test_giving_back_a_provisioned_slot_that_was_never_taken_is_refused() -> None:
    with pytest.raises(ValueError, match="does not hold"):
        Slots(capacity=1).give_back_own("f", "1")


async def test_who_waits_for_a_version_gets_the_environment_that_becomes_ready() -> None:
    permits = LocalPermits(2)
    permits.hold_back(2)
    waiting = asyncio.create_task(permits.acquire("f", LONG, "1"))
    other = asyncio.create_task(permits.acquire("f", LONG, "2"))
    await asyncio.sleep(0)
    permits.set_own("f", "1", 1)
    lease = await waiting
    assert not isinstance(lease, Throttled)
    assert lease.own_version == "1"
    assert not other.done()
    permits.hold_back(0)
    permits.set_own("f", "1", 0)
    await lease.release()
    following = await other
    assert not isinstance(following, Throttled)
    assert following.own_version == ""


async def test_a_provisioned_slot_whose_waiter_was_cancelled_goes_to_the_next() -> None:
    permits = LocalPermits(1)
    permits.hold_back(1)
    first, second = (asyncio.create_task(permits.acquire("f", LONG, "1")) for _ in range(2))
    await asyncio.sleep(0)
    permits.set_own("f", "1", 1)
    first.cancel()
    lease = await second
    assert not isinstance(lease, Throttled)
    await lease.release()
    assert permits.slots.own_running("f", "1") == 0


async def test_beyond_the_share_the_reason_is_the_accounts() -> None:
    permits = LocalPermits(4)
    permits.limit_unreserved(0)
    assert await permits.acquire("f") == Throttled(ThrottleReason.CAPACITY)


async def test_where_all_is_provisioned_only_those_versions_run_and_the_reason_is_the_functions() -> None:
    permits = LocalPermits(4)
    permits.set_exclusive({"f": frozenset({"2"})})
    assert await permits.acquire("f", LONG, "$LATEST") == Throttled(ThrottleReason.RESERVED)
    assert not isinstance(await permits.acquire("f", LONG, "2"), Throttled)
    assert not isinstance(await permits.acquire("g", LONG, "1"), Throttled)
