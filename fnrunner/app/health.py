"""What is wrong with this process, asked of each part."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from broker.broker import State
from fnrunner.api.services import Health, Problem
from fnrunner.app.parts import Parts

DOCTOR = "Run `fnrunner doctor`"

Check = Callable[[], Iterable[Problem]]


def of_parts(parts: Parts) -> list[Problem]:
    """The broker, the store and the catalogue."""
    found = []
    status = parts.broker.status
    if status.state is not State.CONNECTED:
        remedy = "Free memory or disk on the broker" if status.state is State.BLOCKED else "Start the broker"
        found.append(Problem("broker", f"{status.state.value}: {status.reason or 'no reason was given'}", remedy))
    if problem := parts.ledger.health.problem:
        found.append(Problem("store", f"it takes no records: {problem}", "Free disk, or start the database"))
    if parts.watcher.problem:
        found.append(Problem("catalogue", parts.watcher.problem, DOCTOR))
    return found


def health(parts: Parts, roles: tuple[str, ...], checks: Iterable[Check]) -> Health:
    """Ready when nothing is wrong. Alive always: every part recovers by itself, so a restart would not help."""
    problems = tuple(of_parts(parts) + [problem for check in checks for problem in check()])
    return Health(alive=True, ready=not problems, roles=roles, problems=problems)
