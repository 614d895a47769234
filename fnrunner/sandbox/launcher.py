"""The program between the worker and the runtime: puts itself into its sandbox, then becomes the runtime.

Started as ``python -I -S launcher.py``; standard library only, nothing of fnrunner; its plan comes on stdin, marshalled,
because command lines can be read by everybody. It never forks, so nothing can be left behind by it. What goes wrong is
one line on stderr and exit status 125. Modules are chosen for their import time.
"""

from __future__ import annotations

import ctypes
import marshal
import os
import resource
import sys
from _signal import SIG_DFL, SIGKILL, SIGPIPE, SIGXFSZ, signal  # type: ignore[import-not-found]

TYPE_CHECKING = False  # what type checkers take for True; importing typing would cost a cold start
if TYPE_CHECKING:
    from typing import Any

FAILED = 125
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38
CLONE_NEWNS = 0x00020000
LAYERS = "/opt"
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_MOVE, MS_REC, MS_PRIVATE = (
    1,
    2,
    4,
    32,
    4096,
    8192,
    16384,
    1 << 18,
)

libc = ctypes.CDLL(None, use_errno=True)


def check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    arguments = [text.encode() if text else None for text in (source, target, kind)]
    check(libc.mount(*arguments, ctypes.c_ulong(flags), data.encode() if data else None), f"mount on {target}")


def bind(source: str, target: str, *, read_only: bool) -> None:
    mount(source, target, "", MS_BIND | MS_REC)
    if read_only:
        mount("", target, "", MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV)


def add_mountpoints(parent: str, names: list[str], stage: str) -> None:
    """Give ``parent`` the directories ``names`` in this namespace only: a memory file system in its place, in which
    everything that was there is mounted again.
    """
    mount("tmpfs", stage, "tmpfs", MS_NOSUID | MS_NODEV, "size=64k,mode=755")
    for entry in os.scandir(parent):
        place = f"{stage}/{entry.name}"
        if entry.name in names:
            continue
        if entry.is_symlink():
            os.symlink(os.readlink(entry.path), place)
        elif entry.is_dir():
            os.mkdir(place)
            mount(entry.path, place, "", MS_BIND | MS_REC)
        elif entry.is_file():
            os.close(os.open(place, os.O_CREAT | os.O_WRONLY, 0o644))
            mount(entry.path, place, "", MS_BIND)
    for name in names:
        os.mkdir(f"{stage}/{name}")
    mount(stage, parent, "", MS_MOVE)


def enter_mount_namespace(plan: dict[str, Any]) -> None:
    """A view of the file system of its own. Binds of what may lie below /tmp come before /tmp is hidden."""
    check(libc.unshare(CLONE_NEWNS), "unshare")
    mount("none", "/", "", MS_REC | MS_PRIVATE)
    by_parent: dict[str, list[str]] = {}
    for target in plan["read_only"]:
        by_parent.setdefault(os.path.dirname(target), []).append(os.path.basename(target))
    code = {target: os.open(source, os.O_PATH) for target, source in plan["read_only"].items()}
    if plan["layers"]:
        bind(plan["layers"], LAYERS, read_only=True)
    for parent, names in by_parent.items():
        add_mountpoints(parent, names, plan["stage"])
    for target, descriptor in code.items():
        bind(f"/proc/self/fd/{descriptor}", target, read_only=True)
        os.close(descriptor)
    for parent in by_parent:
        mount("", parent, "", MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV, "")
    if plan["tmp"]:
        hide_tmp(plan)


def hide_tmp(plan: dict[str, Any]) -> None:
    """A /tmp of its own; what of the host's must stay visible is mounted into it again."""
    kept = {path: os.open(path, os.O_PATH) for path in plan["visible"] if os.path.isdir(path)}
    bind(plan["tmp"], "/tmp", read_only=False)  # noqa: S108
    for path, descriptor in kept.items():
        os.makedirs(path, exist_ok=True)
        bind(f"/proc/self/fd/{descriptor}", path, read_only=False)
        os.close(descriptor)


def limit(plan: dict[str, Any]) -> None:
    for name, value in plan["limits"].items():
        number = getattr(resource, name)
        _, hard = resource.getrlimit(number)
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(number, (bound, bound))


def main() -> None:
    plan = marshal.load(sys.stdin.buffer)  # noqa: S302 - its parent wrote it
    check(libc.prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0), "prctl")
    if os.getppid() != plan["parent"]:
        os._exit(FAILED)  # the worker died before the line above
    for entrance in plan["cgroups"]:
        with open(entrance, "w") as file:
            file.write("0")
    if plan["mount_namespace"]:
        enter_mount_namespace(plan)
    if plan["probe"]:
        return
    limit(plan)
    check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("500")  # under host pressure, functions go before the worker
    except OSError:
        pass
    if plan["nice"]:
        # than the worker, which may be less urgent than others itself
        os.nice(plan["nice"])
    try:
        # a function that wakes up does not push the worker or the broker off the processor: more gets done under load
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    except OSError:
        pass
    os.chdir(plan["directory"])
    os.umask(0o022)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number in (SIGPIPE, SIGXFSZ):
        signal(number, SIG_DFL)
    os.execve(plan["argv"][0], plan["argv"], plan["variables"])  # noqa: S606


if __name__ == "__main__":
    try:
        main()
    except Exception as error:
        os.write(2, f"sandbox: {error}\n".encode())
        os._exit(FAILED)
