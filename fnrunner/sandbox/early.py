"""A runtime that begins before it is known for which function: all that is the same for its kind is done, then it waits.

Runs in the processes of the namespace sandbox; standard library only, Python 3.9 and later. It is one environment's from the
beginning, with namespaces of its own, and serves one function.

::

    spawner ── clone ──► init ── fork ──► the runtime's program, in a mount namespace below that of init: has given up
                          │                every right, has begun what it can, waits
                          └ the plan comes: shows what is the function's own, which appears there too; hands the plan over

What it is started with is exactly what it would be started with for the function, arguments, limits and filter, but the
variables that make no difference to a start. If it ends while it waits, its init process does, and somebody else begins.
"""

from __future__ import annotations

import marshal
import os
import select
import socket
import sys
import time

from fnrunner.sandbox.become import give_up_rights, run, take_descriptors, take_place
from fnrunner.sandbox.conversation import FAILED, MOST_DESCRIPTORS
from fnrunner.sandbox.keeper import tell
from fnrunner.sandbox.kernel import (
    CLONE_NEWNS,
    MS_PRIVATE,
    MS_REC,
    MS_SHARED,
    MS_SLAVE,
    PR_SET_DUMPABLE,
    bind_finished,
    call_oneself,
    check,
    join_groups,
    libc,
    lifted,
    mount,
    own_name,
)
from fnrunner.sandbox.root import enter_groups, enter_root, make_directory, show

TYPE_CHECKING = False  # what type checkers take for True
if TYPE_CHECKING:
    from typing import Any, NoReturn


class Early:
    """What the program finds as ``early`` among its names."""

    def __init__(self, channel: socket.socket, name: str) -> None:
        self._channel, self._name = channel, name

    def wait(self) -> list[str]:
        """Until it is known for whom. The program's arguments, the first of which is the inherited descriptor; variables,
        output and directory are in place. Where it is not needed it ends.
        """
        try:
            _, received, _, _ = socket.recv_fds(self._channel, 1, MOST_DESCRIPTORS)
        except ConnectionError:
            received = []
        if not received:
            os._exit(0)
        self._channel.close()
        call_oneself(self._name)
        plan = take_place(*received[:2])
        time.tzset()
        sys.argv = [*plan["argv"][plan["script"] :]]
        sys.argv[1] = str(received[2])
        return sys.argv[1:]


def furnish(stage: str, plan: dict[str, Any]) -> list[str]:
    """What is shown to all of its kind. What is mounted from now on will be seen in mount namespaces below this one.

    The directories that were made for the dynamic linker, which never looks again where there was none: ``unfurnish`` them.
    """
    show(stage, plan["shown"])
    made = []
    for path in plan["variables"].get("LD_LIBRARY_PATH", "").split(":"):
        if path.startswith("/") and not os.path.exists(f"{stage}{path}"):
            make_directory(f"{stage}{path}")
            made.append(f"{stage}{path}")
    mount("none", stage, "", MS_REC | MS_SHARED)
    return made


def unfurnish(made: list[str]) -> None:
    for path in sorted(made, key=len, reverse=True):
        os.rmdir(path)


def begin(plan: dict[str, Any], channel: socket.socket, entrances: list[int], stage: str, scripts: Any) -> NoReturn:
    """The life of the program's process."""
    try:
        program = scripts.get(plan["argv"][plan["script"]])
        if program is None:
            os._exit(FAILED)
        check(libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), "prctl")
        join_groups(entrances)
        enter_groups()
        (number,) = lifted([channel.detach()])
        check(libc.unshare(CLONE_NEWNS), "unshare")
        mount("none", "/", "", MS_REC | MS_SLAVE)
        enter_root(stage)
        take_descriptors({"inherited": ()}, [])
        give_up_rights(plan)
        early = Early(socket.socket(fileno=number), own_name())
        call_oneself("fnr-waiting")
        run(program, plan["argv"][plan["script"] :], plan["variables"], {"early": early})
    except BaseException as error:
        os.write(2, f"sandbox: {error}\n".encode())
    finally:
        os._exit(FAILED)


def lead(to_spawner: socket.socket, to_program: socket.socket, stage: str, made: list[str]) -> int:
    """The part of the init process. Where it says how the program ended, once it serves a function.

    Ends when the program does, or nobody needs it.
    """
    readable, _, _ = select.select([to_spawner, to_program], [], [])
    if to_program in readable:
        os._exit(FAILED)
    _, descriptors, _, _ = socket.recv_fds(to_spawner, 1, MOST_DESCRIPTORS)
    if not descriptors:
        os._exit(0)  # not needed any more
    to_spawner.close()
    status, plan, output, *_ = descriptors
    try:
        late = marshal.loads(os.pread(plan, os.fstat(plan).st_size, 0))["late"]  # noqa: S302 - the worker wrote it
        unfurnish(made)
        show(stage, late, bind_finished)
        socket.send_fds(to_program, [b"p"], descriptors[1:])
        # nothing of the host stays in view here either
        mount("none", "/", "", MS_REC | MS_PRIVATE)
        enter_root(stage)
    except OSError as error:
        os.write(output, f"sandbox: {error}\n".encode())
        tell(status, FAILED << 8)
        os._exit(FAILED)
    to_program.close()
    for descriptor in descriptors[1:]:
        os.close(descriptor)
    return status
