"""Dividing provisioned concurrency: every worker comes to the same answer, and it fits."""

from __future__ import annotations

import doctest

from hypothesis import given
from hypothesis import strategies as st

from fnrunner.model import account, provisioned
from fnrunner.model.alias import Additional, Alias
from fnrunner.model.function import Code, Function
from fnrunner.model.provisioned import Demand, Prepared, ProvisionedConcurrency, Status, demands, split, status_of
from fnrunner.worker import provisioning
from fnrunner.worker.provisioning import LEFT_TO_OTHERS, divide, shares

workers = st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.integers(0, 20), max_size=6)
demanded = st.dictionaries(
    st.tuples(st.sampled_from("fg"), st.sampled_from("12"), st.sampled_from("12")), st.integers(1, 30), max_size=4
).map(lambda numbers: [Demand(key, number, False) for key, number in numbers.items()])


def test_the_examples_are_true() -> None:
    for module in (provisioning, provisioned, account):
        assert doctest.testmod(module).failed == 0


@given(wanted=demanded, workers=workers)
def test_as_much_is_given_as_fits_and_every_worker_keeps_room_for_others(
    wanted: list[Demand], workers: dict[str, int]
) -> None:
    plan = divide(wanted, workers)
    room = {name: max(0, capacity - LEFT_TO_OTHERS) for name, capacity in workers.items()}
    assert all(sum(plan[name].values()) <= room[name] for name in workers)
    given_ = sum(sum(numbers.values()) for numbers in plan.values())
    assert given_ == min(sum(demand.number for demand in wanted), sum(room.values()))
    for demand in wanted:
        assert sum(numbers.get(demand.key, 0) for numbers in plan.values()) <= demand.number


@given(wanted=demanded, workers=workers, seed=st.randoms())
def test_the_order_in_which_workers_and_demands_are_known_plays_no_part(wanted, workers, seed) -> None:  # type: ignore[no-untyped-def]
    names, shuffled = list(workers), list(wanted)
    seed.shuffle(names)
    seed.shuffle(shuffled)
    assert divide(shuffled, {name: workers[name] for name in names}) == divide(wanted, workers)


@given(pool=st.integers(0, 200), wanted=demanded, workers=workers)
def test_shares_add_up_to_the_pool_or_to_all_the_room_there_is(
    pool: int, wanted: list[Demand], workers: dict[str, int]
) -> None:
    plan, given_ = divide(wanted, workers), shares(pool, wanted, workers)
    room = sum(workers.values()) - sum(sum(numbers.values()) for numbers in plan.values())
    assert sum(given_.values()) == min(pool, room)


def test_what_is_left_over_does_not_always_go_to_the_same_worker() -> None:
    workers = {"a": 9, "b": 9, "c": 9}
    lucky = {
        name
        for n in range(30)
        for name, numbers in divide([Demand((f"f{n}", "1", "1"), 1, False)], workers).items()
        if numbers
    }
    assert lucky == set(workers)


@given(number=st.integers(0, 1000), weight=st.floats(0, 1))
def test_splitting_by_weight_loses_and_invents_nothing(number: int, weight: float) -> None:
    parts = split(number, {"1": 1 - weight, "2": weight})
    assert sum(parts.values()) == number
    assert abs(parts["2"] - number * weight) <= 1


def function(name: str, version: str, reserved: int | None = None) -> Function:
    return Function(name, "python3.11", "a.b", Code("", 0), "role", version=version, reserved_concurrency=reserved)


def test_an_alias_demands_environments_of_both_its_versions() -> None:
    functions = {("f", version): function("f", version, 50) for version in ("$LATEST", "1", "2")}
    live = Alias("f", "live", "1", additional=Additional("2", 0.25))
    found = demands([ProvisionedConcurrency("f", "live", 8)], functions, {("f", "live"): live}, "$LATEST")
    assert found == (Demand(("f", "live", "1"), 6, True), Demand(("f", "live", "2"), 2, True))


def test_what_leads_to_no_version_demands_nothing() -> None:
    functions = {("f", "$LATEST"): function("f", "$LATEST"), ("f", "1"): function("f", "1")}
    loose = Alias("f", "loose", "$LATEST")
    wanted = [ProvisionedConcurrency(*one, 5) for one in (("f", "9"), ("f", "gone"), ("f", "loose"), ("g", "1"))]
    assert demands(wanted, functions, {("f", "loose"): loose}, "$LATEST") == ()


def test_the_status_is_ready_when_enough_are_whatever_one_worker_lacks() -> None:
    assert status_of(3, []).status is Status.IN_PROGRESS
    assert (
        status_of(3, [Prepared("a", 2, 2), Prepared("b", 2, 1, "FUNCTION_ERROR_INIT_FAILURE")]).status is Status.READY
    )
    failed = status_of(3, [Prepared("a", 2, 2), Prepared("b", 1, 0, "FUNCTION_ERROR_INIT_FAILURE")])
    assert (failed.status, failed.allocated, failed.available) == (Status.FAILED, 3, 2)
    assert failed.reason == "FUNCTION_ERROR_INIT_FAILURE"
