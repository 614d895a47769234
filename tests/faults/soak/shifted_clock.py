"""fnrunner in a process whose wall clock is moved: ``python -m tests.faults.soak.shifted_clock FILE ROLE``.

FILE holds the seconds by which it is off, and may change at any time. Only the wall clock moves, as it does when somebody
sets it: waiting goes by the monotonic one. Time namespaces of Linux leave the wall clock alone, and libfaketime also
wraps ``clock_nanosleep``, which then fails with EINVAL now and then under Python, so the clock is replaced where Python
code reads it, before any of that code is imported.
"""

from __future__ import annotations

import datetime
import sys
import time
from pathlib import Path
from typing import Any

LOOK_EVERY_S = 0.2
Real = datetime.datetime


class Offset:
    """The seconds in a file, read again a few times a second."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._read_at = float("-inf")
        self._seconds = 0

    def seconds(self) -> int:
        if (now := time.monotonic()) - self._read_at >= LOOK_EVERY_S:
            self._read_at = now
            try:
                self._seconds = int(self._file.read_text())
            except (OSError, ValueError):
                pass  # it is being written
        return self._seconds


def install(offset: Offset) -> None:
    """Replace ``time.time``, ``time.time_ns`` and ``datetime.now`` for everything that is imported from now on."""
    real_time, real_time_ns = time.time, time.time_ns

    class Instances(type):
        def __instancecheck__(cls, value: object) -> bool:
            return isinstance(value, Real)

    class Shifted(Real, metaclass=Instances):
        __slots__ = ()  # of the size that compiled modules expect

        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Any:
            return Real.now(tz) + datetime.timedelta(seconds=offset.seconds())

    time.time = lambda: real_time() + offset.seconds()
    time.time_ns = lambda: real_time_ns() + offset.seconds() * 1_000_000_000
    datetime.datetime = Shifted  # type: ignore[misc]


def main() -> None:
    file, *words = sys.argv[1:]
    install(Offset(Path(file)))
    sys.argv = ["fnrunner", *words]
    from fnrunner.cli.main import main as fnrunner

    fnrunner()


if __name__ == "__main__":
    main()
