"""`fnrunner why`: the story of one event on one page."""

from __future__ import annotations

import click

from fnrunner.cli import option
from fnrunner.cli.client import ADMIN, Client, segment
from fnrunner.cli.error import CliError, ServerRefused
from fnrunner.cli.output import Output


def register(app: click.Group) -> None:
    app.add_command(why)


@click.command("why", short_help="Tell the story of one event.")
@click.argument("event_id", metavar="ID")
@option.as_json
@option.endpoint
def why(event_id: str, as_json: bool, endpoint_url: str) -> None:
    """Tell what became of one event: every attempt, its error and log, what comes next, and what to type.

    With --json: {"event_id", "function", "state", "trace_id", "accepted", "attempts", "dead_letters", "logs", "batch",
    "poison"}; the last two are of records of a stream or queue that were given up, else null.
    """
    try:
        found = Client(endpoint_url).get(f"{ADMIN}/events/{segment(event_id)}")
    except ServerRefused as error:
        if error.http_status != 404:
            raise
        unknown = CliError(
            f"Nothing is known of {event_id}",
            "Check the id: `fnrunner logs NAME --json` and `fnrunner dlq ls NAME` show ids. Old events are forgotten.",
        )
        unknown.status = error.status
        raise unknown from error
    output = Output(as_json)
    if as_json:
        output.json(found)
        return
    from fnrunner.cli.story import page

    for text, colours in page(found):
        output.line(output.paint(text, *colours))
