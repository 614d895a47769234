"""The functions' own log of their runs, read while it grows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MAX_READ_BYTES = 4 * 1024 * 1024
BEGIN, ALIVE, OK, FAILED = "begin", "alive", "ok", "failed"


@dataclass(frozen=True, slots=True)
class Line:
    """A sign of one run: times are the monotonic clock in nanoseconds, ``state`` is one of the four above."""

    number: int
    event_id: str
    begin_ns: int
    now_ns: int
    state: str


class RunLog:
    """``fresh`` gives what has been written since the last time."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._at = 0

    def fresh(self) -> Iterator[Line]:
        """Whole lines only; the rest comes next time."""
        try:
            with self.file.open("rb") as log:
                while True:
                    log.seek(self._at)
                    content = log.read(MAX_READ_BYTES)
                    whole = content.rfind(b"\n") + 1
                    if not whole:
                        return
                    self._at += whole
                    yield from map(parsed, content[:whole].decode().splitlines())
        except FileNotFoundError:
            return


def parsed(text: str) -> Line:
    """
    >>> parsed("7|some-id|1|2|ok|99").state
    'ok'
    """
    number, event_id, begin, now, state, _ = text.split("|")
    return Line(int(number), event_id, int(begin), int(now), state)
