"""The checker finds what was planted: losses, runs without a cause, caps exceeded, untrue letters, books that lie."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from tests.faults.soak import checker, function
from tests.faults.soak.checker import Verdict
from tests.faults.soak.duplicate import details
from tests.faults.soak.evidence import Evidence, Letter
from tests.faults.soak.fault import Struck
from tests.faults.soak.history import ACKNOWLEDGED, REFUSED, UNKNOWN, Answered
from tests.faults.soak.operation import EXPECTED, FLAKY_OF_BATCH, Behaviour
from tests.faults.soak.run_log import ALIVE, BEGIN, FAILED, OK, Line
from tests.faults.soak.tally import Tally

MENDED_S = 1000.0


def id_of(number: int) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, str(number)))


@dataclass
class World:
    """Everything that a run leaves behind, planted by hand. Times are in seconds."""

    answers: list[Answered] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    faults: list[Struck] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)
    stories: dict[str, Sequence[dict[str, Any]]] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    books: dict[str, dict[str, int]] = field(default_factory=dict)

    def sent(self, behaviour: Behaviour, outcome: str = ACKNOWLEDGED, at: float = 1.0) -> int:
        number = len(self.answers)
        event_id = id_of(number) if outcome == ACKNOWLEDGED else ""
        self.answers.append(Answered(number, behaviour, at, at + 0.1, outcome, event_id, 202))
        return number

    def ran(self, number: int, begin: float, *states: str, lasts: float = 0.1, event_id: str = "") -> None:
        for place, state in enumerate((BEGIN, *states)):
            now = begin + (lasts * place / len(states) if states else 0)
            self.lines.append(Line(number, event_id or id_of(number), int(begin * 1e9), int(now * 1e9), state))

    def well(self, behaviour: Behaviour = Behaviour.OK, at: float = 2.0) -> int:
        number = self.sent(behaviour)
        self.ran(number, at, OK)
        return number

    def given_up(self, behaviour: Behaviour = Behaviour.HOPELESS, reason: str = "RetriesExhausted") -> int:
        number = self.sent(behaviour)
        for attempt in range(3):
            self.ran(number, 2.0 + attempt, FAILED)
        expected = EXPECTED[behaviour]
        self.letters.append(Letter(id_of(number), expected.function, reason, expected.error, 3))
        self.ran(number, MENDED_S + 1, OK)
        return number

    def struck(self, kind: str, begin: float, end: float, **more: Any) -> None:
        self.faults.append(Struck(len(self.faults), kind, "worker-0", begin, end, **more))

    def balances(self, *, redriven: bool) -> dict[str, dict[str, int]]:
        """Books that are right, unless ``books`` says otherwise."""
        found: dict[str, dict[str, int]] = {}
        letters = {letter.event_id for letter in self.letters}
        for one in self.answers:
            function = EXPECTED[one.behaviour].function
            if one.outcome != ACKNOWLEDGED or EXPECTED[one.behaviour].synchronous:
                continue
            book = found.setdefault(function, dict.fromkeys(BOOK, 0))
            book["accepted"] += 1
            book["dead_lettered" if one.event_id in letters and not redriven else "succeeded"] += 1
        return {function: {**book, **self.books.get(function, {})} for function, book in found.items()}

    def verdict(self) -> Verdict:
        tally = Tally(mended_ns=int(MENDED_S * 1e9))
        for one in self.answers:
            tally.answered(one)
        for line in self.lines:
            tally.ran(line)
        before, after = self.balances(redriven=False), self.balances(redriven=True)
        evidence = Evidence(self.faults, self.letters, before, after, self.stories, self.left)
        return checker.check(tally, evidence, details(checker.suspects(tally), self.answers, self.lines))


BOOK = ("accepted", "succeeded", "dead_lettered", "expired", "in_flight", "missing")


@pytest.fixture
def world() -> World:
    """One event of each ordinary kind, all well."""
    made = World()
    made.well()
    made.well(Behaviour.CAPPED)
    made.well(Behaviour.SYNC)
    made.given_up()
    flaky = made.sent(Behaviour.FLAKY)
    made.ran(flaky, 2.0, FAILED)
    made.ran(flaky, 3.0, OK)
    return made


def found(verdict: Verdict) -> set[tuple[str, int]]:
    return {(finding.invariant, finding.number) for finding in verdict.findings}


def test_a_world_in_which_all_is_well_balances(world: World) -> None:
    verdict = world.verdict()
    assert verdict.balanced, verdict.findings
    assert (verdict.missing, verdict.excused, dict(verdict.duplicates)) == (0, 0, {})


def test_an_accepted_event_that_never_ran_is_missing(world: World) -> None:
    lost = world.sent(Behaviour.OK)
    verdict = world.verdict()
    assert ("I1", lost) in found(verdict)
    assert verdict.missing == 1
    [finding] = [one for one in verdict.findings if one.invariant == "I1"]
    assert finding.event_id == id_of(lost)
    assert "it never ran" in finding.text


def test_an_event_that_began_and_was_never_heard_of_again_is_missing(world: World) -> None:
    lost = world.sent(Behaviour.OK)
    world.ran(lost, 2.0)
    assert ("I1", lost) in found(world.verdict())


def test_an_event_that_failed_and_has_no_dead_letter_is_missing(world: World) -> None:
    lost = world.given_up()
    world.letters.pop()
    assert ("I1", lost) in found(world.verdict())


def test_an_unanswered_event_may_run_or_not(world: World) -> None:
    world.sent(Behaviour.OK, UNKNOWN)
    number = world.sent(Behaviour.OK, UNKNOWN)
    world.ran(number, 2.0, OK)
    world.books["plain"] = {"accepted": 4, "succeeded": 3, "dead_lettered": 1}
    verdict = world.verdict()
    assert {finding.invariant for finding in verdict.findings} <= {"I2"}  # the books after the redrive are not planted
    assert not [one for one in verdict.findings if "before" in one.text]


def test_what_was_refused_must_not_run(world: World) -> None:
    refused = world.sent(Behaviour.OK, REFUSED)
    world.ran(refused, 2.0, OK)
    assert ("I1", refused) in found(world.verdict())


@pytest.mark.parametrize(
    ("book", "text"),
    [
        ({"accepted": 9}, "does not add up"),
        ({"in_flight": 1, "accepted": 4}, "still on their way"),
        ({"missing": 1, "succeeded": 1}, "still on their way"),
        ({"accepted": 2, "succeeded": 1}, "the audit knows of 2"),
        ({"accepted": 4, "succeeded": 3}, "the audit knows of 4"),
    ],
)
def test_books_that_lie_are_found(world: World, book: dict[str, int], text: str) -> None:
    world.books["plain"] = book
    verdict = world.verdict()
    assert any(one.invariant == "I2" and text in one.text for one in verdict.findings), verdict.findings


@pytest.mark.parametrize("attempts", [1, 2, 4])
def test_a_letter_after_too_few_or_too_many_attempts_is_found(world: World, attempts: int) -> None:
    world.letters[0] = replace(world.letters[0], attempts=attempts)
    assert ("I3", -1) in found(world.verdict())


def test_an_attempt_beyond_the_last_is_found_in_a_story(world: World) -> None:
    world.stories[id_of(0)] = [{"number": n} for n in (1, 2, 3, 4)]
    assert ("I3", -1) in found(world.verdict())


def test_attempts_that_pass_one_over_are_found_and_interleaved_ones_are_not(world: World) -> None:
    world.stories[id_of(0)] = [{"number": n} for n in (2, 1, 2)]
    assert world.verdict().balanced
    world.stories[id_of(0)] = [{"number": n} for n in (1, 3)]
    assert ("I7", -1) in found(world.verdict())


def test_a_third_run_under_a_cap_of_two_is_found(world: World) -> None:
    numbers = [world.sent(Behaviour.CAPPED) for _ in range(3)]
    for place, number in enumerate(numbers):
        world.ran(number, 10 + place / 10, ALIVE, OK, lasts=1.0)
    assert found(world.verdict()) == {("I4", numbers[2])}


def test_a_run_that_was_not_seen_alive_any_more_does_not_fill_the_cap(world: World) -> None:
    killed, second, third = (world.sent(Behaviour.CAPPED) for _ in range(3))
    world.ran(killed, 10.0, ALIVE, lasts=0.1)
    world.ran(killed, 12.0, OK)
    world.struck("kill", 10.1, 10.2)
    world.ran(second, 10.3, ALIVE, OK, lasts=1.0)
    world.ran(third, 10.4, ALIVE, OK, lasts=1.0)
    assert world.verdict().balanced


def test_a_run_that_outlives_its_timeout_is_found(world: World) -> None:
    number = world.given_up(Behaviour.HANG)
    world.ran(number, 2.0, ALIVE, lasts=1.9)
    assert world.verdict().balanced
    world.ran(number, 2.0, ALIVE, lasts=4.5)
    assert ("I6", number) in found(world.verdict())


def test_the_time_that_a_process_was_halted_is_no_run(world: World) -> None:
    number = world.given_up(Behaviour.HANG)
    world.ran(number, 2.0, ALIVE, lasts=4.5)
    world.struck("freeze", 2.5, 6.0)
    assert not [one for one in world.verdict().findings if one.invariant == "I6"]


def test_a_second_run_without_a_cause_is_found(world: World) -> None:
    number = world.well(at=2.0)
    world.ran(number, 3.0, OK)
    assert found(world.verdict()) == {("I7", number)}


def test_a_second_run_with_a_cause_is_counted_by_it(world: World) -> None:
    number = world.well(at=2.0)
    world.ran(number, 3.0, OK)
    world.struck("kill", 2.5, 2.6)
    verdict = world.verdict()
    assert verdict.balanced, verdict.findings
    assert dict(verdict.duplicates) == {"kill": 1}


@pytest.mark.parametrize(
    ("kind", "begin", "end"),
    [
        ("kill", 100.0, 101.0),  # long after
        ("logs-full", 2.5, 2.6),  # it can be no reason
        ("clock-jump", 2.5, 2.6),
        ("copied", 2.5, 2.6),  # a copy, but of another event
    ],
)
def test_a_fault_out_of_reach_is_no_cause(world: World, kind: str, begin: float, end: float) -> None:
    number = world.well(at=2.0)
    world.ran(number, 3.0, OK)
    world.struck(kind, begin, end)
    assert found(world.verdict()) == {("I7", number)}


def test_a_fault_that_could_not_be_carried_out_is_no_cause(world: World) -> None:
    number = world.well(at=2.0)
    world.ran(number, 3.0, OK)
    world.struck("kill", 2.5, 2.6, problem="there was nothing to kill")
    assert found(world.verdict()) == {("I7", number)}


def test_a_fault_long_before_is_no_cause(world: World) -> None:
    number = world.sent(Behaviour.OK, at=500.0)
    world.ran(number, 501.0, OK)
    world.ran(number, 502.0, OK)
    world.struck("kill", 400.0, 401.0)
    assert found(world.verdict()) == {("I7", number)}


def test_a_copy_that_the_nemesis_published_is_a_cause_for_its_event_alone(world: World) -> None:
    copied, other = world.well(at=2.0), world.well(at=2.0)
    for number in (copied, other):
        world.ran(number, 3.0, OK)
    world.struck("copied", 2.4, 2.5, ids=(id_of(copied),))
    verdict = world.verdict()
    assert found(verdict) == {("I7", other)}
    assert dict(verdict.duplicates) == {"copied": 1}


def test_one_fault_excuses_a_run_too_many_and_not_the_retries_beside_it(world: World) -> None:
    flaky = world.sent(Behaviour.FLAKY)
    world.ran(flaky, 2.0, FAILED)
    world.ran(flaky, 3.0)  # killed
    world.ran(flaky, 4.0, OK)
    world.struck("kill", 3.1, 3.2)
    verdict = world.verdict()
    assert verdict.balanced, verdict.findings
    assert dict(verdict.duplicates) == {"kill": 1}


def test_a_run_under_another_id_is_found(world: World) -> None:
    number = world.sent(Behaviour.OK)
    world.ran(number, 2.0, OK, event_id=id_of(99))
    assert ("I7", number) in found(world.verdict())


def test_two_runs_under_two_ids_are_found(world: World) -> None:
    number = world.well()
    world.ran(number, 3.0, OK, event_id=id_of(99))
    world.struck("kill", 2.5, 2.6)
    assert ("I7", number) in found(world.verdict())


@pytest.mark.parametrize(
    ("reason", "error"),
    [("EventAgeExceeded", "Hopeless"), ("RetriesExhausted", "KeyError"), ("RetriesExhausted", "Runtime.WorkerDied")],
)
def test_a_letter_with_an_untrue_reason_is_found(world: World, reason: str, error: str) -> None:
    world.letters[0] = replace(world.letters[0], reason=reason, error_type=error)
    assert ("I8", 3) in found(world.verdict())


def test_a_workers_death_is_a_true_reason_where_workers_were_killed(world: World) -> None:
    world.letters[0] = replace(world.letters[0], error_type="Runtime.WorkerDied")
    world.struck("kill", 2.0, 2.1)
    assert world.verdict().balanced


def test_an_event_that_must_succeed_is_no_dead_letter(world: World) -> None:
    number = world.sent(Behaviour.OK)
    world.letters.append(Letter(id_of(number), "plain", "RetriesExhausted", "Hopeless", 3))
    world.ran(number, MENDED_S + 1, OK)
    assert ("I8", number) in found(world.verdict())


def test_a_letter_that_stays_one_after_its_redrive_is_found(world: World) -> None:
    world.left.append(id_of(3))
    assert ("I8", -1) in found(world.verdict())


def test_a_redrive_that_does_not_succeed_or_runs_twice_is_found(world: World) -> None:
    twice = world.given_up()
    world.ran(twice, MENDED_S + 2, OK)
    assert found(world.verdict()) == {("I7", twice)}
    world.lines = [line for line in world.lines if line.number != twice or line.begin_ns < MENDED_S * 1e9]
    assert found(world.verdict()) == {("I8", twice)}


def test_what_was_in_a_deleted_queue_is_excused_and_nothing_else(world: World) -> None:
    held, later = world.sent(Behaviour.DOOMED, at=1.0), world.sent(Behaviour.DOOMED, at=60.0)
    other = world.sent(Behaviour.OK, at=1.0)
    world.struck("queue-deleted", 5.0, 5.1, function="doomed")
    world.books["doomed"] = {"succeeded": 0, "missing": 2}
    verdict = world.verdict()
    assert (verdict.missing, verdict.excused) == (2, 1)
    assert {number for invariant, number in found(verdict) if invariant == "I1"} == {later, other}
    assert held not in {number for _, number in found(verdict)}


def test_messages_of_a_queue_count_one_by_one(world: World) -> None:
    numbers = [world.sent(Behaviour.BATCH) for _ in range(3)]
    for number in numbers[:2]:
        world.ran(number, 2.0, OK)
    assert found(world.verdict()) == {("I1", numbers[2])}


def test_the_code_under_test_fails_the_messages_that_the_checker_expects_to() -> None:
    assert f"FLAKY = {FLAKY_OF_BATCH}" in function.CODE


def test_a_message_that_is_to_fail_first_runs_twice_and_no_other_does(world: World) -> None:
    flaky, well = (7 + 20 * n for n in (1, 2))
    for number, runs in ((flaky, 2), (well + 1, 2)):
        world.answers.append(Answered(number, Behaviour.BATCH, 1.0, 1.1, ACKNOWLEDGED, id_of(number), 200))
        for run in range(runs):
            world.ran(number, 2.0 + run, FAILED if run == 0 else OK)
    assert found(world.verdict()) == {("I7", well + 1)}
