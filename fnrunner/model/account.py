"""What of the account's concurrency is whose: reserved for functions, provisioned, or left to all the others.

>>> unreserved(1000, {"a": 100, "b": None}, [ProvisionedConcurrency("b", "1", 20), ProvisionedConcurrency("a", "1", 50)])
880

Source: Lambda, reserved and provisioned concurrency. Provisioned concurrency of a function with a reservation is a part of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from fnrunner.model.provisioned import Demand, ProvisionedConcurrency


def provisioned_total(configurations: Iterable[ProvisionedConcurrency], function: str) -> int:
    """Over all versions and aliases of the function."""
    return sum(one.requested for one in configurations if one.function == function)


def exclusive(reservations: Mapping[str, int | None], demands: Iterable[Demand]) -> dict[str, frozenset[str]]:
    """Functions whose whole reservation is provisioned, each with the versions that it is provisioned for.

    >>> exclusive({"a": 5, "b": 5}, [Demand(("a", "live", "2"), 5, True), Demand(("b", "1", "1"), 4, True)])
    {'a': frozenset({'2'})}
    """
    provisioned: Counter[str] = Counter()
    versions: dict[str, set[str]] = {}
    for demand in demands:
        function, _, version = demand.key
        provisioned[function] += demand.number
        versions.setdefault(function, set()).add(version)
    return {name: frozenset(versions[name]) for name in versions if provisioned[name] == reservations.get(name)}


def unreserved(
    limit: int, reservations: Mapping[str, int | None], configurations: Iterable[ProvisionedConcurrency]
) -> int:
    """What is left for functions without a reservation. ``reservations`` has every function; None: it has none.

    Negative when the limit was lowered below what is reserved.
    """
    outside = sum(one.requested for one in configurations if reservations.get(one.function) is None)
    return limit - sum(number or 0 for number in reservations.values()) - outside
