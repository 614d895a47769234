"""`fnrunner iam key`: access keys of users."""

from __future__ import annotations

import click

from fnrunner.cli import option
from fnrunner.cli.iam.api import IamClient
from fnrunner.cli.output import Output

keys = click.Group("key", help="Create, list, disable and remove access keys.", no_args_is_help=True)


@keys.command("create")
@click.argument("user", metavar="USER")
@option.as_json
@option.endpoint
def create(user: str, as_json: bool, endpoint_url: str) -> None:
    """Make a key, and show the secret this once. With --json: {"user", "access_key_id", "secret_access_key"}."""
    made = IamClient(endpoint_url).call("create_access_key", UserName=user)["AccessKey"]
    output = Output(as_json)
    if as_json:
        output.json({
            "user": user, "access_key_id": made["AccessKeyId"], "secret_access_key": made["SecretAccessKey"],
        })  # fmt: skip
        return
    output.line(f"aws_access_key_id = {made['AccessKeyId']}")
    output.line(f"aws_secret_access_key = {made['SecretAccessKey']}")
    output.note("The secret is not shown again.")


@keys.command("ls")
@click.argument("user", metavar="USER")
@option.as_json
@option.endpoint
def list_keys(user: str, as_json: bool, endpoint_url: str) -> None:
    """List a user's keys. With --json: [{"access_key_id", "status", "created"}]."""
    found = list(IamClient(endpoint_url).every("list_access_keys", "AccessKeyMetadata", UserName=user))
    shown = [
        {"access_key_id": one["AccessKeyId"], "status": one["Status"], "created": one["CreateDate"].isoformat()}
        for one in found
    ]
    output = Output(as_json)
    if as_json:
        output.json(shown)
    rows = option.rows(shown, "access_key_id", "status", "created")
    output.table(("KEY", "STATUS", "CREATED"), rows, empty=f"{user} has no key.")


@keys.command("disable")
@click.argument("user", metavar="USER")
@click.argument("key", metavar="KEY")
@option.endpoint
def disable(user: str, key: str, endpoint_url: str) -> None:
    """Refuse a key until it is enabled again."""
    _set(endpoint_url, user, key, "Inactive")


@keys.command("enable")
@click.argument("user", metavar="USER")
@click.argument("key", metavar="KEY")
@option.endpoint
def enable(user: str, key: str, endpoint_url: str) -> None:
    """Take a key again that was disabled."""
    _set(endpoint_url, user, key, "Active")


@keys.command("rm")
@click.argument("user", metavar="USER")
@click.argument("key", metavar="KEY")
@option.endpoint
def remove(user: str, key: str, endpoint_url: str) -> None:
    """Remove a key, for ever."""
    IamClient(endpoint_url).call("delete_access_key", UserName=user, AccessKeyId=key)
    Output().line(f"{key} is removed")


def _set(endpoint_url: str, user: str, key: str, status: str) -> None:
    IamClient(endpoint_url).call("update_access_key", UserName=user, AccessKeyId=key, Status=status)
    Output().line(f"{key} is {status.lower()}")
