"""A file with one thing a line, delivered batch after batch; what breaks off says what has arrived, and where to go on."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from fnrunner.cli.error import INTERRUPTED, CliError, ServerRefused, UsageFault

Parse = Callable[[dict[str, Any]], dict[str, Any]]
"""What is sent of a line's object. Raises ValueError saying what is wrong with it."""


@dataclass(slots=True)
class JsonLines:
    """``source`` is a file, or ``-`` for standard input; ``verb`` is what becomes of the lines: put, sent."""

    source: str
    verb: str
    parse: Parse
    delivered: int = 0
    last: int = 0
    """The line up to which everything is delivered."""

    def deliver(self, batch: int, send: Callable[[list[dict[str, Any]]], None]) -> None:
        """All of it, at most ``batch`` at once, which ``send`` returns from when they have arrived.

        Raises CliError, with what has arrived as its remedy.
        """
        items = self._items()
        while lines := self._next(items, batch):
            try:
                send([item for _, item in lines])
            except KeyboardInterrupt:
                raise CliError("Interrupted", self._perhaps(lines), status=INTERRUPTED) from None
            except CliError as error:
                self._tell(error, lines)
                raise
            self.delivered += len(lines)
            self.last = lines[-1][0]

    def _next(self, items: Iterator[tuple[int, dict[str, Any]]], batch: int) -> list[tuple[int, dict[str, Any]]]:
        try:
            return list(islice(items, batch))
        except KeyboardInterrupt:
            raise CliError("Interrupted", self._certain(), status=INTERRUPTED) from None

    def _tell(self, error: CliError, lines: list[tuple[int, dict[str, Any]]]) -> None:
        """Beside the error's own remedy. What was refused for what it is has not arrived, not even in part."""
        refused = isinstance(error, ServerRefused) and error.http_status < 500 and error.http_status != 409
        told = self._certain() if refused else self._perhaps(lines)
        error.remedy = f"{told} {error.remedy}".rstrip()

    def _certain(self) -> str:
        if not self.delivered:
            return f"Nothing was {self.verb}."
        return f"{self.delivered} were {self.verb}, up to line {self.last}: go on from line {self.last + 1}."

    def _perhaps(self, lines: list[tuple[int, dict[str, Any]]]) -> str:
        first, last = lines[0][0], lines[-1][0]
        counted = (
            f"{self.delivered} were certainly {self.verb}" if self.delivered else f"None is certain to be {self.verb}"
        )
        return (
            f"{counted}; those of lines {first} to {last} may have been, in part. Go on from line {first}: what had arrived of "
            "them is then there twice."
        )

    def _items(self) -> Iterator[tuple[int, dict[str, Any]]]:
        try:
            file = sys.stdin if self.source == "-" else open(self.source, encoding="utf-8")  # noqa: SIM115  closed below
        except OSError as error:
            raise UsageFault(
                f"--jsonl: {self.source} cannot be read: {error.strerror}", "Name a file, or - for stdin."
            ) from error
        with file:
            number = 0
            try:
                for number, line in enumerate(file, 1):
                    if line.strip():
                        yield number, self._read(line, number)
            except UnicodeDecodeError as error:
                raise UsageFault(
                    f"--jsonl: after line {number} it is not UTF-8: {error.reason}", self._certain()
                ) from error

    def _read(self, line: str, number: int) -> dict[str, Any]:
        try:
            item = json.loads(line)
        except ValueError as error:
            raise UsageFault(f"--jsonl: line {number} is not JSON: {error}", self._certain()) from error
        try:
            if not isinstance(item, dict):
                raise ValueError("is no object")
            return self.parse(item)
        except ValueError as error:
            raise UsageFault(f"--jsonl: line {number} {error}", self._certain()) from error
