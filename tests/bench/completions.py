"""When each run ended, counted from outside and in the same way for every system.

Each measured function appends its process's monotonic clock, eight bytes, to one file: about a microsecond, atomic because
the file is opened for appending, and comparable between processes because the clock is the machine's.
"""

from __future__ import annotations

import os
import time
from array import array
from collections.abc import Callable
from pathlib import Path

FILE = "FNRUNNER_TEST_BENCH_COMPLETIONS"
"""Environment variable that names the file."""

SIZE_BYTES = 8
POLL_S = 0.002

HANDLER = f"""
import os, time

FILE = os.open(os.environ["{FILE}"], os.O_WRONLY | os.O_APPEND)

def handler(event, context):
    os.write(FILE, time.monotonic_ns().to_bytes({SIZE_BYTES}, "little"))
"""
"""The measured function for fnrunner. The others call what ``marker`` returns."""


class NotCompleted(Exception):
    """The runs did not end in time, or the workers died."""


def marker() -> Callable[[], None]:
    """What a worker calls when a run ends. The file is opened at the first call, so after any fork."""
    opened: list[int] = []

    def mark() -> None:
        if not opened:
            opened.append(os.open(os.environ[FILE], os.O_WRONLY | os.O_APPEND))
        os.write(opened[0], time.monotonic_ns().to_bytes(SIZE_BYTES, "little"))

    return mark


class Completions:
    """The file, seen by the one who measures."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def count(self) -> int:
        return self.path.stat().st_size // SIZE_BYTES

    def wait(self, count: int, *, within_s: float, alive: Callable[[], bool]) -> None:
        """Until there are ``count`` in all. Raises NotCompleted."""
        deadline = time.monotonic() + within_s
        while (there := self.count()) < count:
            if not alive():
                raise NotCompleted(f"a worker ended after {there} of {count} runs")
            if time.monotonic() > deadline:
                raise NotCompleted(f"{there} of {count} runs ended within {within_s:.0f} s")
            time.sleep(POLL_S)

    def times_s(self, after: int) -> list[float]:
        """When the runs after the first ``after`` ended, in order."""
        nanoseconds = array("q", self.path.read_bytes()[after * SIZE_BYTES :])
        return sorted(each / 1e9 for each in nanoseconds)
