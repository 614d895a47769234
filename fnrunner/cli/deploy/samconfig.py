"""``samconfig.toml`` beside a template: the stack's name and the parameters that it gives to ``sam deploy``.

Only these two mean something here; what else a configuration has is about AWS (buckets, regions, capabilities).
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fnrunner.cli.error import UsageFault

FILE = "samconfig.toml"
ENVIRONMENT = "default"
_LONG = re.compile(r"ParameterKey=(?P<key>[^,]+),ParameterValue=(?P<value>.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class SamConfig:
    """``stack_name`` empty: it names none."""

    stack_name: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)


def read(folder: Path, environment: str = "") -> SamConfig:
    """What the folder's file says for an environment; nothing where there is no file.

    Raises UsageFault for a file that cannot be read, and for an environment that was named and is not there.
    """
    file = folder / FILE
    if not file.is_file():
        if environment:
            raise UsageFault(f"--config-env {environment}: there is no {FILE} in {folder}", "Leave it out.")
        return SamConfig()
    try:
        document = tomllib.loads(file.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageFault(f"{file}: this is not TOML: {error}", "Correct the line it names.") from error
    if environment and environment not in document:
        known = ", ".join(name for name in document if isinstance(document[name], dict)) or "none"
        raise UsageFault(f"--config-env {environment}: {file} has no [{environment}]", f"It has {known}.")
    return _of(document.get(environment or ENVIRONMENT, {}), file)


def _of(section: Mapping[str, Any], file: Path) -> SamConfig:
    """``global`` counts for every command, and ``deploy`` over it."""
    values: dict[str, Any] = {}
    for command in ("global", "deploy"):
        values |= (section.get(command) or {}).get("parameters") or {}
    given = values.get("parameter_overrides", "")
    if not isinstance(given, str | list) or not isinstance(values.get("stack_name", ""), str):
        raise UsageFault(f"{file}: stack_name takes a text, and parameter_overrides a text or a list", "Correct it.")
    return SamConfig(values.get("stack_name", ""), overrides(given, str(file)))


def overrides(given: str | list[Any], where: str) -> dict[str, str]:
    """Parameters in either of the two forms that the SAM CLI takes.

    >>> overrides('Stage="prod" Title="two words"', "f")
    {'Stage': 'prod', 'Title': 'two words'}
    >>> overrides(["ParameterKey=A,ParameterValue=b"], "f")
    {'A': 'b'}
    """
    try:
        words = shlex.split(given) if isinstance(given, str) else [str(one) for one in given]
    except ValueError as error:
        raise UsageFault(f"{where}: parameter_overrides cannot be read: {error}", "Close the quotation.") from error
    values = {}
    for word in words:
        if match := _LONG.fullmatch(word):
            values[match["key"]] = match["value"]
            continue
        name, found, value = word.partition("=")
        if not found or not name:
            raise UsageFault(f"{where}: parameter_overrides: {word!r} has no =", "It has the form NAME=VALUE.")
        values[name] = value.removeprefix('"').removesuffix('"') if isinstance(given, list) else value
    return values
