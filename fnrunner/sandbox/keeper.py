"""The init process around a snapshot: makes namespaces for its copies, has them forked, says how they ended.

Runs in the processes of the namespace sandbox and never a line of a function's; standard library only, Python 3.9 and later.

::

    worker ─► keeper, pid 1 ── fork ──► snapshot: has imported the function
                 │  │                       │
                 │  └ clone ─► init of a copy: a mount, pid, ipc and uts namespace, its own /proc and /tmp, root entered
                 │                          │
                 └ learns how ◄── fork ── the copy: joins these, gives up every right, waits for its plan
                   it has ended

It answers what a spawner answers, but for whom. ``MAKE`` comes with the entrances of the control groups, ``START`` with the
plan, the pipe for the status, the output and what is inherited; its answer has the pidfds of the copy's init process and of
the copy. When the worker closes its end, nothing is made any more, and the keeper ends with the last of its copies.
"""

from __future__ import annotations

import errno
import marshal
import os
import select
import signal
import socket

from fnrunner.sandbox.conversation import FAILED, MAKE, MOST_BYTES, MOST_DESCRIPTORS, START
from fnrunner.sandbox.kernel import (
    CLONE_NEWIPC,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUTS,
    PR_SET_NO_NEW_PRIVS,
    PR_SET_PDEATHSIG,
    check,
    clone,
    drop_capabilities,
    libc,
    lifted,
)
from fnrunner.sandbox.network import Network, kinds
from fnrunner.sandbox.root import enter_root, renew

TYPE_CHECKING = False  # what type checkers take for True
if TYPE_CHECKING:
    from typing import Any, NoReturn

COPYING_S = 10.0


class Copy:
    """An init process that makes namespaces; then the process that waits there, or what stood in its way."""

    def __init__(self, init: int, channel: socket.socket, plan: socket.socket, its_plan: socket.socket) -> None:
        """``plan`` leads to the process; ``entrances`` are the opened files of its control groups."""
        self.init, self.channel, self.plan, self.its_plan = init, channel, plan, its_plan
        self.entrances: list[int] = []
        self.pid = 0
        self.status = -1
        self.asked: list[int] | None = None
        self.trouble = ""

    def close(self) -> None:
        """One that still waits ends."""
        self.channel.close()
        self.plan.close()
        self.forget()

    def forget(self) -> None:
        """What was only needed until there was a process."""
        self.its_plan.close()
        entrances, self.entrances = self.entrances, []
        for entrance in entrances:
            os.close(entrance)

    def tell(self, ended: int) -> None:
        if self.status >= 0:
            tell(self.status, ended)
            self.status = -1


class Keeper:
    """Serves until there is nobody left to serve."""

    def __init__(
        self, worker: socket.socket, snapshot: int, status: int, channel: socket.socket, stage: str, network: Network
    ) -> None:
        """``snapshot`` is a child, whose end is written into ``status``; ``channel`` leads to it."""
        self._worker: socket.socket | None = worker
        self._snapshot, self._status, self._channel, self._stage = snapshot, status, channel, stage
        self._network = network
        self._gone = False
        self._copies: dict[int, Copy] = {}
        self._died, wake = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(self._died, False)
        channel.settimeout(COPYING_S)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)

    def serve(self) -> NoReturn:
        signal.signal(signal.SIGTERM, lambda *_: self._kill(self._snapshot, signal.SIGTERM))
        while self._snapshot or self._copies:
            made = {
                copy.channel: number
                for number, copy in self._copies.items()
                if copy.init and not copy.pid and not copy.trouble
            }
            watched: list[Any] = [self._died, *made, *([self._worker] if self._worker is not None else [])]
            if not self._gone:
                watched.append(self._channel)
            readable, _, _ = select.select(watched, [], [])
            if self._died in readable:
                os.read(self._died, 4096)
                self._collect()
            for channel in readable:
                if channel in made and made[channel] in self._copies:
                    self._go_on(made[channel])
            self._listen()
            if self._worker is not None and self._worker in readable:
                self._answer()
        os._exit(0)

    def _listen(self) -> None:
        """Take what the snapshot has said without being asked."""
        try:
            while not self._gone and select.select([self._channel], [], [], 0)[0]:
                self._hear()
        except OSError:
            self._snapshot_ends()

    def _hear(self) -> str:
        """An answer of the snapshot's, where it has said that; that a copy has ended is dealt with. Raises OSError."""
        said = self._channel.recv(256).decode("utf-8", "replace")
        pid, _, ended = said.partition(" ")
        if not (pid.isdigit() and ended.isdigit()):
            if not said:
                self._snapshot_ends()
            return said
        self._ended(int(pid), int(ended))
        return ""

    def _snapshot_ends(self) -> None:
        """Nothing more is heard from it."""
        self._kill(self._snapshot)
        self._channel.close()
        self._gone = True

    def _ended(self, pid: int, ended: int) -> None:
        for copy in self._copies.values():
            if pid == copy.pid:
                copy.tell(ended)
                # everybody goes with it
                self._kill(copy.init)

    def _answer(self) -> None:
        assert self._worker is not None
        try:
            message, descriptors, _, _ = socket.recv_fds(self._worker, MOST_BYTES, MOST_DESCRIPTORS)
        except OSError:
            message, descriptors = b"", []
        if not message:
            self._retire()
            return
        kind, number, argument = marshal.loads(message)  # noqa: S302 - the worker wrote it
        if kind == MAKE:
            self._copies[number] = self._make(argument)
            self._copies[number].entrances = descriptors
        elif kind == START and number in self._copies and self._copies[number].asked is None:
            self._copies[number].asked = descriptors
            self._start(number)
        else:
            for descriptor in descriptors:
                os.close(descriptor)
            if kind == START:
                self._reply(number, "a copy that waited has ended", [])
            else:
                self._drop(number)

    def _retire(self) -> None:
        assert self._worker is not None
        self._worker.close()
        self._worker = None
        self._kill(self._snapshot)
        for number in [number for number, copy in self._copies.items() if copy.status < 0]:
            self._drop(number)

    def _drop(self, number: int) -> None:
        copy = self._copies.get(number)
        if copy is not None and copy.init:
            self._kill(copy.init)
        elif copy is not None:
            self._remove(number)

    def _make(self, temporary: str) -> Copy:
        """A copy that begins with its init process; which may fail later."""
        channel, its_channel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        plan, its_plan = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        copy = Copy(0, channel, plan, its_plan)
        try:
            copy.init = clone(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | self._network.namespaces)
            if copy.init == 0:
                begin(its_channel.detach(), self._stage, temporary, self._network)
        except OSError as error:
            copy.trouble = str(error)
        finally:
            its_channel.close()
        return copy

    def _go_on(self, number: int) -> None:
        """Its namespaces are there, or can be no more."""
        copy = self._copies[number]
        try:
            copy.pid = self._copied(copy)
            copy.channel.send(b"s")
        except OSError as error:
            copy.trouble = copy.trouble or str(error)
            self._kill(copy.init)
        copy.forget()
        self._start(number)

    def _copied(self, copy: Copy) -> int:
        """The process that the snapshot has forked into the namespaces of this init process. Raises OSError."""
        said, namespaces, _, _ = socket.recv_fds(copy.channel, 1024, MOST_DESCRIPTORS)
        try:
            if len(namespaces) != len(kinds(self._network.own)):
                raise OSError(errno.ESRCH, said.decode("utf-8", "replace") or "its init process has ended")
            if not self._snapshot or self._gone:
                raise OSError(errno.ESRCH, "the snapshot has ended")
            socket.send_fds(
                self._channel, [b"%d" % len(namespaces)], [*namespaces, copy.its_plan.fileno(), *copy.entrances]
            )
            try:
                answer = ""
                while not answer and not self._gone:
                    answer = self._hear()
            except OSError as error:
                self._snapshot_ends()
                raise OSError(errno.ESRCH, f"the snapshot does not answer: {error}") from error
        finally:
            for namespace in namespaces:
                os.close(namespace)
        if not answer.isdigit():
            raise OSError(errno.ECHILD, answer or "the snapshot has ended")
        known = {self._snapshot, *(number for each in self._copies.values() for number in (each.pid, each.init))}
        if int(answer) <= 1 or int(answer) in known:
            raise OSError(errno.ECHILD, "the snapshot lies")
        return int(answer)

    def _start(self, number: int) -> None:
        """Where it is asked for, and can be told so."""
        copy = self._copies[number]
        if not copy.asked or not (copy.pid or copy.trouble):
            return
        (plan, status, *others), copy.asked = copy.asked, []
        opened: list[int] = []
        try:
            if copy.trouble:
                raise OSError(errno.ESRCH, copy.trouble)
            opened += [os.pidfd_open(copy.init), os.pidfd_open(copy.pid)]
            socket.send_fds(copy.plan, [b"p"], [plan, *others])
            copy.status = os.dup(status)
            self._reply(number, "", opened)
        except OSError as error:
            self._reply(number, error.strerror or str(error), [])
            self._drop(number)
        finally:
            for descriptor in (plan, status, *others, *opened):
                os.close(descriptor)

    def _reply(self, number: int, error: str, descriptors: list[int]) -> None:
        if self._worker is not None:
            try:
                socket.send_fds(self._worker, [marshal.dumps((number, error))], descriptors)
            except OSError:
                pass  # it has hung up, which is read next

    def _remove(self, number: int) -> None:
        copy = self._copies.pop(number)
        copy.trouble = copy.trouble or "it has ended"
        if copy.asked:
            self._reply(number, copy.trouble, [])
            for descriptor in copy.asked:
                os.close(descriptor)
        copy.close()

    def _collect(self) -> None:
        while True:
            try:
                pid, ended = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._snapshot:
                self._snapshot = 0
                tell(self._status, ended)
            # of a snapshot that has ended, copies are this process's children
            self._ended(pid, ended)
            for number, copy in list(self._copies.items()):
                if pid == copy.init:
                    copy.tell(signal.SIGKILL)
                    self._remove(number)

    @staticmethod
    def _kill(pid: int, number: int = signal.SIGKILL) -> None:
        if pid:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass


def tell(status: int, ended: int) -> None:
    try:
        os.write(status, b"%d" % ended)
        os.close(status)
    except OSError:
        pass  # the worker is gone


def begin(channel: int, stage: str, temporary: str, network: Network) -> NoReturn:
    """The life of a copy's init process. It can never be looked into: it is no more dumpable than the keeper."""
    to_keeper = None
    try:
        network.ask()
        (number,) = network.moved(lifted([*network.descriptors, channel]))
        to_keeper = socket.socket(fileno=number)
        check(libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")
        for each in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(each, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        os.setsid()
        take_another_number()
        renew(stage, temporary)
        enter_root(stage)
        network.wait()
        namespaces = [os.open(f"/proc/self/ns/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in kinds(network.own)]
        socket.send_fds(to_keeper, [b"r"], namespaces)
        for namespace in namespaces:
            os.close(namespace)
        drop_capabilities()
        check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")
        if to_keeper.recv(1) != b"s":
            os._exit(0)  # not needed
        collect()
    except ConnectionError:
        os._exit(0)
    except BaseException as error:
        if to_keeper is not None:
            to_keeper.send(str(error).encode()[:1000])
    finally:
        os._exit(FAILED)


def take_another_number() -> None:
    """The copy is to have another process number than the snapshot: libraries see by that that they have been forked."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def collect() -> NoReturn:
    """Be pid 1: those whose parents have ended are its children. It ends when the keeper says so."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        signal.pause()
