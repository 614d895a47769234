"""`fnrunner status`: the workers, how busy they are, and what waits."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any

import click

from fnrunner.cli import option
from fnrunner.cli.client import ADMIN, Client
from fnrunner.cli.error import ServerUnreachable
from fnrunner.cli.output import Output, clean, span

EVERY = timedelta(seconds=2)


def register(app: click.Group) -> None:
    app.add_command(status)


@click.command("status", short_help="Show the workers and what waits for them.")
@click.option("--watch", is_flag=True, help="Show it again every two seconds, until Ctrl-C.")
@option.as_json
@option.endpoint
def status(watch: bool, as_json: bool, endpoint_url: str) -> None:
    """Show the workers by zone, how busy they are, and each function's backlog.

    With --json: {"health", "workers": [{"id", "host", "zone", "capacity", "running", "state"}], "processes", "load":
    {"capacity", "running", "busy_share", "functions": [{"function", "backlog", "ready", "unsettled", "running", "limit",
    "busy_share", "oldest_event_age_s"}]}}; with --watch one document a line. The load is null while nobody knows it.
    """
    client, output = Client(endpoint_url), Output(as_json)
    if not watch:
        show(client.get(f"{ADMIN}/status"), output)
        return
    while True:
        try:
            found = client.get(f"{ADMIN}/status")
        except ServerUnreachable as error:
            output.note(str(error))
        else:
            output.clear()
            show(found, output)
        time.sleep(EVERY.total_seconds())


def show(found: Mapping[str, Any], output: Output) -> None:
    """One look."""
    if output.as_json:
        output.json(found)
    for line in summary(found):
        output.line(line)
    output.line()
    output.table(
        ("WORKER", "ZONE", "STATE", "RUNNING", "CAPACITY"),
        [(w["id"], w["zone"] or "-", w["state"], w["running"], w["capacity"]) for w in found["workers"]],
        empty="No workers. Start one with `fnrunner worker`.",
    )
    output.line()
    load = found["load"]
    output.table(
        ("FUNCTION", "BACKLOG", "READY", "IN HAND", "RUNNING", "OF", "BUSY", "OLDEST"),
        [_row(function) for function in load["functions"]] if load else [],
        empty="No functions." if load else "The load is not known yet.",
    )
    for problem in problems(found):
        output.line(output.paint(problem, "yellow"))


def summary(found: Mapping[str, Any]) -> Iterator[str]:
    """The fleet in a few lines."""
    load = found["load"]
    if load:
        yield f"{load['running']} of {load['capacity']} environments run ({percent(load['busy_share'])} busy)"
    zones: dict[str, list[int]] = defaultdict(list)
    for worker in found["workers"]:
        if worker["state"] == "alive":
            zones[worker["zone"] or "-"].append(worker["capacity"])
    for zone, capacities in sorted(zones.items()):
        many = "" if len(capacities) == 1 else "s"
        yield f"zone {clean(zone)}: {len(capacities)} worker{many} with room for {sum(capacities)}"


def problems(found: Mapping[str, Any]) -> list[str]:
    """What is wrong with the one that answers and with the others, each once."""
    told: Iterable[tuple[str, Mapping[str, str]]] = [("", problem) for problem in found["health"]["problems"]]
    others = [
        process for process in found["processes"] if process["state"] != "silent" and "api" not in process["roles"]
    ]
    told = [*told, *((f"{process['id']}: ", problem) for process in others for problem in process["problems"])]
    return list(dict.fromkeys(clean(f"{who}{p['part']}: {p['message']} [{p['code']}]") for who, p in told))


def percent(share: float) -> str:
    """A share of one, for people.

    >>> percent(0.5), percent(0)
    ('50 %', '0 %')
    """
    return f"{100 * share:.0f} %"


def _row(function: Mapping[str, Any]) -> tuple[object, ...]:
    age = function["oldest_event_age_s"]
    oldest = "?" if age is None else span(1000 * age) if age else "-"
    counts = (function[name] for name in ("backlog", "ready", "unsettled", "running", "limit"))
    return (function["function"], *counts, percent(function["busy_share"]), oldest)
