"""Slots of one process: a capacity, caps for each function, and turns that go round. Pure: no clock, no task, no lock.

Two more limits may stand beside the capacity. Functions without a reservation share ``limit_unreserved``, this process's
part of the account's pool. Provisioned environments have slots of their own, in which only their version runs: that room
is held back from everybody else, and a version runs in its own slots first.

>>> slots = Slots(capacity=1)
>>> slots.take("a"), slots.take("b")
(True, False)
>>> slots.wait("b", ticket=7)
>>> slots.give_back("a")
(7,)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from types import MappingProxyType
from typing import TypeVar

T = TypeVar("T")

NONE: tuple[int, ...] = ()

Versioned = tuple[str, str]
"""A function's name and one of its versions."""


def room_for_newcomers(capacity: int) -> int:
    """How many slots a worker has beyond its capacity for functions that run next to nothing there: an eighth."""
    return capacity // 8


class Shortage(Enum):
    """Why there is no slot: the function is at its own cap, the process at its capacity, or at its part of the account's
    pool."""

    CAP = "cap"
    CAPACITY = "capacity"
    UNRESERVED = "unreserved"


class Slots:
    """Counts what runs and who waits. Methods that free something return the tickets that may run now, already counted.

    Two things hold after every call: nothing exceeds a limit because of a grant, and nobody waits who could run. Lowering
    a limit below what runs takes effect as slots are given back.
    """

    __slots__ = (
        "_capacity", "_caps", "_held_back", "_lines", "_newcomers", "_on_demand", "_own", "_own_granted", "_own_running",
        "_reserved", "_ring", "_running", "_total", "_unreserved", "_unreserved_running",
    )  # fmt: skip

    def __init__(self, capacity: int, caps: Mapping[str, int] = MappingProxyType({}), *, newcomers: int = 0) -> None:
        """``newcomers`` slots stand beyond the capacity, for functions that run fewer than so many here: however long one
        function fills the process, another can begin.
        """
        self._capacity = _at_least_zero(capacity)
        self._newcomers = _at_least_zero(newcomers)
        self._caps = {function: _at_least_zero(cap) for function, cap in caps.items()}
        self._reserved: frozenset[str] = frozenset()
        self._running: dict[str, int] = {}
        self._on_demand: dict[str, int] = {}
        self._total = 0
        self._unreserved: int | None = None
        self._unreserved_running = 0
        self._held_back = 0
        self._own: dict[Versioned, int] = {}
        """Slots of provisioned environments that are ready, and how many of them are taken."""
        self._own_running: dict[Versioned, int] = {}
        self._own_granted: set[int] = set()
        self._lines: dict[str, dict[int, str]] = {}
        """Who waits, with the version that each one wants."""
        self._ring: dict[str, None] = {}
        """Functions with someone waiting who are below their cap, in the order of their turns."""

    @property
    def capacity(self) -> int:
        return self._capacity

    @property
    def total(self) -> int:
        """How many run now."""
        return self._total

    @property
    def unreserved_running(self) -> int:
        """How many run now of functions without a reservation, outside of provisioned environments."""
        return self._unreserved_running

    def running(self, function: str) -> int:
        return self._running.get(function, 0)

    def own(self, function: str, version: str) -> int:
        """How many slots the version's provisioned environments are."""
        return self._own.get((function, version), 0)

    def own_running(self, function: str, version: str) -> int:
        """How many run now in the version's provisioned environments."""
        return self._own_running.get((function, version), 0)

    def waiting(self, function: str) -> int:
        return len(self._lines.get(function, ()))

    def cap_of(self, function: str) -> int | None:
        """None where only the capacity limits it."""
        return self._caps.get(function)

    def shortage(self, function: str) -> Shortage | None:
        """Why the function could not take a slot on demand now; None when it could."""
        if not self._below_cap(function):
            return Shortage.CAP
        if not self._has_room(function):
            return Shortage.CAPACITY
        return None if self._has_share(function) else Shortage.UNRESERVED

    def take(self, function: str) -> bool:
        """Take a slot now, or not at all. It cannot overtake: while a slot is free, nobody waits who could use it."""
        if not (self._below_cap(function) and self._has_room(function) and self._has_share(function)):
            return False
        self._occupy(function)
        return True

    def take_own(self, function: str, version: str) -> bool:
        """Take a slot of the version's provisioned environments now, or not at all."""
        if not self._has_own((function, version)):
            return False
        self._occupy_own((function, version))
        self._ring_or_not(function)
        return True

    def wait(self, function: str, ticket: int, version: str = "") -> None:
        """Stand in the function's line after ``take`` said no. ``ticket`` names the waiter and must be new."""
        self._lines.setdefault(function, {})[ticket] = version
        self._join_ring(function)

    def withdraw(self, function: str, ticket: int) -> bool:
        """Leave the line; False when the ticket is not in it, because it was granted or refused before."""
        line = self._lines.get(function)
        if line is None or ticket not in line:
            return False
        self._leave_line(function, ticket)
        return True

    def was_own(self, ticket: int) -> bool:
        """Whether the ticket that was just granted has a slot of its version's provisioned environments. Ask once."""
        if ticket not in self._own_granted:
            return False
        self._own_granted.remove(ticket)
        return True

    def give_back(self, function: str) -> tuple[int, ...]:
        """A slot is free again. Returns who runs next. Raises ValueError when the function holds none."""
        if self._on_demand.get(function, 0) == 0:
            raise ValueError(f"{function} gives back a slot that it does not hold")
        _less(self._on_demand, function)
        if self._is_unreserved(function):
            self._unreserved_running -= 1
        return self._freed(function)

    def give_back_own(self, function: str, version: str) -> tuple[int, ...]:
        """As ``give_back``, for a slot of the version's provisioned environments."""
        if self._own_running.get((function, version), 0) == 0:
            raise ValueError(f"{function}:{version} gives back a provisioned slot that it does not hold")
        _less(self._own_running, (function, version))
        return self._freed(function)

    def resize(self, capacity: int) -> tuple[int, ...]:
        """Change the capacity. Returns who runs now because it grew."""
        self._capacity = _at_least_zero(capacity)
        return self._grant()

    def set_cap(self, function: str, cap: int | None) -> tuple[int, ...]:
        """Change or lift (None) a function's cap. Returns who runs now because it grew. Cap 0: see ``refuse``."""
        if cap is None:
            self._caps.pop(function, None)
        else:
            self._caps[function] = _at_least_zero(cap)
        self._count_unreserved()
        self._ring_or_not(function)
        return self._grant()

    def set_reserved(self, functions: Iterable[str]) -> tuple[int, ...]:
        """These have a reservation, whoever keeps their caps: they do not count against the share. So does who has a cap."""
        self._reserved = frozenset(functions)
        self._count_unreserved()
        return self._grant()

    def limit_unreserved(self, limit: int | None) -> tuple[int, ...]:
        """How many may run of functions without a reservation; None: as many as the capacity."""
        self._unreserved = None if limit is None else _at_least_zero(limit)
        return self._grant()

    def hold_back(self, number: int) -> tuple[int, ...]:
        """Keep so much of the capacity for provisioned environments, ready or not."""
        self._held_back = _at_least_zero(number)
        return self._grant()

    def set_own(self, function: str, version: str, ready: int) -> tuple[int, ...]:
        """So many provisioned environments of the version are ready. Returns who runs now in one of them."""
        if _at_least_zero(ready):
            self._own[function, version] = ready
        else:
            self._own.pop((function, version), None)
        return self._grant()

    def refuse(self, function: str) -> tuple[int, ...]:
        """Empty the function's line: who stood there, in order. For a cap of 0, where waiting has no end."""
        line = tuple(self._lines.get(function, ()))
        if line:
            self._leave(function)
        return line

    def _freed(self, function: str) -> tuple[int, ...]:
        _less(self._running, function)
        self._total -= 1
        if not self._lines:
            return NONE
        self._join_ring(function)
        return self._grant()

    def _grant(self) -> tuple[int, ...]:
        granted = self._grant_own() if self._own and self._lines else []
        while self._ring and self._total < self._capacity + self._newcomers:
            function = next((name for name in self._ring if self._has_room(name) and self._has_share(name)), None)
            if function is None:
                break
            line = self._lines[function]
            ticket = next(iter(line))
            del line[ticket]
            self._occupy(function)
            granted.append(ticket)
            del self._ring[function]
            if line:
                self._join_ring(function)
            else:
                del self._lines[function]
        return tuple(granted)

    def _grant_own(self) -> list[int]:
        """Who waits for a version that has a provisioned environment free."""
        granted = []
        for versioned in self._own:
            function, version = versioned
            while self._has_own(versioned):
                line = self._lines.get(function, {})
                ticket = next((ticket for ticket, wanted in line.items() if wanted == version), None)
                if ticket is None:
                    break
                self._occupy_own(versioned)
                self._own_granted.add(ticket)
                granted.append(ticket)
                self._leave_line(function, ticket)
                self._ring_or_not(function)
        return granted

    def _occupy(self, function: str) -> None:
        self._running[function] = self._running.get(function, 0) + 1
        self._on_demand[function] = self._on_demand.get(function, 0) + 1
        self._total += 1
        if self._is_unreserved(function):
            self._unreserved_running += 1

    def _occupy_own(self, versioned: Versioned) -> None:
        self._running[versioned[0]] = self._running.get(versioned[0], 0) + 1
        self._own_running[versioned] = self._own_running.get(versioned, 0) + 1
        self._total += 1

    def _has_room(self, function: str) -> bool:
        """Beside what is held back for provisioned environments, whether they run or not."""
        capacity = self._capacity
        if self._running.get(function, 0) < self._newcomers:
            capacity += self._newcomers
        if not self._held_back and not self._own_running:
            return self._total < capacity
        own = sum(self._own_running.values())
        return self._total - own < capacity - max(self._held_back, own)

    def _has_share(self, function: str) -> bool:
        if self._unreserved is None or self._unreserved_running < self._unreserved:
            return True
        return not self._is_unreserved(function)

    def _has_own(self, versioned: Versioned) -> bool:
        free = self._own_running.get(versioned, 0) < self._own.get(versioned, 0)
        return free and self._total < self._capacity + self._newcomers and self._below_cap(versioned[0])

    def _is_unreserved(self, function: str) -> bool:
        return function not in self._caps and function not in self._reserved

    def _count_unreserved(self) -> None:
        self._unreserved_running = sum(n for function, n in self._on_demand.items() if self._is_unreserved(function))

    def _join_ring(self, function: str) -> None:
        if function in self._lines and function not in self._ring and self._below_cap(function):
            self._ring[function] = None

    def _ring_or_not(self, function: str) -> None:
        if self._below_cap(function):
            self._join_ring(function)
        else:
            self._ring.pop(function, None)

    def _below_cap(self, function: str) -> bool:
        cap = self._caps.get(function)
        return cap is None or self._running.get(function, 0) < cap

    def _leave_line(self, function: str, ticket: int) -> None:
        line = self._lines[function]
        del line[ticket]
        if not line:
            self._leave(function)

    def _leave(self, function: str) -> None:
        del self._lines[function]
        self._ring.pop(function, None)


def _less(counts: dict[T, int], name: T) -> None:
    if counts[name] == 1:
        del counts[name]
    else:
        counts[name] -= 1


def _at_least_zero(number: int) -> int:
    if number < 0:
        raise ValueError(f"{number} slots: a cap or capacity is at least 0")
    return number
