"""How one system is measured, step by step the same for all.

Start the workers and wait until all of them consume; run some events to warm up; then, for each round: halt the workers
(SIGSTOP, so that nothing of a start-up is measured), fill the queue, let them go on, and take the times at which the runs
ended. Then the synchronous calls. Then the workers are stopped, which gives back whatever was not acknowledged: the queue
must be empty. Last the HTTP door, with no worker that would compete for the processors.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace

from tests.bench.completions import Completions
from tests.bench.measurement import Drain, Path, Result, rate
from tests.bench.subject import Ground, Subject, depth, versions
from tests.installation import eventually

WARM_UP = 400
CALL_CONCURRENCIES = (1, 8)
ACCEPT_CONCURRENCY = 16
START_WITHIN_S = 60.0
DRAIN_WITHIN_S = 120.0
SETTLE_S = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """``rounds`` of ``events``; ``calls`` at each concurrency; ``accepts`` HTTP events. ``budget_s`` is for the
    rounds of one system: one that would not end within it is left out, except the first. ``capacity`` is fnrunner's."""

    events: int
    rounds: int
    calls: int
    accepts: int
    budget_s: float
    capacity: int


def measure(subject: Subject, ground: Ground, plan: Plan) -> Result:
    """Everything of one system. What goes wrong is in ``failure``; the workers are gone in any case."""
    result = Result(subject.name, versions(subject), subject.configuration)
    try:
        try:
            deadline = time.monotonic() + plan.budget_s
            _warm(subject, ground)
            result = replace(result, drains=_drains(subject, ground, plan, deadline))
            result = replace(result, paths=_paths(subject, plan))
            subject.stop_workers()
            result = replace(result, left=depth(ground.broker_url, subject.queue)[0])
            result = replace(result, accepted_per_s=subject.accept(plan.accepts, ACCEPT_CONCURRENCY))
        finally:
            subject.close()
    except Exception as error:
        result = replace(result, failure=f"{type(error).__name__}: {error}\n{subject.log()}")
    return replace(result, load=os.getloadavg())


def _warm(subject: Subject, ground: Ground) -> None:
    def consuming() -> bool:
        if not subject.alive():
            raise RuntimeError("the workers ended while they started")
        return depth(ground.broker_url, subject.queue)[1] >= subject.consumers

    subject.start()
    eventually(consuming, within_s=START_WITHIN_S)
    expected = ground.completions.count() + WARM_UP
    subject.publish(WARM_UP)
    ground.completions.wait(expected, within_s=START_WITHIN_S, alive=subject.alive)
    time.sleep(SETTLE_S)


def _drains(subject: Subject, ground: Ground, plan: Plan, deadline: float) -> tuple[Drain, ...]:
    drains: list[Drain] = []
    longest = 0.0
    while len(drains) < plan.rounds and (not drains or time.monotonic() + longest < deadline):
        began = time.monotonic()
        drains.append(_drain(subject, ground, plan))
        longest = max(longest, time.monotonic() - began)
    return tuple(drains)


def _drain(subject: Subject, ground: Ground, plan: Plan) -> Drain:
    before = ground.completions.count()
    subject.pause()
    try:
        subject.publish(plan.events)
    finally:
        subject.resume()
    ground.completions.wait(before + plan.events, within_s=DRAIN_WITHIN_S, alive=subject.alive)
    time.sleep(SETTLE_S)
    return Drain(plan.events, rate(_exactly(ground.completions, before, plan.events)))


def _exactly(completions: Completions, before: int, events: int) -> list[float]:
    times_s = completions.times_s(before)
    if len(times_s) != events:
        raise AssertionError(f"{len(times_s)} runs of {events} events")
    return times_s


def _paths(subject: Subject, plan: Plan) -> tuple[Path, ...]:
    return tuple(
        Path(path.name, tuple(path.measure(c, plan.calls) for c in CALL_CONCURRENCIES))
        if path.measure
        else Path(path.name, absent=path.absent)
        for path in subject.paths()
    )
