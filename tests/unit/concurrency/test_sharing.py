"""Shares: whatever joins, leaves, dies, grows or shrinks, all together never hold more than there is."""

from __future__ import annotations

import doctest
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fnrunner.concurrency import sharing
from fnrunner.concurrency.sharing import Account, Held, Target, divide, settle, settled
from fnrunner.model.provisioned import Demand, Key
from fnrunner.worker import provisioning

CAPACITIES = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 40), max_size=8)
LIMIT = 60
KEYS: tuple[Key, ...] = (("f", "1", "1"), ("f", "live", "2"), ("f", "live", "3"), ("g", "7", "7"))


def test_the_examples_are_true() -> None:
    assert doctest.testmod(sharing).failed == 0


@given(total=st.integers(-5, 200), capacities=CAPACITIES)
def test_division_gives_away_all_that_fits_and_nobody_gets_more_than_fits(
    total: int, capacities: dict[str, int]
) -> None:
    given_ = divide(total, capacities)
    assert given_.keys() == capacities.keys()
    assert all(0 <= given_[name] <= capacities[name] for name in capacities)
    assert sum(given_.values()) == max(0, min(total, sum(capacities.values())))


@given(total=st.integers(0, 200), capacities=CAPACITIES)
def test_division_is_even_among_those_who_could_take_more(total: int, capacities: dict[str, int]) -> None:
    given_ = divide(total, capacities)
    could = [given_[name] for name in capacities if given_[name] < capacities[name]]
    assert max(could, default=0) - min(could, default=0) <= 1
    assert all(given_[name] <= min(could) + 1 for name in capacities) if could else True


@given(held=st.integers(0, 50), target=st.integers(0, 50), needed=st.integers(0, 50), left=st.integers(-20, 50))
def test_a_worker_gives_up_what_it_does_not_need_and_takes_only_what_is_left(
    held: int, target: int, needed: int, left: int
) -> None:
    needed = min(needed, held)
    next_ = settled(held=held, target=target, needed=needed, left=left)
    assert next_ >= needed
    assert next_ <= max(needed, left)
    assert next_ <= max(target, needed)
    if needed <= target <= left:
        assert next_ == target


@dataclass
class Worker:
    """One worker as it is in the store (``held``) and in its process (``limit``, ``running``)."""

    capacity: int
    held: Held = field(default_factory=Held)
    limit: Held = field(default_factory=Held)
    share_running: int = 0
    own_running: dict[Key, int] = field(default_factory=dict)
    view: dict[str, int] = field(default_factory=dict)

    @property
    def running(self) -> Held:
        return Held(self.share_running, {key: n for key, n in self.own_running.items() if n})

    @property
    def needed(self) -> Held:
        return Held(max(self.share_running, self.limit.share), self.running.provisioned)


class AnyFleet(RuleBasedStateMachine):
    """Workers that beat in any order, with views of each other that may be old, run what they may and end what they run."""

    def __init__(self) -> None:
        super().__init__()
        self.account = Account(LIMIT)
        self.workers: dict[str, Worker] = {}
        self.number = 0
        self.most = LIMIT
        """What all may hold together: less than the limit at once where it sank below what was held."""

    def _total(self) -> int:
        reserved = {demand.key[0] for demand in self.account.demands if demand.reserved}
        return sum(
            worker.held.share + sum(n for key, n in worker.held.provisioned.items() if key[0] not in reserved)
            for worker in self.workers.values()
        )

    @precondition(lambda self: len(self.workers) < 5)
    @rule(capacity=st.integers(1, 40))
    def join(self, capacity: int) -> None:
        self.number += 1
        self.workers[f"w{self.number}"] = Worker(capacity)

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def die_or_leave(self, data: st.DataObject) -> None:
        del self.workers[data.draw(st.sampled_from(sorted(self.workers)))]

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def look(self, data: st.DataObject) -> None:
        """Nobody's view of the others is newer than its last look."""
        name = data.draw(st.sampled_from(sorted(self.workers)))
        self.workers[name].view = {other: worker.capacity for other, worker in self.workers.items() if other != name}

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def beat(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.workers)))
        me = self.workers[name]
        fleet = {**me.view, name: me.capacity}
        target = Target(
            provisioning.shares(self.account.pool(), self.account.demands, fleet)[name],
            provisioning.divide(self.account.demands, fleet)[name],
        )
        me.limit = self._lowered(me.limit, target)
        needed = me.needed
        if data.draw(st.booleans()):
            # between what is proposed and what is written more starts
            me.share_running = max(me.share_running, me.limit.share)
        others = [worker.held for other, worker in self.workers.items() if other != name]
        before = self._total()
        settled = settle(self.account, me.held, needed, target, others)
        me.held = settled.held
        self.most = max(self.account.unreserved, min(self.most, self._total()))
        assert self._total() <= max(self.account.unreserved, before)
        limit = self._lowered(me.held, target)
        me.limit = replace(limit, share=min(limit.share, settled.limit))

    @staticmethod
    def _lowered(limit: Held, target: Target) -> Held:
        numbers = {key: min(n, target.provisioned.get(key, 0)) for key, n in limit.provisioned.items()}
        return Held(min(limit.share, target.share), numbers)

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), many=st.integers(1, 10))
    def start(self, data: st.DataObject, many: int) -> None:
        me = self.workers[data.draw(st.sampled_from(sorted(self.workers)))]
        me.share_running = max(me.share_running, min(me.limit.share, me.share_running + many))
        for key, number in me.limit.provisioned.items():
            me.own_running[key] = max(me.own_running.get(key, 0), min(number, me.own_running.get(key, 0) + many))

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), many=st.integers(1, 10))
    def end(self, data: st.DataObject, many: int) -> None:
        me = self.workers[data.draw(st.sampled_from(sorted(self.workers)))]
        me.share_running = max(0, me.share_running - many)
        me.own_running = {key: max(0, n - many) for key, n in me.own_running.items()}

    @rule(reserved=st.integers(0, LIMIT), numbers=st.dictionaries(st.sampled_from(KEYS), st.integers(1, 30)))
    def change_what_is_reserved(self, reserved: int, numbers: dict[Key, int]) -> None:
        demands = tuple(Demand(key, numbers[key], key[0] == "g") for key in sorted(numbers))
        self.account = Account(LIMIT - reserved, demands)
        self.most = max(self.account.unreserved, self._total())

    @invariant()
    def all_together_hold_no_more_than_there_is_or_was(self) -> None:
        assert self._total() <= self.most

    @invariant()
    def a_qualifier_is_never_held_beyond_what_was_asked_for_unless_it_runs(self) -> None:
        for worker in self.workers.values():
            assert worker.running.share <= worker.held.share
            for key, number in worker.running.provisioned.items():
                assert number <= worker.held.provisioned.get(key, 0)


AnyFleet.TestCase.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)
TestAnyFleet = AnyFleet.TestCase


def beats(account: Account, capacities: dict[str, int], held: dict[str, Held] | None = None) -> dict[str, Held]:
    """What everybody holds after a few rounds in which all see each other and nothing runs."""
    held = dict.fromkeys(capacities, Held()) | (held or {})
    shares = provisioning.shares(account.pool(), account.demands, capacities)
    numbers = provisioning.divide(account.demands, capacities)
    for _ in range(3):
        for name in capacities:
            others = [one for other, one in held.items() if other != name]
            held[name] = settle(account, held[name], Held(), Target(shares[name], numbers[name]), others).held
    return held


def test_where_all_capacities_fit_everybody_may_use_its_own() -> None:
    held = beats(Account(1000), {"a": 16, "b": 32})
    assert {name: one.share for name, one in held.items()} == {"a": 16, "b": 32}


def test_what_does_not_fit_is_shared_evenly_also_with_one_who_comes_later() -> None:
    early = beats(Account(100), {"a": 80, "b": 80})
    assert [one.share for one in early.values()] == [50, 50]
    late = beats(Account(100), {"a": 80, "b": 80, "c": 80}, early)
    assert sorted(one.share for one in late.values()) == [33, 33, 34]


@pytest.mark.parametrize("reserved", [False, True])
def test_provisioned_concurrency_comes_out_of_the_pool_unless_a_reservation_covers_it(reserved: bool) -> None:
    demand = Demand(("f", "1", "1"), 30, reserved)
    held = beats(Account(100, (demand,)), {"a": 80, "b": 80})
    assert sum(one.provisioned[demand.key] for one in held.values()) == 30
    assert sum(one.share for one in held.values()) == (100 if reserved else 70)


def test_what_is_still_used_of_a_deleted_configuration_keeps_the_others_from_taking_it() -> None:
    key = ("f", "1", "1")
    me = Held(50, {key: 20})
    busy = settle(Account(100), me, Held(50, {key: 15}), Target(100), []).held
    assert (busy.provisioned, busy.share) == ({key: 15}, 85)
    assert settle(Account(100), busy, Held(50), Target(100), []).held == Held(100)


def test_a_moved_alias_waits_for_what_the_former_version_still_runs() -> None:
    old, new = ("f", "live", "1"), ("f", "live", "2")
    account = Account(100, (Demand(new, 10, False),))
    target = Target(0, {new: 10})
    held = settle(account, Held(0, {old: 10}), Held(0, {old: 4}), target, []).held
    assert held.provisioned == {old: 4, new: 6}
    assert settle(account, held, Held(0, {new: 6}), target, []).held.provisioned == {new: 10}


def test_a_limit_below_what_is_reserved_leaves_nothing() -> None:
    assert Account(-5).pool() == 0
    settled = settle(Account(-5), Held(3), Held(2), Target(0), [])
    assert (settled.held, settled.limit) == (Held(2), 0)


def test_where_one_runs_too_much_the_others_take_nothing_until_it_has_ended() -> None:
    busy, idle = Held(100), Held(50)
    settled = settle(Account(100), idle, Held(50), Target(50), [busy])
    assert (settled.held.share, settled.limit) == (50, 0)
    assert settle(Account(100), idle, Held(0), Target(50), [busy]).held.share == 0


def test_what_was_promised_as_provisioned_stays_while_others_run_too_much() -> None:
    key = ("f", "1", "1")
    account = Account(100, (Demand(key, 20, False),))
    settled = settle(account, Held(0, {key: 20}), Held(), Target(0, {key: 20}), [Held(150)])
    assert settled.held.provisioned == {key: 20}
