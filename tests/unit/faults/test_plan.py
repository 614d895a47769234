"""A plan is a function of its seed, survives being saved, and gives every kind of fault its turn."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.soak import plan
from tests.faults.soak.affliction import OF
from tests.faults.soak.fault import KINDS
from tests.faults.soak.operation import EXPECTED, FLOOD, USUAL, Behaviour, operation
from tests.faults.soak.plan import PlanUnreadable, Terms
from tests.faults.soak.shrink import minimal

EVERYTHING = tuple(sorted({ability for kind in KINDS.values() for ability in kind.needs}))
TERMS = Terms(seed=5, duration_s=300, abilities=EVERYTHING)


def test_the_same_seed_gives_the_same_plan_and_another_seed_another() -> None:
    assert plan.make(TERMS) == plan.make(TERMS)
    other = plan.make(replace(TERMS, seed=6))
    assert other.faults != plan.make(TERMS).faults
    assert other.timed != plan.make(TERMS).timed


def test_every_kind_of_fault_has_its_turn_when_there_is_time() -> None:
    struck = {fault.kind for fault in plan.make(TERMS).faults}
    assert struck == set(KINDS)


def test_every_kind_of_fault_can_be_carried_out() -> None:
    assert set(OF) == set(KINDS)


def test_a_target_has_one_fault_at_a_time_and_none_outlasts_the_plan() -> None:
    ends: dict[str, float] = {}
    for fault in plan.make(TERMS).faults:
        assert fault.at_s >= ends.get(fault.target, 0)
        ends[fault.target] = fault.at_s + fault.lasts_s
        assert ends[fault.target] < TERMS.duration_s


def test_what_the_host_cannot_bear_is_not_planned() -> None:
    bare = plan.make(replace(TERMS, abilities=()))
    assert {fault.kind for fault in bare.faults} == {"kill", "freeze"}


def test_the_embedded_broker_has_one_process_and_no_queue_to_delete() -> None:
    embedded = plan.make(replace(TERMS, broker="embedded", abilities=("root", "mounts")))
    assert {fault.target for fault in embedded.faults} <= {"dev", "store", "logs"}
    assert Behaviour.DOOMED not in {each.behaviour for each in embedded.timed}


def test_numbers_of_events_never_repeat_and_batches_have_room() -> None:
    timed = plan.make(TERMS).timed
    numbers = [each.number + n for each in timed for n in range(each.size)]
    assert len(numbers) == len(set(numbers))
    assert any(each.size > 1 for each in timed)


def test_operations_come_in_order_of_time_and_as_often_as_the_mix_says() -> None:
    timed = plan.make(replace(TERMS, rate=100)).timed
    assert all(one.at_s <= other.at_s for one, other in itertools.pairwise(timed))
    counts = Counter(each.behaviour.value for each in timed)
    for name, weight in USUAL.items():
        share = weight / sum(USUAL.values())
        assert counts[name] / len(timed) == pytest.approx(share, rel=0.25), name
    assert set(counts) == {behaviour.value for behaviour in EXPECTED}


def test_a_saved_plan_is_the_same_plan(tmp_path: Path) -> None:
    made = plan.make(TERMS)
    plan.save(made, tmp_path / "plan.jsonl")
    assert plan.load(tmp_path / "plan.jsonl") == made


def test_an_edited_plan_does_only_what_is_left_in_it(tmp_path: Path) -> None:
    file = tmp_path / "plan.jsonl"
    plan.save(plan.make(TERMS), file)
    lines = [line for line in file.read_text().splitlines() if '"kill"' not in line]
    file.write_text("\n".join(lines) + "\n")
    assert "kill" not in {fault.kind for fault in plan.load(file).faults}


@pytest.mark.parametrize(
    "line",
    [
        "no json",
        '{"fault": {"kind": "kill"}}',
        '{"fault": {"number": 0, "kind": "flood of frogs", "target": "api", "at_s": 1, "lasts_s": 1, "chance": 0}}',
        '{"operation": {"number": 1, "behaviour": "dance", "at_s": 1, "pause_ms": 0}}',
        "[]",
    ],
)
def test_a_line_that_is_none_of_a_plan_is_named(tmp_path: Path, line: str) -> None:
    file = tmp_path / "plan.jsonl"
    plan.save(plan.make(replace(TERMS, duration_s=5)), file)
    broken = len(file.read_text().splitlines()) + 1
    with file.open("a") as lines:
        lines.write(line + "\n")
    with pytest.raises(PlanUnreadable, match=f"plan.jsonl:{broken} "):
        plan.load(file)


def test_a_file_without_a_plan_is_refused(tmp_path: Path) -> None:
    (tmp_path / "plan.jsonl").write_text("")
    with pytest.raises(PlanUnreadable, match="no line that begins a plan"):
        plan.load(tmp_path / "plan.jsonl")


def test_faults_are_left_out_by_number() -> None:
    made = plan.make(TERMS)
    assert [f.number for f in made.without({0, 2}).faults] == [f.number for f in made.faults if f.number not in (0, 2)]
    assert [f.number for f in made.only({1}).faults] == [1]
    assert made.without({0}).timed == made.timed


def test_a_flood_is_derived_and_not_kept(tmp_path: Path) -> None:
    flood = plan.make(replace(TERMS, events=1_000_000))
    plan.save(flood, tmp_path / "plan.jsonl")
    assert flood.timed == ()
    saved = (tmp_path / "plan.jsonl").read_text().splitlines()
    assert "operation" not in {next(iter(json.loads(line))) for line in saved}
    first = list(itertools.islice(flood.operations(), 5000))
    assert first == list(itertools.islice(plan.load(tmp_path / "plan.jsonl").operations(), 5000))
    assert [each.number for each in first] == list(range(5000))
    assert {each.behaviour.value for each in first} <= set(FLOOD)
    assert first[17] == operation(TERMS.seed, 17, FLOOD)


def test_shrinking_ends_after_so_many_runs_with_something_that_failed() -> None:
    seen: list[list[int]] = []

    def fails(left: object) -> bool:
        seen.append(list(left))  # type: ignore[call-overload]
        return 3 in seen[-1]

    left = minimal(range(16), fails, most_tries=3)
    assert len(seen) == 3
    assert 3 in left


def test_a_failure_that_does_not_come_again_leaves_the_plan_whole() -> None:
    assert minimal([1, 2, 3], lambda _: False, most_tries=50) == [1, 2, 3]
