"""The port: start a command in a sandbox, wait for it, kill its whole tree, remove what it left."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from fnrunner.model.image import Image
from fnrunner.runtimes.runtime import Layout


class SandboxError(Exception):
    """The sandbox could not be used."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or inspect.cleandoc(type(self).__doc__ or "").split("\n\n", 1)[0].replace("\n", " "))


class SandboxUnavailable(SandboxError):
    """No process could be started in a sandbox. Run `fnrunner doctor`: it says what this host lacks."""


@dataclass(frozen=True, slots=True)
class Limits:
    """``memory_mb`` bounds the tree; ``file_mb`` bounds one file; the counts bound the tree where the host permits."""

    memory_mb: int
    file_mb: int
    processes: int
    open_files: int


@dataclass(frozen=True, slots=True)
class Command:
    """What to run. ``environment_id`` names it on this host; ``variables`` is its whole environment.

    ``output_fd`` becomes its stdout and stderr, ``inherited_fds`` stay open under their own numbers.
    ``directories`` on the host stay visible at their own paths, read and write.
    ``code_directory``, ``layers_directory`` (empty: none) and ``runtime_directory`` are on the host, and are seen where
    ``layout`` says. ``programs`` are others that it starts, by their paths on the host.

    Where ``script`` is not 0, ``argv[script]`` is a Python program in the runtime's directory, and a sandbox may run it in an
    interpreter that has been loaded already; with ``copies`` it may keep one that has initialised, and fork others from it:
    those with the same ``key``, and with ``restores`` the first one too. ``early`` are variables with which the script may
    begin before the others are known. ``image`` is what it runs in, where it is one.
    """

    environment_id: str
    argv: tuple[str, ...]
    variables: Mapping[str, str] = field(repr=False)
    code_directory: str
    runtime_directory: str
    layout: Layout
    limits: Limits
    output_fd: int
    inherited_fds: tuple[int, ...]
    layers_directory: str = ""
    directories: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    script: int = 0
    copies: bool = False
    restores: bool = False
    key: str = ""
    early: Mapping[str, str] | None = field(default=None, repr=False)
    image: Image | None = None


@dataclass(frozen=True, slots=True)
class SandboxReport:
    """What this host gives. ``gaps`` are sentences, each with its remedy; empty means nothing is missing.

    ``cgroup_version`` is 0 without cgroups; ``memory``, ``tree_kill``, ``cpu`` and ``system_calls`` name the mechanism,
    the last one empty where nothing is filtered. ``network`` says whose network functions have.
    """

    name: str
    cgroup_version: int
    mount_namespace: bool
    parent_death_signal: bool
    memory: str
    tree_kill: str
    cpu: str = "nice"
    namespaces: tuple[str, ...] = ()
    system_calls: str = ""
    network: str = "the host's"
    gaps: tuple[str, ...] = ()


class SandboxProcess(Protocol):
    """A started command and all its descendants."""

    @property
    def pid(self) -> int: ...

    @property
    def returncode(self) -> int | None:
        """As in subprocess: negative is a signal; None while it runs."""

    async def wait(self) -> int:
        """Wait until the command itself has ended; its descendants may still run."""

    def terminate(self) -> None:
        """Ask the command itself to end (SIGTERM). Harmless when it has ended."""

    def kill(self) -> None:
        """Kill the command itself at once; its descendants follow with ``kill_tree``. Harmless when it has ended."""

    async def kill_tree(self) -> None:
        """Kill the command and every descendant, detached ones too; returns when none is left."""

    def freeze(self) -> None:
        """Let nothing of the tree run until ``thaw``, or until it is asked to end or killed. Harmless when it has ended."""

    def thaw(self) -> None:
        """Let it run again. Harmless when it runs."""

    def initialised(self) -> None:
        """The first phase is over: from now on a limit of processor time holds, where there is one."""

    def memory_peak_bytes(self) -> int:
        """The most memory the tree has used so far, as well as the host can tell."""

    def memory_bytes(self) -> int:
        """The memory that the tree uses now, without what the kernel would give up; as well as the host can tell."""

    def out_of_memory(self) -> bool:
        """Whether something of the tree was killed because of the memory limit."""

    async def remove(self) -> None:
        """Kill the tree and remove what belongs to it on the host: directories, cgroups. Idempotent."""


class Sandbox(Protocol):
    """Makes processes. One serves all functions of a worker."""

    def describe(self) -> SandboxReport:
        """What this host gives. Starts short-lived probes, changes nothing."""

    def sweep(self) -> int:
        """Remove what dead workers of this host left behind: the number of things removed. Call it at worker start."""

    def layout(
        self,
        environment_id: str,
        *,
        code_directory: str,
        runtime_directory: str,
        interpreter: str,
        layers_directory: str = "",
    ) -> Layout:
        """Where things will appear inside; give it back in the Command."""

    async def start(self, command: Command) -> SandboxProcess:
        """Returns once the process exists; that it runs is for its own protocol to say.

        Raises: SandboxUnavailable.
        """
