"""Who of all workers may run how much of the account's concurrency: decided purely, under the store's lock.

Every worker holds a *share* of what is unreserved, and a part of each provisioned concurrency. What all hold together
never grows beyond what there is: a worker takes more only of what nobody holds, and gives up what it runs no longer.

>>> divide(10, {"a": 16, "b": 2, "c": 16})
{'a': 4, 'b': 2, 'c': 4}
>>> settled(held=8, target=4, needed=6, left=0), settled(held=2, target=8, needed=2, left=5)
(6, 5)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from fnrunner.model.provisioned import Demand, Key

Numbers = Mapping[Key, int]
NOTHING: Numbers = MappingProxyType({})


def divide(total: int, capacities: Mapping[str, int]) -> dict[str, int]:
    """As evenly as the capacities let it be; what does not divide goes to the first ones. Adds up to ``total`` if it fits."""
    given = dict.fromkeys(capacities, 0)
    left = max(0, total)
    open_ = [name for name in capacities if capacities[name] > 0]
    while left and open_:
        piece = left // len(open_)
        for name in open_ if piece else open_[:left]:
            more = min(capacities[name] - given[name], piece or 1)
            given[name] += more
            left -= more
        open_ = [name for name in open_ if given[name] < capacities[name]]
    return given


def settled(*, held: int, target: int, needed: int, left: int) -> int:
    """What a worker holds next: its target as far as something is left, but never less than what it cannot give up now.

    ``left`` is what nobody else holds.
    """
    return max(min(held, needed), min(target, left))


@dataclass(frozen=True, slots=True)
class Held:
    """What one worker holds, or needs of what it holds."""

    share: int = 0
    provisioned: Numbers = field(default_factory=lambda: NOTHING)


@dataclass(frozen=True, slots=True)
class Account:
    """``unreserved`` is the account's limit less all reservations. ``demands`` come out of it unless they are reserved."""

    unreserved: int
    demands: tuple[Demand, ...] = ()

    def pool(self, held: Iterable[Held] = ()) -> int:
        """What may be shared, beside what is demanded or still held as provisioned. At least 0."""
        return max(0, self.unreserved - self._outside(held))

    def _outside(self, held: Iterable[Held]) -> int:
        """Provisioned concurrency that no reservation covers: what is wanted, or more where more is held still."""
        reserved = {demand.key[0] for demand in self.demands if demand.reserved}
        wanted: Counter[tuple[str, str]] = Counter()
        for demand in self.demands:
            if not demand.reserved:
                wanted[demand.key[:2]] += demand.number
        still: Counter[tuple[str, str]] = Counter()
        for one in held:
            for key, number in one.provisioned.items():
                if key[0] not in reserved:
                    still[key[:2]] += number
        return sum(max(wanted[name], still[name]) for name in wanted.keys() | still.keys())


@dataclass(frozen=True, slots=True)
class Target:
    """What a worker should hold, now that these workers live."""

    share: int
    provisioned: Numbers = field(default_factory=lambda: NOTHING)


@dataclass(frozen=True, slots=True)
class Settled:
    """``limit`` is how many may run of the share: less than is held where the account has shrunk below what runs."""

    held: Held
    limit: int


def settle(account: Account, me: Held, needed: Held, target: Target, others: Sequence[Held]) -> Settled:
    """What this worker holds from now on. ``needed`` is what it cannot give up at once: what runs, or may start yet.

    All together hold no more than the account has, or no more than before where the account has shrunk.
    """
    share = min(me.share, needed.share)
    provisioned = dict(me.provisioned)
    numbers = {demand.key: demand for demand in account.demands}
    for key in sorted(me.provisioned.keys() - numbers.keys()):
        # nobody wants it any more
        provisioned[key] = min(me.provisioned[key], needed.provisioned.get(key, 0))
    for key, demand in numbers.items():
        held, wanted = provisioned.get(key, 0), target.provisioned.get(key, 0)
        # what was promised as provisioned is not taken back because others still run too much
        kept_at_least = max(needed.provisioned.get(key, 0), min(held, wanted))
        left = _left_of(account, demand, Held(share, provisioned), others)
        provisioned[key] = settled(held=held, target=wanted, needed=kept_at_least, left=left)
    kept = {key: number for key, number in provisioned.items() if number}
    left = account.pool([*others, Held(share, kept)]) - sum(one.share for one in others)
    share = settled(held=me.share, target=target.share, needed=needed.share, left=left)
    return Settled(Held(share, kept), max(0, min(target.share, left)))


def _left_of(account: Account, demand: Demand, me: Held, others: Sequence[Held]) -> int:
    """How many of this demand this worker may have: what the qualifier has left, and the account."""
    qualifier = demand.key[:2]
    number = sum(one.number for one in account.demands if one.key[:2] == qualifier)
    others_hold = sum(n for one in others for key, n in one.provisioned.items() if key[:2] == qualifier)
    mine_elsewhere = sum(n for key, n in me.provisioned.items() if key[:2] == qualifier and key != demand.key)
    left = number - others_hold - mine_elsewhere
    if demand.reserved:
        return left
    reserved = {one.key[0] for one in account.demands if one.reserved}
    taken = sum(one.share for one in (*others, me))
    taken += sum(n for one in (*others, me) for key, n in one.provisioned.items() if key[0] not in reserved)
    return min(left, account.unreserved - taken + me.provisioned.get(demand.key, 0))
