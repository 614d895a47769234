"""Becoming the function: giving up every right, and running its program in the interpreter that is loaded or in its own.

Runs in the processes of the namespace sandbox; standard library only, Python 3.9 and later.
"""

from __future__ import annotations

import gc
import marshal
import os
import resource
import signal
import sys
import time
from types import ModuleType

from fnrunner.sandbox.kernel import PR_SET_NO_NEW_PRIVS, check, drop_capabilities, install, libc

TYPE_CHECKING = False  # what type checkers take for True
if TYPE_CHECKING:
    from typing import Any, NoReturn

# What most functions import anyway, and nothing that starts threads or opens files.
PRELOADED = (
    "asyncio", "base64", "collections", "concurrent.futures", "contextlib", "copy", "csv", "dataclasses", "datetime",
    "decimal", "email.message", "enum", "functools", "gzip", "hashlib", "hmac", "http.client", "importlib.util",
    "inspect", "io", "itertools", "json", "logging", "math", "operator", "pathlib", "queue", "random", "re", "secrets",
    "shutil", "socket", "ssl", "string", "struct", "subprocess", "tempfile", "textwrap", "threading", "time", "traceback",
    "typing", "urllib.parse", "urllib.request", "uuid", "warnings", "weakref", "zipfile",
)  # fmt: skip

EARLY = frozenset(
    (
        "__future__", "__main__", "_abc", "_bisect", "_codecs", "_collections", "_collections_abc", "_functools",
        "_imp", "_io", "_json", "_locale", "_operator", "_random", "_sitebuiltins", "_sre", "_stat", "_string",
        "_struct", "_thread", "_tokenize", "_warnings", "_weakref", "_weakrefset", "abc", "atexit", "builtins",
        "codecs", "collections", "copyreg", "encodings", "enum", "errno", "fnmatch", "functools", "genericpath",
        "importlib", "io", "itertools", "json", "keyword", "linecache", "logging", "marshal", "ntpath", "operator",
        "os", "posix", "posixpath", "re", "reprlib", "site", "sre_compile", "sre_constants", "sre_parse", "stat",
        "string", "struct", "sys", "threading", "time", "token", "tokenize", "traceback", "types", "typing", "warnings",
        "weakref", "zipimport",
    )
)  # fmt: skip
"""What the runtime has loaded when it comes to the function's own."""


def read_plan(descriptor: int) -> dict[str, Any]:
    size = os.fstat(descriptor).st_size
    plan: dict[str, Any] = marshal.loads(os.pread(descriptor, size, 0))  # noqa: S302 - the worker wrote it
    os.close(descriptor)
    return plan


def take_place(plan: int, output: int) -> dict[str, Any]:
    """Be the one whom the plan names, in a process that has waited for it: its output, directory and variables. The plan."""
    known = read_plan(plan)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    os.chdir(known["directory"])
    os.environ.clear()
    os.environ.update(known["variables"])
    return known


def take_descriptors(plan: dict[str, Any], inherited: list[int]) -> None:
    """Nothing to read, and what the plan names under the numbers that it names."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    for descriptor, number in zip(inherited, plan["inherited"]):  # noqa: B905 - of Python 3.10
        os.dup2(descriptor, number)
        os.set_inheritable(number, True)
        os.close(descriptor)


def give_up_rights(plan: dict[str, Any], permitted: int = 0) -> None:
    limit(plan)
    os.chdir(plan["directory"])
    os.umask(0o022)
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    drop_capabilities(permitted)
    check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")
    if plan["filter"]:
        install(plan["filter"])


def execute(plan: dict[str, Any], scripts: dict[str, Any], more: dict[str, Any]) -> NoReturn:
    """``more`` is what a script that is run in this interpreter finds among its names."""
    argv, script = plan["argv"], plan["script"]
    if script and argv[script] in scripts:
        run(scripts[argv[script]], argv[script:], plan["variables"], more)
    os.execve(argv[0], argv, plan["variables"])  # noqa: S606


def limit(plan: dict[str, Any]) -> None:
    for name, value in plan["limits"].items():
        number = getattr(resource, name)
        _, hard = resource.getrlimit(number)
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(number, (bound, bound))
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


def run(code: Any, argv: list[str], variables: dict[str, str], more: dict[str, Any]) -> NoReturn:
    """Become the interpreter that was asked for: the same program, its variables, its ``__main__``."""
    os.environ.clear()
    os.environ.update(variables)
    time.tzset()
    # as every interpreter does when it starts
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = list(argv)
    sys.path_importer_cache.clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "fnrunner"]:
        del sys.modules[name]
    forget_shadowed(os.getcwd(), *(path for path in variables.get("PYTHONPATH", "").split(":") if path))
    main = ModuleType("__main__")
    main.__file__ = argv[0]
    main.__dict__.update(more)
    sys.modules["__main__"] = main
    gc.enable()
    status = 0
    try:
        exec(code, main.__dict__)  # noqa: S102
    except SystemExit as leaving:
        status = ended_with(leaving)
    except BaseException:
        import traceback

        traceback.print_exc()
        status = 1
    finish(status)


def ended_with(leaving: SystemExit) -> int:
    if leaving.code is None or isinstance(leaving.code, int):
        return leaving.code or 0
    os.write(2, f"{leaving.code}\n".encode())
    return 1


def finish(status: int) -> NoReturn:
    """As an interpreter ends: threads are waited for, exit handlers run."""
    import atexit
    import threading

    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:  # noqa: S110 - the function closed it
            pass
    os._exit(status & 0xFF)


def forget_shadowed(*directories: str) -> None:
    """What a function brings along under the name of a module that was loaded beforehand is what it imports.

    Not what an interpreter and the bootstrap load in any case: there it would be too late in a new one as well.
    """
    loaded = {name.partition(".")[0] for name in sys.modules} - EARLY
    for directory in directories:
        try:
            names = {name.partition(".")[0] for name in os.listdir(directory)}
        except OSError:
            continue
        for name in names & loaded:
            for module in [module for module in sys.modules if module == name or module.startswith(f"{name}.")]:
                del sys.modules[module]


def compiled(source: str, seen: str) -> Any:
    with open(source, "rb") as file:
        return compile(file.read(), seen, "exec")


def load() -> None:
    """Import what functions will want. It is the same for all, and no function's."""
    for name in PRELOADED:
        try:
            __import__(name)
        except ImportError:
            pass  # an interpreter may be built without it
    gc.collect()
    gc.freeze()
