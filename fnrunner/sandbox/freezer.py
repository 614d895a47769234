"""Hold a tree of processes between invocations: nothing in it runs, and it can be ended all the same.

Where the tree has a control group of version 2, the kernel freezes the group. Elsewhere each process is stopped with SIGSTOP.
Version 1 has a freezer of its own, which is not used: what it has frozen does not die of SIGKILL, so that the functions of a
worker that was killed would stay for ever. Stopped processes die.

What a function can notice: its clocks jump, as on Lambda; and a process with children that handles SIGCHLD is told of theirs.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterable
from pathlib import Path

from fnrunner.sandbox.cgroups import Cgroup

ROUNDS = 20
"""A tree that forks faster than it is stopped is left running; it is no idle one."""


class Freezer:
    """Of one tree. ``freeze`` and ``thaw`` are quick and block; both are harmless when it is so already, or has ended."""

    def __init__(self, cgroup: Cgroup | None, roots: Callable[[], Iterable[int]]) -> None:
        """``roots`` are the pids that all others descend from, asked only where there is no group."""
        self._file = cgroup.memory / "cgroup.freeze" if cgroup is not None and cgroup.version == 2 else None
        self._cgroup = cgroup
        self._roots = roots
        self._stopped: set[int] = set()
        self.frozen = False

    def freeze(self) -> None:
        if self.frozen:
            return
        self.frozen = True
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.write_text("1")
                return
        for _ in range(ROUNDS):
            running = self.pids() - self._stopped
            if not running:
                return
            self._send(running, signal.SIGSTOP)
            self._stopped |= running
        self.thaw()

    def thaw(self) -> None:
        if not self.frozen:
            return
        self.frozen = False
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.write_text("0")
        # one that has ended meanwhile, and whose number somebody else has, is told what it does anyway
        stopped, self._stopped = self._stopped, set()
        self._send(stopped, signal.SIGCONT)

    def pids(self) -> set[int]:
        """Of the tree, as it is now."""
        if self._cgroup is not None:
            return self._cgroup.pids()
        found: set[int] = set()
        frontier = list(self._roots())
        while frontier:
            pid = frontier.pop()
            found.add(pid)
            frontier += [child for child in _children(pid) if child not in found]
        return found

    @staticmethod
    def _send(pids: set[int], number: signal.Signals) -> None:
        for pid in pids - {os.getpid()}:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError, ValueError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return found
