"""Options that many commands share, and how their values are read."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from fnrunner.cli.error import UsageFault

DEFAULT_ENDPOINT = "http://127.0.0.1:9000"

endpoint = click.option(
    "--endpoint-url",
    envvar="FNRUNNER_ENDPOINT_URL",
    default=DEFAULT_ENDPOINT,
    show_default=True,
    show_envvar=True,
    metavar="URL",
    help="Where the server listens.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")
function_name = click.argument("name", metavar="NAME")


def document(text: str, option: str) -> bytes:
    """The bytes of a value given as JSON, ``@FILE`` or ``-`` (standard input). Raises UsageFault unless it is JSON."""
    data = content(text, option)
    try:
        json.loads(data)
    except ValueError as error:
        raise UsageFault(f"{option}: this is not JSON: {error}", "Quote it for the shell, or use @FILE.") from error
    return data


def content(text: str, option: str) -> bytes:
    """The bytes of a value given as text, ``@FILE`` or ``-`` (standard input)."""
    if text == "-":
        import sys

        return sys.stdin.buffer.read()
    if text.startswith("@"):
        try:
            return Path(text[1:]).read_bytes()
        except OSError as error:
            raise UsageFault(
                f"{option}: {text[1:]} cannot be read: {error.strerror}", "Name a file after @."
            ) from error
    return text.encode()


def pairs(texts: Iterable[str], option: str) -> dict[str, str]:
    """``K=V`` texts as a mapping. Raises UsageFault.

    >>> pairs(["A=1", "B=x=y"], "--env")
    {'A': '1', 'B': 'x=y'}
    """
    values = {}
    for text in texts:
        name, found, value = text.partition("=")
        if not found or not name:
            raise UsageFault(f"{option}: {text!r} has no =", "It has the form NAME=VALUE.")
        values[name] = value
    return values


def rows(items: list[dict[str, Any]], *keys: str) -> list[list[object]]:
    """The values of some keys of each item, ``-`` where there is none."""
    return [["-" if item.get(key) is None else item[key] for key in keys] for item in items]
