"""A folder, a file with a handler or a zip, and the options of the command line, as what they want."""

from __future__ import annotations

import re
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fnrunner.cli.deploy import detect
from fnrunner.cli.deploy.plan import Current
from fnrunner.cli.deploy.spec import CodeSource, FunctionSpec
from fnrunner.cli.error import UsageFault
from fnrunner.model.arn import Home


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says; None: it says nothing, and what the function has stays as it is."""

    name: str | None = None
    handler: str | None = None
    runtime: str | None = None
    memory: int | None = None
    timeout: int | None = None
    env: Mapping[str, str] | None = field(default=None, repr=False)
    description: str | None = None
    role: str | None = None
    reserved_concurrency: int | None = None

    def given(self) -> list[str]:
        """The options that were given, as they are typed."""
        return [f"--{name.replace('_', '-')}" for name in self.__slots__ if getattr(self, name) is not None]


def function_name(path: Path, options: Options) -> str:
    """The name given, or the folder's, or the file's without ``.py`` or ``.zip``. Raises UsageFault when that is no name."""
    resolved = path.resolve()
    name = options.name or (resolved.name if path.is_dir() else resolved.stem)
    if not re.fullmatch(r"[a-zA-Z0-9-_]{1,64}", name):
        raise UsageFault(f"{name!r} is no function name: 1 to 64 of a-z A-Z 0-9 - _", "Give one with --name.")
    return name


def function_spec(path: Path, options: Options, current: Current, home: Home, usual: str) -> FunctionSpec:
    """The function that a folder, a file or a zip is. ``current`` is what the server has under its name; ``usual`` is the
    runtime of one that names none.
    """
    configuration: dict[str, Any] = {
        "Runtime": options.runtime or _known(current, "Runtime") or usual,
        "Handler": options.handler or _handler(path, options, current),
        "MemorySize": options.memory,
        "Timeout": options.timeout,
        "Environment": None if options.env is None else {"Variables": dict(options.env)},
        "Description": options.description,
        "Role": _role(options.role, home) or current.configuration.get("Role") or home.role(),
    }
    return FunctionSpec(
        name=function_name(path, options),
        code=CodeSource(path=path),
        configuration={key: value for key, value in configuration.items() if value is not None},
        reserved_concurrency=options.reserved_concurrency,
    )


def _role(given: str | None, home: Home) -> str | None:
    """An ARN as it is; a name is a role of this account."""
    return home.role(given) if given and not given.startswith("arn:") else given


def this_runtime() -> str:
    """The runtime of the Python that runs this."""
    return f"python{sys.version_info.major}.{sys.version_info.minor}"


def _known(current: Current, key: str) -> str:
    """What the function has now; empty: it is not there."""
    return str(current.configuration.get(key) or "")


def check_zip(path: Path, options: Options, current: Current) -> None:
    """Raises UsageFault for a zip of which nobody says in which language it is written."""
    if path.suffix == ".zip" and not (options.runtime or _known(current, "Runtime") or _sources(path)):
        raise UsageFault(
            f"{path}: its runtime cannot be told, since no .py file is at its top",
            "Say --runtime and --handler, such as --runtime nodejs22.x --handler index.handler.",
        )


def _sources(path: Path) -> dict[str, str]:
    """The Python files at the top of a zip. Raises UsageFault when it is none."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if "/" not in name and name.endswith(".py")]
            return {name: archive.read(name).decode(errors="replace") for name in names}
    except (zipfile.BadZipFile, OSError) as error:
        raise UsageFault(f"{path} is no zip file: {error}", "Make it anew, or name the folder instead.") from error


def _handler(path: Path, options: Options, current: Current) -> str:
    """The handler it has, while its module is there; else what the source says."""
    known = _known(current, "Handler")
    if path.suffix == ".zip":
        if known and not options.runtime:
            return known  # whether it is in the package is looked at when that is read
        return detect.find(_sources(path))
    folder = path if path.is_dir() else path.parent
    if known and (folder / f"{known.rpartition('.')[0].replace('.', '/')}.py").is_file():
        return known
    files = sorted(path.glob("*.py")) if path.is_dir() else [path]
    return detect.find({file.name: file.read_text() for file in files})
