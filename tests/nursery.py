"""``python -m tests.nursery SOCKET``: an interpreter that has imported fnrunner, and becomes a process of it by forking.

Most of what a start takes of a processor is importing, and the tests start hundreds. What is forked runs the command line
with an environment, a directory, arguments and an output of its own. See :mod:`tests.program` for the other end.

A request is ``{"environ": …, "directory": …, "arguments": […]}`` with descriptors for output and errors, and is answered by
``{"started": pid}``; ``{"ended": pid, "status": …}`` follows, with the status as subprocess has it.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import json
import os
import select
import signal
import socket
import sys
import threading
import time
from typing import Any, NoReturn

import fnrunner.app.node
from fnrunner.cli.main import main

MOST_BYTES = 1 << 20


def serve(channel: socket.socket) -> None:
    """Until the other end closes. Returns in the processes that were forked, when they are done."""
    woken, waker = os.pipe()
    for end in (woken, waker):
        os.set_blocking(end, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    while True:
        ready, _, _ = select.select([channel.fileno(), woken], [], [])
        if woken in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(woken, 4096)
            tell_who_ended(channel)
        if channel.fileno() in ready:
            message, descriptors, _, _ = socket.recv_fds(channel, MOST_BYTES, 2)
            if not message:
                return
            pid = os.fork()
            if pid == 0:
                channel.close()
                os.close(woken)
                os.close(waker)
                become(json.loads(message), *descriptors)
            for descriptor in descriptors:
                os.close(descriptor)
            channel.send(json.dumps({"started": pid}).encode())


def tell_who_ended(channel: socket.socket) -> None:
    with contextlib.suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            status = os.waitstatus_to_exitcode(found[1])
            channel.send(json.dumps({"ended": found[0], "status": status}).encode())


def become(request: dict[str, Any], output: int, errors: int) -> NoReturn:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(request["environ"])
    time.tzset()
    os.chdir(request["directory"])
    for descriptor, place in ((output, 1), (errors, 2)):
        os.dup2(descriptor, place)
        os.close(descriptor)
    sys.argv[:] = ["fnrunner", *request["arguments"]]
    try:
        main()
        status: int | str | None = 0
    except SystemExit as end:
        status = end.code
    if not isinstance(status, int):
        sys.exit(status)
    # as an interpreter ends, but for taking everything apart that was imported
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    assert fnrunner.app.node, "imported beforehand"
    assert len(os.listdir("/proc/self/task")) == 1, (
        "what is imported must start no thread: it would be missing in a fork"
    )
    gc.collect()
    gc.freeze()  # a collection in a fork would copy all of it
    with socket.socket(fileno=int(sys.argv[1])) as channel:
        serve(channel)
