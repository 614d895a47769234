"""Inside a local environment: time, randomness and UUIDs that are the same in every run.

Runs on Python 3.9 and later with nothing but the standard library, before the bootstrap and the function are loaded; it is
loaded by its path and never imported by fnrunner.

================== ======================================================= ==========================================
                   covered                                                 not covered
================== ======================================================= ==========================================
time of day        ``time``: time, time_ns, clock_gettime(CLOCK_REALTIME), ``monotonic``, ``perf_counter`` and processor
                   gmtime, localtime, ctime, asctime, strftime without a   time, which waiting depends on; times of files;
                   moment; ``datetime``: now, utcnow, today, for date too  programs and C libraries that ask the system
randomness         ``random`` (module, ``Random()``, ``SystemRandom``),    OpenSSL, ``/dev/urandom``, ``uuid_generate``,
                   ``secrets``, ``os.urandom``, ``os.getrandom``,          C libraries that ask the system
                   ``uuid1`` and ``uuid4``, names of temporary files
order              of sets of strings (the seed of ``hash``)               of threads, of what comes over the network;
                                                                           process ids, addresses of objects
================== ======================================================= ==========================================

The clock does not follow the processor's speed, or no two runs would read the same: it stands still, goes on by a
millisecond with each reading, and by as much as was slept after ``time.sleep`` and ``asyncio.sleep``, which do take their
time. What else waits (a lock, a socket, a process) moves it not at all. A forked child draws from a sequence of its own.
"""

from __future__ import annotations

import ctypes
import datetime
import gc
import hashlib
import os
import random
import sys
import threading
import time
import uuid

TYPE_CHECKING = False  # what type checkers take for True; importing typing would cost a cold start
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

STEP_US = 1000
SECOND_US = 1_000_000
UTC = datetime.timezone(datetime.timedelta())
MULTICAST = 1 << 40
"""Marks a node of uuid1 that is no network card. Source: RFC 9562, 6.10."""


class NotPossible(Exception):
    """This interpreter does not let its clock be replaced. Leave out --repeatable, or take another Python version."""


class Clock:
    """Microseconds since 1970. Readings are :data:`STEP_US` apart, in whatever thread they are made.

    Code in a file below ``exempt`` (the debugger) reads the real clock, and moves nothing.
    """

    def __init__(self, start_us: int, exempt: str = "") -> None:
        self._us = start_us
        self._exempt = exempt
        self._lock = threading.Lock()
        self._time_ns = time.time_ns

    def restart(self, start_us: int) -> None:
        """What was read before does not count."""
        with self._lock:
            self._us = start_us

    def read(self) -> int:
        with self._lock:
            now = self._us
            self._us += STEP_US
        return now

    def read_for(self, depth: int) -> int:
        """The reading for whoever called the caller, ``depth`` frames up."""
        if self._exempt and sys._getframe(depth + 1).f_code.co_filename.startswith(self._exempt):
            return self._time_ns() // 1000
        return self.read()

    def due(self, seconds: float) -> int:
        """When a sleep that begins now ends. Reads nothing."""
        with self._lock:
            return self._us + int(seconds * SECOND_US)

    def reach(self, due_us: int) -> None:
        """It is at least so late now: of sleeps side by side, the longest counts."""
        with self._lock:
            self._us = max(self._us, due_us)


class Entropy:
    """A sequence of bytes that only the seed decides, and the number of processes that were forked before."""

    def __init__(self, seed: str) -> None:
        self._key = hashlib.sha256(seed.encode()).digest()
        self._reads = self._forks = 0
        self._lock = threading.Lock()

    def read(self, size: int, flags: int = 0) -> bytes:
        """As ``os.urandom`` and ``os.getrandom``."""
        if size < 0:
            raise ValueError("negative argument not allowed")
        with self._lock:
            self._reads += 1
            label = b"%d" % self._reads
        return hashlib.shake_256(self._key + label).digest(size)

    def number(self, bits: int = 256) -> int:
        return int.from_bytes(self.read(bits // 8), "big")

    def before_fork(self) -> None:
        self._forks += 1

    def in_child(self) -> None:
        """Two children must not draw the same, or what they make would collide."""
        self._lock = threading.Lock()
        self._key = hashlib.sha256(self._key + b"fork %d" % self._forks).digest()
        self._reads = 0


def install(seed: str, start_us: int, exempt: str = "") -> None:
    """From now on, everything in this process is as the table above says. Raises NotPossible."""
    clock, entropy = Clock(start_us, exempt), Entropy(seed)
    _replace_time(clock)
    _replace_datetime(clock)
    _replace_sleep(clock)
    _replace_randomness(entropy)
    _replace_uuid1(entropy)
    os.register_at_fork(before=entropy.before_fork, after_in_child=lambda: _reseed(entropy, child=True))
    clock.restart(start_us)


def _replace_time(clock: Clock) -> None:
    real: Any = {name: getattr(time, name) for name in ("clock_gettime", "gmtime", "localtime", "ctime", "asctime")}
    real_strftime, real_gettime_ns = time.strftime, time.clock_gettime_ns
    wall = {getattr(time, name) for name in ("CLOCK_REALTIME", "CLOCK_TAI") if hasattr(time, name)}

    def seconds(value: float | None, depth: int) -> float:
        return clock.read_for(depth + 1) / SECOND_US if value is None else value

    replacements: dict[str, Callable[..., Any]] = {
        "time": lambda: clock.read_for(1) / SECOND_US,
        "time_ns": lambda: clock.read_for(1) * 1000,
        "clock_gettime": lambda id_: clock.read_for(1) / SECOND_US if id_ in wall else real["clock_gettime"](id_),
        "clock_gettime_ns": lambda id_: clock.read_for(1) * 1000 if id_ in wall else real_gettime_ns(id_),
        "gmtime": lambda secs=None: real["gmtime"](seconds(secs, 1)),
        "localtime": lambda secs=None: real["localtime"](seconds(secs, 1)),
        "ctime": lambda secs=None: real["ctime"](seconds(secs, 1)),
        "asctime": lambda t=None: real["asctime"](real["localtime"](seconds(None, 1)) if t is None else t),
        "strftime": lambda format_, t=None: real_strftime(
            format_, real["localtime"](seconds(None, 1)) if t is None else t
        ),
    }
    for name, replacement in replacements.items():
        setattr(time, name, replacement)


def _replace_datetime(clock: Clock) -> None:
    """The classes themselves are changed, not replaced: what C libraries make is of the same class then."""

    def now(cls: Any, tz: Any = None) -> Any:
        return cls.fromtimestamp(clock.read_for(1) / SECOND_US, tz)

    def utcnow(cls: Any) -> Any:
        return cls.fromtimestamp(clock.read_for(1) / SECOND_US, UTC).replace(tzinfo=None)

    def today(cls: Any) -> Any:
        return cls.fromtimestamp(clock.read_for(1) / SECOND_US)

    before = clock.due(0)
    _set_method(datetime.datetime, "now", now)
    _set_method(datetime.datetime, "utcnow", utcnow)
    _set_method(datetime.datetime, "today", today)
    _set_method(datetime.date, "today", today)
    read = datetime.datetime.now(UTC).timestamp() * SECOND_US
    if abs(read - before) > SECOND_US:
        raise NotPossible(NotPossible.__doc__)


def _set_method(cls: type, name: str, function: Callable[..., Any]) -> None:
    """Put a class method into a class that is written in C."""
    members = [found for found in gc.get_referents(cls.__dict__) if isinstance(found, dict)]
    if len(members) != 1:
        raise NotPossible(NotPossible.__doc__)
    members[0][name] = classmethod(function)
    # the interpreter remembers where it found a method
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(cls))


def _replace_sleep(clock: Clock) -> None:
    import asyncio

    real_sleep, real_async_sleep = time.sleep, asyncio.sleep

    def sleep(seconds: float) -> None:
        due = clock.due(seconds)
        real_sleep(seconds)
        clock.reach(due)

    async def async_sleep(delay: float, result: Any = None) -> Any:
        due = clock.due(delay)
        await real_async_sleep(delay)
        clock.reach(due)
        return result

    changed: Any = time
    changed.sleep = sleep
    asyncio.sleep = asyncio.tasks.sleep = async_sleep


def _replace_randomness(entropy: Entropy) -> None:
    real_seed = random.Random.seed

    def seed(self: random.Random, a: Any = None, version: int = 2) -> None:
        """As documented; without a value, from the sequence instead of from the system."""
        real_seed(self, entropy.number() if a is None else a, version)

    changed: Any = random
    changed.Random.seed = seed
    changed.seed = changed._inst.seed  # the module's function is a bound method, and has the old one
    changed._urandom = entropy.read
    changed_os: Any = os
    changed_os.urandom = changed_os.getrandom = entropy.read
    _reseed(entropy, child=False)


def _reseed(entropy: Entropy, *, child: bool) -> None:
    if child:
        entropy.in_child()
    random.seed(entropy.number())


def _replace_uuid1(entropy: Entropy) -> None:
    """Without the system's generator it is made of the clock, a node and the module ``random``."""
    changed: Any = uuid
    changed._generate_time_safe = changed._UuidCreate = None
    changed._node = entropy.number(48) | MULTICAST
