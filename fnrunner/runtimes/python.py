"""Python 3.9 and later: finds each version's interpreter on this host and starts the bootstrap with it."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from fnrunner.model.invocation import SNAP_START, EnvironmentSpec
from fnrunner.runtimes import runtime_api_launch, stand_in
from fnrunner.runtimes.runtime import Launch, Layout, RuntimeUnavailable, RuntimeUnknown, found_of
from fnrunner.runtimes.variables import function_variables, wrapper_of

BOOTSTRAP = "python_bootstrap.py"
BRIDGE = "python_bridge.py"
EXTENSIONS = "extensions"
# isolated from the caller's environment and directory, unbuffered, UTF-8, and no .pyc written beside the user's code
FLAGS = ("-I", "-u", "-B", "-X", "utf8")
SNAPSHOT = "FNRUNNER_SNAPSHOT"
"""A function that sets this variable to ``off`` is imported anew in each environment."""

OLDEST_MINOR = 9
NEWEST_MINOR = 15
MOST_MINORS_AWAY = 2
"""So near a version must be to stand in for another."""
_NAME = re.compile(r"python3\.(\d{1,2})")
_READ_AT_START = ("LD_", "GLIBC_", "MALLOC_", "OPENSSL_", "SSL_CERT_", "LC_", "LANG")
_ELF = b"\x7fELF"


class PythonRuntime:
    """Implements Runtime. What was found is remembered: make a new one after installing an interpreter."""

    def __init__(self, *, path: str | None = None, pyenv_root: Path | None = None, lets_stand_in: bool = False) -> None:
        """``path`` is searched like ``PATH`` (the default); ``pyenv_root`` is ``~/.pyenv`` by default. With
        ``lets_stand_in`` a missing version is run by the nearest one of at most :data:`MOST_MINORS_AWAY`.
        """
        self._path = path
        self._pyenv_root = pyenv_root
        self._lets_stand_in = lets_stand_in
        self._found: dict[str, str] = {}
        self._substitutes: dict[str, str] = {}
        self._stand_ins = stand_in.StandIns()
        self._libraries: dict[tuple[str, str], bool] = {}

    @property
    def runtime_directory(self) -> str:
        return str(Path(__file__).resolve().parent)

    def serves(self, name: str) -> bool:
        match = _NAME.fullmatch(name)
        return match is not None and int(match[1]) >= OLDEST_MINOR

    def available(self) -> Mapping[str, str]:
        minors = range(OLDEST_MINOR, NEWEST_MINOR + 1)
        return found_of((f"python3.{minor}" for minor in minors), self._installed)

    def stand_ins(self) -> Mapping[str, str]:
        minors = range(OLDEST_MINOR, NEWEST_MINOR + 1)
        missing = (name for name in (f"python3.{minor}" for minor in minors) if self._installed(name) is None)
        return found_of(missing, self._substitute)

    def interpreter(self, name: str) -> str:
        if not self.serves(name):
            raise RuntimeUnknown(f"{name!r} is no Python runtime: use python3.{OLDEST_MINOR} or later")
        if name not in self._substitutes and (found := self._installed(name)) is not None:
            return found
        if (other := self._substitute(name)) is not None:
            self._stand_ins.say(name, other)
            return self._found[other]
        raise RuntimeUnavailable(
            f"{name} is not on this host. Install it so that {name} is on PATH "
            f"(apt-get install {name}, pyenv install {name.removeprefix('python')}), "
            f"choose a runtime that `fnrunner doctor` lists{stand_in.else_remedy(self._lets_stand_in)}"
        )

    def launch(
        self, spec: EnvironmentSpec, layout: Layout, *, interpreter: str, control_fd: int, log_stream: str
    ) -> Launch:
        if self._has_extensions(spec):
            return self._beside_extensions(spec, layout, interpreter, control_fd, log_stream)
        bootstrap = f"{layout.runtime_directory}/{BOOTSTRAP}"
        argv = (interpreter, *FLAGS, bootstrap, str(control_fd), layout.task_root, layout.opt)
        variables = function_variables(spec, layout, log_stream)
        if wrapper := wrapper_of(spec, layout):
            return Launch((wrapper, *argv), variables, programs=(interpreter,))
        # what is read when a program starts counts only for one that is started
        own = any(name.startswith(_READ_AT_START) for name in spec.variables) or self._brings_libraries(spec)
        copies = not own and spec.variables.get(SNAPSHOT, "").lower() != "off"
        restores = copies and spec.initialization_type == SNAP_START
        return Launch(argv, variables, script=0 if own else 1 + len(FLAGS), copies=copies, restores=restores)

    def _has_extensions(self, spec: EnvironmentSpec) -> bool:
        return bool(spec.layers_directory) and os.path.isdir(f"{spec.layers_directory}/{EXTENSIONS}")

    def _beside_extensions(
        self, spec: EnvironmentSpec, layout: Layout, interpreter: str, control_fd: int, log_stream: str
    ) -> Launch:
        """By the Runtime API, whose program starts the extensions and the interpreter."""
        runtime_api_launch.prepare()
        bridge = f"{layout.runtime_directory}/{BRIDGE}"
        argv: tuple[str, ...] = (interpreter, *FLAGS, bridge, layout.task_root, layout.opt)
        if wrapper := wrapper_of(spec, layout):
            argv = (wrapper, *argv)
        command = runtime_api_launch.command(spec, layout, control_fd=control_fd, opt_root=layout.opt, argv=argv)
        variables = function_variables(spec, layout, log_stream)
        return Launch(command, variables, script=runtime_api_launch.SCRIPT, programs=(interpreter,))

    def _brings_libraries(self, spec: EnvironmentSpec) -> bool:
        """Whether the dynamic linker finds something where an interpreter that was started earlier found no directory:
        it looks there once in its life.
        """
        places = spec.code_directory, spec.layers_directory
        if places not in self._libraries:
            code, layers = places
            in_code = any(name.startswith("lib") and ".so" in name for name in _names(code))
            self._libraries[places] = in_code or any(os.path.isdir(f"{place}/lib") for place in (code, layers) if place)
        return self._libraries[places]

    def _installed(self, name: str) -> str | None:
        """The interpreter of exactly this version."""
        if name not in self._found:
            native = (candidate for candidate in self._candidates(name) if _runs_natively(candidate))
            if (candidate := next(native, None)) is None:
                return None
            self._found[name] = str(candidate.resolve())
        return self._found[name]

    def _substitute(self, name: str) -> str | None:
        """The name of what is installed and may stand in for this one, which is not."""
        if self._lets_stand_in and name not in self._substitutes:
            asked = _minor(name)
            near = range(max(OLDEST_MINOR, asked - MOST_MINORS_AWAY), asked + MOST_MINORS_AWAY + 1)
            others = (f"python3.{minor}" for minor in stand_in.by_nearness(asked, near))
            if (other := next((other for other in others if self._installed(other)), None)) is not None:
                self._substitutes[name] = other
        return self._substitutes.get(name)

    def _candidates(self, name: str) -> Iterator[Path]:
        if name == f"python{sys.version_info.major}.{sys.version_info.minor}":
            # The interpreter below a virtual environment: a function must not import what fnrunner was installed with.
            yield Path(getattr(sys, "_base_executable", None) or sys.executable)
        if found := shutil.which(name, path=self._path):
            yield Path(found)
        root = self._pyenv_root or Path.home() / ".pyenv"
        version = name.removeprefix("python")
        yield from sorted(root.glob(f"versions/{version}.*/bin/{name}"), key=_patch, reverse=True)
        yield from (Path("/usr/local/bin") / name, Path("/usr/bin") / name)


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def _minor(name: str) -> int:
    return int(name.removeprefix("python3."))


def _patch(interpreter: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", interpreter.parent.parent.name))


def _runs_natively(candidate: Path) -> bool:
    """An executable, and not a version manager's script, which may know the name and lack the version."""
    try:
        with candidate.open("rb") as file:
            return file.read(len(_ELF)) == _ELF
    except OSError:
        return False
