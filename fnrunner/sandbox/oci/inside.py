"""What a container sees of fnrunner and of the host: the Runtime API's program, a Python to run it, names of hosts."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from fnrunner.runtimes.runtime import Layout
from fnrunner.sandbox.oci.bundle import Shown
from fnrunner.sandbox.oci.errors import ContainersUnavailable
from fnrunner.sandbox.oci.store import OURS

TOP = f"/{OURS}"
HOST, RUNTIME, INIT = f"{TOP}/host", f"{TOP}/runtime", f"{TOP}/init.py"
LAYOUT = Layout(task_root="/var/task", runtime_directory=RUNTIME, temporary="/tmp")  # noqa: S108 - its name inside
_LOADERS = {"x86_64": "ld-linux-x86-64.so.2", "aarch64": "ld-linux-aarch64.so.1"}
_LIBRARIES = ("/lib", "/usr/lib", "/lib64", "/usr/lib64", "/usr/local/lib")
_NAMES = ("/etc/hosts", "/etc/resolv.conf")


def python(interpreter: str) -> tuple[str, ...]:
    """The beginning of a command that runs the host's interpreter inside, with the host's loader and libraries: the image
    may have others, or none. Raises ContainersUnavailable.
    """
    libraries = [f"{HOST}{path}" for path in _library_directories()]
    return f"{HOST}{_loader()}", "--library-path", ":".join(libraries), f"{HOST}{os.path.realpath(interpreter)}"


def shown(interpreter: str, runtime_directory: str, temporary: str, resolver: Path | None) -> Iterator[Shown]:
    """Those that contain others first."""
    yield Shown("/usr", f"{HOST}/usr")
    home = Path(os.path.realpath(interpreter)).parent.parent
    if not home.is_relative_to("/usr"):
        yield Shown(str(home), f"{HOST}{home}")
    yield Shown(runtime_directory, RUNTIME)
    yield Shown(str(Path(__file__).with_name("init.py")), INIT)
    yield Shown(temporary, LAYOUT.temporary, writable=True)
    for name in _NAMES:
        source = str(resolver) if resolver is not None and name == "/etc/resolv.conf" else os.path.realpath(name)
        if os.path.exists(source):
            yield Shown(source, name)


@cache
def _loader() -> str:
    """Below /usr. Raises ContainersUnavailable."""
    name = _LOADERS.get(platform.machine(), "")
    for directory in _library_directories():
        if name and os.path.exists(f"{directory}/{name}"):
            return os.path.realpath(f"{directory}/{name}")
    raise ContainersUnavailable(
        f"container images run on workers with glibc on x86_64 or aarch64; this one is {platform.machine()}"
    )


@cache
def _library_directories() -> tuple[str, ...]:
    """Below /usr, of the loader's own architecture first."""
    triplet = f"{platform.machine()}-linux-gnu"
    found = [f"{directory}/{triplet}" for directory in _LIBRARIES] + list(_LIBRARIES)
    real = [os.path.realpath(path) for path in found if os.path.isdir(path)]
    return tuple(dict.fromkeys(path for path in real if path.startswith("/usr/")))
