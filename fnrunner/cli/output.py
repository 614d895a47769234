"""What commands print: JSON for scripts, plain columns for pipes, colours on a terminal only.

Text that functions wrote is never trusted: control characters are shown, not sent to the terminal.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_COLOURS = {"red": 31, "green": 32, "yellow": 33, "blue": 34, "bold": 1, "dim": 2}


class Output:
    """``as_json``: only :meth:`json` and errors are printed."""

    def __init__(self, as_json: bool = False, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self.as_json = as_json
        self._out = out or sys.stdout
        self._err = err or sys.stderr
        self.coloured = self._out.isatty() and "NO_COLOR" not in os.environ

    def json(self, value: object) -> None:
        """The one document of a command, or one of its lines."""
        self._out.write(json.dumps(value, indent=2 if self._out.isatty() else None, ensure_ascii=False) + "\n")
        self._out.flush()

    def line(self, text: str = "") -> None:
        """A line for people; nothing with ``--json``."""
        if not self.as_json:
            self._out.write(text + "\n")
            self._out.flush()

    def clear(self) -> None:
        """An empty screen, where there is one."""
        if not self.as_json and self._out.isatty():
            self._out.write("\x1b[2J\x1b[H")

    def raw(self, data: bytes) -> None:
        """Bytes as they are, such as a function's answer."""
        self._out.flush()
        self._out.buffer.write(data)
        self._out.flush()

    def note(self, text: str) -> None:
        """A remark beside the data, on standard error."""
        self._err.write(text + "\n")
        self._err.flush()

    def paint(self, text: str, *colours: str) -> str:
        """The text in colours, where there is a terminal to show them."""
        if not self.coloured or not colours:
            return text
        codes = ";".join(str(_COLOURS[colour]) for colour in colours)
        return f"\x1b[{codes}m{text}\x1b[0m"

    def table(self, headings: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str) -> None:
        """Columns as wide as their content, cut for nobody; ``empty`` is said when there is no row."""
        if not rows:
            self.line(empty)
            return
        texts = [[clean(str(cell)) for cell in row] for row in rows]
        widths = [max(len(row[i]) for row in [list(headings), *texts]) for i in range(len(headings))]
        self.line(self.paint(_columns(headings, widths), "bold"))
        for row in texts:
            self.line(_columns(row, widths))

    @contextmanager
    def progress(self, label: str) -> Iterator[Progress]:
        """A bar on the terminal of standard error; without one, nothing."""
        if self.as_json or not self._err.isatty():
            yield Progress(None)
            return
        from rich.console import Console
        from rich.progress import Progress as Bar

        with Bar(console=Console(file=self._err), transient=True) as bar:
            yield Progress(bar, label)


class Progress:
    """A bar, or nothing. Call it with what is done and what there is in all."""

    def __init__(self, bar: Any | None, label: str = "") -> None:
        self._bar = bar
        self._task = bar.add_task(label, total=None) if bar is not None else None

    def __call__(self, done: int, total: int) -> None:
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total)


def _columns(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def clean(text: str) -> str:
    r"""Text that cannot steer a terminal.

    >>> clean("a\x1b[31mb\tc")
    'a\\x1b[31mb\tc'
    """
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


def moment(at_ms: int | float | None) -> str:
    """Epoch milliseconds as a UTC time.

    >>> moment(1_700_000_000_123)
    '2023-11-14 22:13:20.123Z'
    """
    from datetime import UTC, datetime

    if at_ms is None:
        return "-"
    whole = datetime.fromtimestamp(int(at_ms) // 1000, UTC)
    return f"{whole:%Y-%m-%d %H:%M:%S}.{int(at_ms) % 1000:03d}Z"


def size(count: int) -> str:
    """A number of bytes for people.

    >>> size(999), size(52_428_800)
    ('999 B', '50.0 MB')
    """
    if count < 1024:
        return f"{count} B"
    return f"{count / 1024:.1f} KB" if count < 1024 * 1024 else f"{count / 1024 / 1024:.1f} MB"


def span(milliseconds: float) -> str:
    """A duration for people.

    >>> span(12.345), span(61_000), span(3_600_000)
    ('12.35 ms', '1 min 1 s', '1 h')
    """
    if milliseconds < 1000:
        return f"{milliseconds:.2f}".rstrip("0").rstrip(".") + " ms"
    if milliseconds < 60_000:
        return f"{milliseconds / 1000:.1f} s".replace(".0 s", " s")
    minutes, seconds = divmod(round(milliseconds / 1000), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "min"), (seconds, "s"))
    return " ".join(f"{value} {unit}" for value, unit in parts if value)


def natural(name: str) -> list[tuple[str, int]]:
    """For sorting: numbers by what they are worth.

    >>> sorted(("python3.10", "python3.9"), key=natural)
    ['python3.9', 'python3.10']
    """
    return [(text, int(number or 0)) for text, number in re.findall(r"([^0-9]+)([0-9]*)", name)]
