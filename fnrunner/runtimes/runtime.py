"""What a language has to say to be run: the protocol, its values and its errors."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from fnrunner.model.invocation import EnvironmentSpec


class RuntimesError(Exception):
    """A runtime could not be used."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or inspect.cleandoc(type(self).__doc__ or "").split("\n\n", 1)[0].replace("\n", " "))


class RuntimeUnavailable(RuntimesError):
    """The interpreter of this runtime is not on this host. Install it, or choose a runtime that `fnrunner doctor` lists."""


class RuntimeUnknown(RuntimesError):
    """No such runtime. Choose one that `fnrunner doctor` lists."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things appear inside an environment, as absolute paths: ``/var/task``, ``/var/runtime`` and ``/tmp`` where
    the sandbox can arrange it, otherwise the real directories.
    """

    task_root: str
    runtime_directory: str
    temporary: str
    opt: str = "/opt"
    """Of layers and extensions; where there are none, the path of nothing."""


@dataclass(frozen=True, slots=True)
class Launch:
    """The program to start. ``variables`` is the whole environment; nothing is inherited.

    Where ``script`` is not 0, ``argv[script]`` is a Python program that may as well be run by an interpreter that has
    been loaded already. ``programs`` are others that it starts, by their paths on the host.
    """

    argv: tuple[str, ...]
    variables: Mapping[str, str] = field(repr=False)
    script: int = 0
    programs: tuple[str, ...] = ()
    copies: bool = False
    """Whether the script, once it has initialised, can be copied into further environments."""
    restores: bool = False
    """Whether each environment is to be such a copy, the first one too."""
    early: Mapping[str, str] | None = field(default=None, repr=False)
    """The variables with which its programs may be started before the others are known; None: they must know them all."""


def found_of(names: Iterable[str], find: Callable[[str], str | None]) -> dict[str, str]:
    """Those of the names for which something is found, and what."""
    return {name: found for name in names if (found := find(name)) is not None}


class Runtime(Protocol):
    """One language in all its versions."""

    @property
    def runtime_directory(self) -> str:
        """The directory on the host that holds the bootstrap."""

    def serves(self, name: str) -> bool:
        """Whether ``name`` (``python3.12``) is a version of this language, installed or not."""

    def available(self) -> Mapping[str, str]:
        """Runtime names whose interpreter is on this host, and its path."""

    def stand_ins(self) -> Mapping[str, str]:
        """Runtime names that are missing, and the one that runs in place of each; empty where none may."""

    def interpreter(self, name: str) -> str:
        """The path of the interpreter.

        Raises: RuntimeUnknown, RuntimeUnavailable.
        """

    def launch(
        self, spec: EnvironmentSpec, layout: Layout, *, interpreter: str, control_fd: int, log_stream: str
    ) -> Launch:
        """The command that serves ``spec`` over the inherited socket ``control_fd``."""
