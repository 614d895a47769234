"""Every way a command can fail, each with the line that names the fault, the remedy, and the exit status.

| Exit status | Meaning |
|---|---|
| 0 | it worked |
| 1 | the function failed, the audit does not balance, doctor found a fault, or something local went wrong |
| 2 | the command was typed wrongly, or what it was given (a template, a file) is wrong |
| 3 | the server cannot be reached |
| 4 | the server refused |
| 130 | it was interrupted |
| 75 | a worker or a sources process was unable to work for too long, and is to be started again |
"""

from __future__ import annotations

FAILED = 1
USAGE = 2
UNREACHABLE = 3
REFUSED = 4
INTERRUPTED = 130


class CliError(Exception):
    """Root of what commands raise. ``str`` is one line (or one line a fault), ``remedy`` says what to type or change."""

    status = FAILED

    def __init__(self, message: str, remedy: str = "", *, status: int | None = None) -> None:
        self.remedy = remedy
        if status is not None:
            self.status = status
        super().__init__(message)


class UsageFault(CliError):
    """What was typed, or a file that was named, is wrong."""

    status = USAGE


class ServerUnreachable(CliError):
    """Nothing answers at the endpoint. Start it with `fnrunner dev`, or name another with --endpoint-url."""

    status = UNREACHABLE


class ServerRefused(CliError):
    """The server answered with an error: ``code`` is AWS's code, ``http_status`` the HTTP status."""

    status = REFUSED

    def __init__(self, message: str, remedy: str = "", *, code: str = "", http_status: int = 0) -> None:
        self.code = code
        self.http_status = http_status
        super().__init__(message, remedy)
