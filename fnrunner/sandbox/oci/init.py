"""The first process of a container: serves the Runtime API in a child, reaps what is left to it, tells how the child ended.

Started by the host's Python from ``/.fnrunner``; standard library only. Its plan, with the function's variables, comes
marshalled in a file in memory: nothing of it is on a disk or in a command line.
"""

from __future__ import annotations

import importlib
import marshal
import os
import signal
import sys


def main() -> None:
    status_fd, plan_fd = int(sys.argv[1]), int(sys.argv[2])
    with open(plan_fd, "rb") as file:
        plan = marshal.load(file)  # noqa: S302 - the worker wrote it
    child = os.fork()
    if child == 0:
        os.close(status_fd)
        os.environ.clear()
        os.environ.update(plan["variables"])
        sys.path.append(plan["runtime_directory"])
        importlib.import_module("runtime_api.phases").serve(plan["arguments"], plan["directory"])
        os._exit(1)  # never reached
    os.set_inheritable(status_fd, False)
    for descriptor in plan["inherited"]:
        os.close(descriptor)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
    while True:
        ended, status = os.wait()
        if ended == child:
            os.write(status_fd, str(status).encode())
            os._exit(0)


if __name__ == "__main__":
    main()
