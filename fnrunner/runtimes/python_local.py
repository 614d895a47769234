"""Inside a local environment: prepares the interpreter for its developer, then becomes the bootstrap.

Started as ``pythonX.Y FLAGS python_local.py BOOTSTRAP ARGUMENT…`` by :mod:`fnrunner.runtimes.local`, which also says what
:data:`VARIABLE` holds; runs on Python 3.9 and later and is never imported by fnrunner. In production nothing of this runs.

What cannot be prepared is one line on stderr and exit status 1, before the bootstrap has said that it runs.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
from importlib.util import module_from_spec, spec_from_file_location

TYPE_CHECKING = False  # what type checkers take for True; importing typing would cost a cold start
if TYPE_CHECKING:
    from typing import Any

VARIABLE = "_FNRUNNER_LOCAL"
HERE = os.path.dirname(os.path.abspath(__file__))
TASK_ROOT = 3
"""Where the function's directory is among the arguments."""

NO_BYTECODE = "PYTHONDONTWRITEBYTECODE"


def load(name: str, directory: str, file: str) -> Any:
    """A module or package by its path: nothing beside it becomes importable."""
    package = [directory] if file == "__init__.py" else None
    spec = spec_from_file_location(name, os.path.join(directory, file), submodule_search_locations=package)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def listen(options: dict[str, Any], task_root: str) -> Any:
    """Start the debugger and tell where it listens, once it does. Returns debugpy. Processes that the function starts are not
    debugged."""
    debugpy = load("debugpy", options["package"], "__init__.py")
    # the adapter is a process of its own, and would write compiled files beside an installed package
    before = os.environ.get(NO_BYTECODE)
    os.environ[NO_BYTECODE] = "1"
    try:
        debugpy.configure(subProcess=False)
        host, port = debugpy.listen((options["host"], options["port"]))
    finally:
        os.environ.pop(NO_BYTECODE)
        if before is not None:
            os.environ[NO_BYTECODE] = before
    aside = options["listening"] + ".aside"
    with open(aside, "w") as file:
        json.dump({"host": host, "port": port, "code_directory": task_root}, file)
    os.rename(aside, options["listening"])
    return debugpy


def prepare() -> None:
    options = json.loads(os.environ.pop(VARIABLE))
    os.environ.pop("PYTHONHASHSEED", None)
    os.environ.update(options["variables"])
    if sys.path[0] == HERE:
        # an interpreter that is not isolated puts it there
        del sys.path[0]
    debug, repeatable = options["debug"], options["repeatable"]
    # before the clock is changed: the debugger waits by the real one
    debugpy = listen(debug, sys.argv[TASK_ROOT]) if debug else None
    if repeatable:
        module = load("_fnrunner_repeatable", HERE, "python_repeatable.py")
        exempt = debug["package"] if debug else ""
        module.install(repeatable["seed"], repeatable["start_us"], exempt)
    if debugpy is not None:
        debugpy.wait_for_client()


def main() -> None:
    try:
        prepare()
    except Exception as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.exit(1)
    del sys.argv[0]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
