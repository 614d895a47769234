"""`fnrunner credentials`: access keys of those who may call function URLs with ``AWS_IAM``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from fnrunner.cli import option
from fnrunner.cli.client import ADMIN, Client
from fnrunner.cli.error import CliError, ServerRefused, ServerUnreachable, UsageFault
from fnrunner.cli.output import Output

_NAMED_BY = ("FNRUNNER_CREDENTIALS_FILE", "FNRUNNER_DATA_DIR")
_PATIENCE = timedelta(seconds=5)


def register(app: click.Group) -> None:
    group = click.Group("credentials", help="Make access keys for signed calls.", no_args_is_help=True)
    group.add_command(create)
    app.add_command(group)


@click.command("create")
@click.argument("user", metavar="USER")
@click.option("--data-dir", "data_dir", metavar="DIR", help="The server's data directory. [default: .fnrunner]")
@click.option("--file", "file", metavar="FILE", help="The file itself. [default: credentials in the data directory]")
@option.as_json
@option.endpoint
def create(user: str, data_dir: str | None, file: str | None, as_json: bool, endpoint_url: str) -> None:
    """Make a user with an access key, and show the secret this once. With --json: {"user", "access_key_id",
    "secret_access_key", "file"}.

    With FNRUNNER_AUTH=iam users are in the store instead: see `fnrunner iam`.

    The key is appended to the credentials file, on the host of the API, which takes it at once. It is in the format of
    ~/.aws/credentials; to take a key away, remove its profile from the file. Where a server on this host reads another file
    and none was named, nothing is written.
    """
    from fnrunner.auth.credentials import CredentialsError
    from fnrunner.auth.credentials import create as make
    from fnrunner.cli.serve import read

    path = Path(file).absolute() if file else read(data_dir=data_dir).credentials
    status = _status(endpoint_url)
    named = bool(file or data_dir or any(os.environ.get(name) for name in _NAMED_BY))
    if (other := _other_file(path, status, endpoint_url)) and not named:
        raise UsageFault(
            f"The server at {endpoint_url} reads {other}, and not {path}",
            f"Nothing was written. Add --file {other}, or --file {path} where another server reads that.",
        )
    try:
        made = make(path, user)
    except CredentialsError as error:
        fault, _, remedy = str(error).partition(". ")
        raise CliError(fault, remedy) from error
    output = Output(as_json)
    if as_json:
        output.json({
            "user": made.user, "access_key_id": made.access_key, "secret_access_key": made.secret, "file": str(path),
        })  # fmt: skip
    else:
        output.line(f"aws_access_key_id = {made.access_key}")
        output.line(f"aws_secret_access_key = {made.secret}")
        output.note(f"Written to {path}. The secret is not shown again.")
    if warning := _warning(path, status, other, endpoint_url):
        output.note(f"warning: {warning}")


def _status(endpoint_url: str) -> Mapping[str, Any] | None:
    """Of the server; None where none answers, or not to whoever asks."""
    try:
        found: Mapping[str, Any] = Client(endpoint_url).call("GET", f"{ADMIN}/status", timeout=_PATIENCE).json()
    except (ServerUnreachable, ServerRefused):
        return None
    return found


def _other_file(path: Path, status: Mapping[str, Any] | None, endpoint_url: str) -> str:
    """The file that the server on this host reads instead; empty where it is the same, or nobody knows."""
    from fnrunner.settings import loopback

    if status is None or not loopback(urlsplit(endpoint_url).hostname or ""):
        return ""
    there = str(status.get("credentials_file", ""))
    return there if there and Path(there).resolve() != path.resolve() else ""


def _warning(path: Path, status: Mapping[str, Any] | None, other: str, endpoint_url: str) -> str:
    """What keeps a server from reading the file; empty where nothing is known to."""
    if status is not None and status.get("auth") == "iam":
        return f"the server at {endpoint_url} has its users in the store, and reads no file: use `fnrunner iam user create`"
    if other:
        return f"the server at {endpoint_url} reads {other}: it needs FNRUNNER_CREDENTIALS_FILE={path} to read this one"
    if status is None:
        return f"no server answers: one with another data directory needs FNRUNNER_CREDENTIALS_FILE={path} to read this file"
    return ""
