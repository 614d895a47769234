"""What to start: read from the command line, found on the disk."""

from __future__ import annotations

import os

LAMBDA_TASK_ROOT, LAMBDA_OPT = "/var/task", "/opt"


class NoEntrypoint(Exception):
    """There is no program to start; the text is Lambda's."""


class Plan:
    """``CONTROL_FD TASK_ROOT OPT_ROOT ACCOUNT [PROGRAM ARGUMENT…]``; without a program, ``bootstrap`` is looked for.

    ``directory`` is where programs begin: the task root, unless told otherwise.
    """

    def __init__(self, arguments: list[str], directory: str = "") -> None:
        control_fd, self.task_root, self.opt_root, self.account, *self._argv = arguments
        self.control_fd = int(control_fd)
        self.directory = directory or self.task_root

    @property
    def extensions(self) -> str:
        return f"{self.opt_root}/extensions"

    def argv(self) -> list[str]:
        """The runtime's command. Raises NoEntrypoint."""
        if self._argv:
            return [_found(self._argv[0]), *self._argv[1:]]
        candidates = [f"{self.task_root}/bootstrap", f"{self.opt_root}/bootstrap"]
        for path in candidates:
            if os.path.isfile(path):
                return [path]
        shown = " ".join(map(self.shown, candidates))
        raise NoEntrypoint(f"Couldn't find valid bootstrap(s): [{shown}]")

    def shown(self, text: str) -> str:
        """Paths as they are on Lambda, where the sandbox could not put things there."""
        return text.replace(self.task_root, LAMBDA_TASK_ROOT).replace(self.opt_root, LAMBDA_OPT)


def _found(program: str) -> str:
    """Where a program is that is named without a directory. Raises NoEntrypoint, with Go's text, which Lambda shows."""
    if "/" in program:
        return program
    for directory in os.environ.get("PATH", "").split(":"):
        path = f"{directory or '.'}/{program}"
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    raise NoEntrypoint(f'exec: "{program}": executable file not found in $PATH')
