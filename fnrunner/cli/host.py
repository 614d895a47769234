"""What this host gives to fnrunner: interpreters, isolation, kernel limits, space. Reads only; each gap has its remedy."""

from __future__ import annotations

import os
import resource
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from fnrunner.cli.output import size

if TYPE_CHECKING:
    from fnrunner.sandbox.destination import NetworkWish

WATCHES = 65_536
INSTANCES = 128
OPEN_FILES = 4_096
FREE_BYTES = 1024 * 1024 * 1024
_INOTIFY = Path("/proc/sys/fs/inotify")


class Verdict(Enum):
    """``GAP``: it works with less. ``FAULT``: something does not work."""

    OK = "ok"
    GAP = "gap"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. ``remedy`` is empty when all is well.

    ``code`` is that of a server's problem, see :class:`fnrunner.model.problem.Code`.
    """

    part: str
    verdict: Verdict
    detail: str
    remedy: str = ""
    code: str = ""


def look(
    data_dir: Path,
    *,
    sandbox: str = "auto",
    cpu_limit: bool = False,
    network: NetworkWish | None = None,
    lets_stand_in: bool = False,
) -> Iterator[Finding]:
    """Everything that can be seen without a server. ``data_dir`` need not exist."""
    yield from runtimes(lets_stand_in=lets_stand_in)
    yield from isolation(sandbox, cpu_limit=cpu_limit, network=network)
    yield watches()
    yield instances()
    yield open_files(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    yield space(data_dir)


def runtimes(*, lets_stand_in: bool = False) -> Iterator[Finding]:
    """The interpreters that functions can run on, and with ``lets_stand_in`` what stands in for those that are missing."""
    from fnrunner.runtimes.choice import Runtimes
    from fnrunner.runtimes.node import NAMES
    from fnrunner.runtimes.python import PythonRuntime

    here = Runtimes(lets_stand_in=lets_stand_in)
    found = here.available()
    if not any(PythonRuntime().serves(name) for name in found):
        yield Finding(
            "runtimes", Verdict.FAULT, "no Python interpreter was found", "apt-get install python3, or put one on PATH"
        )
    for name, path in found.items():
        yield Finding(f"runtime {name}", Verdict.OK, path)
    for name, other in here.stand_ins().items():
        remedy = f"nothing, where no function asks for it; else install {name}, and start the worker again"
        yield Finding(f"runtime {name}", Verdict.GAP, f"it is not here: {other} stands in", remedy)
    if not any(name in NAMES for name in found):
        remedy = "nothing, where no function is written for it; else install Node.js so that `node` is on PATH"
        yield Finding("runtime nodejs", Verdict.GAP, f"no Node.js of {', '.join(NAMES)} was found", remedy)
    yield images()


def images() -> Finding:
    """What runs functions that are container images."""
    from fnrunner.sandbox.oci import engine
    from fnrunner.sandbox.oci.errors import ContainersUnavailable
    from fnrunner.sandbox.oci.store import Tools

    try:
        tools = Tools.on_this_host()
        engine.require_any()
    except ContainersUnavailable as error:
        what, _, remedy = str(error).partition(": ")
        return Finding("container images", Verdict.GAP, what, remedy or "apt-get install crun skopeo umoci")
    found = [one.path for one in engine.engines()]
    return Finding("container images", Verdict.OK, ", ".join((*found, tools.skopeo, tools.umoci)))


def isolation(kind: str = "auto", *, cpu_limit: bool = False, network: NetworkWish | None = None) -> Iterator[Finding]:
    """What keeps functions apart. ``kind``, ``cpu_limit`` and ``network`` are what the settings want."""
    from fnrunner.sandbox.choice import on_this_host
    from fnrunner.sandbox.destination import NetworkWish
    from fnrunner.sandbox.sandbox import SandboxError

    with tempfile.TemporaryDirectory() as folder:
        try:
            sandbox = on_this_host(Path(folder), kind, cpu_limit=cpu_limit, network=network or NetworkWish())
            report = sandbox.describe()
            sandbox.close()
        except SandboxError as error:
            yield Finding("isolation", Verdict.FAULT, str(error), "run the worker on a host that permits it")
            return
    cgroups = f"cgroups v{report.cgroup_version}" if report.cgroup_version else "no cgroups"
    apart = "private mounts" if report.mount_namespace else "no private mounts"
    if report.namespaces:
        apart = (
            f"namespaces of {', '.join(report.namespaces)}; system calls filtered by {report.system_calls or 'nobody'}"
        )
    yield Finding(
        "isolation", Verdict.OK, f"{report.name}: {cgroups}, {apart}; memory by {report.memory}, cpu by {report.cpu}"
    )
    yield Finding("functions' network", Verdict.OK, report.network)
    yield Finding(
        "functions' /tmp",
        Verdict.OK,
        "each file is bounded exactly; the total is looked at four times a second, and what is over it fails with EFBIG",
    )
    held = "cgroup.freeze" if report.cgroup_version == 2 else "SIGSTOP"
    yield Finding("idle functions", Verdict.OK, f"frozen between invocations by {held}")
    for gap in report.gaps:
        what, _, remedy = gap.partition(": ")
        yield Finding("isolation", Verdict.GAP, what, remedy)


def watches() -> Finding:
    """How many directories of buckets can be watched."""
    return _limit("max_user_watches", WATCHES, "directories in all buckets")


def instances() -> Finding:
    """How many watchers can be open."""
    return _limit("max_user_instances", INSTANCES, "watchers on this host")


def _limit(name: str, enough: int, counts: str) -> Finding:
    try:
        value = int((_INOTIFY / name).read_text())
    except (OSError, ValueError):
        return Finding("inotify", Verdict.GAP, f"{name} cannot be read", "buckets are scanned instead of watched")
    if value >= enough:
        return Finding("inotify", Verdict.OK, f"{name} {value}")
    return Finding("inotify", Verdict.GAP, f"{name} is {value}: {counts}", f"sysctl fs.inotify.{name}={enough}")


def open_files(limit: int) -> Finding:
    """How many files a process may have open: two for each environment and connection."""
    if limit == resource.RLIM_INFINITY or limit >= OPEN_FILES:
        return Finding("open files", Verdict.OK, str(limit))
    return Finding("open files", Verdict.GAP, f"{limit} for each process", f"ulimit -n {OPEN_FILES} before starting")


def space(data_dir: Path) -> Finding:
    """Whether there is room for events, logs and code, and whether it can be written."""
    there = data_dir
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    if not os.access(there, os.W_OK):
        return Finding("data directory", Verdict.FAULT, f"{there} cannot be written", "choose another with --data-dir")
    if free < FREE_BYTES:
        return Finding(
            "data directory", Verdict.GAP, f"{data_dir} on this host: {size(free)} free", "make room, or use --data-dir"
        )
    return Finding("data directory", Verdict.OK, f"{data_dir} on this host: {size(free)} free")
