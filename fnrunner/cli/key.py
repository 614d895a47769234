"""`fnrunner key`: the keys that encrypt variables, code and secrets where they are stored."""

from __future__ import annotations

from typing import Any

import click

from fnrunner.cli import option
from fnrunner.cli.client import ADMIN, Client, segment
from fnrunner.cli.error import FAILED
from fnrunner.cli.output import Output


def register(app: click.Group) -> None:
    group = click.Group("key", help="Keys that encrypt variables, code and secrets at rest.", no_args_is_help=True)
    for command in (create, list_keys, rotate, enable, disable, reseal):
        group.add_command(command)
    app.add_command(group)


@click.command("create")
@click.argument("alias", metavar="NAME")
@option.as_json
@option.endpoint
def create(alias: str, as_json: bool, endpoint_url: str) -> None:
    """Make a key, and print the ARN that functions name as KMSKeyArn."""
    _show(Client(endpoint_url).send("POST", f"{ADMIN}/keys", {"alias": alias}), Output(as_json))


@click.command("ls")
@option.as_json
@option.endpoint
def list_keys(as_json: bool, endpoint_url: str) -> None:
    """List keys. With --json: [{"alias", "arn", "enabled", "version", "rotated", "master_key"}]."""
    found = Client(endpoint_url).get(f"{ADMIN}/keys")["keys"]
    output = Output(as_json)
    if as_json:
        output.json(found)
    rows = option.rows(found, "alias", "arn", "enabled", "version", "rotated")
    output.table(("NAME", "ARN", "ENABLED", "VERSION", "ROTATED"), rows, empty="No keys.")


@click.command("rotate")
@click.argument("name", metavar="NAME")
@option.as_json
@option.endpoint
def rotate(name: str, as_json: bool, endpoint_url: str) -> None:
    """Add a version, with which everything is encrypted from now on. `fnrunner key reseal` takes what is there along."""
    _show(Client(endpoint_url).send("POST", f"{ADMIN}/keys/{segment(name)}/rotate", {}), Output(as_json))


@click.command("enable")
@click.argument("name", metavar="NAME")
@option.as_json
@option.endpoint
def enable(name: str, as_json: bool, endpoint_url: str) -> None:
    """Use a key again that was disabled."""
    _show(Client(endpoint_url).send("POST", f"{ADMIN}/keys/{segment(name)}/enable", {}), Output(as_json))


@click.command("disable")
@click.argument("name", metavar="NAME")
@option.as_json
@option.endpoint
def disable(name: str, as_json: bool, endpoint_url: str) -> None:
    """Open nothing with a key until it is enabled: functions whose variables it encrypts cannot be invoked."""
    _show(Client(endpoint_url).send("POST", f"{ADMIN}/keys/{segment(name)}/disable", {}), Output(as_json))


@click.command("reseal")
@option.as_json
@option.endpoint
def reseal(as_json: bool, endpoint_url: str) -> int:
    """Put everything that is stored under the newest versions of its keys.

    With --json: {"secrets", "environments", "code", "failed"}. What was stored in the clear, before there was a master key,
    is encrypted too. What cannot be opened stays as it is: each is named, and the exit status is 1.
    """
    done = Client(endpoint_url).send("POST", f"{ADMIN}/reseal", {})
    output = Output(as_json)
    if as_json:
        output.json(done)
    output.line(
        f"{done['secrets']} secrets, {done['environments']} environments and {done['code']} zips of code are sealed"
    )
    for one in done["failed"]:
        output.note(f"left as it was: {one}")
    return FAILED if done["failed"] else 0


def _show(key: dict[str, Any], output: Output) -> None:
    if output.as_json:
        output.json(key)
    state = "enabled" if key["enabled"] else "disabled"
    output.line(f"{key['arn']}  {key['alias']}, version {key['version']}, {state}")
