"""Which host of a cluster to try next: a random order for each process, and those that failed lately last.

>>> hosts = Hosts(("one", "two", "three"), order=tuple)
>>> hosts.next(now=0.0), hosts.next(now=0.0)
('one', 'two')
>>> hosts.failed("three", now=0.0); hosts.next(now=0.1)
'one'
>>> hosts.failed("one", now=0.1); hosts.failed("two", now=0.2); hosts.next(now=0.3)
'three'
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

AVOIDED_S = 5.0
LONGEST_AVOIDED_S = 60.0
MOST_FAILURES = 16
FIRST_ATTEMPT_S, LONGEST_ATTEMPT_S = 2.0, 10.0

T = TypeVar("T")


def shuffled(hosts: Iterable[T]) -> tuple[T, ...]:
    """Another order in each process, so that a cluster's nodes share the clients."""
    order = list(hosts)
    random.shuffle(order)
    return tuple(order)


class Hosts(Generic[T]):
    """``now`` is monotonic seconds. With one host there is nothing to choose, and it is never given up early."""

    def __init__(self, hosts: Iterable[T], *, order: Callable[[Iterable[T]], tuple[T, ...]] = shuffled) -> None:
        self._order = order(hosts)
        self._at = -1
        self._failures = dict.fromkeys(self._order, 0)
        self._avoided_until = dict.fromkeys(self._order, 0.0)

    @property
    def several(self) -> bool:
        return len(self._order) > 1

    def next(self, now: float) -> T:
        """The next one in turn that is not avoided; when all are, the one that is for the shortest time."""
        turn = [(self._at + step) % len(self._order) for step in range(1, len(self._order) + 1)]
        chosen = min(turn, key=lambda at: max(0.0, self._avoided_until[self._order[at]] - now))
        self._at = chosen
        return self._order[chosen]

    def failed(self, host: T, now: float) -> None:
        """It could not be reached, or was left: for a while, longer each time, the others come first."""
        pause = min(AVOIDED_S * 2.0 ** self._failures[host], LONGEST_AVOIDED_S)
        self._failures[host] = min(self._failures[host] + 1, MOST_FAILURES)
        self._avoided_until[host] = now + pause

    def reached(self, host: T) -> None:
        self._failures[host] = 0
        self._avoided_until[host] = 0.0

    def attempt_s(self, host: T) -> float:
        """How long connecting to it may take: short at first where others could answer, and long enough in the end.

        >>> hosts = Hosts(("one", "two"), order=tuple)
        >>> hosts.attempt_s("one"); hosts.failed("one", 0.0); hosts.attempt_s("one"); Hosts(("one",)).attempt_s("one")
        2.0
        4.0
        10.0
        """
        if not self.several:
            return LONGEST_ATTEMPT_S
        return min(FIRST_ATTEMPT_S * 2.0 ** self._failures[host], LONGEST_ATTEMPT_S)
