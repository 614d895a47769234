"""The function's log, which is this process's stdout: what several processes write becomes one text, line by line.

>>> log = Log(print)
>>> log.write("a", b"one, "); log.write("b", b"two\\n"); log.write("a", b"three\\n")
b'two\\n'
b'one, three\\n'
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

STDOUT = 1
LONGEST_HELD_BYTES = 64 * 1024
FLUSH_S = 0.1
"""How long the beginning of a line waits for its end, and at most twice that."""


class Log:
    """``write`` shows whole lines at once and holds the beginning of one until its end comes, it is long, or ``flush``.

    A line that was shown in part is ended before another source's begins.
    """

    def __init__(
        self, show: Callable[[bytes], object], later: Callable[[float, Callable[[], None]], object] | None = None
    ) -> None:
        """``show`` puts out; ``later(seconds, what)`` calls ``what`` once. Without it only ``flush`` does."""
        self._show, self._later = show, later
        self._held: dict[str, bytes] = {}
        self._open: str | None = None
        """Whose line has no end yet, of what was shown."""
        self._timed = False
        self._overdue: set[str] = set()
        """Whose line has been held since the last look."""

    def write(self, source: str, data: bytes) -> None:
        data = self._held.pop(source, b"") + data
        self._overdue.discard(source)
        end = data.rfind(b"\n") + 1
        if len(data) - end > LONGEST_HELD_BYTES:
            end = len(data)
        if end:
            self._put(source, data[:end])
        if end < len(data):
            self._held[source] = data[end:]
            self._set_timer()

    def flush(self, source: str | None = None) -> None:
        """Show the beginning of a line of this source, or of every one."""
        for name in [source] if source is not None else list(self._held):
            if held := self._held.pop(name, b""):
                self._put(name, held)

    def _put(self, source: str, data: bytes) -> None:
        if self._open is not None and self._open != source:
            data = b"\n" + data
        self._open = None if data.endswith(b"\n") else source
        self._show(data)

    def _set_timer(self) -> None:
        if not self._timed and self._later is not None:
            self._timed = True
            self._later(FLUSH_S, self._on_timer)

    def _on_timer(self) -> None:
        self._timed = False
        for source in self._overdue:
            self.flush(source)
        self._overdue = set(self._held)
        if self._held:
            self._set_timer()


def to_stdout(data: bytes) -> None:
    """It is always read by the worker."""
    try:
        while data:
            data = data[os.write(STDOUT, data) :]
    except OSError:
        pass  # the worker is gone: the control socket says so too
