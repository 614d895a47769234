"""How an environment of the Runtime API is started: the host's Python, the program of ``runtime_api``, its arguments."""

from __future__ import annotations

import compileall
import sys
from functools import cache
from pathlib import Path

from fnrunner.model.invocation import EnvironmentSpec
from fnrunner.runtimes.runtime import Layout

PROGRAM = "runtime_api/main.py"
FLAGS = ("-I", "-S", "-u", "-B", "-X", "utf8")
SCRIPT = 1 + len(FLAGS)
"""Where the program is in the command: an interpreter that has been loaded already may run it."""
OPT_ROOT = "/opt"


def host_python() -> str:
    """The interpreter below a virtual environment: what runs in an environment sees nothing that fnrunner came with."""
    return str(Path(getattr(sys, "_base_executable", None) or sys.executable).resolve())


@cache
def prepare() -> None:
    """Compile the program's modules, once in a process: environments cannot write what they compile, and would each time."""
    compileall.compile_dir(Path(__file__).with_name("runtime_api"), maxlevels=0, quiet=2)


def command(
    spec: EnvironmentSpec, layout: Layout, *, control_fd: int, opt_root: str = OPT_ROOT, argv: tuple[str, ...] = ()
) -> tuple[str, ...]:
    """``argv`` starts the runtime; without it, a ``bootstrap`` in the code or the layers does.

    >>> from fnrunner.runtimes.runtime import Layout
    >>> from types import SimpleNamespace
    >>> layout = Layout("/var/task", "/var/runtime", "/tmp")
    >>> command(SimpleNamespace(account="1"), layout, control_fd=5, argv=("/node",))[-6:]
    ('/var/runtime/runtime_api/main.py', '5', '/var/task', '/opt', '1', '/node')
    """
    program = f"{layout.runtime_directory}/{PROGRAM}"
    return (host_python(), *FLAGS, program, str(control_fd), layout.task_root, opt_root, spec.account, *argv)
