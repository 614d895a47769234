"""Copies of a function's code that follow the developer's own files: a save costs what changed, not the size of the tree.

What a living environment sees never changes under it. So there are several copies, each with a list of what it lacks::

    origin (as deployed) ──hard links──► copy A   shown, environments live in it
                                         copy B   spare: brought up to date with the next save, and shown then

A file is written aside and renamed, and so parts from the others it shares its bytes with. A copy has another name
whenever it is shown.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import shutil
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from fnrunner.sandbox.started import delete_tree

log = logging.getLogger(__name__)

_ASIDE = ".aside-"
SPARE = 2
"""Enough for two saves in a row while environments of the former code still run."""

_NO_LINK = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP})


@dataclass(frozen=True, slots=True)
class File:
    """One file of the source: its bytes and whether it can be executed; or a link: its target."""

    data: bytes
    executable: bool = False
    is_link: bool = False


Read = Callable[[str], File | None]
"""The file at a path below the source's directory, or None where the package has none there. Blocking."""


@dataclass(slots=True, eq=False)
class _Copy:
    """``lacks`` are the paths to read again before it is shown; ``ready``: it is whole, apart from those; ``stale``: there is
    something better.
    """

    directory: Path
    lacks: set[str] = field(default_factory=set)
    ready: bool = True
    stale: bool = False


class WorkingCopies:
    """``update`` after each save; ``shown`` is what the next environment gets. One task at a time."""

    def __init__(self, directory: Path, origin: Path, read: Read, in_use: Callable[[], Collection[str]]) -> None:
        """Copies are made below ``directory``, which is this object's own, from ``origin``, which nobody changes.
        ``in_use`` names the directories that living environments see.
        """
        self._directory = directory
        self._read = read
        self._in_use = in_use
        self._origin = origin
        self._shown = _Copy(origin)
        self._changed: set[str] = set()
        self._copies: list[_Copy] = []
        self._preparing: asyncio.Task[_Copy] | None = None
        self._closed = False
        self._changing = asyncio.Lock()
        self.generation = 0

    @property
    def shown(self) -> Path:
        return self._shown.directory

    async def update(self, paths: Collection[str]) -> list[str]:
        """Read these again; which of them differ from what is shown. Where any does, another copy is shown afterwards.

        Raises OSError: what is shown stays, and the next update makes up for it.
        """
        async with self._changing:
            return await self._update(paths)

    async def _update(self, paths: Collection[str]) -> list[str]:
        self._changed |= set(paths)
        for copy in self._copies:
            copy.lacks |= set(paths)
        self._shown.lacks |= set(paths)
        wanted = sorted(self._shown.lacks)
        differing = await asyncio.to_thread(_differing, self._shown.directory, wanted, self._read)
        if not differing:
            self._shown.lacks.clear()
            return []
        copy = await self._spare()
        copy.lacks |= self._shown.lacks
        await asyncio.to_thread(_apply, copy.directory, sorted(copy.lacks), self._read)
        # who remembers what was imported from a directory remembers it by its name
        copy.directory = await asyncio.to_thread(copy.directory.rename, self._new_directory())
        # the former one lacks this from now on; it may be brought up to date once nobody lives in it
        copy.lacks = set()
        self._shown.lacks |= set(wanted)
        self._shown = copy
        self.generation += 1
        self.prepare()
        return differing

    def prepare(self) -> None:
        """Begin to make spare copies, unless there are enough: the next saves shall not wait for one."""
        wanted = SPARE if self._shown in self._copies else SPARE + 1  # what was deployed never becomes a spare one
        if sum(not copy.stale for copy in self._free()) < wanted and self._preparing is None and not self._closed:
            self._preparing = asyncio.create_task(self._clone(), name="spare copy of code")
            self._preparing.add_done_callback(self._prepared)

    def _prepared(self, done: asyncio.Task[_Copy]) -> None:
        self._preparing = None
        if done.cancelled():
            return
        if (error := done.exception()) is None:
            self.prepare()
        else:
            log.warning("no spare copy of %s could be made: %s", self._shown.directory, error)

    async def prepared(self) -> None:
        """Wait until there are enough spare copies, or one could not be made."""
        while (preparing := self._preparing) is not None:
            await asyncio.wait([preparing])
            await asyncio.sleep(0)  # what follows the end of a task has been done then

    async def make_anew(self) -> None:
        """What was deployed has been added to, without being changed: with compiled code. Later copies have that too."""
        await self.prepared()
        for copy in self._copies:
            copy.stale = True
        self.prepare()
        await self.prepared()
        async with self._changing:
            await self._discard([copy for copy in self._free() if copy.stale])

    async def _discard(self, copies: list[_Copy]) -> None:
        for copy in copies:
            self._copies.remove(copy)
            await asyncio.to_thread(delete_tree, copy.directory)

    async def close(self) -> None:
        """Make no more copies. What is shown, or lived in, stays. Idempotent."""
        self._closed = True
        if self._preparing is not None:
            await asyncio.gather(self._preparing, return_exceptions=True)
        async with self._changing:
            await self._discard(self._free())

    async def _spare(self) -> _Copy:
        if free := self._free():
            return free[0]
        self.prepare()
        assert self._preparing is not None
        return await asyncio.shield(self._preparing)

    def _new_directory(self) -> Path:
        return self._directory / uuid4().hex[:12]

    def _free(self) -> list[_Copy]:
        """Those that nobody lives in, the best ones first."""
        used = set(self._in_use())
        free = [
            copy for copy in self._copies if copy.ready and copy is not self._shown and str(copy.directory) not in used
        ]
        return sorted(free, key=lambda copy: copy.stale)

    async def _clone(self) -> _Copy:
        """Of what was deployed, which never changes; what has changed since is read when the copy is shown."""
        copy = _Copy(self._new_directory(), set(self._changed), ready=False)
        # known from the beginning: what is saved meanwhile is noted as lacking here too
        self._copies.append(copy)
        try:
            await _clone_tree(self._origin, copy.directory)
        except BaseException:
            self._copies.remove(copy)
            await asyncio.to_thread(delete_tree, copy.directory)
            raise
        copy.ready = True
        return copy


async def _clone_tree(origin: Path, directory: Path) -> None:
    """Raises OSError. In a process of its own: twenty thousand links would keep this one from everything else."""
    await asyncio.to_thread(directory.mkdir, parents=True, mode=0o755)
    command = ("nice", "-n", "10", "cp", "-al", f"{origin}/.", str(directory))
    try:
        nothing = asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(*command, stdin=nothing, stdout=nothing, stderr=nothing)
        status = await process.wait()
    except FileNotFoundError:
        status = -1
    if status:
        # it knows neither links nor this file system
        await asyncio.to_thread(delete_tree, directory)
        await asyncio.to_thread(_link_tree, origin, directory)


def _link_tree(origin: Path, directory: Path) -> None:
    """The same files under another directory, whose folders can be changed by their owner."""
    directory.mkdir(parents=True, mode=0o755)
    pending = [(str(origin), str(directory))]
    while pending:
        source, target = pending.pop()
        with os.scandir(source) as entries:
            for entry in entries:
                place = f"{target}/{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    os.mkdir(place, 0o755)
                    pending.append((entry.path, place))
                else:
                    _link(entry.path, place)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        shutil.copy2(source, target, follow_symlinks=False)


def _differing(directory: Path, paths: Iterable[str], read: Read) -> list[str]:
    return [path for path in paths if read(path) != _there(directory / path)]


def _there(path: Path) -> File | None:
    """What a copy has; folders count as nothing."""
    try:
        if path.is_symlink():
            return File(os.readlink(path).encode(), is_link=True)
        with path.open("rb") as file:
            return File(file.read(), executable=bool(os.fstat(file.fileno()).st_mode & 0o100))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None


def _apply(directory: Path, paths: Iterable[str], read: Read) -> None:
    """Bring these up to date. Deletions first: a folder may have become a file."""
    files = {path: read(path) for path in paths}
    for path in [path for path, file in files.items() if file is None]:
        _remove(directory, path)
    for path, file in files.items():
        if file is not None:
            _write(directory, path, file)


def _remove(directory: Path, path: str) -> None:
    place = directory / path
    if _there(place) is None:
        return
    parent = place.parent
    _make_writable(parent)
    place.unlink()
    _forget_compiled(place)
    # an empty folder can still be imported, as a namespace
    with contextlib.suppress(OSError):
        (parent / "__pycache__").rmdir()
    with contextlib.suppress(OSError):
        while parent != directory:
            _make_writable(parent.parent)
            parent.rmdir()
            parent = parent.parent


def _write(directory: Path, path: str, file: File) -> None:
    place = directory / path
    _make_folders(directory, place.parent)
    _make_writable(place.parent)
    if place.is_dir() and not place.is_symlink():
        _delete(place)
    aside = place.with_name(f"{_ASIDE}{uuid4().hex}")
    if file.is_link:
        aside.symlink_to(file.data.decode())
    else:
        aside.write_bytes(file.data)
        aside.chmod(0o555 if file.executable else 0o444)
    aside.rename(place)
    _forget_compiled(place)


def _make_folders(directory: Path, folder: Path) -> None:
    for part in reversed([folder, *folder.parents]):
        if part == directory or not part.is_relative_to(directory):
            continue
        if part.is_dir() and not part.is_symlink():
            continue
        _make_writable(part.parent)
        part.unlink(missing_ok=True)
        part.mkdir(mode=0o755)


def _make_writable(folder: Path) -> None:
    """What was deployed is sealed. Environments see it read-only all the same, where they have mounts of their own."""
    folder.chmod(0o755)


def _forget_compiled(source: Path) -> None:
    """Compiled code beside it may be of a kind that is not compared with its source."""
    if source.suffix == ".py" and (source.parent / "__pycache__").is_dir():
        _make_writable(source.parent / "__pycache__")
        for compiled in (source.parent / "__pycache__").glob(f"{source.stem}.*.pyc"):
            compiled.unlink(missing_ok=True)


def _delete(directory: Path) -> None:
    delete_tree(directory)
