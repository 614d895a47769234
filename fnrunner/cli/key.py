"""`fnrunner key`: the keys that encrypt variables, code and secrets where they are stored."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

from fnrunner.cli import option
from fnrunner.cli.client import ADMIN, Client, segment
from fnrunner.cli.error import FAILED, CliError
from fnrunner.cli.function import confirm
from fnrunner.cli.output import Output

if TYPE_CHECKING:
    from fnrunner.auth.master_rotation import Rotated
    from fnrunner.settings import Settings


OWN = "fnrunner"
"""The alias of the key that is used when nobody names one."""


def register(app: click.Group) -> None:
    group = click.Group("key", help="Keys that encrypt variables, code and secrets at rest.", no_args_is_help=True)
    for command in (create, list_keys, rotate, enable, disable, reseal, rotate_master):
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
@click.option("--yes", "-y", "yes", is_flag=True, help="Do not ask.")
@option.as_json
@option.endpoint
def disable(name: str, yes: bool, as_json: bool, endpoint_url: str) -> None:
    """Open nothing with a key until it is enabled: functions whose variables it encrypts cannot be invoked.

    Of the key that encrypts whatever names no other it is asked first.
    """
    client = Client(endpoint_url)
    if _is_own(client, name):
        confirm(
            f"{name} is the installation's own key: until `fnrunner key enable {OWN}`, no code, variables or secrets that "
            "are under it can be read, and nothing new can be stored. Disable it?",
            yes,
        )
    _show(client.send("POST", f"{ADMIN}/keys/{segment(name)}/disable", {}), Output(as_json))


def _is_own(client: Client, name: str) -> bool:
    """Whether a name or ARN is that of the key that is used when nobody names one."""
    own = next((key for key in client.get(f"{ADMIN}/keys")["keys"] if key["alias"] == OWN), None)
    wanted = name.rpartition(":")[2].removeprefix("key/").removeprefix("alias/")
    return own is not None and wanted in (OWN, own["arn"].rpartition("key/")[2])


@click.command("reseal")
@option.as_json
@option.endpoint
def reseal(as_json: bool, endpoint_url: str) -> int:
    """Put everything that is stored under the newest versions of its keys.

    With --json: {"secrets", "environments", "stacks", "code", "failed"}. What was stored in the clear, before there was a
    master key, is encrypted too. What cannot be opened stays as it is: each is named, and the exit status is 1.
    """
    done = Client(endpoint_url).send("POST", f"{ADMIN}/reseal", {})
    output = Output(as_json)
    if as_json:
        output.json(done)
    output.line(
        f"{done['secrets']} secrets, {done['environments']} environments, {done['stacks']} stacks and {done['code']} zips of "
        "code are sealed anew"
    )
    for one in done["failed"]:
        output.note(f"left as it was: {one}")
    return FAILED if done["failed"] else 0


@click.command("rotate-master")
@click.option("--data-dir", "data_dir", metavar="DIR", help="The server's data directory. [default: .fnrunner]")
@click.option("--add-only", is_flag=True, help="Add the new key to the file, to be copied to the other hosts first.")
@option.as_json
def rotate_master(data_dir: str | None, add_only: bool, as_json: bool) -> int:
    """Replace the master key, which wraps all others. With --json: {"master_key", "wrapped", "failed", "retired"}.

    On the server's host, with the server's settings, as a user who may write the key's file. The server may run or not. With
    several hosts: run it with --add-only, copy the file to every host, run it again without, and copy the file once more.
    A rotation that was interrupted goes on when it is run again. The old key is kept in a file beside the new one, since
    backups of the store that were made before need it.
    """
    from fnrunner.cli.serve import read

    done = asyncio.run(_rotate_master(read(data_dir=data_dir), add_only))
    retired = [str(path) for path in done.retired]
    output = Output(as_json)
    if as_json:
        output.json(
            {"master_key": done.fingerprint, "wrapped": done.wrapped, "failed": list(done.failed), "retired": retired}
        )
    if add_only:
        output.line(f"{done.fingerprint} is in the file. Copy that to every host, then run this without --add-only")
        return 0
    output.line(f"{done.fingerprint} is the master key; {done.wrapped} versions of keys were wrapped by it")
    for path in retired:
        output.note(f"the old key is in {path}. Keep it as long as backups of the store may need it")
    for one in done.failed:
        output.note(f"left as it was, and the old master key with it: {one}")
    return FAILED if done.failed else 0


async def _rotate_master(settings: Settings, add_only: bool) -> Rotated:
    from fnrunner.auth import master_rotation
    from fnrunner.auth.master_key import MasterKeyError
    from fnrunner.store.engine import Store
    from fnrunner.store.errors import StoreError

    store = Store(settings.store)
    try:
        await store.start()
        return await master_rotation.rotate(store, settings.master_key, add_only=add_only)
    except (MasterKeyError, StoreError) as error:
        fault, _, remedy = str(error).partition(". ")
        raise CliError(fault, remedy) from error
    finally:
        await store.close()


def _show(key: dict[str, Any], output: Output) -> None:
    if output.as_json:
        output.json(key)
    state = "enabled" if key["enabled"] else "disabled"
    output.line(f"{key['arn']}  {key['alias']}, version {key['version']}, {state}")
