"""The processes inside: started, watched, their output passed on. Each dies with this process."""

from __future__ import annotations

import os
from _signal import SIG_DFL, SIGKILL, SIGPIPE, SIGTERM, signal  # type: ignore[import-not-found]

from .reactor import READ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .reactor import Reactor

PR_SET_PDEATHSIG = 1
READ_BYTES = 256 * 1024


class CannotStart(Exception):
    """The program could not be executed; the text is that of Go's ``os/exec``, which Lambda shows."""


class Child:
    """A started program. Its stdout and stderr are one pipe; what comes out of it goes to ``on_output``."""

    def __init__(
        self,
        reactor: Reactor,
        argv: Sequence[str],
        variables: Mapping[str, str],
        directory: str,
        *,
        on_output: Callable[[bytes], None],
        on_exit: Callable[[Child], None],
        begun: Begun | None = None,
    ) -> None:
        """``begun`` is the same program, if it goes on with these. Raises CannotStart."""
        self._reactor, self._on_output, self._on_exit = reactor, on_output, on_exit
        self.status: int | None = None
        """As ``os.waitstatus_to_exitcode``: negative is a signal."""
        if begun is None or not begun.goes_on(argv, variables, directory):
            begun = Begun(argv, variables, directory)
        self.pid, self._pipe = begun.pid, begun.output
        os.set_blocking(self._pipe, False)
        reactor.watch(self._pipe, READ, self._readable)
        self._pidfd = os.pidfd_open(self.pid)
        reactor.watch(self._pidfd, READ, self._ended)

    @property
    def alive(self) -> bool:
        return self.status is None

    def terminate(self) -> None:
        if self.alive:
            os.kill(self.pid, SIGTERM)

    def kill(self) -> None:
        if self.alive:
            os.kill(self.pid, SIGKILL)

    def drain(self) -> None:
        """Pass on what it has written until now: an answer must not overtake the lines before it."""
        while self._pipe >= 0 and self._read():
            pass

    def _readable(self, _: int) -> None:
        self._read()

    def _read(self) -> bool:
        try:
            data = os.read(self._pipe, READ_BYTES)
        except BlockingIOError:
            return False
        if not data:
            self._reactor.forget(self._pipe)
            os.close(self._pipe)
            self._pipe = -1
            return False
        self._on_output(data)
        return len(data) == READ_BYTES

    def _ended(self, _: int) -> None:
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if not pid:
            return
        self._reactor.forget(self._pidfd)
        os.close(self._pidfd)
        self.drain()
        self.status = os.waitstatus_to_exitcode(status)
        self._on_exit(self)


class Begun:
    """A program that runs. ``output`` is the read end of what is its stdout and stderr.

    One that ``waits`` gets its variables and its directory later, from a pipe that the variable names as ``fd:NUMBER``: a
    line of JSON, then its end.
    """

    def __init__(self, argv: Sequence[str], variables: Mapping[str, str], directory: str, waits: str = "") -> None:
        """Raises CannotStart, and OSError where no process can be made."""
        self.argv = list(argv)
        self.output, theirs = os.pipe2(os.O_CLOEXEC)
        waited, self._early = os.pipe2(os.O_CLOEXEC) if waits else (-1, -1)
        if waits:
            variables = {**variables, waits: f"fd:{waited}"}
        try:
            self.pid = _start(argv, variables, directory, theirs, waited)
        except (OSError, CannotStart):
            _close(self.output, self._early)
            raise
        finally:
            _close(theirs, waited)

    def goes_on(self, argv: Sequence[str], variables: Mapping[str, str], directory: str) -> bool:
        """Whether it does, as one that is started with these would; otherwise it is no more. Once."""
        import json

        told = False
        if list(argv) == self.argv:
            try:
                data = json.dumps([directory, dict(variables)], ensure_ascii=False).encode()
                while data:
                    data = data[os.write(self._early, data) :]
                told = True
            except (BrokenPipeError, UnicodeEncodeError):
                pass  # it has ended; or it could not be given bytes that are no text
        _close(self._early)
        if not told:
            _close(self.output)
            os.kill(self.pid, SIGKILL)
            os.waitpid(self.pid, 0)
        return told


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        if descriptor >= 0:
            os.close(descriptor)


def _start(argv: Sequence[str], variables: Mapping[str, str], directory: str, output: int, kept: int = -1) -> int:
    """The pid of the program, once it runs. Raises CannotStart, and OSError where no process can be made."""
    import ctypes  # for prctl alone; before the fork, because the child should do little

    prctl = ctypes.CDLL(None).prctl
    failed, failing = os.pipe2(os.O_CLOEXEC)
    us = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)
            if os.getppid() != us:
                os._exit(1)
            os.dup2(output, 1)
            os.dup2(output, 2)
            if kept >= 0:
                os.set_inheritable(kept, True)
            signal(SIGPIPE, SIG_DFL)
            signal(SIGTERM, SIG_DFL)
            os.chdir(directory)
            os.execve(argv[0], list(argv), dict(variables))  # noqa: S606
        except OSError as error:
            os.write(failing, str(error.errno).encode())
        finally:
            os._exit(127)
    os.close(failing)
    number = os.read(failed, 16)
    os.close(failed)
    if number:
        os.waitpid(pid, 0)
        raise CannotStart(f"fork/exec {argv[0]}: {os.strerror(int(number)).lower()}")
    return pid


def leave_as(status: int) -> None:
    """End this process as a child ended: by the same exit status, or by the same signal."""
    if status >= 0:
        os._exit(status)
    if -status != SIGKILL:
        signal(-status, SIG_DFL)
    os.kill(os.getpid(), -status)
    os._exit(1)  # for signals that do not end a process
