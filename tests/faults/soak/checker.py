"""Balance what was accepted against what became of it, and name what does not balance, event by event.

Pure: over the tally of history and runs, the events in full that look suspicious, and what the system says of itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from tests.faults.soak.duplicate import Detail, repetitions
from tests.faults.soak.evidence import Evidence, Letter
from tests.faults.soak.fault import Struck
from tests.faults.soak.history import ACKNOWLEDGED, REFUSED, UNKNOWN
from tests.faults.soak.operation import CAP, EXPECTED, RETRIES, Behaviour, runs_of
from tests.faults.soak.tally import Span, Tally

DIED = "Runtime.WorkerDied"
EXHAUSTED = "RetriesExhausted"
AUDITED = frozenset({"plain", "brief", "capped", "doomed"})
"""Functions whose events the audit counts; messages of a queue are the queue's until they succeed."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What does not balance. ``invariant`` as in the architecture; ``number`` -1 where it is no single event."""

    invariant: str
    text: str
    number: int = -1
    event_id: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """``duplicates`` counts the runs too many that have a cause, by its kind; ``excused`` what a deleted queue held."""

    findings: tuple[Finding, ...]
    duplicates: Mapping[str, int]
    missing: int
    excused: int

    @property
    def balanced(self) -> bool:
        return not self.findings


def suspects(tally: Tally) -> list[int]:
    """The events to be looked at in full: those that ran too often, and those that a deleted queue may have held."""
    found = []
    for number in range(len(tally)):
        behaviour = tally.behaviour(number)
        if behaviour is None:
            continue
        often = tally.begins(number) > runs_of(behaviour, number) or tally.oks(number) > 1
        if often or (behaviour is Behaviour.DOOMED and not tally.oks(number)):
            found.append(number)
    return found


def check(tally: Tally, evidence: Evidence, details: Mapping[int, Detail]) -> Verdict:
    """Everything that does not balance, and the causes of what ran more than once."""
    letters = {letter.event_id: letter for letter in evidence.letters}
    numbers = tally.numbers_of(set(letters))
    given_up = {numbers[event_id]: letter for event_id, letter in letters.items() if event_id in numbers}
    lost, excused = _lost(tally, given_up, details, evidence.faults)
    duplicates: Counter[str] = Counter()
    findings = (
        lost,
        _refused_and_run(tally),
        _unbalanced(tally, evidence, len(excused)),
        _too_often(evidence),
        _over_cap(tally),
        _too_long(tally, evidence.faults),
        _without_cause(tally, details, evidence.faults, duplicates),
        _other_ids(tally),
        _untrue_letters(tally, evidence, numbers),
        _not_redriven(tally, evidence, given_up),
    )
    return Verdict(tuple(chain.from_iterable(findings)), duplicates, len(lost), len(excused))


def _lost(
    tally: Tally, given_up: Mapping[int, Letter], details: Mapping[int, Detail], faults: Sequence[Struck]
) -> tuple[list[Finding], frozenset[int]]:
    """I1. What was accepted and neither succeeded nor was given up; and what a deleted queue took along."""
    deletions = [fault for fault in faults if fault.kind == "queue-deleted" and not fault.problem]
    lost, excused = [], []
    for number in tally.events(ACKNOWLEDGED):
        behaviour = tally.behaviour(number)
        assert behaviour is not None
        if tally.oks(number) or number in given_up or (behaviour is Behaviour.SYNC_ERROR and tally.begins(number)):
            continue
        answer = details[number].answer if number in details else None
        if answer and any(
            fault.function == EXPECTED[behaviour].function and answer.sent <= fault.end for fault in deletions
        ):
            excused.append(number)
            continue
        ran = f"it began {tally.begins(number)} times" if tally.begins(number) else "it never ran"
        text = f"{behaviour.value} was accepted, and neither succeeded nor became a dead letter; {ran}"
        lost.append(Finding("I1", text, number, tally.event_id(number)))
    return lost, frozenset(excused)


def _refused_and_run(tally: Tally) -> Iterator[Finding]:
    for number in tally.events(REFUSED):
        if tally.begins(number):
            yield Finding("I1", "its sender was told that it was refused, and it ran", number, tally.event_id(number))


def _unbalanced(tally: Tally, evidence: Evidence, excused: int) -> Iterator[Finding]:
    """I2. The audit's books against themselves, and against what senders were told."""
    answered: Counter[tuple[str, str]] = Counter()
    for outcome in (ACKNOWLEDGED, UNKNOWN):
        for number in tally.events(outcome):
            behaviour = tally.behaviour(number)
            if behaviour is not None and not EXPECTED[behaviour].synchronous:
                answered[outcome, EXPECTED[behaviour].function] += 1
    for when, balances in (("before the redrive", evidence.before), ("after the redrive", evidence.after)):
        for function in sorted(AUDITED & {function for _, function in answered}):
            balance = balances.get(function, {})
            told, perhaps = answered[ACKNOWLEDGED, function], answered[UNKNOWN, function]
            allowed = excused if function == "doomed" else 0
            yield from _one_balance(f"{function}, {when}", balance, told, perhaps, allowed)


def _one_balance(name: str, balance: Mapping[str, int], told: int, perhaps: int, allowed: int) -> Iterator[Finding]:
    accepted, over = balance.get("accepted", 0), 0
    for part in ("succeeded", "dead_lettered", "expired"):
        over += balance.get(part, 0)
    held, missing = balance.get("in_flight", 0), balance.get("missing", 0)
    shown = ", ".join(
        f"{part} {balance.get(part, 0)}" for part in ("accepted", "succeeded", "dead_lettered", "expired")
    )
    shown += f", in flight {held}, missing {missing}"
    if accepted != over + held + missing:
        yield Finding("I2", f"{name}: the audit does not add up: {shown}")
    if held + missing > allowed:
        yield Finding("I2", f"{name}: {held + missing} events are still on their way or missing: {shown}")
    if not told - allowed <= accepted <= told + perhaps:
        yield Finding("I2", f"{name}: {told} were accepted and {perhaps} perhaps, and the audit knows of {accepted}")


def _too_often(evidence: Evidence) -> Iterator[Finding]:
    """I3."""
    for letter in evidence.letters:
        if letter.attempts is not None and letter.reason == EXHAUSTED and letter.attempts != RETRIES + 1:
            text = f"it was given up after {letter.attempts} attempts; {RETRIES + 1} are allowed"
            yield Finding("I3", text, event_id=letter.event_id)
    for event_id, attempts in evidence.stories.items():
        numbers = [attempt["number"] for attempt in attempts]
        if numbers and max(numbers) > RETRIES + 1:
            yield Finding("I3", f"it had attempt {max(numbers)}; {RETRIES + 1} are allowed", event_id=event_id)
        # two deliveries of one event interleave, so only that none was passed over can be told
        if set(numbers) != set(range(1, max(numbers, default=0) + 1)):
            yield Finding("I7", f"its attempts do not rise one by one: {sorted(numbers)}", event_id=event_id)


def _over_cap(tally: Tally) -> Iterator[Finding]:
    """I4. Each moment at which more runs had begun, and certainly not ended, than the cap allows."""
    running: list[Span] = []
    for span in sorted(tally.capped.values(), key=lambda each: each.begin_ns):
        running = [each for each in running if each.end_ns > span.begin_ns]
        running.append(span)
        if len(running) > CAP:
            others = ", ".join(str(each.number) for each in running[:-1])
            text = f"began at {span.begin_ns / 1e9:.3f} while {others} ran: {len(running)} at once, the cap is {CAP}"
            yield Finding("I4", text, span.number, tally.event_id(span.number))


def _too_long(tally: Tally, faults: Sequence[Struck]) -> Iterator[Finding]:
    """I6. A process that is halted ends nothing; the time that it was is not counted."""
    worst = {(each.number, each.begin_ns): each for each in tally.overruns}
    for over in worst.values():
        behaviour = tally.behaviour(over.number)
        if behaviour is None:
            continue
        begin = over.begin_ns / 1e9
        halted = sum(
            max(0.0, min(fault.end, begin + over.lasted_s) - max(fault.begin, begin))
            for fault in faults
            if fault.kind == "freeze"
        )
        longest = EXPECTED[behaviour].longest_s
        if over.lasted_s - halted > longest + 2:
            text = f"ran for {over.lasted_s:.1f} s; its timeout is {longest:g} s"
            yield Finding("I6", text, over.number, tally.event_id(over.number))


def _without_cause(
    tally: Tally, details: Mapping[int, Detail], faults: Sequence[Struck], duplicates: Counter[str]
) -> Iterator[Finding]:
    """I7. Counts in ``duplicates`` those that have a cause."""
    for number, detail in details.items():
        behaviour = tally.behaviour(number)
        if behaviour is None:
            continue
        for again in repetitions(_before(detail, tally.mended_ns), runs_of(behaviour, number), faults):
            if again.cause is None:
                text = f"{behaviour.value} ran again at {again.at:.3f}, and nothing that happened explains it"
                yield Finding("I7", text, number, tally.event_id(number))
            else:
                duplicates[again.cause.kind] += 1


def _before(detail: Detail, mended_ns: int) -> Detail:
    if not mended_ns:
        return detail
    return Detail(detail.answer, tuple(run for run in detail.runs if run.begin * 1e9 < mended_ns))


def _other_ids(tally: Tally) -> Iterator[Finding]:
    for number, event_id in tally.strange:
        yield Finding("I7", f"it also ran under the id {event_id}", number, tally.event_id(number))
    for number in range(len(tally)):
        if tally.ran_as_another(number):
            yield Finding("I7", "it ran under another id than its sender was given", number, tally.event_id(number))


def _untrue_letters(tally: Tally, evidence: Evidence, numbers: Mapping[str, int]) -> Iterator[Finding]:
    """I8. The reason of a dead letter is what its function did; only a worker's death may take its place."""
    for letter in evidence.letters:
        number = numbers.get(letter.event_id, -1)
        behaviour = tally.behaviour(number) if number >= 0 else None
        expected = EXPECTED[behaviour].error if behaviour else ""
        died = letter.error_type == DIED and any(fault.kind == "kill" for fault in evidence.faults)
        if letter.reason == EXHAUSTED and (died or (expected and letter.error_type == expected)):
            continue
        what = behaviour.value if behaviour else "an event that nobody sent"
        text = f"{what} became a dead letter: {letter.reason}, {letter.error_type}; expected {expected or 'success'}"
        yield Finding("I8", text, number, letter.event_id)


def _not_redriven(tally: Tally, evidence: Evidence, given_up: Mapping[int, Letter]) -> Iterator[Finding]:
    """I8. Mended and redriven, each dead letter succeeds, once; nothing else runs again."""
    if not tally.mended_ns:
        return
    for event_id in evidence.left:
        yield Finding("I8", "is still a dead letter after its redrive", event_id=event_id)
    for number, letter in given_up.items():
        began, succeeded = tally.later(number)
        if not succeeded:
            yield Finding("I8", "was redriven and did not succeed", number, letter.event_id)
        elif began > 1:
            yield Finding("I7", f"ran {began} times after its one redrive", number, letter.event_id)
