"""What is wrong with the parts that every process stands on."""

from __future__ import annotations

from broker.broker import State
from fnrunner.app.parts import Parts
from fnrunner.model.problem import Code, Problem

DOCTOR = "Run `fnrunner doctor`"


def of_parts(parts: Parts) -> list[Problem]:
    """The broker, the store and the catalogue."""
    found = []
    status = parts.broker.status
    if status.state is State.BLOCKED:
        why = f"blocked: {status.reason or 'no reason was given'}"
        found.append(Problem("broker", why, "Free memory or disk on the broker", Code.BROKER_BLOCKED))
    elif status.state is not State.CONNECTED:
        why = f"{status.state.value}: {status.reason or 'no reason was given'}"
        remedy = "Start the broker; correct FNRUNNER_BROKER_URL where it refuses the login"
        found.append(Problem("broker", why, remedy, Code.BROKER_DISCONNECTED, disabling=True))
    if problem := parts.ledger.health.problem:
        why, remedy = f"it takes no records: {problem}", "Free disk, or start the database"
        found.append(Problem("store", why, remedy, Code.STORE_UNAVAILABLE, disabling=True))
    if parts.watcher.problem:
        found.append(Problem("catalogue", parts.watcher.problem, DOCTOR, Code.CATALOGUE_STALE, disabling=True))
    return found
