"""The fork server: an interpreter that waits, and becomes an environment in milliseconds when it is asked to.

Started as ``python -I -u -B -X utf8 spawner.py SOCKET PARENT NETWORK``, one for each interpreter of a worker; standard library
only, Python 3.9 and later. It holds no secret: what is to be run comes in a file in memory that only the new process reads,
so no environment can find another's variables in what it inherited.

::

    worker ─► spawner ── clone ──► init, pid 1 in namespaces of its own, with a root directory of the system's programs
                                    │     └── fork ──► the function: waits for its plan, adds what is its own to the root,
                                    │                   gives up every right, runs
                                    └ writes how the function ended into a pipe, and takes the rest along

Everything up to the wait is the same for all functions, and is done for a few of them before anybody asks.

The first message is ``(stage, links, shown)``: where the root directory is put together, and what of the host is in it.
Then each is ``(kind, number, argument)``:

``LEARN``
    ``argument`` is a Python program that may be run without starting an interpreter: where it is, and where the function
    sees it.
``MAKE``
    Somebody who waits, under this number; ``argument`` is the directory that becomes /tmp, and with it come the opened files
    by which control groups are joined.
``EARLY``
    The same, and it begins all that is the same for a kind of runtime, see :mod:`~fnrunner.sandbox.early`; ``argument`` has
    the directory and what is known.
``START``, ``KEEP``
    The one with this number begins. With it come the plan, the pipe for the status, for ``KEEP`` a socket of the
    :mod:`~fnrunner.sandbox.keeper`, the output, and what the function inherits. The answer is ``(number, error)``, with a
    pidfd of the init process where there is one.
``DROP``
    The one with this number is not needed.
"""

from __future__ import annotations

import errno
import gc
import marshal
import os
import select
import signal
import socket
import sys

# run alone, it finds what belongs to it, and nothing else is imported meanwhile
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from fnrunner.sandbox import early
from fnrunner.sandbox.become import (
    compiled,
    execute,
    give_up_rights,
    load,
    read_plan,
    take_descriptors,
)
from fnrunner.sandbox.conversation import DROP, EARLY, FAILED, KEEP, LEARN, MAKE, MOST_BYTES, MOST_DESCRIPTORS, START
from fnrunner.sandbox.keeper import Keeper, tell
from fnrunner.sandbox.kernel import (
    CLONE_NEWNS,
    NAMESPACES,
    PR_SET_DUMPABLE,
    PR_SET_NO_NEW_PRIVS,
    PR_SET_PDEATHSIG,
    call_oneself,
    check,
    clone,
    drop_capabilities,
    join_groups,
    libc,
    lifted,
    own_name,
    write,
)
from fnrunner.sandbox.network import Network
from fnrunner.sandbox.root import GROUP, USER, add_temporary, build_root, enter_groups, enter_root, show
from fnrunner.sandbox.snapshot import JOINING, Snapshot

del sys.path[0]

TYPE_CHECKING = False  # what type checkers take for True
if TYPE_CHECKING:
    from typing import Any, NoReturn


class Waiting:
    """An init process and its function, which wait for a plan."""

    def __init__(self, pid: int, pidfd: int, init: socket.socket, function: socket.socket, *, begun: bool) -> None:
        """``begun``: the function's process is that of a runtime that waits for its plan from the init process."""
        self.pid, self.pidfd, self.init, self.function, self.begun = pid, pidfd, init, function, begun

    def start(self, kind: int, descriptors: list[int]) -> None:
        """Raises OSError: it has ended."""
        if select.select([self.pidfd], [], [], 0)[0]:
            raise OSError(errno.ESRCH, "a process that waited has ended")
        plan, status, *others = descriptors
        if self.begun:
            socket.send_fds(self.init, [b"s"], [status, plan, *others])
            return
        of_init = [status, others.pop(0)] if kind == KEEP else [status]
        # the init process first: it is out of reach before the function is its own
        socket.send_fds(self.init, [b"s"], of_init)
        socket.send_fds(self.function, [b"p"], [plan, *others])

    def close(self) -> None:
        """A process that still waits ends."""
        os.close(self.pidfd)
        self.init.close()
        self.function.close()


class Spawner:
    """Answers requests until the worker closes its end."""

    def __init__(self, channel: socket.socket, network: Network) -> None:
        self.channel, self.network = channel, network
        self.base: Any = None
        self.scripts: dict[str, Any] = {}
        self.waiting: dict[int, Waiting] = {}
        self.faults: dict[int, str] = {}

    def serve(self) -> None:
        self.base = marshal.loads(self.channel.recv(MOST_BYTES))  # noqa: S302 - the worker wrote it
        while True:
            message, descriptors, _, _ = socket.recv_fds(self.channel, MOST_BYTES, MOST_DESCRIPTORS)
            if not message:
                os._exit(0)
            kind, number, argument = marshal.loads(message)  # noqa: S302 - the worker wrote it
            try:
                self.answer(kind, number, argument, descriptors)
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)

    def answer(self, kind: int, number: int, argument: Any, descriptors: list[int]) -> None:
        try:
            if kind == LEARN:
                self.learn(argument)
            elif kind == MAKE:
                self.waiting[number] = self.make(argument, descriptors)
            elif kind == EARLY:
                temporary, plan = argument
                self.waiting[number] = self.make(temporary, descriptors, marshal.loads(plan))  # noqa: S302
            elif kind == DROP:
                self.drop(number)
            else:
                self.start(kind, number, descriptors)
        except OSError as error:
            if kind in (START, KEEP):
                self.channel.send(marshal.dumps((number, self.faults.pop(number, str(error)))))
            elif kind in (MAKE, EARLY):
                self.faults[number] = str(error)
            else:
                os.write(2, f"sandbox: {error}\n".encode())

    def learn(self, script: tuple[str, str]) -> None:
        """Raises OSError: the program cannot be read."""
        if not self.scripts:
            load()
        self.scripts[script[1]] = compiled(*script)
        gc.collect()
        gc.freeze()

    def drop(self, number: int) -> None:
        self.faults.pop(number, None)
        if number in self.waiting:
            self.waiting.pop(number).close()

    def start(self, kind: int, number: int, descriptors: list[int]) -> None:
        """Raises OSError when there is no process; what goes wrong in it is said in its own output."""
        each = self.waiting.pop(number, None)
        if each is None:
            raise OSError(errno.ESRCH, "no process waits under this number")
        try:
            each.start(kind, descriptors)
            socket.send_fds(self.channel, [marshal.dumps((number, ""))], [each.pidfd])
        finally:
            each.close()

    def make(self, temporary: str, entrances: list[int], known: Any = None) -> Waiting:
        """Raises OSError."""
        init, its_init = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        function, its_function = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            pid = clone(NAMESPACES | self.network.namespaces)
            if pid == 0:
                inherited = [its_init.detach(), its_function.detach(), *entrances]
                begin(inherited, self.base, temporary, self.scripts, self.network, known)
            admit(pid)
            each = Waiting(pid, os.pidfd_open(pid), init, function, begun=known is not None)
            init.send(b"g")
        except BaseException:
            # without the word, the process ends
            init.close()
            function.close()
            raise
        finally:
            its_init.close()
            its_function.close()
        return each


def admit(pid: int) -> None:
    """Say who the process is outside."""
    write(f"/proc/{pid}/setgroups", "deny")
    write(f"/proc/{pid}/uid_map", f"{USER} {os.geteuid()} 1")
    write(f"/proc/{pid}/gid_map", f"{GROUP} {os.getegid()} 1")


def begin(
    inherited: list[int], base: Any, temporary: str, scripts: dict[str, Any], network: Network, known: Any
) -> NoReturn:
    """The life of the init process. Nothing of the spawner's stays open in it but where it writes errors, and asks for a
    network. ``inherited`` are its socket, the function's, and the entrances; ``known`` is the plan of one that begins early."""
    try:
        check(libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")
        network.ask()
        init, function, *entrances = network.moved(lifted([*network.descriptors, *inherited]))
        to_init, to_function = socket.socket(fileno=init), socket.socket(fileno=function)
        if to_init.recv(1) != b"g":
            os._exit(FAILED)  # the spawner could not admit it, or is dead
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        if known is None:
            hold(to_init, to_function, entrances, base, temporary, scripts, network)
        to_function.close()
        hold_early(to_init, entrances, base, temporary, scripts, network, known)
    except ConnectionError:
        os._exit(0)  # not needed any more
    except BaseException as error:
        os.write(2, f"sandbox: {error}\n".encode())
    finally:
        os._exit(FAILED)


def hold(
    to_init: socket.socket,
    to_function: socket.socket,
    entrances: list[int],
    base: Any,
    temporary: str,
    scripts: dict[str, Any],
    network: Network,
) -> NoReturn:
    """Make a root and a process that waits in it for the plan."""
    try:
        build_root(*base)
        add_temporary(base[0], temporary)
        network.wait()
    except OSError as error:
        explain(to_function, error)
    to_snapshot, inner = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = fork_unseen()
    if pid == 0:
        to_init.close()
        to_snapshot.close()
        wait(to_function, inner, entrances, base[0], scripts)
    to_function.close()
    inner.close()
    for entrance in entrances:
        os.close(entrance)
    _, descriptors, _, _ = socket.recv_fds(to_init, 1, 2)
    to_init.close()
    if len(descriptors) > 1:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        worker = socket.socket(fileno=descriptors[1])
        Keeper(worker, pid, descriptors[0], to_snapshot, base[0], network).serve()
    network.close()
    if descriptors:
        stay(pid, descriptors[0])
    os._exit(0)  # not needed any more


def hold_early(
    to_init: socket.socket,
    entrances: list[int],
    base: Any,
    temporary: str,
    scripts: dict[str, Any],
    network: Network,
    known: dict[str, Any],
) -> NoReturn:
    """The same with a process that goes on as far as it can without the plan."""
    build_root(*base)
    add_temporary(base[0], temporary)
    made = early.furnish(base[0], known)
    network.wait()
    to_program, inner = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = fork_unseen()
    if pid == 0:
        to_init.close()
        to_program.close()
        early.begin(known, inner, entrances, base[0], scripts)
    inner.close()
    for entrance in entrances:
        os.close(entrance)
    network.close()
    stay(pid, early.lead(to_init, to_program, base[0], made))


def fork_unseen() -> int:
    """The function has the same user: it must not find anything of this process in /proc, nor what it has open."""
    check(libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0), "prctl")
    return os.fork()


def explain(channel: socket.socket, error: OSError) -> NoReturn:
    """Say what went wrong where the function's output goes, when it is known."""
    _, descriptors, _, _ = socket.recv_fds(channel, 1, MOST_DESCRIPTORS)
    os.write(descriptors[1] if len(descriptors) > 1 else 2, f"sandbox: {error}\n".encode())
    os._exit(FAILED)


def stay(function: int, status: int) -> NoReturn:
    """Be pid 1: pass on the request to end, collect the dead, say how the function ended. Everybody goes with it."""
    signal.signal(signal.SIGTERM, lambda *_: os.kill(function, signal.SIGTERM))
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    os.close(nothing)
    drop_capabilities()
    check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")
    while True:
        pid, ended = os.waitpid(-1, 0)
        if pid == function:
            tell(status, ended)
            os._exit(0)


def wait(
    channel: socket.socket, inner: socket.socket, entrances: list[int], stage: str, scripts: dict[str, Any]
) -> NoReturn:
    """The life of the function's process: until there is a plan, the same for all."""
    try:
        check(libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), "prctl")
        own = own_name()
        call_oneself("fnr-waiting")
        join_groups(entrances)
        enter_groups()
        _, descriptors, _, _ = socket.recv_fds(channel, 1, MOST_DESCRIPTORS)
        if not descriptors:
            os._exit(0)  # not needed any more
        call_oneself(own)
        plan = read_plan(descriptors[0])
        keeps = [inner.detach()] if plan["copies"] else []
        # above the numbers that they are to have
        output, *inherited = lifted([*descriptors[1:], *keeps], max(2, *plan["inherited"], 2))
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        become(plan, stage, inherited, scripts)
    except ConnectionError:
        os._exit(0)  # not needed any more
    except BaseException as error:
        os.write(2, f"sandbox: {error}\n".encode())
    finally:
        os._exit(FAILED)


def become(plan: dict[str, Any], stage: str, inherited: list[int], scripts: dict[str, Any]) -> NoReturn:
    """Add what is the function's own, give up every right, and run."""
    show(stage, plan["shown"])
    more, permitted = {}, 0
    if plan["copies"]:
        more["snapshot"] = Snapshot(socket.socket(fileno=inherited.pop()), plan["filter_of_copies"])
        permitted = JOINING
        # the keeper has the other, from which those of the copies are made
        check(libc.unshare(CLONE_NEWNS), "unshare")
    enter_root(stage)
    take_descriptors(plan, inherited)
    give_up_rights(plan, permitted)
    execute(plan, scripts, more)


def main() -> None:
    channel = socket.socket(fileno=int(sys.argv[1]))
    parent = int(sys.argv[2])
    if os.geteuid() == 0:
        os.setgroups([])
    network = Network.told(sys.argv[3])
    check(libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")
    if os.getppid() != parent:
        os._exit(FAILED)  # the worker died before the line above
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the worker decides when it ends
    gc.disable()
    Spawner(channel, network).serve()


if __name__ == "__main__":
    main()
