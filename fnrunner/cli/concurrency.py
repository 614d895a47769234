"""`fnrunner concurrency`: how much may run at once, of whom, and where."""

from __future__ import annotations

from typing import Any

import click

from fnrunner.cli import option
from fnrunner.cli.client import ADMIN, FUNCTIONS, Client, function_path
from fnrunner.cli.error import ServerRefused, UsageFault
from fnrunner.cli.option import rows
from fnrunner.cli.output import Output

_RESERVED = "/2017-10-31/functions"
_PROVISIONED = "/2019-09-30/functions"


def register(app: click.Group) -> None:
    group = click.Group(
        "concurrency", help="Show, reserve and provision how much may run at once.", no_args_is_help=True
    )
    group.add_command(show)
    group.add_command(put)
    group.add_command(remove)
    app.add_command(group)


qualifier = click.option(
    "--qualifier", "-q", "qualifier", metavar="Q", default="",
    help="A version or alias: provisioned concurrency. Without it: the function's reservation.",
)  # fmt: skip


@click.command("show")
@click.argument("name", metavar="[NAME]", required=False)
@option.as_json
@option.endpoint
def show(name: str | None, as_json: bool, endpoint_url: str) -> None:
    """Show what is reserved and provisioned, what is left for the others, what runs now, and each worker's share.

    With --json: {"account": {"limit", "reserved", "provisioned", "unreserved"}, "functions": [{"function", "reserved",
    "running", "provisioned": [{"qualifier", "requested", "allocated", "available", "status", "reason"}]}], "workers":
    [{"id", "capacity", "share", "provisioned", "running"}]}.
    """
    found = Client(endpoint_url).get(f"{ADMIN}/concurrency", function=name)
    output = Output(as_json)
    if as_json:
        output.json(found)
        return
    account = found["account"]
    output.line(
        f"Of {account['limit']}: {account['reserved']} reserved, {account['provisioned']} provisioned beside that, "
        f"{account['unreserved']} for all the others."
    )
    output.table(
        ("FUNCTION", "RUNNING", "RESERVED", "PROVISIONED", "READY", "STATUS"),
        [row for function in found["functions"] for row in _lines(function)],
        empty="There are no functions yet. `fnrunner deploy PATH` makes one.",
    )
    output.table(
        ("WORKER", "CAPACITY", "SHARE", "PROVISIONED", "RUNNING"),
        rows(found["workers"], "id", "capacity", "share", "provisioned", "running"),
        empty="There is no worker. `fnrunner worker` starts one.",
    )


@click.command("put")
@option.function_name
@click.argument("number", metavar="N", type=click.IntRange(0))
@qualifier
@option.as_json
@option.endpoint
def put(name: str, number: int, qualifier: str, as_json: bool, endpoint_url: str) -> None:
    """Reserve N for a function (0: nothing runs), or keep N environments of a version or alias ready (--qualifier).

    With --json: what the Lambda API answers.
    """
    client, output = Client(endpoint_url), Output(as_json)
    if qualifier:
        if not number:
            raise UsageFault(
                "N: provisioned concurrency is at least 1", f"Say `fnrunner concurrency rm {name} -q {qualifier}`."
            )
        body = {"ProvisionedConcurrentExecutions": number}
        made = client.send("PUT", _provisioned(name), body, query={"Qualifier": qualifier})
        told = f"{number} environments of {name}:{qualifier} are being prepared; `fnrunner concurrency show {name}`."
    else:
        made = client.send("PUT", _reserved(name), {"ReservedConcurrentExecutions": number})
        told = f"At most {number} of {name} run at once, and they are reserved for it."
        if not number:
            told = f"Nothing of {name} runs from now on. `fnrunner concurrency rm {name}` lifts that."
    if as_json:
        output.json(made)
    output.line(told)


@click.command("rm")
@option.function_name
@qualifier
@option.as_json
@option.endpoint
def remove(name: str, qualifier: str, as_json: bool, endpoint_url: str) -> None:
    """Take a reservation or a provisioned concurrency away. With --json: {"removed": NAME or NAME:Q}."""
    output, target = Output(as_json), f"{name}:{qualifier}" if qualifier else name
    query = {"Qualifier": qualifier} if qualifier else {}
    Client(endpoint_url).call("DELETE", _provisioned(name) if qualifier else _reserved(name), query=query)
    if as_json:
        output.json({"removed": target})
    what = "provisioned concurrency" if qualifier else "reservation"
    output.line(f"{target} has no {what} any more.")


def reserved(client: Client, name: str) -> int | None:
    """What is reserved for a function; None: nothing, or it cannot be said."""
    try:
        found = client.find(function_path(name, "concurrency").replace(FUNCTIONS, _PROVISIONED, 1)) or {}
    except ServerRefused:  # whoever may invoke need not be allowed to ask
        return None
    number: int | None = found.get("ReservedConcurrentExecutions")
    return number


def _reserved(name: str) -> str:
    return function_path(name, "concurrency").replace(FUNCTIONS, _RESERVED, 1)


def _provisioned(name: str) -> str:
    return function_path(name, "provisioned-concurrency").replace(FUNCTIONS, _PROVISIONED, 1)


def _lines(function: dict[str, Any]) -> list[tuple[object, ...]]:
    """One for the function, one for each of its provisioned versions and aliases."""
    reserved = "-" if function["reserved"] is None else function["reserved"]
    lines: list[tuple[object, ...]] = [(function["function"], function["running"], reserved, "-", "-", "-")]
    for one in function["provisioned"]:
        status = f"{one['status']} {one['reason']}".strip()
        name = f"{function['function']}:{one['qualifier']}"
        lines.append((name, "", "", one["requested"], one["available"], status))
    return lines
