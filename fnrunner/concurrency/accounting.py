"""Slots of one process: a capacity, caps for each function, and turns that go round. Pure: no clock, no task, no lock.

>>> slots = Slots(capacity=1)
>>> slots.take("a"), slots.take("b")
(True, False)
>>> slots.wait("b", ticket=7)
>>> slots.give_back("a")
(7,)
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType

NONE: tuple[int, ...] = ()


class Shortage(Enum):
    """Why there is no slot: the function is at its own cap, or the process at its capacity."""

    CAP = "cap"
    CAPACITY = "capacity"


class Slots:
    """Counts what runs and who waits. Methods that free something return the tickets that may run now, already counted.

    Two things hold after every call: nothing exceeds a cap or the capacity because of a grant, and nobody waits who
    could run. Lowering a cap below what runs takes effect as slots are given back.
    """

    __slots__ = ("_capacity", "_caps", "_lines", "_ring", "_running", "_total")

    def __init__(self, capacity: int, caps: Mapping[str, int] = MappingProxyType({})) -> None:
        self._capacity = _at_least_zero(capacity)
        self._caps = {function: _at_least_zero(cap) for function, cap in caps.items()}
        self._running: dict[str, int] = {}
        self._total = 0
        self._lines: dict[str, dict[int, None]] = {}
        self._ring: dict[str, None] = {}
        """Functions with someone waiting who are below their cap, in the order of their turns."""

    @property
    def capacity(self) -> int:
        return self._capacity

    @property
    def total(self) -> int:
        """How many run now."""
        return self._total

    def running(self, function: str) -> int:
        return self._running.get(function, 0)

    def waiting(self, function: str) -> int:
        return len(self._lines.get(function, ()))

    def cap_of(self, function: str) -> int | None:
        """None where only the capacity limits it."""
        return self._caps.get(function)

    def shortage(self, function: str) -> Shortage | None:
        """Why the function could not take a slot now; None when it could."""
        cap = self._caps.get(function)
        if cap is not None and self._running.get(function, 0) >= cap:
            return Shortage.CAP
        return Shortage.CAPACITY if self._total >= self._capacity else None

    def take(self, function: str) -> bool:
        """Take a slot now, or not at all. It cannot overtake: while a slot is free, nobody waits who could use it."""
        running = self._running.get(function, 0)
        cap = self._caps.get(function)
        if self._total >= self._capacity or (cap is not None and running >= cap):
            return False
        self._running[function] = running + 1
        self._total += 1
        return True

    def wait(self, function: str, ticket: int) -> None:
        """Stand in the function's line after ``take`` said no. ``ticket`` names the waiter and must be new."""
        self._lines.setdefault(function, {})[ticket] = None
        self._join_ring(function)

    def withdraw(self, function: str, ticket: int) -> bool:
        """Leave the line; False when the ticket is not in it, because it was granted or refused before."""
        line = self._lines.get(function)
        if line is None or ticket not in line:
            return False
        del line[ticket]
        if not line:
            self._leave(function)
        return True

    def give_back(self, function: str) -> tuple[int, ...]:
        """A slot is free again. Returns who runs next. Raises ValueError when the function holds none."""
        running = self._running.get(function, 0)
        if running == 0:
            raise ValueError(f"{function} gives back a slot that it does not hold")
        if running == 1:
            del self._running[function]
        else:
            self._running[function] = running - 1
        self._total -= 1
        if not self._lines:
            return NONE
        self._join_ring(function)
        return self._grant()

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
        self._ring_or_not(function)
        return self._grant()

    def refuse(self, function: str) -> tuple[int, ...]:
        """Empty the function's line: who stood there, in order. For a cap of 0, where waiting has no end."""
        line = tuple(self._lines.get(function, ()))
        if line:
            self._leave(function)
        return line

    def _grant(self) -> tuple[int, ...]:
        granted: list[int] = []
        while self._ring and self._total < self._capacity:
            function = next(iter(self._ring))
            line = self._lines[function]
            ticket = next(iter(line))
            del line[ticket]
            self._running[function] = self._running.get(function, 0) + 1
            self._total += 1
            granted.append(ticket)
            del self._ring[function]
            if line:
                self._join_ring(function)
            else:
                del self._lines[function]
        return tuple(granted)

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

    def _leave(self, function: str) -> None:
        del self._lines[function]
        self._ring.pop(function, None)


def _at_least_zero(number: int) -> int:
    if number < 0:
        raise ValueError(f"{number} slots: a cap or capacity is at least 0")
    return number
