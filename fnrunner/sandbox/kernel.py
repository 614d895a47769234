"""What the processes of the namespace sandbox ask of the kernel; standard library only, Python 3.9 and later."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import signal
import struct

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NAME, PR_SET_SECCOMP = 1, 4, 15, 22
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 24, 38
SECCOMP_MODE_FILTER = 2
CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS = 0x00020000, 0x02000000, 0x04000000
CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x08000000, 0x10000000, 0x20000000, 0x40000000
SHARED = {"pid": CLONE_NEWPID, "mnt": CLONE_NEWNS, "ipc": CLONE_NEWIPC, "uts": CLONE_NEWUTS, "net": CLONE_NEWNET}
"""The namespaces of an environment that a process can be sent into, by their names in /proc. The last one may be the host's."""

NAMESPACES = CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS
CAP_SYS_CHROOT, CAP_SYS_ADMIN = 1 << 18, 1 << 21
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC = 1, 2, 4, 8, 4096, 16384
MS_PRIVATE, MS_SLAVE, MS_SHARED = 1 << 18, 1 << 19, 1 << 20
MNT_DETACH = 2
AT_FDCWD, AT_EMPTY_PATH, AT_RECURSIVE = -100, 0x1000, 0x8000
OPEN_TREE, MOVE_MOUNT = 428, 429
OPEN_TREE_CLONE, MOVE_MOUNT_F_EMPTY_PATH = 1, 4
ATTR_RDONLY, ATTR_NOSUID, ATTR_NODEV = 1, 2, 4
CAPABILITY_VERSION_3 = 0x20080522
CALLS = {"x86_64": (56, 442, 155), "aarch64": (220, 442, 41)}
"""Numbers of clone, mount_setattr and pivot_root."""

libc = ctypes.CDLL(None, use_errno=True)
CLONE, MOUNT_SETATTR, PIVOT_ROOT = CALLS.get(os.uname().machine, (0, 0, 0))


def check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    arguments = [text.encode() if text else None for text in (source, target, kind)]
    check(libc.mount(*arguments, ctypes.c_ulong(flags), data.encode() if data else None), f"mount on {target}")


def bind(source: int | str, target: str, attributes: int) -> None:
    """Show what a descriptor or a path means at ``target`` too, everything that is mounted below it included."""
    mount(f"/proc/self/fd/{source}" if isinstance(source, int) else source, target, "", MS_BIND | MS_REC)
    restrict(target, attributes, AT_RECURSIVE)


def bind_finished(source: int, target: str, attributes: int) -> None:
    """The same, with its attributes from the first moment: other mount namespaces get it as it is when it appears."""
    flags = OPEN_TREE_CLONE | AT_EMPTY_PATH | AT_RECURSIVE | os.O_CLOEXEC
    tree = libc.syscall(OPEN_TREE, source, b"", flags)
    check(tree, "open_tree")
    try:
        restrict("", attributes, AT_EMPTY_PATH | AT_RECURSIVE, tree)
        moved = libc.syscall(MOVE_MOUNT, tree, b"", AT_FDCWD, target.encode(), MOVE_MOUNT_F_EMPTY_PATH)
        check(moved, f"mount on {target}")
    finally:
        os.close(tree)


def restrict(target: str, attributes: int, flags: int = 0, directory: int = AT_FDCWD) -> None:
    wanted = struct.pack("QQQQ", attributes, 0, 0, 0)
    check(
        libc.syscall(MOUNT_SETATTR, directory, target.encode(), flags, wanted, len(wanted)),
        f"mount_setattr of {target}",
    )


def clone(flags: int) -> int:
    """fork, into new namespaces. Python's own fork cannot, and a process may leave its pid namespace only once.

    0 in the child. Raises OSError.
    """
    python = ctypes.pythonapi
    # held throughout, or another thread state could be current in the child
    raw = ctypes.PyDLL(None, use_errno=True)
    python.PyOS_BeforeFork()
    pid = int(raw.syscall(CLONE, ctypes.c_ulong(flags | signal.SIGCHLD), 0, 0, 0, 0))
    number = ctypes.get_errno()
    if pid == 0:
        python.PyOS_AfterFork_Child()
        return 0
    python.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError(number, f"clone: {os.strerror(number)}")
    return pid


def write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def lifted(descriptors: list[int], above: int = 2) -> list[int]:
    """The same files under numbers ``above`` one; everything else, but 0 to 2, is closed."""
    high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, above + 1) for descriptor in descriptors]
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in high:
            try:
                os.close(int(name))
            except OSError:
                pass  # that of the listing itself
    return high


def drop_capabilities(permitted: int = 0) -> None:
    """For good, but those of ``permitted``, a mask, which may be made effective again."""
    number = 0
    while libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0) == 0:
        number += 1
    if ctypes.get_errno() != errno.EINVAL:
        check(-1, "prctl")
    use_capabilities(0, permitted)


def use_capabilities(effective: int, permitted: int) -> None:
    """Masks of the first 32 capabilities."""
    masks = struct.pack("=6I", effective, permitted, 0, 0, 0, 0)
    check(libc.capset(struct.pack("=Ii", CAPABILITY_VERSION_3, 0), masks), "capset")


def call_oneself(name: str) -> None:
    """For who looks at processes from outside, 15 bytes at most."""
    libc.prctl(PR_SET_NAME, name.encode(), 0, 0, 0)


def own_name() -> str:
    with open("/proc/self/comm") as file:
        return file.read().rstrip("\n")


def join(namespace: int, kind: int) -> None:
    check(libc.setns(namespace, kind), "setns")


def join_groups(entrances: list[int]) -> None:
    """Join control groups by their opened files. A process that moves itself need not wait for the kernel's global lock."""
    for entrance in entrances:
        os.write(entrance, b"0")
        os.close(entrance)


def install(instructions: bytes) -> None:
    array = ctypes.create_string_buffer(instructions, len(instructions))
    program = struct.pack("@HP", len(instructions) // 8, ctypes.addressof(array))
    check(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0), "the filter of system calls")
