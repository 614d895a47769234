"""`fnrunner audit`: whether every accepted event is accounted for; with ``--calls``, who changed what."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import click

from fnrunner.cli import option
from fnrunner.cli.client import ADMIN, Client
from fnrunner.cli.error import FAILED, UsageFault
from fnrunner.cli.logs import age
from fnrunner.cli.option import rows
from fnrunner.cli.output import Output, moment
from fnrunner.cli.version import bare

COLUMNS = ("function", "accepted", "succeeded", "dead_lettered", "expired", "in_flight", "missing", "duplicates")


def register(app: click.Group) -> None:
    app.add_command(audit)


@click.command("audit", short_help="Check that no event was lost; --calls: who changed what.")
@click.argument("name", metavar="[NAME]", required=False)
@click.option("--calls", "calls", is_flag=True, help="Show calls that changed something or were refused instead.")
@click.option("--principal", "principal", metavar="TEXT", default="", help="Calls of whose ARN has this text.")
@click.option("--operation", "operation", metavar="NAME", default="", help="Calls of this operation.")
@click.option("--access-key", "access_key", metavar="ID", default="", help="Calls that were signed with this key.")
@click.option("--request-id", "request_id", metavar="ID", default="", help="The call with this request id.")
@click.option("--since", "since", metavar="AGE", default="", help="How far back: 30s, 10m, 2h, 1d.")
@click.option("--failed", "failed", is_flag=True, help="Only calls that were refused or failed.")
@click.option("--limit", "limit", metavar="N", type=click.IntRange(1, 1000), default=100, show_default=True)
@option.as_json
@option.endpoint
def audit(
    name: str | None, calls: bool, as_json: bool, endpoint_url: str, limit: int, since: str, **filters: Any
) -> int:
    """Check that accepted = succeeded + dead-lettered + expired + in flight. Exit status 1 if not.

    With --json: {"balanced", "functions": [{"function", "accepted", "succeeded", "dead_lettered", "expired", "in_flight",
    "missing", "missing_ids", "duplicates", "balanced"}]}.

    With --calls: the log of calls that changed something or were refused, the newest first; NAME is part of a resource.
    With --json: {"calls": [{"at_ms", "request_id", "principal", "access_key", "service", "operation", "resource",
    "parameters", "source_ip", "user_agent", "status", "error_code"}], "next"}.
    """
    given = [key for key, value in (*filters.items(), ("since", since)) if value]
    if not calls and given:
        raise UsageFault(f"--{given[0].replace('_', '-')} is for calls", "Add --calls.")
    if calls:
        return _calls(endpoint_url, as_json, name, since, limit, filters)
    found = Client(endpoint_url).get(f"{ADMIN}/audit", function=bare(name) if name else None)
    output = Output(as_json)
    if as_json:
        output.json(found)
    output.table(
        [c.upper().replace("_", " ") for c in COLUMNS], rows(found["functions"], *COLUMNS), empty="No events yet."
    )
    for balance in found["functions"]:
        for event_id in balance["missing_ids"]:
            output.line(f"missing from {balance['function']}: {event_id}; see `fnrunner why {event_id}`")
    if found["balanced"]:
        output.line(output.paint("Every accepted event is accounted for.", "green"))
        return 0
    output.line(output.paint("Events are missing: accepted is more than what became of them.", "red"))
    return FAILED


def _calls(
    endpoint_url: str, as_json: bool, resource: str | None, since: str, limit: int, filters: Mapping[str, Any]
) -> int:
    since_ms = max(0, int((time.time() - age(since).total_seconds()) * 1000)) if since else None
    failed = "true" if filters["failed"] else None
    asked = {key: value or None for key, value in filters.items()} | {"failed": failed}
    found = Client(endpoint_url).get(f"{ADMIN}/calls", resource=resource, since_ms=since_ms, limit=limit, **asked)
    output = Output(as_json)
    if as_json:
        output.json(found)
    rows = [
        [moment(one["at_ms"]), one["principal"] or "-", one["operation"], one["resource"] or "-",
         f"{one['status']} {one['error_code']}".rstrip(), one["source_ip"]]
        for one in found["calls"]
    ]  # fmt: skip
    output.table(("AT", "WHO", "OPERATION", "RESOURCE", "RESULT", "FROM"), rows, empty="No such calls.")
    return 0
