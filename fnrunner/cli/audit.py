"""`fnrunner audit`: whether every accepted event is accounted for."""

from __future__ import annotations

import click

from fnrunner.cli import option
from fnrunner.cli.client import ADMIN, Client
from fnrunner.cli.error import FAILED
from fnrunner.cli.option import rows
from fnrunner.cli.output import Output

COLUMNS = ("function", "accepted", "succeeded", "dead_lettered", "expired", "in_flight", "missing", "duplicates")


def register(app: click.Group) -> None:
    app.add_command(audit)


@click.command("audit", short_help="Check that no event was lost.")
@click.argument("name", metavar="[NAME]", required=False)
@option.as_json
@option.endpoint
def audit(name: str | None, as_json: bool, endpoint_url: str) -> int:
    """Check that accepted = succeeded + dead-lettered + expired + in flight. Exit status 1 if not.

    With --json: {"balanced", "functions": [{"function", "accepted", "succeeded", "dead_lettered", "expired", "in_flight",
    "missing", "missing_ids", "duplicates", "balanced"}]}.
    """
    found = Client(endpoint_url).get(f"{ADMIN}/audit", function=name)
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
