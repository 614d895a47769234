"""`fnrunner iam policy`: policies and who has them; `fnrunner iam simulate`: what they would decide."""

from __future__ import annotations

from typing import Any

import click

from fnrunner.cli import option
from fnrunner.cli.error import FAILED, UsageFault
from fnrunner.cli.iam.api import IamClient
from fnrunner.cli.output import Output

policies = click.Group("policy", help="Create, list, remove, attach and detach policies.", no_args_is_help=True)
_user = click.option("--user", "user", metavar="USER", help="The user.")
_role = click.option("--role", "role", metavar="ROLE", help="The role.")


@policies.command("create")
@click.argument("name", metavar="NAME")
@click.argument("document", metavar="JSON|@FILE|-")
@option.endpoint
def create(name: str, document: str, endpoint_url: str) -> None:
    """Make a policy, and print its ARN."""
    text = option.document(document, "JSON").decode()
    made = IamClient(endpoint_url).call("create_policy", PolicyName=name, PolicyDocument=text)
    Output().line(made["Policy"]["Arn"])


@policies.command("ls")
@click.option("--aws", "aws", is_flag=True, help="Also those that AWS manages.")
@option.as_json
@option.endpoint
def list_policies(aws: bool, as_json: bool, endpoint_url: str) -> None:
    """List policies. With --json: [{"name", "arn", "attached"}]."""
    found = IamClient(endpoint_url).every("list_policies", "Policies", Scope="All" if aws else "Local")
    shown = [{"name": p["PolicyName"], "arn": p["Arn"], "attached": p["AttachmentCount"]} for p in found]
    output = Output(as_json)
    if as_json:
        output.json(shown)
    output.table(("NAME", "ARN", "ATTACHED"), option.rows(shown, "name", "arn", "attached"), empty="No policies yet.")


@policies.command("rm")
@click.argument("name", metavar="POLICY")
@option.endpoint
def remove(name: str, endpoint_url: str) -> None:
    """Remove a policy that nobody has, with its versions."""
    iam = IamClient(endpoint_url)
    arn = iam.policy_arn(name)
    for version in list(iam.every("list_policy_versions", "Versions", PolicyArn=arn)):
        if not version["IsDefaultVersion"]:
            iam.call("delete_policy_version", PolicyArn=arn, VersionId=version["VersionId"])
    iam.call("delete_policy", PolicyArn=arn)
    Output().line(f"{arn} is removed")


@policies.command("attach")
@click.argument("name", metavar="POLICY")
@_user
@_role
@option.endpoint
def attach(name: str, user: str | None, role: str | None, endpoint_url: str) -> None:
    """Give a policy, by name or ARN, to a user or a role."""
    _move("attach", name, user, role, endpoint_url)


@policies.command("detach")
@click.argument("name", metavar="POLICY")
@_user
@_role
@option.endpoint
def detach(name: str, user: str | None, role: str | None, endpoint_url: str) -> None:
    """Take a policy from a user or a role."""
    _move("detach", name, user, role, endpoint_url)


@policies.command("put")
@click.argument("name", metavar="NAME")
@click.argument("document", metavar="JSON|@FILE|-")
@_user
@_role
@option.endpoint
def put(name: str, document: str, user: str | None, role: str | None, endpoint_url: str) -> None:
    """Write a policy of a user or a role in line."""
    kind, who = _whom(user, role)
    text = option.document(document, "JSON").decode()
    IamClient(endpoint_url).call(f"put_{kind}_policy", **who, PolicyName=name, PolicyDocument=text)
    Output().line(f"{name} is written")


@click.command("simulate")
@click.argument("principal", metavar="WHO")
@click.argument("actions", metavar="ACTION...", nargs=-1, required=True)
@click.option(
    "--resource", "resources", metavar="ARN", multiple=True, help="What it is done to; repeatable. [default: *]"
)
@click.option("--context", "context", metavar="KEY=VALUE", multiple=True, help="A condition key; repeatable.")
@option.as_json
@option.endpoint
def simulate(
    principal: str, actions: tuple[str, ...], resources: tuple[str, ...], context: tuple[str, ...], as_json: bool,
    endpoint_url: str,
) -> int:  # fmt: skip
    """Say what the policies of a user or role, by name or ARN, would decide. Exit status 1 if anything is denied.

    With --json: [{"action", "resource", "decision", "policy"}].
    """
    entries = [
        {"ContextKeyName": key, "ContextKeyValues": [value], "ContextKeyType": "string"}
        for key, value in option.pairs(context, "--context").items()
    ]
    iam = IamClient(endpoint_url)
    answer = iam.call(
        "simulate_principal_policy",
        PolicySourceArn=iam.principal_arn(principal),
        ActionNames=list(actions),
        ResourceArns=list(resources) or None,
        ContextEntries=entries or None,
    )
    shown = [_result(one) for one in answer["EvaluationResults"]]
    output = Output(as_json)
    if as_json:
        output.json(shown)
    rows = option.rows(shown, "action", "resource", "decision", "policy")
    output.table(("ACTION", "RESOURCE", "DECISION", "POLICY"), rows, empty="Nothing was asked.")
    return 0 if all(one["decision"] == "allowed" for one in shown) else FAILED


def _result(one: dict[str, Any]) -> dict[str, Any]:
    matched = one.get("MatchedStatements") or [{}]
    return {
        "action": one["EvalActionName"],
        "resource": one.get("EvalResourceName", "*"),
        "decision": one["EvalDecision"],
        "policy": matched[0].get("SourcePolicyId"),
    }


def _move(verb: str, name: str, user: str | None, role: str | None, endpoint_url: str) -> None:
    """``verb`` is attach or detach. Raises UsageFault."""
    kind, who = _whom(user, role)
    iam = IamClient(endpoint_url)
    iam.call(f"{verb}_{kind}_policy", **who, PolicyArn=iam.policy_arn(name))
    Output().line(f"{name} is {verb}ed")


def _whom(user: str | None, role: str | None) -> tuple[str, dict[str, str]]:
    """Raises UsageFault."""
    if (user is None) is (role is None):
        raise UsageFault("Name one user or one role", "Give --user USER or --role ROLE.")
    return ("user", {"UserName": user}) if user is not None else ("role", {"RoleName": str(role)})
