"""The files of a function's code as its package has them, one at a time: by the same rules of what is left out."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from fnrunner.cli.deploy import dependency, ignore, package
from fnrunner.cli.error import UsageFault
from fnrunner.worker.working_copy import File

ANEW = frozenset({dependency.FILE, ignore.FILE})
"""What changes more of a package than itself."""

Stamp = tuple[int, int, int]
"""Time of change in nanoseconds, size in bytes, inode."""


@dataclass(frozen=True, slots=True)
class Source:
    """``path`` is a folder, or a single file of one."""

    path: Path
    rules: ignore.Rules

    @classmethod
    def of(cls, path: Path) -> Source:
        """With the folder's ignore file as it is now."""
        path = path.resolve()
        named = path / ignore.FILE
        return cls(path, ignore.Rules.read(named.read_text() if path.is_dir() and named.is_file() else ""))

    @property
    def folder(self) -> Path:
        return self.path if self.path.is_dir() else self.path.parent

    def has(self, path: str) -> bool:
        """Whether a file at this path would be in the package."""
        if self.path != self.folder:
            return path == self.path.name
        parts = path.split("/")
        folders = ("/".join(parts[:count]) for count in range(1, len(parts)))
        return not any(self.rules.leaves_out(folder, True) for folder in folders) and not self.rules.leaves_out(path)

    def has_folder(self, path: str) -> bool:
        """Whether there may be files of the package in it; ``""`` is the source's own."""
        if not path:
            return True
        parts = path.split("/")
        folders = ("/".join(parts[:count]) for count in range(1, len(parts) + 1))
        return self.path == self.folder and not any(self.rules.leaves_out(folder, True) for folder in folders)

    def read(self, path: str) -> File | None:
        """What the package has there; a link that leads out of the folder is not in it."""
        place = self.folder / path
        try:
            if not self.has(path) or stat.S_IFMT(place.lstat().st_mode) not in (stat.S_IFREG, stat.S_IFLNK):
                return None
            entry = package.entry(self.folder, place)
        except (FileNotFoundError, NotADirectoryError, UsageFault):
            return None
        return File(entry.data, entry.executable, entry.is_link)

    def listed(self, folder: str) -> tuple[list[str], dict[str, Stamp]]:
        """One folder's folders that may have files of the package, and its files with their stamps."""
        folders: list[str] = []
        files: dict[str, Stamp] = {}
        whole = self.path == self.folder
        for entry in self._entries(folder):
            path = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_dir(follow_symlinks=False):
                if whole and not self.rules.leaves_out(path, True):
                    folders.append(path)
            elif self.concerns(path) and (stamp := stamp_of(entry)) is not None:
                files[path] = stamp
        return folders, files

    def concerns(self, path: str) -> bool:
        """Whether a change of this file can change the package."""
        return path in ANEW or self.has(path)

    def _entries(self, below: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self.folder / below) as entries:
                return list(entries)
        except OSError:
            return []


def stamp_of(place: os.DirEntry[str] | Path) -> Stamp | None:
    """None where nothing is any more."""
    try:
        found = place.stat(follow_symlinks=False)
    except OSError:
        return None
    return found.st_ctime_ns, found.st_size, found.st_ino
