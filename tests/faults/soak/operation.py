"""What the generator asks of the system, each operation a pure function of the seed and its number.

>>> [operation(1, n, USUAL).behaviour.value for n in range(4)] == [operation(1, n, USUAL).behaviour.value for n in range(4)]
True
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from itertools import accumulate
from types import MappingProxyType

RETRIES = 2
MASK = 2**64 - 1
BATCH_SIZE = 10
FLAKY_OF_BATCH = (20, 7)
"""Messages whose number leaves this remainder fail the first time."""


class Behaviour(Enum):
    """What the function does with an event. ``BATCH`` are messages of a queue that an event source mapping reads."""

    OK = "ok"
    SLOW = "slow"
    FLAKY = "flaky"
    HOPELESS = "hopeless"
    CRASH = "crash"
    HANG = "hang"
    CAPPED = "capped"
    DOOMED = "doomed"
    SYNC = "sync"
    SYNC_ERROR = "sync-error"
    BATCH = "batch"


@dataclass(frozen=True, slots=True)
class Expectation:
    """What must come of an event when nothing disturbs it: how many runs, and which error its dead letter names.

    ``error`` is empty where it must succeed. ``longest_s`` is the function's timeout.
    """

    function: str
    runs: int = 1
    error: str = ""
    longest_s: float = 20.0
    synchronous: bool = False


EXPECTED: Mapping[Behaviour, Expectation] = MappingProxyType(
    {
        Behaviour.OK: Expectation("plain"),
        Behaviour.SLOW: Expectation("plain"),
        Behaviour.FLAKY: Expectation("plain", 2),
        Behaviour.HOPELESS: Expectation("plain", RETRIES + 1, "Hopeless"),
        Behaviour.CRASH: Expectation("plain", RETRIES + 1, "Runtime.ExitError"),
        Behaviour.HANG: Expectation("brief", RETRIES + 1, "Sandbox.Timedout", longest_s=1.0),
        Behaviour.CAPPED: Expectation("capped"),
        Behaviour.DOOMED: Expectation("doomed"),
        Behaviour.SYNC: Expectation("plain", synchronous=True),
        Behaviour.SYNC_ERROR: Expectation("plain", synchronous=True),
        Behaviour.BATCH: Expectation("batched", longest_s=5.0),
    }
)


def runs_of(behaviour: Behaviour, number: int) -> int:
    """How often this event runs when nothing disturbs it: some messages of a batch fail the first time."""
    flaky = behaviour is Behaviour.BATCH and number % FLAKY_OF_BATCH[0] == FLAKY_OF_BATCH[1]
    return EXPECTED[behaviour].runs + flaky


CAP = 2
"""The reserved concurrency of the function ``capped``."""

Mix = Mapping[str, int]
"""Weights of behaviours by their values."""

USUAL: Mix = MappingProxyType(
    {
        "ok": 52, "slow": 12, "flaky": 8, "hopeless": 2, "crash": 1, "hang": 1, "capped": 6, "doomed": 3,
        "sync": 9, "sync-error": 2, "batch": 4,
    }
)  # fmt: skip
FLOOD: Mix = MappingProxyType({"ok": 9750, "slow": 60, "flaky": 120, "hopeless": 10, "crash": 2, "capped": 58})
"""Mostly events that cost nothing themselves: it is the system that is to be busy."""


@dataclass(frozen=True, slots=True)
class Operation:
    """``at_s`` is when it is due after the start; ``pause_ms`` how long a run takes that takes any time.

    A batch carries the events ``number`` … ``number + size - 1``; everything else is one event.
    """

    number: int
    behaviour: Behaviour
    at_s: float
    pause_ms: int
    size: int = 1

    @property
    def expected(self) -> Expectation:
        return EXPECTED[self.behaviour]


def operation(seed: int, place: int, mix: Mix, rate: float = 1.0) -> Operation:
    """The operation in this place, due at ``place / rate``. Numbers leave room for batches where the mix has them."""
    chance = _scattered(seed * 0x9E3779B97F4A7C15 + place)
    behaviour = _drawn(mix, chance % sum(mix.values()))
    size = BATCH_SIZE if "batch" in mix else 1
    pause_ms = 50 + (chance >> 32) % 250 if behaviour in PAUSING else 0
    jitter = ((chance >> 16) % 1000) / 1000
    return Operation(
        place * size, behaviour, (place + jitter) / rate, pause_ms, size if behaviour is Behaviour.BATCH else 1
    )


PAUSING = frozenset({Behaviour.SLOW, Behaviour.FLAKY, Behaviour.CAPPED, Behaviour.DOOMED})


def _drawn(mix: Mix, ticket: int) -> Behaviour:
    for name, bound in zip(mix, accumulate(mix.values()), strict=True):
        if ticket < bound:
            return Behaviour(name)
    raise ValueError(f"no behaviour for {ticket}")


def _scattered(value: int) -> int:
    """A number of 64 bits that looks random. Source: SplitMix64."""
    value = (value + 0x9E3779B97F4A7C15) & MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & MASK
    return value ^ (value >> 31)
