"""The most memory that each process has used, read again and again, since a killed one takes its figure along."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path

EVERY_S = 1.0


class Peaks:
    """``pids`` gives the processes that are there now by name. ``mb`` is the highest VmHWM that was read of each, in MiB."""

    def __init__(self, pids: Callable[[], Mapping[str, int]]) -> None:
        self.mb: dict[str, int] = {}
        self._pids = pids
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._read, name="memory", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()
        self._look()

    def _read(self) -> None:
        while not self._over.wait(EVERY_S):
            self._look()

    def _look(self) -> None:
        for name, pid in self._pids().items():
            if peak := peak_mb(pid):
                self.mb[name] = max(self.mb.get(name, 0), peak)


def peak_mb(pid: int | str) -> int:
    """VmHWM of a process in MiB; 0 when it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) // 1024 for line in status.splitlines() if line.startswith("VmHWM:")), 0)
