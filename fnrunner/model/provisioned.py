"""Provisioned concurrency: so many environments of a version or alias that are initialised before anybody calls.

>>> status_of(2, [Prepared("w1", 1, 1), Prepared("w2", 1, 0)])
State(status=<Status.IN_PROGRESS: 'IN_PROGRESS'>, allocated=2, available=1, reason='')
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum

from fnrunner.model.alias import Alias
from fnrunner.model.function import Function

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
INIT_FAILED = "FUNCTION_ERROR_INIT_FAILURE"

Key = tuple[str, str, str]
"""A function's name, the qualifier that is configured, and one of the versions that it stands for."""


class Status(Enum):
    """Source: Lambda API, ProvisionedConcurrencyStatusEnum."""

    IN_PROGRESS = "IN_PROGRESS"
    READY = "READY"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class ProvisionedConcurrency:
    """``qualifier`` is a published version's number or an alias; ``requested`` is at least 1, over all workers."""

    function: str
    qualifier: str
    requested: int
    last_modified: datetime = EPOCH


@dataclass(frozen=True, slots=True)
class Demand:
    """What one version must have. ``reserved``: the function's reservation covers it, not the account's pool."""

    key: Key
    number: int
    reserved: bool

    @property
    def versioned(self) -> tuple[str, str]:
        return self.key[0], self.key[2]


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a worker has of one demand. ``reason`` says why it could not have more, in Lambda's words."""

    worker: str
    allocated: int
    available: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class State:
    """How far a configuration is. ``reason`` is empty unless something is in the way."""

    status: Status
    allocated: int
    available: int
    reason: str = ""


def status_of(requested: int, prepared: Iterable[Prepared]) -> State:
    """What the workers' parts amount to. No worker: in progress until one comes."""
    found = list(prepared)
    allocated = min(requested, sum(part.allocated for part in found))
    available = min(allocated, sum(part.available for part in found))
    reason = next((part.reason for part in found if part.reason), "")
    if available >= requested:
        return State(Status.READY, allocated, available)
    return State(Status.FAILED if reason else Status.IN_PROGRESS, allocated, available, reason)


def weights(qualifier: str, alias: Alias | None) -> dict[str, float]:
    """The versions that a qualifier stands for, each with its part of the invocations."""
    if alias is None:
        return {qualifier: 1.0}
    if alias.additional is None:
        return {alias.version: 1.0}
    return {alias.version: 1 - alias.additional.weight, alias.additional.version: alias.additional.weight}


def split(number: int, parts: Mapping[str, float]) -> dict[str, int]:
    """``number`` by weight, in whole pieces that add up to it; who has the larger remainder gets the piece that is left.

    >>> split(5, {"1": 0.75, "2": 0.25})
    {'1': 4, '2': 1}
    """
    whole = {name: int(number * weight) for name, weight in parts.items()}
    by_remainder = sorted(parts, key=lambda name: (whole[name] - number * parts[name], name))
    for name in by_remainder[: number - sum(whole.values())]:
        whole[name] += 1
    return whole


def demands(
    configurations: Iterable[ProvisionedConcurrency],
    functions: Mapping[tuple[str, str], Function],
    aliases: Mapping[tuple[str, str], Alias],
    latest: str,
) -> tuple[Demand, ...]:
    """What must be prepared, in the order of the keys. What leads to no version that exists demands nothing."""
    found = []
    for one in configurations:
        whole = functions.get((one.function, latest))
        parts = weights(one.qualifier, aliases.get((one.function, one.qualifier)))
        existing = {v: weight for v, weight in parts.items() if (one.function, v) in functions and v != latest}
        if whole is None or existing.keys() != parts.keys():
            continue
        for version, number in split(one.requested, parts).items():
            if number:
                key = one.function, one.qualifier, version
                found.append(Demand(key, number, whole.reserved_concurrency is not None))
    return tuple(sorted(found, key=lambda demand: demand.key))
