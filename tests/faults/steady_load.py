"""Asynchronous events at a steady rate through several API processes, and what became of each.

Each sender goes round the APIs, as a load balancer would, and sends an event again where one does not answer: an
answer that never came may have been an acceptance, so an event may run twice, and ``unanswered`` says how many may.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from tests.faults.soak.caller import Caller, NotSent, Unanswered

CODE = """
    import os, time

    LOG = os.open(os.environ["RUNS"], os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o666)

    def handler(event, context):
        begin = time.monotonic_ns()
        time.sleep(event.get("ms", 0) / 1000)
        os.write(LOG, f"{event['n']} {begin} {context.aws_request_id}\\n".encode())
"""
"""Needs ``RUNS`` in its environment: the file of runs, on the clock that all processes of a host share. The host lives on,
and its page cache with it.
"""


def longest_gap_s(times: Sequence[float], begin: float, end: float) -> float:
    """The longest time between two of these moments, the begin and the end included.

    >>> longest_gap_s([1.0, 4.0, 4.5], 0.0, 5.0)
    3.0
    """
    moments = [begin, *sorted(at for at in times if begin <= at <= end), end]
    return max(after - before for before, after in pairwise(moments))


@dataclass(slots=True)
class Sent:
    """``accepted`` has the event id and the moment of acceptance of each number, ``refused`` what was answered instead."""

    begin: float
    end: float = 0.0
    accepted: dict[int, tuple[str, float]] = field(default_factory=dict)
    refused: list[tuple[float, int, str]] = field(default_factory=list)
    unanswered: list[int] = field(default_factory=list)

    @property
    def longest_gap_s(self) -> float:
        return longest_gap_s([at for _, at in self.accepted.values()], self.begin, self.end)


class SteadyLoad:
    """``with``: sends from its beginning to its end, and then waits until every event was accepted."""

    def __init__(
        self, ports: Sequence[int], function: str, rate: float, *, threads: int = 8, pause_ms: int = 0
    ) -> None:
        self.sent = Sent(time.monotonic())
        self._ports = ports
        self._function = function
        self._rate = rate
        self._pause_ms = pause_ms
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._count = 0
        self._threads = [threading.Thread(target=self._send, args=(n,)) for n in range(threads)]

    def __enter__(self) -> SteadyLoad:
        self.sent.begin = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.sent.end = time.monotonic()
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    @property
    def accepted(self) -> int:
        return len(self.sent.accepted)

    def _next(self) -> tuple[int, float]:
        with self._lock:
            self._count += 1
            return self._count, self.sent.begin + self._count / self._rate

    def _send(self, sender: int) -> None:
        callers = [Caller(port) for port in self._ports]
        turn = sender
        while True:
            number, due = self._next()
            if self._stopping.wait(max(0.0, due - time.monotonic())):
                break
            while not self._accepted(callers[turn % len(callers)], number):
                turn += 1
                time.sleep(0.05)
            turn += 1
        for caller in callers:
            caller.close()

    def _accepted(self, caller: Caller, number: int) -> bool:
        try:
            answer = caller.invoke(self._function, {"n": number, "ms": self._pause_ms})
        except NotSent:
            return False
        except Unanswered:
            self.sent.unanswered.append(number)
            return False
        if answer.status != 202:
            self.sent.refused.append((time.monotonic(), answer.status, answer.body[:200].decode(errors="replace")))
            return False
        self.sent.accepted[number] = answer.event_id, time.monotonic()
        return True


@dataclass(frozen=True, slots=True)
class Runs:
    """What the functions wrote: for each number the moments when it began to run."""

    of: dict[int, list[float]]

    @classmethod
    def read(cls, path: Path) -> Runs:
        of: dict[int, list[float]] = {}
        for line in path.read_text().splitlines():
            number, begin, _ = line.split()
            of.setdefault(int(number), []).append(int(begin) / 1e9)
        return cls(of)

    @property
    def repeated(self) -> list[int]:
        return [number for number, moments in self.of.items() if len(moments) > 1]

    def longest_gap_s(self, begin: float, end: float) -> float:
        return longest_gap_s([at for moments in self.of.values() for at in moments], begin, end)
