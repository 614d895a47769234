"""Processes of fnrunner: in tests forked from an interpreter that has imported it, which takes a fifth of the time.

``FNRUNNER_TEST_PROGRAM=whole`` starts each as people do, by ``python -m fnrunner``, and so do benchmarks.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Protocol

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = (sys.executable, "-m", "fnrunner")
FORKED = "FNRUNNER_TEST_PROGRAM", "forked"
START_TIMEOUT_S = 60.0


def run(
    program: Sequence[str], arguments: Sequence[str], *, environ: Mapping[str, str], directory: Path, timeout_s: float
) -> subprocess.CompletedProcess[str]:
    """As subprocess.run does. Raises TimeoutExpired."""
    with TemporaryFile() as output, TemporaryFile() as errors:
        process = start(program, arguments, environ=environ, output=output, errors=errors, directory=directory)
        try:
            status = process.wait(timeout_s)
        except BaseException:
            process.kill()
            process.wait()
            raise
        said = []
        for file in (output, errors):
            file.seek(0)
            said.append(file.read().decode())
        return subprocess.CompletedProcess([*program, *arguments], status, *said)


class Process(Protocol):
    """As subprocess has it."""

    pid: int
    returncode: int | None

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int) -> None: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


def start(
    program: Sequence[str],
    arguments: Sequence[str],
    *,
    environ: Mapping[str, str],
    output: IO[bytes],
    errors: IO[bytes] | None = None,
    directory: Path,
) -> Process:
    """``errors`` go to the output where they have no file of their own. What changes how an interpreter starts has one that
    is started.
    """
    errors = errors or output
    forked = os.environ.get(FORKED[0]) == FORKED[1] and tuple(program) == PROGRAM
    if not forked or _of_interpreters(environ) != _of_interpreters(_environ()):
        command = [*program, *arguments]
        return subprocess.Popen(command, env=dict(environ), stdout=output, stderr=errors, cwd=directory)
    return nursery().start(arguments, environ, (output.fileno(), errors.fileno()), directory)


def _environ() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def _of_interpreters(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that they read when they start."""
    return {name: value for name, value in environ.items() if name.startswith(("PYTHON", "LD_"))}


class Forked:
    """A process that the nursery is the parent of."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self._nursery, self.pid = nursery, pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self._nursery.status(self.pid, 0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self.returncode = self._nursery.status(self.pid, timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("fnrunner", timeout or 0)
        return self.returncode

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, sig)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Nursery:
    """The other end of :mod:`tests.nursery`. Any thread may use it."""

    def __init__(self) -> None:
        self._channel, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.nursery", str(its.fileno())],
                pass_fds=(its.fileno(),),
                env=_environ(),
                stdin=subprocess.DEVNULL,
                cwd=ROOT,
            )
        self._lock = threading.Lock()
        self._started: list[int] = []
        self._ended: dict[int, int] = {}

    def start(
        self, arguments: Sequence[str], environ: Mapping[str, str], outputs: tuple[int, int], directory: Path
    ) -> Forked:
        request = {"environ": dict(environ), "directory": str(directory), "arguments": list(arguments)}
        with self._lock:
            socket.send_fds(self._channel, [json.dumps(request).encode()], list(outputs))
            deadline = time.monotonic() + START_TIMEOUT_S
            while not self._started:
                self._hear(deadline - time.monotonic())
            return Forked(self, self._started.pop())

    def status(self, pid: int, timeout: float | None) -> int | None:
        """How it ended; None where it goes on for so many seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            with self._lock:
                self._hear(0)
                if pid in self._ended:
                    return self._ended[pid]
            if deadline is not None and time.monotonic() >= deadline:
                return None
            # others may hear of it meanwhile
            select.select([self._channel], [], [], 0.05)

    def _hear(self, within_s: float) -> None:
        """What it says, if it says something until then."""
        if not select.select([self._channel], [], [], max(0, within_s))[0]:
            if within_s > 0:
                raise TimeoutError("no process was forked")
            return
        message = self._channel.recv(4096)
        if not message:
            raise RuntimeError("the nursery has ended: see what it wrote")
        said = json.loads(message)
        if "started" in said:
            self._started.append(said["started"])
        else:
            self._ended[said["ended"]] = said["status"]

    def close(self) -> None:
        self._channel.close()
        self._process.wait()


@cache
def nursery() -> Nursery:
    """One for all of the session."""
    found = Nursery()
    atexit.register(found.close)
    return found
