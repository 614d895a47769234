"""`fnrunner iam`: users and roles, and the first administrator."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import click

from fnrunner.cli import option
from fnrunner.cli.error import CliError
from fnrunner.cli.iam.api import IamClient
from fnrunner.cli.iam.key import keys
from fnrunner.cli.iam.policy import policies, simulate
from fnrunner.cli.output import Output

if TYPE_CHECKING:
    from fnrunner.auth.credentials import Credential
    from fnrunner.settings import Settings

COLUMNS = ("NAME", "ARN", "CREATED")


def register(app: click.Group) -> None:
    group = click.Group("iam", help="Users, roles, policies and keys (FNRUNNER_AUTH=iam).", no_args_is_help=True)
    group.add_command(bootstrap)
    users = click.Group("user", help="Create, list and remove users.", no_args_is_help=True)
    for command in (create_user, list_users, remove_user):
        users.add_command(command)
    roles = click.Group("role", help="Create, list and remove roles.", no_args_is_help=True)
    for command in (create_role, list_roles, remove_role):
        roles.add_command(command)
    for part in (users, roles, policies, keys):
        group.add_command(part)
    group.add_command(simulate)
    app.add_command(group)


@click.command("bootstrap")
@click.argument("name", metavar="[USER]", default="admin")
@click.option("--data-dir", "data_dir", metavar="DIR", help="The server's data directory. [default: .fnrunner]")
@option.as_json
def bootstrap(name: str, data_dir: str | None, as_json: bool) -> None:
    """Make a user who may do everything, and show the key this once. With --json: {"user", "access_key_id",
    "secret_access_key"}.

    On the server's host, with the server's settings: it needs the store and the master key, and no signature. The server may
    run or not.
    """
    from fnrunner.cli.serve import read

    made = asyncio.run(_bootstrap(read(data_dir=data_dir), name))
    output = Output(as_json)
    if as_json:
        output.json({"user": made.user, "access_key_id": made.access_key, "secret_access_key": made.secret})
        return
    output.line(f"aws_access_key_id = {made.access_key}")
    output.line(f"aws_secret_access_key = {made.secret}")
    output.note(f"{made.user} may do everything. The secret is not shown again.")


async def _bootstrap(settings: Settings, name: str) -> Credential:
    from dataclasses import replace
    from datetime import UTC, datetime

    from fnrunner.app.parts import started_iam
    from fnrunner.app.secrecy import started_keyring
    from fnrunner.auth.bootstrap import administrator
    from fnrunner.auth.iam_error import IamError
    from fnrunner.auth.keyring import KeyringError
    from fnrunner.auth.master_key import MasterKeyError
    from fnrunner.store.engine import Store
    from fnrunner.store.errors import StoreError

    store = Store(settings.store)
    try:
        await store.start()
        settings = replace(settings, auth="iam")
        iam = await started_iam(settings, store, await started_keyring(settings, store))
        assert iam is not None
        return await administrator(iam, name, datetime.now(UTC))
    except (IamError, KeyringError, MasterKeyError, StoreError) as error:
        fault, _, remedy = str(error).partition(". ")
        raise CliError(fault, remedy) from error
    finally:
        await store.close()


@click.command("create")
@click.argument("name", metavar="USER")
@click.option("--policy", "attached", metavar="POLICY", multiple=True, help="Name or ARN of a policy; repeatable.")
@click.option("--key", "with_key", is_flag=True, help="Make an access key too, and show it this once.")
@option.as_json
@option.endpoint
def create_user(name: str, attached: tuple[str, ...], with_key: bool, as_json: bool, endpoint_url: str) -> None:
    """Make a user. With --json: {"User", "AccessKey"?} as IAM answers."""
    iam = IamClient(endpoint_url)
    arns = [iam.policy_arn(one) for one in attached]
    made: dict[str, Any] = {"User": iam.call("create_user", UserName=name)["User"]}
    for arn in arns:
        iam.call("attach_user_policy", UserName=name, PolicyArn=arn)
    if with_key:
        made["AccessKey"] = iam.call("create_access_key", UserName=name)["AccessKey"]
    output = Output(as_json)
    if as_json:
        output.json(plain(made))
        return
    output.line(made["User"]["Arn"])
    if with_key:
        output.line(f"aws_access_key_id = {made['AccessKey']['AccessKeyId']}")
        output.line(f"aws_secret_access_key = {made['AccessKey']['SecretAccessKey']}")
        output.note("The secret is not shown again.")


@click.command("ls")
@option.as_json
@option.endpoint
def list_users(as_json: bool, endpoint_url: str) -> None:
    """List users. With --json: a list as IAM answers."""
    _list(IamClient(endpoint_url), "list_users", "Users", "UserName", Output(as_json))


@click.command("rm")
@click.argument("name", metavar="USER")
@option.endpoint
def remove_user(name: str, endpoint_url: str) -> None:
    """Remove a user, with its keys and policies."""
    iam = IamClient(endpoint_url)
    for key in list(iam.every("list_access_keys", "AccessKeyMetadata", UserName=name)):
        iam.call("delete_access_key", UserName=name, AccessKeyId=key["AccessKeyId"])
    _strip(iam, "user", UserName=name)
    iam.call("delete_user", UserName=name)
    Output().line(f"{name} is removed")


@click.command("create")
@click.argument("name", metavar="ROLE")
@click.option(
    "--trust", "trusted", metavar="WHO", multiple=True, default=("lambda.amazonaws.com",), show_default=True,
    help="Who may assume it: a service, an account or an ARN; repeatable.",
)  # fmt: skip
@click.option("--policy", "attached", metavar="POLICY", multiple=True, help="Name or ARN of a policy; repeatable.")
@option.as_json
@option.endpoint
def create_role(
    name: str, trusted: tuple[str, ...], attached: tuple[str, ...], as_json: bool, endpoint_url: str
) -> None:
    """Make a role, by default one for functions. With --json: {"Role"} as IAM answers."""
    iam = IamClient(endpoint_url)
    arns = [iam.policy_arn(one) for one in attached]
    made = iam.call("create_role", RoleName=name, AssumeRolePolicyDocument=json.dumps(trust(trusted)))["Role"]
    for arn in arns:
        iam.call("attach_role_policy", RoleName=name, PolicyArn=arn)
    output = Output(as_json)
    if as_json:
        output.json(plain({"Role": made}))
    output.line(made["Arn"])


@click.command("ls")
@option.as_json
@option.endpoint
def list_roles(as_json: bool, endpoint_url: str) -> None:
    """List roles. With --json: a list as IAM answers."""
    _list(IamClient(endpoint_url), "list_roles", "Roles", "RoleName", Output(as_json))


@click.command("rm")
@click.argument("name", metavar="ROLE")
@option.endpoint
def remove_role(name: str, endpoint_url: str) -> None:
    """Remove a role, with its policies."""
    iam = IamClient(endpoint_url)
    _strip(iam, "role", RoleName=name)
    iam.call("delete_role", RoleName=name)
    Output().line(f"{name} is removed")


def trust(who: tuple[str, ...]) -> dict[str, Any]:
    """The policy of a role that these may assume.

    >>> trust(("lambda.amazonaws.com",))["Statement"]["Principal"]
    {'Service': ['lambda.amazonaws.com']}
    """
    services = [one for one in who if one.endswith(".amazonaws.com")]
    others = [one for one in who if one not in services]
    principal = ({"Service": services} if services else {}) | ({"AWS": others} if others else {})
    statement = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": principal}
    return {"Version": "2012-10-17", "Statement": statement}


def plain(value: Any) -> Any:
    """With times as text, for JSON."""
    return json.loads(json.dumps(value, default=lambda moment: moment.isoformat()))


def _list(iam: IamClient, operation: str, key: str, name: str, output: Output) -> None:
    found = list(iam.every(operation, key))
    if output.as_json:
        output.json(plain(found))
        return
    rows = [[one[name], one["Arn"], f"{one['CreateDate']:%Y-%m-%d %H:%M:%SZ}"] for one in found]
    output.table(COLUMNS, rows, empty=f"No {key.lower()} yet.")


def _strip(iam: IamClient, kind: str, **who: str) -> None:
    for policy in list(iam.every(f"list_attached_{kind}_policies", "AttachedPolicies", **who)):
        iam.call(f"detach_{kind}_policy", **who, PolicyArn=policy["PolicyArn"])
    for name in list(iam.every(f"list_{kind}_policies", "PolicyNames", **who)):
        iam.call(f"delete_{kind}_policy", **who, PolicyName=name)
