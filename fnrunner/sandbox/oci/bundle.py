"""The OCI runtime's description of one container. Pure.

Source: OCI runtime specification 1.0.2.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

HOSTNAME = "169.254.10.1"
"""What Lambda's have, more or less: an address."""
READ_ONLY, WRITABLE = ("bind", "ro", "nosuid", "nodev"), ("bind", "rw", "nosuid", "nodev")
NEW_NAMESPACES = 0x7E020000
EPERM, ENOSYS = 1, 38
REFUSED = (
    "mount", "umount2", "pivot_root", "chroot", "setns", "unshare", "open_tree", "move_mount", "fsopen", "fsconfig",
    "fsmount", "fspick", "mount_setattr", "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise",
    "pidfd_getfd", "kcmp", "add_key", "request_key", "keyctl", "bpf", "perf_event_open", "userfaultfd",
    "io_uring_setup", "io_uring_enter", "io_uring_register", "init_module", "finit_module", "delete_module",
    "kexec_load", "kexec_file_load", "reboot", "swapon", "swapoff", "acct", "settimeofday", "clock_settime",
    "clock_adjtime", "adjtimex", "quotactl", "quotactl_fd", "name_to_handle_at", "open_by_handle_at", "lookup_dcookie",
    "syslog", "vhangup", "sethostname", "setdomainname", "fanotify_init", "migrate_pages", "move_pages", "iopl",
    "ioperm", "nfsservctl",
)  # fmt: skip
FAMILIES = (15, 17, 29, 38, 40, 44)
"""Sockets of AF_KEY, AF_PACKET, AF_CAN, AF_ALG, AF_VSOCK and AF_XDP."""
_HIDDEN = (
    "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi",
    "/proc/timer_list", "/proc/timer_stats",
)  # fmt: skip
_FIXED = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


@dataclass(frozen=True, slots=True)
class Shown:
    """A directory or file of the host, as it is seen inside."""

    source: str
    target: str
    writable: bool = False


def bundle(
    root: str,
    argv: Sequence[str],
    *,
    marker: str,
    shown: Sequence[Shown],
    limits: Mapping[str, int],
    user: tuple[int, int],
    own_network: bool,
) -> dict[str, Any]:
    """``marker`` is the one variable (``NAME=value``) of the first process; ``limits`` by their RLIMIT names; ``user`` and
    group of the host that the container's root is.
    """
    uid, gid = user
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": {"uid": 0, "gid": 0},
            "args": list(argv),
            "env": [marker],
            "cwd": "/",
            "capabilities": {name: [] for name in ("bounding", "effective", "inheritable", "permitted", "ambient")},
            "rlimits": [{"type": name, "hard": value, "soft": value} for name, value in limits.items()],
            "noNewPrivileges": True,
            "oomScoreAdj": 500,
        },
        "root": {"path": root, "readonly": True},
        "hostname": HOSTNAME,
        "mounts": [*_mounts(shown)],
        "linux": {
            "uidMappings": [{"containerID": 0, "hostID": uid, "size": 1}],
            "gidMappings": [{"containerID": 0, "hostID": gid, "size": 1}],
            "namespaces": [
                {"type": kind}
                for kind in ("user", "mount", "pid", "ipc", "uts", *(("network",) if own_network else ()))
            ],
            "seccomp": seccomp(),
            "maskedPaths": list(_HIDDEN),
            "readonlyPaths": list(_FIXED),
        },
    }


def _mounts(shown: Sequence[Shown]) -> Iterator[dict[str, Any]]:
    yield {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]}
    options = ["nosuid", "noexec", "strictatime", "mode=755", "size=64k"]
    yield {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": options}
    for one in shown:
        how = list(WRITABLE if one.writable else READ_ONLY)
        yield {"destination": one.target, "type": "none", "source": one.source, "options": how}


def seccomp() -> dict[str, Any]:
    """What the namespace sandbox's filter refuses, by name. Those of another architecture's numbers are refused too."""
    refused = {"names": list(REFUSED), "action": "SCMP_ACT_ERRNO", "errnoRet": EPERM}
    cloning = {"index": 0, "value": NEW_NAMESPACES}
    # the mask is tested flag by flag: a filter compares a masked argument with one value
    flags = [1 << bit for bit in range(32) if NEW_NAMESPACES >> bit & 1]
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [
            refused,
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS},
            *(
                {
                    "names": ["clone"],
                    "action": "SCMP_ACT_ERRNO",
                    "errnoRet": EPERM,
                    "args": [{**cloning, "value": flag, "valueTwo": flag, "op": "SCMP_CMP_MASKED_EQ"}],
                }
                for flag in flags
            ),
            *(
                {
                    "names": ["socket"],
                    "action": "SCMP_ACT_ERRNO",
                    "errnoRet": EPERM,
                    "args": [{"index": 0, "value": family, "op": "SCMP_CMP_EQ"}],
                }
                for family in FAMILIES
            ),
        ],
    }
