"""What happened, as JSON lines: each operation with its answer, each fault with its begin and end, and remarks.

``{"op": number, "b": behaviour, "t0": …, "t1": …, "out": outcome, "id": …, "status": …, "why": …}``
``{"fault": number, "kind": …, "target": …, "begin": …, "end": …, "ids": […], "function": …, "problem": …}``
``{"mark": name, "t": …, …}``

An outcome is acknowledged, refused or unknown: no answer, or one after which the event may run all the same. Times are the
machine's monotonic clock in seconds, which functions log too.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.faults.soak.fault import Struck
from tests.faults.soak.operation import Behaviour

ACKNOWLEDGED, REFUSED, UNKNOWN = "acknowledged", "refused", "unknown"
MENDED = "mended"
"""The mark after which functions that failed always succeed, and dead letters are redriven."""


@dataclass(frozen=True, slots=True)
class Answered:
    """One event of an operation and its answer. ``event_id`` is empty where none was given out; ``why`` is what was
    said instead."""

    number: int
    behaviour: Behaviour
    sent: float
    answered: float
    outcome: str
    event_id: str = ""
    status: int = 0
    why: str = ""


@dataclass(frozen=True, slots=True)
class Mark:
    """A remark, such as a process that ended by itself."""

    name: str
    at: float
    more: dict[str, Any]


Entry = Answered | Struck | Mark


class History:
    """Appends to a file, from any thread. ``close`` makes it complete."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._lines = file.open("a", buffering=1 << 16)
        self._lock = threading.Lock()

    def answered(self, one: Answered) -> None:
        why = json.dumps(one.why) if one.why else '""'
        # by hand: this is once for each of a million events
        line = (
            f'{{"op":{one.number},"b":"{one.behaviour.value}","t0":{one.sent:.6f},"t1":{one.answered:.6f},'
            f'"out":"{one.outcome}","id":"{one.event_id}","status":{one.status},"why":{why}}}\n'
        )
        with self._lock:
            self._lines.write(line)

    def struck(self, fault: Struck) -> None:
        self._write({"fault": fault.number, **{k: v for k, v in asdict(fault).items() if k != "number"}})

    def mark(self, name: str, **more: Any) -> None:
        self._write({"mark": name, "t": round(time.monotonic(), 6), **more})

    def flush(self) -> None:
        with self._lock:
            self._lines.flush()

    def close(self) -> None:
        with self._lock:
            self._lines.close()

    def _write(self, value: dict[str, Any]) -> None:
        with self._lock:
            self._lines.write(json.dumps(value) + "\n")
            self._lines.flush()


def read(file: Path) -> Iterator[Entry]:
    """What was written, in order. A last line that was cut off is left out."""
    with file.open() as lines:
        for line in lines:
            if line.endswith("\n"):
                yield entry(json.loads(line))


def entry(value: dict[str, Any]) -> Entry:
    """One line's value."""
    if "op" in value:
        return Answered(
            value["op"],
            Behaviour(value["b"]),
            value["t0"],
            value["t1"],
            value["out"],
            value["id"],
            value["status"],
            value["why"],
        )
    if "fault" in value:
        return Struck(number=value.pop("fault"), **{**value, "ids": tuple(value["ids"])})
    return Mark(value.pop("mark"), value.pop("t"), value)
