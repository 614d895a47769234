"""A plan: the same seed gives the same operations and the same faults at the same times.

Saved as JSON lines: the first describes the plan, each further one is a fault or an operation. A saved plan may be edited:
what is not in it is not done. A plan without operations of its own (a flood) derives each from the seed.
"""

from __future__ import annotations

import json
import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tests.faults.soak.fault import BROKER, DATABASE, KINDS, LOGS, PROCESSES, STORE, WORKERS, Fault, Kind
from tests.faults.soak.operation import FLOOD, USUAL, Behaviour, Mix, Operation, operation

QUIET_S = 3.0
"""Without faults at the start, so that there is something to disturb, and between two faults of one target."""


class PlanUnreadable(ValueError):
    """The file is no saved plan. Give the plan.jsonl that a run wrote."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a plan is made from. ``events`` 0: as many as come in ``duration_s`` at ``rate`` a second.

    ``abilities`` are what the host and the system can bear: see :class:`~tests.faults.soak.fault.Kind`.
    """

    seed: int
    duration_s: float
    events: int = 0
    rate: float = 20.0
    fault_every_s: float = 4.0
    workers: int = 2
    broker: str = "rabbitmq"
    store: str = "sqlite"
    abilities: tuple[str, ...] = ()

    @property
    def flood(self) -> bool:
        """Whether events are sent as fast as they are accepted."""
        return self.events > 0

    @property
    def mix(self) -> Mix:
        if self.flood:
            return FLOOD
        return {name: weight for name, weight in USUAL.items() if self.broker == "rabbitmq" or name != "doomed"}

    @property
    def processes(self) -> tuple[str, ...]:
        """Names of the processes under test."""
        if self.broker == "embedded":
            return ("dev",)
        return ("api", "sources", *(f"worker-{n}" for n in range(self.workers)))


@dataclass(frozen=True, slots=True)
class Plan:
    terms: Terms
    faults: tuple[Fault, ...]
    timed: tuple[Operation, ...] = ()

    def operations(self) -> Iterator[Operation]:
        """In order of time; without end where they are derived."""
        if self.timed or not self.terms.flood:
            yield from self.timed
            return
        place = 0
        while True:
            yield operation(self.terms.seed, place, self.terms.mix)
            place += 1

    def without(self, numbers: Collection[int]) -> Plan:
        """The same plan, some of its faults left out."""
        return replace(self, faults=tuple(fault for fault in self.faults if fault.number not in numbers))

    def only(self, numbers: Collection[int]) -> Plan:
        return replace(self, faults=tuple(fault for fault in self.faults if fault.number in numbers))


def make(terms: Terms) -> Plan:
    """The plan of these terms. Pure."""
    if terms.flood:
        return Plan(terms, tuple(_faults(terms)))
    count = int(terms.duration_s * terms.rate)
    timed = sorted((operation(terms.seed, n, terms.mix, terms.rate) for n in range(count)), key=lambda o: o.at_s)
    return Plan(terms, tuple(_faults(terms)), tuple(timed))


def _faults(terms: Terms) -> Iterator[Fault]:
    """Every kind that can be has its turn before one comes again; one target has one fault at a time."""
    dice = random.Random(terms.seed)
    targets = _targets(terms)
    possible = [kind for kind in KINDS.values() if kind.needs <= set(terms.abilities) and targets[kind.strikes]]
    deck: list[Kind] = []
    free: dict[str, float] = {}
    now, number = QUIET_S, 0
    while possible and now < terms.duration_s:
        if not deck:
            deck = [kind for kind in possible for _ in range(kind.share)]
            dice.shuffle(deck)
        kind = deck.pop()
        target = dice.choice(targets[kind.strikes])
        lasts = round(dice.uniform(*kind.lasts_s), 3)
        at = round(max(now, free.get(target, 0.0)), 3)
        if at + lasts < terms.duration_s:
            yield Fault(number, kind.name, target, at, lasts, round(dice.random(), 6))
            free[target] = at + lasts + QUIET_S
            number += 1
        now += dice.uniform(0.5, 1.5) * terms.fault_every_s


def _targets(terms: Terms) -> Mapping[str, Sequence[str]]:
    workers = [name for name in terms.processes if name.startswith(("worker", "dev"))]
    one = {STORE: [STORE], LOGS: [LOGS], DATABASE: [DATABASE], BROKER: [BROKER]}
    # workers have twice their share: most of what can go wrong is theirs
    return {**one, WORKERS: workers, PROCESSES: [*terms.processes, *workers]}


def save(plan: Plan, file: Path) -> None:
    with file.open("w") as lines:
        lines.write(json.dumps({"plan": asdict(plan.terms)}) + "\n")
        for fault in plan.faults:
            lines.write(json.dumps({"fault": asdict(fault)}) + "\n")
        for each in plan.timed:
            lines.write(json.dumps({"operation": {**asdict(each), "behaviour": each.behaviour.value}}) + "\n")


def load(file: Path) -> Plan:
    """Raises PlanUnreadable, OSError."""
    terms: Terms | None = None
    faults: list[Fault] = []
    timed: list[Operation] = []
    with file.open() as lines:
        for number, line in enumerate(lines, 1):
            try:
                [(what, value)] = json.loads(line).items()
                if what == "plan":
                    terms = Terms(**{**value, "abilities": tuple(value["abilities"])})
                elif what == "fault":
                    faults.append(_known(Fault(**value)))
                else:
                    timed.append(Operation(**{**value, "behaviour": Behaviour(value["behaviour"])}))
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise PlanUnreadable(f"{file}:{number} is no line of a saved plan: {error}") from error
    if terms is None:
        raise PlanUnreadable(f"{file} has no line that begins a plan")
    return Plan(terms, tuple(faults), tuple(sorted(timed, key=lambda each: each.at_s)))


def _known(fault: Fault) -> Fault:
    if fault.kind not in KINDS:
        raise ValueError(f"{fault.kind!r} is none of {', '.join(KINDS)}")
    return fault
