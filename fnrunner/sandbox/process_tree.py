"""Who descends from a process, for hosts where no cgroup says so: read from /proc, decided purely.

>>> table = {1: Entry(0, 1, 1, 5), 7: Entry(1, 7, 7, 6), 8: Entry(7, 7, 7, 6), 9: Entry(1, 9, 9, 7)}
>>> sorted(members(table, root=7, marked=frozenset({9})))
[7, 8, 9]
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

PAGE = os.sysconf("SC_PAGE_SIZE")


class Entry(NamedTuple):
    """``resident_pages`` is the resident size; a zombie is no entry."""

    parent: int
    group: int
    session: int
    start: int
    resident_pages: int = 0


def table() -> dict[int, Entry]:
    """Every living process of this pid namespace."""
    entries = {}
    for pid in _pids():
        with contextlib.suppress(OSError, ValueError):
            stat = Path(f"/proc/{pid}/stat").read_bytes()
            state, *fields = stat[stat.rindex(b")") + 2 :].split()
            if state not in (b"Z", b"X"):
                entries[pid] = Entry(int(fields[0]), int(fields[1]), int(fields[2]), int(fields[18]), int(fields[20]))
    return entries


def marked(marker: bytes, pids: Collection[int]) -> frozenset[int]:
    """Those whose environment held ``marker`` (``NAME=value``) when their program started; children inherit it."""
    found = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            if marker in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                found.add(pid)
    return frozenset(found)


def markers(name: bytes) -> Iterator[tuple[int, str]]:
    """Every living process whose environment sets ``name``, and the value."""
    for pid in _pids():
        with contextlib.suppress(OSError):
            for variable in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                if variable.startswith(name + b"="):
                    yield pid, variable[len(name) + 1 :].decode("ascii", "replace")


def members(entries: Mapping[int, Entry], *, root: int, marked: frozenset[int]) -> set[int]:
    """``root``, its session and group, everything marked, and all descendants of these, where they live."""
    children = defaultdict(list)
    for pid, entry in entries.items():
        children[entry.parent].append(pid)
    pending = [
        pid for pid, entry in entries.items() if pid == root or root in (entry.group, entry.session) or pid in marked
    ]
    found: set[int] = set()
    while pending:
        pid = pending.pop()
        if pid not in found:
            found.add(pid)
            pending.extend(children[pid])
    return found


def kill(pids: Collection[int]) -> None:
    """SIGKILL, and collect those that have become this process's own children."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def collect(pids: Collection[int]) -> None:
    """Reap those that are this process's children by adoption and have ended; others are left alone."""
    for pid in pids:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def resident_bytes(pid: int) -> int:
    """Of this process alone; 0 when it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    except (OSError, ValueError, IndexError):
        return 0
