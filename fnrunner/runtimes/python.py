"""Python 3.9 and later: finds each version's interpreter on this host and starts the bootstrap with it."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from fnrunner.model.invocation import EnvironmentSpec
from fnrunner.runtimes.runtime import Launch, Layout, RuntimeUnavailable, RuntimeUnknown, installed
from fnrunner.runtimes.variables import function_variables

BOOTSTRAP = "python_bootstrap.py"
# isolated from the caller's environment and directory, unbuffered, UTF-8, and no .pyc written beside the user's code
FLAGS = ("-I", "-u", "-B", "-X", "utf8")
OLDEST_MINOR = 9
NEWEST_MINOR = 14
_NAME = re.compile(r"python3\.(\d{1,2})")
_READ_AT_START = ("LD_", "GLIBC_", "MALLOC_", "OPENSSL_", "SSL_CERT_", "LC_", "LANG")
_ELF = b"\x7fELF"


class PythonRuntime:
    """Implements Runtime. What was found is remembered: make a new one after installing an interpreter."""

    def __init__(self, *, path: str | None = None, pyenv_root: Path | None = None) -> None:
        """``path`` is searched like ``PATH`` (the default); ``pyenv_root`` is ``~/.pyenv`` by default."""
        self._path = path
        self._pyenv_root = pyenv_root
        self._found: dict[str, str] = {}

    @property
    def runtime_directory(self) -> str:
        return str(Path(__file__).resolve().parent)

    def serves(self, name: str) -> bool:
        match = _NAME.fullmatch(name)
        return match is not None and int(match[1]) >= OLDEST_MINOR

    def available(self) -> Mapping[str, str]:
        minors = range(OLDEST_MINOR, NEWEST_MINOR + 1)
        return installed((f"python3.{minor}" for minor in minors), self.interpreter)

    def interpreter(self, name: str) -> str:
        if not self.serves(name):
            raise RuntimeUnknown(f"{name!r} is no Python runtime: use python3.{OLDEST_MINOR} or later")
        if name not in self._found:
            for candidate in self._candidates(name):
                if _runs_natively(candidate):
                    self._found[name] = str(candidate.resolve())
                    break
            else:
                raise RuntimeUnavailable(
                    f"{name} is not on this host. Install it so that {name} is on PATH "
                    f"(apt-get install {name}, pyenv install {name.removeprefix('python')}), "
                    "or choose a runtime that `fnrunner doctor` lists"
                )
        return self._found[name]

    def launch(
        self, spec: EnvironmentSpec, layout: Layout, *, interpreter: str, control_fd: int, log_stream: str
    ) -> Launch:
        bootstrap = f"{layout.runtime_directory}/{BOOTSTRAP}"
        argv = (interpreter, *FLAGS, bootstrap, str(control_fd), layout.task_root)
        variables = function_variables(spec, layout, log_stream)
        # what is read when a program starts counts only for one that is started
        own = any(name.startswith(_READ_AT_START) for name in spec.variables)
        return Launch(argv, variables, script=0 if own else 1 + len(FLAGS))

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


def _patch(interpreter: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", interpreter.parent.parent.name))


def _runs_natively(candidate: Path) -> bool:
    """An executable, and not a version manager's script, which may know the name and lack the version."""
    try:
        with candidate.open("rb") as file:
            return file.read(len(_ELF)) == _ELF
    except OSError:
        return False
