"""Which worker keeps how many environments of which version ready: the same answer in every worker, without asking.

>>> plan = divide([Demand(("f", "1", "1"), 5, False)], {"w1": 16, "w2": 4, "w3": 1})
>>> {worker: dict(numbers) for worker, numbers in plan.items()}
{'w1': {('f', '1', '1'): 2}, 'w2': {('f', '1', '1'): 3}, 'w3': {}}
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from fnrunner.concurrency import sharing
from fnrunner.model.provisioned import Demand, Key

LEFT_TO_OTHERS = 1
"""So much of each worker's capacity is never provisioned: whatever is delivered there must be able to run."""


def divide(demands: Iterable[Demand], workers: Mapping[str, int]) -> dict[str, dict[Key, int]]:
    """The numbers of each worker. ``workers`` are the living ones with their capacities; their order plays no part.

    One demand after the other is spread evenly over the room that is left. What has no room anywhere is in nobody's
    numbers. The one that is left over goes to another worker for each demand, so that the first ones do not get all.
    """
    room = {name: max(0, workers[name] - LEFT_TO_OTHERS) for name in sorted(workers)}
    numbers: dict[str, dict[Key, int]] = {name: {} for name in room}
    for demand in sorted(demands, key=lambda one: one.key):
        for name, number in sharing.divide(demand.number, _turned(room, demand.key)).items():
            if number:
                numbers[name][demand.key] = number
                room[name] -= number
    return numbers


def shares(pool: int, demands: Iterable[Demand], workers: Mapping[str, int]) -> dict[str, int]:
    """Each worker's part of the unreserved pool, by the room that it has beside its provisioned environments."""
    provisioned = divide(demands, workers)
    room = {name: workers[name] - sum(provisioned[name].values()) for name in sorted(workers)}
    return sharing.divide(pool, room)


def _turned(room: Mapping[str, int], key: Key) -> dict[str, int]:
    names = list(room)
    if not names:
        return {}
    digest = hashlib.blake2b("\0".join(key).encode(), digest_size=8).digest()
    start = int.from_bytes(digest) % len(names)
    return {name: room[name] for name in names[start:] + names[:start]}
