"""Compile a package's Python once, in a sandbox, so that no cold start compiles it again.

A function's first environment starts as ever, and beside it the package is compiled in a sandbox like the function's own:
limited in memory, processes and time, without its variables, and read-only but for a directory that takes what comes of it.
Compiling runs nothing of the package; should a hostile source get further, it is where it would be anyway. What comes out
is taken over as data: regular files with the names that the interpreter would look for, and only those.

They are of the kind that is not compared with its source (unchecked-hash): what is unpacked never changes, and its times say
nothing, since zips without times have those of 1980.

::

    unpacked ──► request ──► one at a time: sandbox ──► out/**.pyc ──► checked ──► tree/**/__pycache__
                                │ too long, too much memory, an error of the host
                                └──► what was compiled until then is taken over, and that is all: cold starts compile the rest
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import stat
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from fnrunner.catalogue import unpacking
from fnrunner.model.limits import MB
from fnrunner.runtimes.runtime import Runtime, RuntimesError
from fnrunner.sandbox.sandbox import Command, Limits, Sandbox, SandboxError
from fnrunner.sandbox.started import delete_tree

log = logging.getLogger(__name__)

MOST_TIME = timedelta(seconds=120)
LIMITS = Limits(memory_mb=256, file_mb=16, processes=16, open_files=256)
MOST_FILES = 50_000
MOST_BYTES = 512 * MB
CACHE = "__pycache__"
PROGRAM = """\
import compileall, py_compile, sys
into, root, seen = sys.argv[1:]
sys.pycache_prefix = into  # not before: the interpreter would compile its own library anew
mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
compileall.compile_dir(root, quiet=2, stripdir=root, prependdir=seen, invalidation_mode=mode)
"""
WAITING = 100
"""Of more packages than that at once, some are compiled when they are asked for the next time."""


@dataclass(frozen=True, slots=True)
class Package:
    """An unpacked tree, and the runtime that will read it. ``seen`` is where functions see it."""

    tree: Path
    runtime: str
    seen: str = "/var/task"


class Precompiler:
    """``request`` costs nothing when it has been asked before; ``start`` and ``close`` once."""

    def __init__(self, sandbox: Sandbox, runtime: Runtime, scratch: Path) -> None:
        """``scratch`` is a directory of this process's own on the disk of unpacked code."""
        self._sandbox = sandbox
        self._runtime = runtime
        self._scratch = scratch
        self._asked: dict[Package, asyncio.Event] = {}
        self._queue: asyncio.Queue[Package] = asyncio.Queue(WAITING)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._work(), name="precompiler")

    async def close(self) -> None:
        """What is being compiled is given up. Idempotent."""
        if (task := self._task) is not None:
            self._task = None
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await asyncio.to_thread(delete_tree, self._scratch)

    def request(self, package: Package) -> None:
        """Compile it in the background, once. Anything but Python has nothing to be compiled."""
        if not package.runtime.startswith("python3.") or package in self._asked or self._queue.full():
            return
        self._asked[package] = asyncio.Event()
        self._queue.put_nowait(package)

    async def wait_for(self, tree: Path, runtime: str) -> None:
        """Until it has been compiled, or could not be; at once where it is not to be."""
        package = Package(tree, runtime)
        self.request(package)
        if package in self._asked:
            await self._asked[package].wait()

    async def _work(self) -> None:
        while True:
            package = await self._queue.get()
            try:
                count = await self.compile(package)
                if count:  # an empty answer: it was compiled before, or has nothing to be compiled
                    log.info("%d modules of %s were compiled for %s", count, package.tree.name[:12], package.runtime)
            except (SandboxError, RuntimesError, OSError) as error:
                log.warning("%s could not be compiled, cold starts do it: %s", package.tree.name[:12], error)
            except Exception:
                log.exception("%s could not be compiled, cold starts do it", package.tree.name[:12])
            finally:
                self._asked[package].set()

    async def compile(self, package: Package) -> int:
        """Now; how many files were added. Raises SandboxError, RuntimesError, OSError."""
        with unpacking.once(package.tree, f"compiled-{package.runtime}") as mark:
            if mark is None or not await asyncio.to_thread(_has_sources, package.tree):
                return 0
            out = self._scratch / uuid4().hex
            await asyncio.to_thread(_make, out)
            try:
                await self._run(package, out)
                added = await _whole(asyncio.to_thread(_take_over, out, package.tree))
            finally:
                await asyncio.to_thread(delete_tree, out)
            mark.done()
            return added

    async def _run(self, package: Package, out: Path) -> None:
        interpreter = self._runtime.interpreter(package.runtime)
        environment_id = uuid4().hex
        runtime_directory = self._runtime.runtime_directory
        layout = self._sandbox.layout(
            environment_id,
            code_directory=str(package.tree),
            runtime_directory=runtime_directory,
            interpreter=interpreter,
        )
        root = layout.task_root
        nothing = os.open(os.devnull, os.O_WRONLY)
        try:
            process = await self._sandbox.start(
                Command(
                    environment_id=environment_id,
                    argv=(interpreter, "-I", "-c", PROGRAM, str(out), root, package.seen),
                    variables={"LANG": "C.UTF-8"},
                    code_directory=str(package.tree),
                    runtime_directory=runtime_directory,
                    layout=layout,
                    limits=LIMITS,
                    output_fd=nothing,
                    inherited_fds=(),
                    directories=(str(out),),
                )
            )  # fmt: skip
        finally:
            os.close(nothing)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(MOST_TIME.total_seconds()):
                    await process.wait()
        finally:
            # nobody is left who could still write to what is taken over
            await process.remove()
        await asyncio.to_thread(_gather, out, f"{out}{root}")


async def _whole(work: Coroutine[Any, Any, int]) -> int:
    """What began in a thread goes on when nobody waits for it any more: a cancellation waits for its end."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def _make(out: Path) -> None:
    out.mkdir(parents=True)
    out.parent.chmod(0o755)


def _gather(out: Path, compiled: str) -> None:
    """The interpreter puts them below the source's path. Make that the top."""
    found = out / "compiled"
    if os.path.isdir(compiled) and not os.path.islink(compiled):
        os.rename(compiled, found)


def _has_sources(tree: Path) -> bool:
    return any(name.endswith(".py") for _, _, names in os.walk(tree) for name in names)


def _take_over(out: Path, tree: Path) -> int:
    """Move what was compiled beside its source. Nothing is followed out of either tree, nothing there is replaced."""
    added = size = 0
    root = tree.resolve()
    for top, _, names in os.walk(out / "compiled", followlinks=False):
        made = Path(top)
        path = made.relative_to(out / "compiled")
        compiled = [name for name in names if name.count(".") == 2 and name.endswith(".pyc")]
        if not compiled or (tree / path).resolve() != root / path or not (tree / path).is_dir():
            continue
        for name in compiled:
            size += (made / name).lstat().st_size
            if added >= MOST_FILES or size > MOST_BYTES:
                log.warning("%s has more compiled code than is taken over", tree.name[:12])
                return added
        added += _take_over_folder(made, compiled, tree / path)
    return added


def _take_over_folder(made: Path, names: list[str], folder: Path) -> int:
    """The folders of a sealed tree are opened for that moment."""
    cache = folder / CACHE
    if cache.is_symlink():
        return 0
    if not cache.is_dir():
        with _open(folder):
            cache.mkdir(mode=0o755)
    added = 0
    with _open(cache):
        for name in names:
            found, place = (made / name).lstat(), cache / name
            whole = stat.S_ISREG(found.st_mode) and found.st_nlink == 1
            if whole and _is_file(folder / f"{name.partition('.')[0]}.py") and not os.path.lexists(place):
                (made / name).chmod(0o444)
                (made / name).rename(place)
                added += 1
    return added


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


@contextlib.contextmanager
def _open(folder: Path) -> Iterator[None]:
    folder.chmod(0o755)
    try:
        yield
    finally:
        folder.chmod(0o555)  # environments run as others and must read it
