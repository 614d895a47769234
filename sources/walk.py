"""Compare a directory tree with what is remembered of it, a slice at a time. Blocking; for threads.

Each directory is announced to ``enter`` before it is listed, so that a watch set there misses nothing: what appears before
the watch is in the list, what appears after it is an event. Links are never followed into directories, so there are no loops.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from time import monotonic

from sources.snapshot import Identity, Objects, within


@dataclass(frozen=True, slots=True)
class Slice:
    """``differing`` keys want a look. ``done``: this was the last slice."""

    differing: tuple[str, ...]
    done: bool


class Walk:
    """One comparison of some directories of the bucket (``""`` is all of it) with the remembered objects.

    ``baseline`` collects every identity instead, for a bucket whose present content is not to be announced.
    """

    def __init__(
        self,
        root: str,
        directories: Collection[str],
        remembered: Objects,
        *,
        identity_of: Callable[[os.stat_result], Identity],
        enter: Callable[[str], None] = lambda directory: None,
    ) -> None:
        self._root = root
        asked = set(directories)
        self._stack = [d for d in asked if not within(d, asked - {d})]
        self._remembered = remembered
        self._identity_of = identity_of
        self._enter = enter
        self._unvisited = {key for key in remembered.keys_now() if within(key, asked)}
        self._entries = self._all_entries()
        self.unlisted: dict[str, str] = {}
        self.objects = 0
        self.survivors = 0

    def slice(self, limit: int = 2_000, budget: float = 0.02) -> Slice:
        """Look at up to ``limit`` files, for about ``budget`` seconds."""
        differing: list[str] = []
        until = monotonic() + budget
        for number, (key, entry) in enumerate(self._entries, 1):
            if self._differs(key, entry):
                differing.append(key)
            if number >= limit or (number % 64 == 0 and monotonic() > until):
                return Slice(tuple(differing), False)
        return Slice(tuple(differing), True)

    def vanished(self) -> list[str]:
        """After the last slice: the remembered keys that were not there, in directories that could be listed."""
        unlisted = set(self.unlisted)
        return sorted(key for key in self._unvisited if not within(key, unlisted))

    def identity(self, key: str) -> Identity | None:
        """What is there now, links followed; None for nothing."""
        try:
            return self._identity_of(os.stat(f"{self._root}/{key}"))
        except OSError:
            return None

    def _differs(self, key: str, entry: os.DirEntry[str]) -> bool:
        self.objects += 1
        before = self._remembered.get(key)
        if before is not None:
            self.survivors += 1
            self._unvisited.discard(key)
        try:
            return before is None or self._identity_of(entry.stat()) != before
        except OSError:
            return True

    def _all_entries(self) -> Iterator[tuple[str, os.DirEntry[str]]]:
        while self._stack:
            directory = self._stack.pop()
            path = f"{self._root}/{directory}" if directory else self._root
            if directory and os.path.islink(path):
                continue
            self._enter(directory)
            try:
                with os.scandir(path) as entries:
                    yield from self._files(directory, entries)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                self.unlisted[directory] = error.strerror or type(error).__name__

    def _files(self, directory: str, entries: Iterator[os.DirEntry[str]]) -> Iterator[tuple[str, os.DirEntry[str]]]:
        prefix = f"{directory}/" if directory else ""
        for entry in entries:
            if entry.name.startswith("."):
                continue
            key = prefix + entry.name
            if entry.is_dir(follow_symlinks=False):
                self._stack.append(key)
            else:
                yield key, entry
