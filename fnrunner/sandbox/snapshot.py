"""A function's process that has imported the function and waits: others are forked from it, each in namespaces of its own.

Runs in the processes of the namespace sandbox, beside the function's code; standard library only, Python 3.9 and later.
Between copies nothing of the function runs in it: a function with threads, processes or timers of its own is not kept so.
What is here a function can change; so nothing of it is relied on, and all that this process may do beyond its copies is to
join namespaces whose descriptors :mod:`~fnrunner.sandbox.keeper` hands to it.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import stat
import sys
import threading
import warnings
from select import POLLIN, poll

from fnrunner.sandbox.become import take_place
from fnrunner.sandbox.conversation import FAILED, MOST_DESCRIPTORS
from fnrunner.sandbox.kernel import (
    CAP_SYS_ADMIN,
    CAP_SYS_CHROOT,
    CLONE_NEWPID,
    SHARED,
    call_oneself,
    install,
    join,
    join_groups,
    own_name,
    use_capabilities,
)
from fnrunner.sandbox.root import enter_groups

TYPE_CHECKING = False  # what type checkers take for True
if TYPE_CHECKING:
    from typing import Any

JOINING = CAP_SYS_ADMIN | CAP_SYS_CHROOT
"""What it takes to join a namespace."""

BLAS = ("openblas", "libmkl", "libblis")
"""Libraries whose threads end at a fork and begin again when they are needed, by their files' names."""

THREADED = ("grpc", "pyarrow", "tensorflow", "torch")
"""Modules that have threads which do not."""


class Snapshot:
    """What the program that imports the function gets. ``wait`` returns in each copy, and never where it was called."""

    def __init__(self, channel: socket.socket, system_calls: bytes) -> None:
        """``system_calls`` is the filter for the copies."""
        self._channel, self._filter = channel, system_calls
        self._files: list[tuple[int, str, int]] = []
        self._connections: list[int] = []
        self._name = ""

    def obstacle(self, own: set[int], *, cut: bool) -> str:
        """Why copies would not be as good as the original; empty where nothing stands in the way.

        ``own`` are descriptors that the caller gives up in a copy. With ``cut`` connections are no obstacle: a copy finds
        them closed by the other side.
        """
        if threading.active_count() > 1:
            names = sorted(each.name for each in threading.enumerate() if each is not threading.main_thread())
            return f"it has started threads while it was imported: {', '.join(names)}"
        if len(os.listdir("/proc/self/task")) > 1 and (not _has_blas() or sys.modules.keys() & set(THREADED)):
            return "a library that it imports has started threads"
        # also such as it has detached from itself: copies would not have them, and they would go on here
        if any(number not in (1, os.getpid()) and _is_alive(number) for number in _processes()):
            return "it has started processes while it was imported"
        if _has_timers():
            return "it has set a timer while it was imported"
        return self._note_files({0, 1, 2, self._channel.fileno(), *own}, cut)

    def _note_files(self, known: set[int], cut: bool) -> str:
        for name in os.listdir("/proc/self/fd"):
            descriptor = int(name)
            try:
                mode = os.fstat(descriptor).st_mode
                path = os.readlink(f"/proc/self/fd/{name}")
                flags = _flags(descriptor)
            except OSError:
                continue  # that of the listing itself
            if descriptor in known or stat.S_ISCHR(mode):
                continue
            if cut and _is_connection(descriptor, mode):
                self._connections.append(descriptor)
                continue
            if not stat.S_ISREG(mode) or flags & os.O_ACCMODE != os.O_RDONLY or path.startswith("/tmp/"):  # noqa: S108
                return f"it keeps open what it has opened while it was imported: {path}"
            self._files.append((descriptor, path, flags))
        return ""

    def wait(self) -> list[int]:
        """The inherited descriptors of a copy that has been asked for. Its arguments and variables are in place."""
        gc.collect()
        gc.freeze()
        self._name = own_name()
        call_oneself("fnr-snapshot")
        at_end, wanted = signal.signal(signal.SIGCHLD, signal.SIG_DFL), poll()
        copies: dict[int, int] = {}
        wanted.register(self._channel, POLLIN)
        while True:
            for ready, _ in wanted.poll():
                if ready in copies:
                    wanted.unregister(ready)
                    self._tell_end(ready, copies.pop(ready))
                    continue
                message, descriptors, _, _ = socket.recv_fds(self._channel, 64, MOST_DESCRIPTORS)
                if not message:
                    os._exit(0)
                try:
                    pid = self._fork(descriptors)
                    if pid == 0:
                        for copy in copies:
                            os.close(copy)
                        signal.signal(signal.SIGCHLD, at_end or signal.SIG_DFL)
                        return self._begin(descriptors, int(message))
                    copy = os.pidfd_open(pid)
                    copies[copy] = pid
                    wanted.register(copy, POLLIN)
                    answer = str(pid)
                except OSError as error:
                    answer = str(error)
                finally:
                    for descriptor in descriptors:
                        os.close(descriptor)
                self._channel.send(answer.encode())

    def _tell_end(self, copy: int, pid: int) -> None:
        _, ended = os.waitpid(pid, 0)
        os.close(copy)
        self._channel.send(f"{pid} {ended}".encode())

    def _fork(self, descriptors: list[int]) -> int:
        use_capabilities(JOINING, JOINING)
        try:
            join(descriptors[0], CLONE_NEWPID)
            with warnings.catch_warnings():
                # of the threads that are left it is known that they end and begin again
                warnings.simplefilter("ignore", DeprecationWarning)
                # the C library's own: libraries in the copy must learn of it
                return os.fork()
        finally:
            use_capabilities(0, JOINING)

    def _begin(self, descriptors: list[int], count: int) -> list[int]:
        """In the copy: go where it belongs, give up the rest, wait for its plan.

        What need not know the plan is done before: most copies wait beforehand, and somebody waits for what comes after.
        """
        descriptors = [os.dup(descriptor) for descriptor in descriptors]
        namespaces, (fileno, *entrances) = descriptors[:count], descriptors[count:]
        trouble = ""
        try:
            self._settle(namespaces, entrances)
        except OSError as error:
            trouble = str(error)
        self._channel.close()
        _refresh()
        channel = socket.socket(fileno=fileno)
        _, received, _, _ = socket.recv_fds(channel, 1, MOST_DESCRIPTORS)
        if not received:
            os._exit(0)  # not needed
        channel.close()
        if trouble:
            os.write(received[1], f"sandbox: {trouble}\n".encode())
            os._exit(FAILED)
        call_oneself(self._name)
        sys.argv = list(take_place(*received[:2])["argv"])
        self._open_again()
        return received[2:]

    def _settle(self, namespaces: list[int], entrances: list[int]) -> None:
        """Go into the namespaces and control groups, and never out of them again. Raises OSError."""
        use_capabilities(JOINING, JOINING)
        for namespace, kind in zip(namespaces, SHARED.values()):  # noqa: B905 - of Python 3.10
            if kind != CLONE_NEWPID:
                join(namespace, kind)
            os.close(namespace)
        join_groups(entrances)
        enter_groups()
        # what may be gained was given up by the original
        use_capabilities(0, 0)
        if self._filter:
            install(self._filter)
        os.setsid()

    def _open_again(self) -> None:
        """Copies that read the same file must not share how far they have come."""
        for descriptor, path, flags in self._files:
            position = os.lseek(descriptor, 0, os.SEEK_CUR)
            try:
                again = os.open(path, flags | os.O_CLOEXEC)
            except OSError:
                continue  # it was removed meanwhile: shared is better than nothing
            os.lseek(again, position, os.SEEK_SET)
            os.dup2(again, descriptor, inheritable=False)
            os.close(again)
        for descriptor in self._connections:
            one, other = socket.socketpair()
            other.close()
            os.dup2(one.fileno(), descriptor, inheritable=False)
            one.close()


def _processes() -> list[int]:
    """Of this pid namespace."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b") ")[2][:1] not in (b"Z", b"X")
    except OSError:
        return False


def _has_timers() -> bool:
    """A copy has none of them."""
    if any(any(signal.getitimer(which)) for which in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)):
        return True
    try:
        with open("/proc/self/timers") as timers:
            return bool(timers.read().strip())
    except OSError:
        return False  # this kernel does not say


def _is_connection(descriptor: int, mode: int) -> bool:
    if not stat.S_ISSOCK(mode):
        return False
    with socket.socket(fileno=os.dup(descriptor)) as known:
        return known.family in (socket.AF_INET, socket.AF_INET6)


def _flags(descriptor: int) -> int:
    import fcntl

    return fcntl.fcntl(descriptor, fcntl.F_GETFL)


def _has_blas() -> bool:
    with open("/proc/self/maps") as maps:
        text = maps.read()
    return any(name in text for name in BLAS)


def _refresh() -> None:
    """What is drawn at random is drawn anew. ``random`` sees to itself."""
    modules: dict[str, Any] = dict(sys.modules)
    if (tempfile := modules.get("tempfile")) is not None:
        tempfile._name_sequence = None
    # of a copy OpenSSL knows only that its process has another number
    if (ssl := modules.get("ssl")) is not None:
        ssl.RAND_add(os.urandom(32), 32.0)
    numpy = modules.get("numpy.random")
    if numpy is not None and hasattr(numpy, "seed"):
        numpy.seed()
