"""The root directory of an environment: the system's programs and settings, a small /dev and /proc, what is the function's.

Runs in the processes of the namespace sandbox; standard library only, Python 3.9 and later.
"""

from __future__ import annotations

import os

from fnrunner.sandbox.kernel import (
    ATTR_NODEV,
    ATTR_NOSUID,
    ATTR_RDONLY,
    CLONE_NEWCGROUP,
    MNT_DETACH,
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_RDONLY,
    MS_REC,
    MS_SLAVE,
    PIVOT_ROOT,
    bind,
    check,
    libc,
    mount,
    restrict,
)

TYPE_CHECKING = False  # what type checkers take for True
if TYPE_CHECKING:
    from typing import Any

USER, GROUP = 993, 990
"""Who the function believes to be, as on Lambda; outside it is the worker's user without any right of root."""

PASSWD = f"root:x:0:0:root:/root:/sbin/nologin\nsbx_user1051:x:{USER}:{GROUP}::/home/sbx_user1051:/sbin/nologin\n"
GROUPS = f"root:x:0:\nsbx_user1051:x:{GROUP}:\n"
DEVICES = ("null", "zero", "full", "random", "urandom")
UNCHANGEABLE = ("sys", "irq", "bus", "fs")
UNREADABLE = (
    "acpi", "kcore", "keys", "kpagecgroup", "kpagecount", "kpageflags", "latency_stats", "sched_debug", "scsi", "slabinfo",
    "sysrq-trigger", "timer_list", "vmallocinfo",
)  # fmt: skip


def build_root(root: str, links: Any, shown: Any) -> None:
    """A root directory of the system's programs and settings, and nothing else of the host; not entered yet."""
    check(libc.sethostname(b"localhost", 9), "sethostname")
    # nothing goes out, and what the host unmounts goes away here too
    mount("none", "/", "", MS_REC | MS_SLAVE)
    mount("tmpfs", root, "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,mode=755")
    for name in ("/dev", "/proc", "/opt", "/tmp", "/etc", "/var"):  # noqa: S108 - their names inside
        make_directory(f"{root}{name}")
    for name, link in links:
        make_directory(os.path.dirname(f"{root}{name}"))
        os.symlink(link, f"{root}{name}")
    show(root, shown)
    for name, text in (("passwd", PASSWD), ("group", GROUPS)):
        with open(f"{root}/etc/{name}", "w") as file:
            file.write(text)
    add_devices(root)
    add_proc(root)


def show(root: str, shown: Any, add: Any = bind) -> None:
    """Mount parts of the host: where each is, where it is seen, and what may not be done with it."""
    # opened now: some of it may lie below what another one covers
    opened = []
    for source, target, attributes in shown:
        try:
            opened.append((os.open(source, os.O_PATH), target, attributes))
        except FileNotFoundError:
            continue  # a package of the host was removed, or a bucket's directory
    for descriptor, target, attributes in opened:
        prepare(descriptor, f"{root}{target}")
        add(descriptor, f"{root}{target}", attributes)
        os.close(descriptor)


def enter_root(root: str) -> None:
    """Go in for good, with everybody of this mount namespace."""
    os.chdir(root)
    check(libc.syscall(PIVOT_ROOT, b".", b"."), "pivot_root")
    check(libc.umount2(b".", MNT_DETACH), "umount2")
    os.chdir("/")
    restrict("/", ATTR_RDONLY)


def enter_groups() -> None:
    """What it sees of the control groups begins with its own."""
    check(libc.unshare(CLONE_NEWCGROUP), "unshare")


def add_proc(root: str) -> None:
    mount("proc", f"{root}/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    cover_proc(root)


def add_temporary(root: str, source: str) -> None:
    """The environment's own /tmp."""
    bind(source, f"{root}/tmp", ATTR_NOSUID | ATTR_NODEV)  # noqa: S108 - its name inside


def renew(root: str, temporary: str) -> None:
    """In a copy of a mount namespace, and in a pid namespace of one's own: /proc and /tmp that are one's own."""
    # of the host's directories that are shown below /tmp, the former one's stay there, hidden by the new
    shown = [(os.open(path, os.O_PATH | os.O_CLOEXEC), path) for path in mounts_below(f"{root}/tmp")]  # noqa: S108
    check(libc.umount2(f"{root}/proc".encode(), MNT_DETACH), "umount2")
    add_proc(root)
    add_temporary(root, temporary)
    for descriptor, path in shown:
        prepare(descriptor, path)
        # with the attributes that it has there
        mount(f"/proc/self/fd/{descriptor}", path, "", MS_BIND)
        os.close(descriptor)


def mounts_below(directory: str) -> list[str]:
    """Where something is mounted below it, those that contain others first."""
    found = set()
    with open("/proc/self/mountinfo", "rb") as mounts:
        for line in mounts:
            path = os.fsdecode(line.split()[4].decode("unicode_escape").encode("latin-1"))
            if path.startswith(f"{directory}/"):
                found.add(path)
    return sorted(found, key=len)


def make_directory(path: str) -> None:
    try:
        os.makedirs(path, 0o755, exist_ok=True)
    except OSError as error:
        raise OSError(error.errno, f"{path} cannot be made visible to functions: {error.strerror}") from error


def prepare(descriptor: int, place: str) -> None:
    """Something to mount on."""
    if os.path.exists(place):
        return
    if os.path.isdir(f"/proc/self/fd/{descriptor}"):
        make_directory(place)
        return
    make_directory(os.path.dirname(place))
    os.close(os.open(place, os.O_CREAT | os.O_WRONLY, 0o644))


def add_devices(root: str) -> None:
    for name in DEVICES:
        os.close(os.open(f"{root}/dev/{name}", os.O_CREAT | os.O_WRONLY, 0o666))
        # read-only is the node, whose mode is the host's, and not the device
        bind(f"/dev/{name}", f"{root}/dev/{name}", ATTR_RDONLY | ATTR_NOSUID)
    for name, link in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
        os.symlink(f"/proc/self/fd{link}", f"{root}/dev/{name}")


def cover_proc(root: str) -> None:
    for name in UNCHANGEABLE:
        if os.path.isdir(path := f"{root}/proc/{name}"):
            bind(path, path, ATTR_RDONLY)
    for name in UNREADABLE:
        path = f"{root}/proc/{name}"
        if os.path.isdir(path):
            mount("tmpfs", path, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV, "size=4k,mode=555")
        elif os.path.exists(path):
            bind("/dev/null", path, ATTR_RDONLY)
