"""`fnrunner functions`: what there is, one in full, and away with it. Its versions: :mod:`fnrunner.cli.version`."""

from __future__ import annotations

from typing import Any

import click

from fnrunner.cli import option, version
from fnrunner.cli.client import FUNCTIONS, Client, admin_path, function_path
from fnrunner.cli.error import USAGE, CliError
from fnrunner.cli.option import rows
from fnrunner.cli.output import Output, clean, size

EVENT_INVOKE = "/2019-09-25/functions"
SHOWN = (
    "FunctionArn", "State", "StateReason", "LastUpdateStatus", "LastUpdateStatusReason", "Runtime", "Handler",
    "MemorySize", "Timeout", "CodeSha256", "LastModified", "Description", "Role",
)  # fmt: skip


def register(app: click.Group) -> None:
    group = click.Group(
        "functions",
        help="List, show and remove functions; publish versions of them, and name those.",
        no_args_is_help=True,
    )
    group.add_command(list_functions)
    group.add_command(show)
    group.add_command(remove)
    version.register(group)
    app.add_command(group)


@click.command("ls")
@option.as_json
@option.endpoint
def list_functions(as_json: bool, endpoint_url: str) -> None:
    """List the functions. With --json: {"Functions": [FunctionConfiguration]}, as the Lambda API has them."""
    found = list(Client(endpoint_url).pages(FUNCTIONS, "Functions"))
    output = Output(as_json)
    if as_json:
        output.json({"Functions": found})
        return
    output.table(
        ("NAME", "RUNTIME", "HANDLER", "MEMORY", "TIMEOUT", "CODE", "MODIFIED"),
        [
            [*cells[:3], f"{cells[3]} MB", f"{cells[4]} s", size(int(str(cells[5]))), str(cells[6])[:19]]
            for cells in rows(
                found, "FunctionName", "Runtime", "Handler", "MemorySize", "Timeout", "CodeSize", "LastModified"
            )
        ],
        empty="There are no functions yet. `fnrunner deploy PATH` makes one.",
    )


@click.command("show")
@option.function_name
@option.as_json
@option.endpoint
def show(name: str, as_json: bool, endpoint_url: str) -> None:
    """Show one function; NAME:QUALIFIER shows a version or alias of it. Values of environment variables are shown with
    --json only.

    With --json: GetFunction's answer with the keys EventInvokeConfig (or null), Notifications, Versions (their numbers)
    and Aliases beside it.
    """
    client = Client(endpoint_url)
    found = client.get(function_path(name))
    found["EventInvokeConfig"] = client.find(event_invoke_path(name))
    found["Notifications"] = notifications(client, name)
    found["Versions"], found["Aliases"] = version.published(client, name), version.aliases(client, name)
    output = Output(as_json)
    if as_json:
        output.json(found)
        return
    for key, value in _described(found):
        output.line(f"{key + ':':<24} {clean(str(value))}")


@click.command("rm")
@option.function_name
@click.option("--yes", "-y", "yes", is_flag=True, help="Do not ask.")
@option.as_json
@option.endpoint
def remove(name: str, yes: bool, as_json: bool, endpoint_url: str) -> None:
    """Remove a function with its versions, aliases and waiting events; NAME:VERSION removes that version alone.

    With --json: {"removed": NAME}.
    """
    output = Output(as_json)
    confirm(f"Remove the function {name}?", yes)
    Client(endpoint_url).call("DELETE", function_path(name))
    if as_json:
        output.json({"removed": name})
    output.line(f"Removed {name}.")


def confirm(question: str, yes: bool) -> None:
    """Ask, where somebody can answer. Raises CliError when the answer is no, or nobody is there to give one."""
    import sys

    if yes:
        return
    if not sys.stdin.isatty():
        raise CliError(f"{question} Nobody is here to answer", "Say --yes.", status=USAGE)
    if not click.confirm(question, err=True):
        raise CliError("Nothing was changed")


def event_invoke_path(name: str) -> str:
    """The path of a function's asynchronous configuration."""
    return function_path(name, "event-invoke-config").replace(FUNCTIONS, EVENT_INVOKE, 1)


def notifications_path(name: str) -> str:
    """The path of the bucket events that invoke a function."""
    return admin_path(name, "notifications")


def notifications(client: Client, name: str) -> list[dict[str, Any]]:
    """Which bucket events invoke the function."""
    found = client.find(notifications_path(name))
    return list(found["notifications"]) if found else []


def _described(found: dict[str, Any]) -> list[tuple[str, object]]:
    configuration = found["Configuration"]
    lines: list[tuple[str, object]] = [(key, configuration[key]) for key in SHOWN if configuration.get(key)]
    lines.append(("CodeSize", size(configuration["CodeSize"])))
    if variables := configuration.get("Environment", {}).get("Variables"):
        lines.append(("Environment", ", ".join(variables)))
    if "Concurrency" in found:
        lines.append(("ReservedConcurrency", found["Concurrency"]["ReservedConcurrentExecutions"]))
    if target := configuration.get("DeadLetterConfig", {}).get("TargetArn"):
        lines.append(("DeadLetterQueue", target))
    asynchronous = found["EventInvokeConfig"] or {}
    lines += [(k, asynchronous[k]) for k in ("MaximumRetryAttempts", "MaximumEventAgeInSeconds") if k in asynchronous]
    destinations = asynchronous.get("DestinationConfig") or {}
    lines += [(key, place["Destination"]) for key, place in destinations.items() if place.get("Destination")]
    lines += [("Notification", f"bucket {n['bucket']}: {', '.join(n['events'])}") for n in found["Notifications"]]
    if found["Versions"]:
        lines.append(("Versions", ", ".join(found["Versions"])))
    lines += [("Alias", f"{alias['Name']}: {version.shared(alias)}") for alias in found["Aliases"]]
    lines += [("Tag", f"{key}={value}") for key, value in (found.get("Tags") or {}).items()]
    return lines
