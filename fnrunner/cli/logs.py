"""`fnrunner logs`: what a function wrote, now and as it comes."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import click

from fnrunner.cli import option
from fnrunner.cli.client import Client, admin_path, function_path
from fnrunner.cli.error import ServerRefused, ServerUnreachable, UsageFault
from fnrunner.cli.output import Output, clean, moment

PAGE = 1000
POLL_S = 20
PAUSE_FIRST_S = 0.2
PAUSE_MOST_S = 5.0
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def register(app: click.Group) -> None:
    app.add_command(logs)


@click.command("logs")
@option.function_name
@click.option("--follow", "-f", "follow", is_flag=True, help="Go on as more is written, until Ctrl-C.")
@click.option("--since", "since", metavar="AGE", default="", help="How far back: 30s, 10m, 2h, 1d.")
@click.option("--filter", "text", metavar="TEXT", default="", help="Only what contains this, in any case.")
@click.option("--request-id", "request_id", metavar="ID", default="", help="Only of this event.")
@option.as_json
@option.endpoint
def logs(name: str, follow: bool, since: str, text: str, request_id: str, as_json: bool, endpoint_url: str) -> None:
    """Print a function's log, oldest first. --follow survives a restart of the server.

    Without --since: the last 10 minutes, or all of one event with --request-id.
    With --json one document a line: {"at_ms", "request_id", "log_stream", "text"}.
    """
    output = Output(as_json)
    back = age(since) if since else None if request_id else timedelta(minutes=10)
    since_ms = max(0, int((time.time() - back.total_seconds()) * 1000)) if back is not None else 0
    query: dict[str, Any] = {"since_ms": since_ms, "filter": text or None, "request_id": request_id or None}
    client = Client(endpoint_url)
    path = admin_path(name, "logs")
    found = False
    pages = following(client, path, query, output.note) if follow else until_now(client, path, query)
    for page in pages:
        for line in page:
            found = True
            show(output, line)
    if not found:
        # Logs outlive their function; where there are none, a name that is mistyped is more likely.
        client.get(function_path(name, "configuration"))
    if not found and not as_json:
        output.note(f"{name} wrote nothing{f' in the last {since}' if since else ''}.")


def show(output: Output, line: dict[str, Any]) -> None:
    """One line, or one document."""
    if output.as_json:
        output.json(line)
        return
    prefix = output.paint(f"{moment(line['at_ms'])} {line['request_id'][:8]}", "dim")
    for part in line["text"].splitlines() or [""]:
        output.line(f"{prefix} {clean(part)}")


def until_now(client: Client, path: str, query: dict[str, Any]) -> Iterator[list[dict[str, Any]]]:
    """Every page that there is."""
    cursor: str | None = None
    while True:
        page = client.get(path, **query, cursor=cursor, limit=PAGE)
        yield page["lines"]
        # A page can be empty where the filter hid everything: the end is where the cursor stands still.
        if page["cursor"] == cursor:
            return
        cursor = page["cursor"]


def following(
    client: Client,
    path: str,
    query: dict[str, Any],
    note: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[list[dict[str, Any]]]:
    """Pages for ever. A server that is away is asked again, from where the last page ended: nothing is missed or doubled.

    Raises ServerUnreachable only when the server was not there from the beginning.
    """
    cursor: str | None = None
    pause, lost = PAUSE_FIRST_S, False
    while True:
        try:
            page = client.get(path, **query, cursor=cursor, limit=PAGE, wait_s=POLL_S if cursor else None)
        except (ServerUnreachable, ServerRefused) as error:
            if cursor is None or not _passing(error):
                raise
            if not lost:
                note("The server is away; trying again until it is back.")
            lost = True
            sleep(pause)
            pause = min(2 * pause, PAUSE_MOST_S)
            continue
        if lost:
            note("The server is back.")
        pause, lost, cursor = PAUSE_FIRST_S, False, page["cursor"]
        yield page["lines"]


def _passing(error: ServerUnreachable | ServerRefused) -> bool:
    return isinstance(error, ServerUnreachable) or error.http_status >= 500


def age(text: str) -> timedelta:
    """A duration as people write it. Raises UsageFault.

    >>> age("90s") == age("1.5m")
    True
    """
    if not (match := re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)):
        raise UsageFault(f"--since: {text!r} is no age", "Write a number and s, m, h or d, such as 10m.")
    return timedelta(**{_UNITS[match[2]]: float(match[1])})
