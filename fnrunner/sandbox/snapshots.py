"""Functions that have been imported already: one process each, from which further environments are forked.

A snapshot is taken after a function's first environment has initialised, in the background, by importing the function once
more. From then on an environment of the same code with the same settings is a fork of it: what took the function a second to
import takes milliseconds. It differs in what belongs to an environment: identity, variables, /tmp (with what the import has
left there), randomness. What the import has written to the log is written again in each.

Not every function can be copied: threads, processes and connections do not survive a fork. Its snapshot says so itself, and
is not kept; its environments import it as before. Those that nobody has used for longest go when there are many, or when
memory is short, and after an hour in any case; one that is used is taken anew after an hour, so that what it knows of the
world is not older.

Source: Lambda SnapStart, of which this has the hooks and the duties of a function; it works without being asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import logging
import marshal
import os
import socket
import stat
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from fnrunner.runtimes.frames import BadFrame, Kind
from fnrunner.sandbox.asking import Asking, Spawned, SpawnFailed
from fnrunner.sandbox.control import Control
from fnrunner.sandbox.home import Home, MakeHome
from fnrunner.sandbox.isolated import IsolatedProcess
from fnrunner.sandbox.output import BoundedLog, Output
from fnrunner.sandbox.sandbox import Command

log = logging.getLogger(__name__)

AHEAD = 1
MOST = 32
PAUSE_S = 0.2
"""The first invocation comes first."""

WAIT_S = 60.0
AGE_S = 3600.0
IDLE_S, LOOK_S = 3600.0, 60.0
REFUSED = 1024
FORKING_MB = 256
"""The page tables of its copies count as a snapshot's memory: about one part in 500 of what each has in memory."""

FAILURES = 3
AGAIN_S = 600.0

LOG_BYTES = 48 * 1024
"""It must fit into a pipe that nobody reads yet."""

TEMPORARY_BYTES, TEMPORARY_FILES, DEEPEST = 32 * 1024 * 1024, 1000, 32
COPY_BYTES = 1024 * 1024
SCARCE = 0.1
"""Of the host's memory: with less left, no more snapshots are taken."""

OWN_VARIABLES = (
    "AWS_LAMBDA_LOG_STREAM_NAME", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN",
)  # fmt: skip
"""Those in which environments of the same function differ."""

FUNCTION_VARIABLES = (
    "AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_VERSION", "AWS_LAMBDA_INITIALIZATION_TYPE",
)  # fmt: skip

Start = Callable[[Command, int], Awaitable[IsolatedProcess]]
"""Starts a process that can be copied, with the descriptor for its keeper."""


class Snapshots:
    """All of a worker. Used in its event loop."""

    def __init__(self, start: Start, make_home: MakeHome) -> None:
        self._start, self._make_home = start, make_home
        self._kept: OrderedDict[bytes, Snapshot] = OrderedDict()
        self._refused: OrderedDict[bytes, tuple[str, float]] = OrderedDict()
        self._taking: dict[bytes, asyncio.Task[None]] = {}
        self._one_at_a_time = asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()
        self._dropped: list[Snapshot] = []
        self._timer: asyncio.TimerHandle | None = None
        self._open = True

    def find(self, command: Command) -> Snapshot | None:
        """One from which this command's environment can be forked."""
        key = key_of(command)
        snapshot = self._kept.get(key)
        if snapshot is None:
            return None
        if snapshot.lost:
            self.drop(snapshot)
            return None
        self._kept.move_to_end(key)
        snapshot.use()
        if snapshot.age_s > AGE_S:
            self.consider(command)
        return snapshot if snapshot.age_s < 2 * AGE_S else None

    def consider(self, command: Command) -> None:
        """An environment of this command has initialised: further ones could be forked from a snapshot."""
        key = key_of(command)
        kept = self._kept.get(key)
        if not self._open:
            return
        if (kept is None or kept.age_s > AGE_S) and not self._is_refused(key) and key not in self._taking:
            self._taking[key] = asyncio.create_task(self._take(key, command))

    async def taken(self, command: Command) -> Snapshot | None:
        """One for this command, if it can be copied; taken now where there is none."""
        key = key_of(command)
        if self._open and key not in self._kept and not self._is_refused(key) and key not in self._taking:
            self._taking[key] = asyncio.create_task(self._take(key, command, pause_s=0.0))
        if (taking := self._taking.get(key)) is not None:
            await asyncio.shield(taking)
        return self.find(command)

    def failed(self, snapshot: Snapshot) -> None:
        """A copy could not be made. That may be this process's fault: it is dropped when it happens again and again."""
        snapshot.failures += 1
        if snapshot.lost or snapshot.failures >= FAILURES:
            self.drop(snapshot)

    def drop(self, snapshot: Snapshot) -> None:
        """Use it no more. What was forked from it goes on."""
        for key in [key for key, each in self._kept.items() if each is snapshot]:
            del self._kept[key]
        if snapshot in self._dropped:
            return
        self._dropped.append(snapshot)
        task = asyncio.create_task(self._retire(snapshot))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _retire(self, snapshot: Snapshot) -> None:
        try:
            await snapshot.retire()
        finally:
            self._dropped.remove(snapshot)

    async def close(self) -> None:
        """End all, and what was forked from them."""
        self._open = False
        if self._timer is not None:
            self._timer.cancel()
        taking = list(self._taking.values())
        for task in taking:
            task.cancel()
        await asyncio.gather(*taking, return_exceptions=True)
        for snapshot in [*self._kept.values(), *self._dropped]:
            await snapshot.end()
        self._kept.clear()
        # who waits for the last copy has it now
        await asyncio.gather(*self._closing)

    async def _take(self, key: bytes, command: Command, pause_s: float = PAUSE_S) -> None:
        try:
            await asyncio.sleep(pause_s)
            # somebody waits for one without a pause
            async with self._one_at_a_time if pause_s else contextlib.nullcontext():
                self._make_room()
                if _memory_is_scarce():
                    return
                snapshot = await Snapshot.taken(self._start, self._make_home, command)
        except SpawnFailed as refusal:
            log.info("%s is imported anew in each environment: %s", _named(command), refusal)
            self._refuse(key, str(refusal))
            return
        except Exception as error:
            log.exception("no snapshot of %s could be taken", _named(command))
            self._refuse(key, str(error))
            return
        finally:
            del self._taking[key]
        for other, older in list(self._kept.items()):
            # of the same function, with other code or settings: nobody asks for it any more
            if other == key or older.of == snapshot.of:
                self.drop(older)
        self._kept[key] = snapshot
        self._look_later()

    def _is_refused(self, key: bytes) -> bool:
        """For a while: what stood in the way may have been the host."""
        why, since = self._refused.get(key, ("", 0.0))
        return bool(why) and asyncio.get_running_loop().time() - since < AGAIN_S

    def _refuse(self, key: bytes, why: str) -> None:
        self._refused[key] = why, asyncio.get_running_loop().time()
        while len(self._refused) > REFUSED:
            self._refused.popitem(last=False)

    def _make_room(self) -> None:
        while len(self._kept) >= MOST:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        self.drop(next(iter(self._kept.values())))

    def _look(self) -> None:
        """From time to time: those that nobody uses go, and one more where memory is short."""
        self._timer = None
        while self._kept and next(iter(self._kept.values())).idle_s > IDLE_S:
            self._drop_oldest()
        if self._kept and _memory_is_scarce():
            self._drop_oldest()
        if self._kept:
            self._look_later()

    def _look_later(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LOOK_S, self._look)


class Snapshot:
    """One function's process that waits to be copied."""

    def __init__(
        self, process: IsolatedProcess, channel: socket.socket, make_home: MakeHome, said: bytes, of: tuple[str, ...]
    ) -> None:
        """``of`` names the function, its version and how it is initialised."""
        self.process, self.said, self.of = process, said, of
        self.failures = 0
        self._make_plain_home = make_home
        self._asking = Asking(channel, self._furnished_home, ahead=AHEAD)
        self._asking.attach()
        self._asking.prepare()
        self._loop = asyncio.get_running_loop()
        self._made = self._used = self._loop.time()

    @classmethod
    async def taken(cls, start: Start, make_home: MakeHome, command: Command) -> Snapshot:
        """Import the function once more. Raises SpawnFailed: it cannot be copied, and why; SandboxError, OSError."""
        importing = _Importing()
        ours, keepers = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        process: IsolatedProcess | None = None
        try:
            process = await start(importing.command(command), keepers.fileno())
            keepers.close()
            importing.hand_over()
            obstacle = await importing.outcome() or _left_behind(Path(process.home.temporary))
            if obstacle:
                raise SpawnFailed(obstacle)
            if process.home.group is not None:
                process.home.group.limit(command.limits.memory_mb + FORKING_MB, command.limits.processes)
            snapshot = cls(process, ours, make_home, importing.said(), _of(command))
        except BaseException:
            ours.close()
            if process is not None:
                await asyncio.shield(asyncio.ensure_future(process.remove()))
            raise
        finally:
            keepers.close()
            importing.close()
        return snapshot

    @property
    def lost(self) -> bool:
        return self._asking.lost or self.process.returncode is not None

    @property
    def age_s(self) -> float:
        return self._loop.time() - self._made

    @property
    def idle_s(self) -> float:
        return self._loop.time() - self._used

    def use(self) -> None:
        self._used = self._loop.time()

    async def start(self, descriptors: Sequence[int], limit: Callable[[Home], None]) -> Spawned:
        """A copy. Raises: SpawnFailed, OSError."""
        spawned = await self._asking.start(descriptors, limit)
        self.failures = 0
        return spawned

    async def retire(self) -> None:
        """It ends with the last of its copies."""
        await self._asking.close()
        await self.process.gone()
        await self.process.remove()

    async def end(self) -> None:
        """It ends, and its copies with it."""
        await self._asking.close()
        await self.process.remove()

    def _furnished_home(self) -> Home:
        home = self._make_plain_home()
        try:
            copy_files(Path(self.process.home.temporary), Path(home.temporary))
        except OSError:
            home.remove_now()
            raise
        return home


class _Importing:
    """Follows a process until it has imported its function."""

    def __init__(self) -> None:
        self._log = BoundedLog(half_bytes=LOG_BYTES // 2)
        self._outcome: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._output = Output(self._log)
        self._control = Control(self._on_frame, self._on_lost)

    def command(self, command: Command) -> Command:
        """The same with descriptors of its own."""
        number = self._control.their_fd
        argv = list(command.argv)
        argv[command.script + 1] = str(number)
        name = f"snapshot-{hashlib.sha256(os.urandom(16)).hexdigest()[:16]}"
        return replace(
            command, environment_id=name, argv=tuple(argv), output_fd=self._output.write_fd, inherited_fds=(number,)
        )

    def hand_over(self) -> None:
        self._control.hand_over()
        self._output.hand_over()

    async def outcome(self) -> str:
        """What stands in the way of copies; nothing where it is ready for them."""
        try:
            async with asyncio.timeout(WAIT_S):
                return await self._outcome
        except TimeoutError:
            return "its import does not end"

    def said(self) -> bytes:
        return self._output.take()[0]

    def close(self) -> None:
        self._control.close()
        self._output.end()

    def _on_frame(self, kind: Kind, _: int, payload: bytes) -> None:
        if kind is Kind.READY:
            self._settle(payload.decode("utf-8", "replace"))
        elif kind is not Kind.HELLO:
            self._settle("its import fails")

    def _on_lost(self, _: BadFrame | None) -> None:
        self._settle("its import ends the process")

    def _settle(self, obstacle: str) -> None:
        if not self._outcome.done():
            self._outcome.set_result(obstacle)


def _of(command: Command) -> tuple[str, ...]:
    return tuple(command.variables.get(name, "") for name in FUNCTION_VARIABLES)


def key_of(command: Command) -> bytes:
    """The same for commands whose environments differ in nothing but their identity."""
    variables = {name: value for name, value in command.variables.items() if name not in OWN_VARIABLES}
    argv = [*command.argv[: command.script + 1], *command.argv[command.script + 2 :]]
    layout, limits = command.layout, command.limits
    told = (
        command.key, argv, sorted(variables.items()), command.code_directory, command.layers_directory,
        command.runtime_directory,
        command.directories, command.programs, layout.task_root, layout.runtime_directory, layout.temporary,
        limits.memory_mb, limits.file_mb, limits.processes, limits.open_files,
        # unpacked anew at the same place, they are others
        [_identity(path) for path in (command.code_directory, command.layers_directory) if path],
    )  # fmt: skip
    return hashlib.sha256(marshal.dumps(told)).digest()


def _identity(path: str) -> tuple[int, int]:
    try:
        found = os.stat(path)
    except OSError:
        return 0, 0
    return found.st_dev, found.st_ino


def copy_files(source: Path, target: Path) -> None:
    """Files, directories and links, into an empty directory.

    Whose files these are may change them meanwhile, to lead this process elsewhere: no link is followed, neither there nor
    here, and no more is copied than a snapshot may have. Raises OSError.
    """
    with _directory(str(source)) as there, _directory(str(target)) as here:
        _copy_directory(there, here, _Budget(), 0)


class _Budget:
    """What may still be copied. Raises OSError beyond that."""

    def __init__(self) -> None:
        self._bytes, self._files = TEMPORARY_BYTES, TEMPORARY_FILES

    def take(self, size: int = 0) -> None:
        self._bytes -= size
        self._files -= not size
        if self._bytes < 0 or self._files < 0:
            raise OSError(errno.EFBIG, "the snapshot has left too much in its /tmp")


def _copy_directory(there: int, here: int, budget: _Budget, depth: int) -> None:
    if depth > DEEPEST:
        raise OSError(errno.ELOOP, "the snapshot's /tmp is too deep")
    for name in os.listdir(there):
        budget.take()
        with contextlib.suppress(FileNotFoundError):
            kind = os.stat(name, dir_fd=there, follow_symlinks=False).st_mode
            if stat.S_ISLNK(kind):
                os.symlink(os.readlink(name, dir_fd=there), name, dir_fd=here)
            elif stat.S_ISDIR(kind):
                with _directory(name, there) as inner_there:
                    os.mkdir(name, 0o700, dir_fd=here)
                    with _directory(name, here) as inner_here:
                        _copy_directory(inner_there, inner_here, budget, depth + 1)
                        os.fchmod(inner_here, stat.S_IMODE(kind) & 0o777)
            elif stat.S_ISREG(kind):
                _copy_file(name, there, here, budget)


def _copy_file(name: str, there: int, here: int, budget: _Budget) -> None:
    reader = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=there)
    try:
        kind = os.fstat(reader).st_mode
        if not stat.S_ISREG(kind):
            return
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        writer = os.open(name, flags, 0o600, dir_fd=here)
        try:
            while data := os.read(reader, COPY_BYTES):
                budget.take(len(data))
                while data:
                    data = data[os.write(writer, data) :]
            os.fchmod(writer, stat.S_IMODE(kind) & 0o777)
        finally:
            os.close(writer)
    finally:
        os.close(reader)


@contextlib.contextmanager
def _directory(name: str, within: int | None = None) -> Iterator[int]:
    descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=within)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _left_behind(temporary: Path) -> str:
    """Whether more is in /tmp than can be copied in passing."""
    size = count = 0
    for _, names, files, descriptor in os.fwalk(temporary, follow_symlinks=False):
        for name in files:
            with contextlib.suppress(FileNotFoundError):
                size += os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_size
        count += len(names) + len(files)
        if size > TEMPORARY_BYTES or count > TEMPORARY_FILES:
            return "its import leaves much in /tmp"
    return ""


def _memory_is_scarce() -> bool:
    found = {}
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, value = line.partition(":")
        found[name] = int(value.split()[0])
    return found.get("MemAvailable", found["MemTotal"]) < SCARCE * found["MemTotal"]


def _named(command: Command) -> str:
    return command.variables.get("AWS_LAMBDA_FUNCTION_NAME", "a function")
