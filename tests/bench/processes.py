"""Worker processes that can be halted between two instructions, and that are all gone at the end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.installation import ROOT, environments_of

STOP_WITHIN_S = 15.0

Process = subprocess.Popen[bytes]


def pause(roots: Sequence[Process]) -> None:
    """Halt these processes and all their descendants, wherever they are."""
    for pid in _family(roots):
        _signal(pid, signal.SIGSTOP)


def resume(roots: Sequence[Process]) -> None:
    """Let them go on: descendants first, so that nobody finds its child missing."""
    for pid in reversed(_family(roots)):
        _signal(pid, signal.SIGCONT)


def stop(roots: Sequence[Process]) -> None:
    """Ask politely, wait, then kill what is left of the whole family."""
    resume(roots)
    family = {pid: _started(pid) for pid in _family(roots)}
    for process in roots:
        if process.poll() is None:
            process.terminate()
    deadline = time.monotonic() + STOP_WITHIN_S
    for process in roots:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.1, deadline - time.monotonic()))
    for pid, started in family.items():
        if started and _started(pid) == started:
            _signal(pid, signal.SIGKILL)
    for process in roots:
        process.wait(10)


def _family(roots: Sequence[Process]) -> list[int]:
    living = [process for process in roots if process.poll() is None]
    return [pid for process in living for pid in (process.pid, *environments_of(process))]


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _started(pid: int) -> str:
    """The start time that tells a process from a later one with its number; empty when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return stat[stat.rindex(")") :].split()[20]


class Workers:
    """The command of one system, with its children, in a session of its own. Its output is in ``log``."""

    def __init__(self, words: Sequence[str], variables: Mapping[str, str], log: Path) -> None:
        self.log = log
        environ = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *words],
                env=environ,
                cwd=log.parent,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def alive(self) -> bool:
        return self._process.poll() is None

    def pause(self) -> None:
        pause([self._process])

    def resume(self) -> None:
        resume([self._process])

    def close(self) -> None:
        stop([self._process])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()
