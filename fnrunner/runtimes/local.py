"""Python on a developer's machine: the runtime of :mod:`fnrunner.runtimes.python`, with a debugger or a fixed clock in it.

It starts ``python_local.py`` in the bootstrap's place, which prepares the interpreter and then becomes the bootstrap. The
function gets the variables that it gets anywhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from fnrunner.model.invocation import EnvironmentSpec
from fnrunner.runtimes.python import BOOTSTRAP, PythonRuntime
from fnrunner.runtimes.runtime import Launch, Layout

PROGRAM = "python_local.py"
VARIABLE = "_FNRUNNER_LOCAL"
"""The environment variable with what to prepare, as JSON; it is gone before the function is loaded::

    {"debug": null | {"package", "host", "port", "listening"}, "repeatable": null | {"seed", "start_us"},
     "variables": {NAME: VALUE}}

``variables`` are those that the interpreter itself would have obeyed.
"""
HASH_SEEDS = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Debugger:
    """``package`` is the directory of debugpy. ``listening`` is a file that appears when the debugger listens, with
    ``{"host", "port", "code_directory"}``; ``port`` 0 takes a free one."""

    package: str
    port: int
    listening: str
    host: str = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Repeatable:
    """What decides randomness, and where the clock starts, in microseconds since 1970. See ``python_repeatable.py``."""

    seed: int
    start_us: int


class LocalPythonRuntime(PythonRuntime):
    """Implements Runtime. ``memory_mb`` is what the function is told that it has, where its debugger needs more."""

    def __init__(
        self,
        *,
        debugger: Debugger | None = None,
        repeatable: Repeatable | None = None,
        memory_mb: int | None = None,
        lets_stand_in: bool = False,
    ) -> None:
        super().__init__(lets_stand_in=lets_stand_in)
        self._debugger = debugger
        self._repeatable = repeatable
        self._memory_mb = memory_mb

    def launch(
        self, spec: EnvironmentSpec, layout: Layout, *, interpreter: str, control_fd: int, log_stream: str
    ) -> Launch:
        told = replace(spec, memory_mb=self._memory_mb or spec.memory_mb)
        usual = super().launch(told, layout, interpreter=interpreter, control_fd=control_fd, log_stream=log_stream)
        if self._debugger is None and self._repeatable is None:
            return usual
        bootstrap = f"{layout.runtime_directory}/{BOOTSTRAP}"
        at = usual.argv.index(bootstrap)
        # before the interpreter: what starts it
        begin = usual.argv.index(interpreter)
        flags, rest = usual.argv[begin + 1 : at], usual.argv[at:]
        variables, kept = dict(usual.variables), dict[str, str]()
        if self._repeatable is not None:
            flags = tuple("-s" if flag == "-I" else flag for flag in flags)
            variables, kept = _seeded(usual.variables, self._repeatable)
        if self._debugger is not None:
            # breakpoints in the standard library, and no warning that there can be none
            flags = (*flags, "-X", "frozen_modules=off")
        variables[VARIABLE] = json.dumps(self._options(kept))
        argv = (*usual.argv[: begin + 1], *flags, f"{layout.runtime_directory}/{PROGRAM}", *rest)
        # by an interpreter of its own: flags and variables count when it is started
        return replace(usual, argv=argv, variables=variables, script=0)

    def _has_extensions(self, spec: EnvironmentSpec) -> bool:
        """None are run beside a function that is debugged or repeated: they would report what was no invocation."""
        return False

    def _options(self, variables: Mapping[str, str]) -> dict[str, Any]:
        repeatable = self._repeatable
        return {
            "debug": asdict(self._debugger) if self._debugger else None,
            "repeatable": {"seed": str(repeatable.seed), "start_us": repeatable.start_us} if repeatable else None,
            "variables": dict(variables),
        }


def _seeded(variables: Mapping[str, str], repeatable: Repeatable) -> tuple[dict[str, str], dict[str, str]]:
    """The variables with a fixed hash seed, which an isolated interpreter would not read; and those that an interpreter
    that is not isolated would obey, to be set once it runs.

    >>> _seeded({"A": "1", "PYTHONPATH": "lib"}, Repeatable(7, 0))
    ({'A': '1', 'PYTHONHASHSEED': '7'}, {'PYTHONPATH': 'lib'})
    """
    kept = {name: value for name, value in variables.items() if name.startswith("PYTHON")}
    others = {name: value for name, value in variables.items() if name not in kept}
    return {**others, "PYTHONHASHSEED": str(repeatable.seed % HASH_SEEDS)}, kept
