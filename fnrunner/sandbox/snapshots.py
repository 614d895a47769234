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
import hashlib
import logging
import marshal
import os
import socket
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from fnrunner.runtimes.frames import BadFrame, Kind
from fnrunner.sandbox import host_memory
from fnrunner.sandbox.asking import Asking, Spawned, SpawnFailed
from fnrunner.sandbox.control import Control
from fnrunner.sandbox.home import Home, MakeHome
from fnrunner.sandbox.isolated import IsolatedProcess
from fnrunner.sandbox.left_behind import copy_files, left_behind
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

OWN_VARIABLES = (
    "AWS_LAMBDA_LOG_STREAM_NAME", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN",
)  # fmt: skip
"""Those in which environments of the same function differ."""

FUNCTION_VARIABLES = (
    "AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_VERSION", "AWS_LAMBDA_INITIALIZATION_TYPE",
)  # fmt: skip


class Of(NamedTuple):
    """Whose a snapshot is, and how its environments are initialised."""

    function: str
    version: str
    initialisation: str

    @classmethod
    def command(cls, command: Command) -> Of:
        return cls(*(command.variables.get(name, "") for name in FUNCTION_VARIABLES))


Start = Callable[[Command, int], Awaitable[IsolatedProcess]]
"""Starts a process that can be copied, with the descriptor for its keeper."""


class Snapshots:
    """All of a worker. Used in its event loop."""

    def __init__(self, start: Start, make_home: MakeHome) -> None:
        self._start, self._make_home = start, make_home
        self._kept: OrderedDict[bytes, Snapshot] = OrderedDict()
        self._refused: OrderedDict[bytes, tuple[str, float]] = OrderedDict()
        self._taking: dict[bytes, asyncio.Task[None]] = {}
        self._wanted_for: dict[bytes, Command] = {}
        """Of each that is being taken: the command, until nobody will want it any more."""
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
            self._begin_taking(key, command, PAUSE_S)

    async def taken(self, command: Command) -> Snapshot | None:
        """One for this command, if it can be copied; taken now where there is none."""
        key = key_of(command)
        if self._open and key not in self._kept and not self._is_refused(key) and key not in self._taking:
            self._begin_taking(key, command, 0.0)
        if (taking := self._taking.get(key)) is not None:
            await asyncio.shield(taking)
        return self.find(command)

    def forget(self, function: str, version: str | None, key: str) -> None:
        """Drop those of this function's version, or of all its versions, that have another key; taken or being taken."""

        def outdated(of: Of, its_key: str) -> bool:
            return of.function == function and version in (None, of.version) and its_key != key

        for snapshot in list(self._kept.values()):
            if outdated(snapshot.of, snapshot.key):
                self.drop(snapshot)
        for name, command in list(self._wanted_for.items()):
            if outdated(Of.command(command), command.key):
                del self._wanted_for[name]

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

    def _begin_taking(self, key: bytes, command: Command, pause_s: float) -> None:
        self._wanted_for[key] = command
        self._taking[key] = asyncio.create_task(self._take(key, command, pause_s))

    async def _take(self, key: bytes, command: Command, pause_s: float) -> None:
        wanted = False
        try:
            await asyncio.sleep(pause_s)
            # somebody waits for one without a pause
            async with self._one_at_a_time if pause_s else contextlib.nullcontext():
                self._make_room()
                if host_memory.is_scarce() or key not in self._wanted_for:
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
            wanted = self._wanted_for.pop(key, None) is not None
        if not wanted:
            self.drop(snapshot)
            return
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
        if self._kept and host_memory.is_scarce():
            self._drop_oldest()
        if self._kept:
            self._look_later()

    def _look_later(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LOOK_S, self._look)


class Snapshot:
    """One function's process that waits to be copied."""

    def __init__(
        self, process: IsolatedProcess, channel: socket.socket, make_home: MakeHome, said: bytes, of: Of, key: str
    ) -> None:
        """``key`` is that of the command."""
        self.process, self.said, self.of, self.key = process, said, of, key
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
            obstacle = await importing.outcome() or left_behind(Path(process.home.temporary))
            if obstacle:
                raise SpawnFailed(obstacle)
            if process.home.group is not None:
                process.home.group.limit(command.limits.memory_mb + FORKING_MB, command.limits.processes)
            snapshot = cls(process, ours, make_home, importing.said(), Of.command(command), command.key)
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


def _named(command: Command) -> str:
    return command.variables.get("AWS_LAMBDA_FUNCTION_NAME", "a function")
