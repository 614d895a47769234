"""A small file system in memory that can be full without using memory: its limit is moved to what it holds."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self


class Mount:
    """Mounted over ``directory`` while entered; at most ``size_mb``."""

    def __init__(self, directory: Path, size_mb: int) -> None:
        self.directory = directory
        self._size_mb = size_mb

    @staticmethod
    def possible() -> bool:
        """Whether this process may mount."""
        if os.geteuid() != 0:
            return False
        with tempfile.TemporaryDirectory() as probe:
            try:
                with Mount(Path(probe), 1):
                    return True
            except subprocess.CalledProcessError:
                return False

    def __enter__(self) -> Self:
        _run("mount", "-t", "tmpfs", "-o", f"size={self._size_mb}m", "tmpfs", str(self.directory))
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        # lazily: a process that is about to end may still have a file open
        _run("umount", "--lazy", str(self.directory))

    def fill(self) -> None:
        """No file can grow from now on. Raises CalledProcessError."""
        for _ in range(20):
            there = os.statvfs(self.directory)
            used_kb = (there.f_blocks - there.f_bfree) * there.f_frsize // 1024
            try:
                return _run("mount", "-o", f"remount,size={max(used_kb, 4)}k", str(self.directory))
            except subprocess.CalledProcessError:
                continue  # it has grown in between
        raise OSError(f"{self.directory} grows faster than it can be filled")

    def free(self) -> None:
        """Room again."""
        _run("mount", "-o", f"remount,size={self._size_mb}m", str(self.directory))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=30)
