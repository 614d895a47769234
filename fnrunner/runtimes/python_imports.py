"""Inside the environment: what the function imports while it is initialised, and the time each package takes.

Loaded by ``python_bootstrap.py`` by its path; runs on Python 3.9 and later with nothing but the standard library. It stands
in for ``__import__`` until the handler is there. A package is charged with the time of its own modules, not with that of
the packages that these import; what it costs is half a microsecond for each import statement.
"""

from __future__ import annotations

import builtins
import json
import sys
import threading
from time import perf_counter

TYPE_CHECKING = False  # what type checkers take for True
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

MOST = 12
LEAST_MS = 0.1


class Imports:
    """A context: ``described`` afterwards. Imports of other threads are not counted, but pass."""

    def __init__(self) -> None:
        self.times: dict[str, float] = {}
        self.before = len(sys.modules)
        self.found: Any = builtins.__import__
        self.thread = threading.get_ident()
        self.nested = 0.0

    def __enter__(self) -> Imports:
        builtins.__import__ = self.load
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        # a function that has put its own in place keeps it
        if builtins.__import__ == self.load:
            builtins.__import__ = self.found

    # callers may name these
    def load(self, name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> Any:  # noqa: A002
        if (level == 0 and not fromlist and name in sys.modules) or threading.get_ident() != self.thread:
            return self.found(name, globals, locals, fromlist, level)
        outer, self.nested = self.nested, 0.0
        began = perf_counter()
        try:
            return self.found(name, globals, locals, fromlist, level)
        finally:
            took = perf_counter() - began
            whole = name if level == 0 else str((globals or {}).get("__package__") or name)
            package = whole.partition(".")[0]
            self.times[package] = self.times.get(package, 0.0) + took - self.nested
            self.nested = outer + took

    def described(self, copied: bool) -> bytes:
        """JSON: ``{"modules": N, "imports": [[package, ms], …], "copied": …}``, the longest first."""
        found = sorted(((ms * 1000, name) for name, ms in self.times.items()), reverse=True)[:MOST]
        imports = [[name[:64], round(ms, 2)] for ms, name in found if ms >= LEAST_MS]
        modules = max(0, len(sys.modules) - self.before) if not copied else 0
        return json.dumps({"modules": modules, "imports": imports, "copied": copied}).encode()
