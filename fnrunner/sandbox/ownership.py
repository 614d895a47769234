"""Names that say which worker made a thing, so that a later worker can tell what a dead one left behind.

A name is ``fnrunner-BOOT-PIDNS-PID-START-ENVIRONMENT``: a restarted host, a container beside this one and a reused pid
cannot be taken for the worker that is meant. Things of other pid namespaces are never judged: their workers cannot be
seen from here.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

MARKER = "_FNRUNNER_ENVIRONMENT"
_NAME = re.compile(
    r"fnrunner-(?P<boot>[0-9a-f]{8})-(?P<pidns>\d+)-(?P<pid>\d+)-(?P<start>\d+)-(?P<environment>[\w.-]+)"
)


def start_time(pid: int) -> int | None:
    """When the process started, in clock ticks after boot: with the pid, its identity. None when there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    state, *fields = stat[stat.rindex(b")") + 2 :].split()
    return None if state in (b"Z", b"X") else int(fields[18])


@dataclass(frozen=True, slots=True)
class Owner:
    """A worker process on this host."""

    boot: str
    pidns: int
    pid: int
    start: int

    @classmethod
    def this_process(cls) -> Self:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().replace("-", "")[:8]
        pidns = Path("/proc/self/ns/pid").stat().st_ino
        return cls(boot, pidns, os.getpid(), start_time(os.getpid()) or 0)

    def name(self, environment_id: str) -> str:
        return f"fnrunner-{self.boot}-{self.pidns}-{self.pid}-{self.start}-{environment_id}"

    def abandoned(self, name: str) -> bool:
        """Whether the name belongs to a worker that is certainly dead, seen from this one."""
        if not (match := _NAME.fullmatch(name)):
            return False
        if match["boot"] != self.boot:
            return True
        if int(match["pidns"]) != self.pidns:
            return False
        return start_time(int(match["pid"])) != int(match["start"])
