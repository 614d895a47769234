"""`fnrunner schedule`: functions that run at times."""

from __future__ import annotations

from typing import Any

import click

from fnrunner.cli import option
from fnrunner.cli.client import ADMIN, Client, segment
from fnrunner.cli.event_source import moment
from fnrunner.cli.function import confirm
from fnrunner.cli.option import document
from fnrunner.cli.output import Output, clean

SCHEDULES = f"{ADMIN}/schedules"
_SHOWN = (
    "name", "function", "expression", "timezone", "enabled", "catch_up", "flexible_window_s", "start", "end", "input",
    "description",
)  # fmt: skip


def register(app: click.Group) -> None:
    group = click.Group("schedule", help="Run functions at times.", no_args_is_help=True)
    for command in (create, list_schedules, show, pause, resume, remove):
        group.add_command(command)
    app.add_command(group)


@click.command("create")
@option.function_name
@click.argument("function", metavar="FUNCTION")
@click.argument("expression", metavar="EXPRESSION")
@click.option("--timezone", "timezone", default="UTC", show_default=True, help="Where cron and at are meant.")
@click.option("--input", "input_", metavar="JSON|@FILE|-", default="", help="The event. [default: a Scheduled Event]")
@click.option(
    "--window", "window", metavar="MINUTES", type=click.IntRange(0, 1440), default=0, help="Up to so much later."
)
@click.option(
    "--catch-up", "catch_up", type=click.Choice(["none", "last", "all"]), default="last", show_default=True,
    help="Which of the times that passed while nothing ran are made up for.",
)  # fmt: skip
@click.option("--start", "start", metavar="TIME", help="Not before.")
@click.option("--end", "end", metavar="TIME", help="Not after.")
@click.option("--description", "description", default="")
@click.option("--disabled", "disabled", is_flag=True, help="Made, but paused.")
@option.as_json
@option.endpoint
def create(
    name: str,
    function: str,
    expression: str,
    timezone: str,
    input_: str,
    window: int,
    catch_up: str,
    start: str | None,
    end: str | None,
    description: str,
    disabled: bool,
    as_json: bool,
    endpoint_url: str,
) -> None:
    """Make the schedule NAME. EXPRESSION is rate(5 minutes), cron(0 12 * * ? *) or at(2030-01-31T12:00:00).

    With --json: as `show`.
    """
    body: dict[str, Any] = {
        "name": name,
        "function": function,
        "expression": expression,
        "timezone": timezone,
        "input": document(input_, "--input").decode() if input_ else None,
        "flexible_window_s": window * 60,
        "catch_up": catch_up,
        "start": moment(start, "--start").isoformat() if start else None,
        "end": moment(end, "--end").isoformat() if end else None,
        "description": description,
        "enabled": not disabled,
    }
    _print(Client(endpoint_url).send("POST", SCHEDULES, body), as_json)


@click.command("ls")
@click.option("--function", "function", default="", help="Those of one function.")
@option.as_json
@option.endpoint
def list_schedules(function: str, as_json: bool, endpoint_url: str) -> None:
    """List the schedules. With --json: {"schedules": [as `show`]}."""
    found = Client(endpoint_url).get(SCHEDULES, function=function or None)
    output = Output(as_json)
    if as_json:
        output.json(found)
        return
    output.table(
        ("NAME", "FUNCTION", "EXPRESSION", "TIME ZONE", "NEXT"),
        [
            (one["name"], one["function"], one["expression"], one["timezone"], _next(one))
            for one in found["schedules"]
        ],
        empty="There are no schedules yet. `fnrunner schedule create NAME FUNCTION 'rate(5 minutes)'` makes one.",
    )  # fmt: skip


@click.command("show")
@option.function_name
@option.as_json
@option.endpoint
def show(name: str, as_json: bool, endpoint_url: str) -> None:
    """Show the schedule NAME with the next five times.

    With --json: {"name", "arn", "function", "qualifier", "expression", "timezone", "input", "description", "enabled",
    "start", "end", "flexible_window_s", "catch_up", "created", "next": [TIME]}.
    """
    _print(Client(endpoint_url).get(schedule_path(name)), as_json)


@click.command("pause")
@option.function_name
@option.as_json
@option.endpoint
def pause(name: str, as_json: bool, endpoint_url: str) -> None:
    """Do not run until it is resumed. With --json: as `show`."""
    _print(Client(endpoint_url).send("PUT", f"{schedule_path(name)}/enabled", {"enabled": False}), as_json)


@click.command("resume")
@option.function_name
@option.as_json
@option.endpoint
def resume(name: str, as_json: bool, endpoint_url: str) -> None:
    """Run again. With --json: as `show`."""
    _print(Client(endpoint_url).send("PUT", f"{schedule_path(name)}/enabled", {"enabled": True}), as_json)


@click.command("rm")
@option.function_name
@click.option("--yes", "-y", "yes", is_flag=True, help="Do not ask.")
@option.as_json
@option.endpoint
def remove(name: str, yes: bool, as_json: bool, endpoint_url: str) -> None:
    """Remove the schedule NAME. With --json: {"removed": NAME}."""
    confirm(f"Remove the schedule {name}?", yes)
    Client(endpoint_url).call("DELETE", schedule_path(name))
    output = Output(as_json)
    if as_json:
        output.json({"removed": name})
    output.line(f"Removed {name}.")


def schedule_path(name: str) -> str:
    """The path of a schedule."""
    return f"{SCHEDULES}/{segment(name)}"


def _next(schedule: dict[str, Any]) -> str:
    if not schedule["enabled"]:
        return "paused"
    return str(schedule["next"][0]) if schedule["next"] else "never again"


def _print(found: dict[str, Any], as_json: bool) -> None:
    output = Output(as_json)
    if as_json:
        output.json(found)
        return
    for key in _SHOWN:
        if found[key] not in (None, "", 0):
            output.line(f"{key + ':':<18} {clean(str(found[key]))}")
    for number, at in enumerate(found["next"]):
        output.line(f"{'next:' if number == 0 else '':<18} {at}")
    if not found["next"]:
        output.line(f"{'next:':<18} never again")
