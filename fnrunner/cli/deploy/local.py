"""A folder or a file with a handler, and the options of the command line, as what they want."""

from __future__ import annotations

import re
import sys
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
    """The name given, or the folder's, or the file's without ``.py``. Raises UsageFault when that is no name."""
    resolved = path.resolve()
    name = options.name or (resolved.name if path.is_dir() else resolved.stem)
    if not re.fullmatch(r"[a-zA-Z0-9-_]{1,64}", name):
        raise UsageFault(f"{name!r} is no function name: 1 to 64 of a-z A-Z 0-9 - _", "Give one with --name.")
    return name


def function_spec(path: Path, options: Options, current: Current, home: Home) -> FunctionSpec:
    """The function that a folder or file is. ``current`` is what the server has under its name."""
    configuration: dict[str, Any] = {
        "Runtime": options.runtime or current.configuration.get("Runtime") or this_runtime(),
        "Handler": options.handler or _handler(path, current),
        "MemorySize": options.memory,
        "Timeout": options.timeout,
        "Environment": None if options.env is None else {"Variables": dict(options.env)},
        "Description": options.description,
        "Role": options.role or current.configuration.get("Role") or home.role(),
    }
    return FunctionSpec(
        name=function_name(path, options),
        code=CodeSource(path=path),
        configuration={key: value for key, value in configuration.items() if value is not None},
        reserved_concurrency=options.reserved_concurrency,
    )


def this_runtime() -> str:
    """The runtime of the Python that runs this."""
    return f"python{sys.version_info.major}.{sys.version_info.minor}"


def _handler(path: Path, current: Current) -> str:
    """The handler it has, while its module is there; else what the source says."""
    known = str(current.configuration.get("Handler") or "")
    folder = path if path.is_dir() else path.parent
    if known and (folder / f"{known.rpartition('.')[0].replace('.', '/')}.py").is_file():
        return known
    files = sorted(path.glob("*.py")) if path.is_dir() else [path]
    return detect.find({file.name: file.read_text() for file in files})
