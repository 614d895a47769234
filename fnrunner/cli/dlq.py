"""`fnrunner dlq`: dead letters that people can work with."""

from __future__ import annotations

import json
import os
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from fnrunner.cli import option, poison
from fnrunner.cli.client import Client, admin_path
from fnrunner.cli.error import FAILED, CliError, UsageFault
from fnrunner.cli.function import confirm
from fnrunner.cli.option import document
from fnrunner.cli.output import Output, clean, moment, size, span

BATCH = 100


def register(app: click.Group) -> None:
    group = click.Group("dlq", help="Look at, correct and redrive dead letters.", no_args_is_help=True)
    group.add_command(list_letters)
    group.add_command(show)
    group.add_command(edit)
    group.add_command(redrive)
    group.add_command(purge)
    app.add_command(group)


@click.command("ls")
@option.function_name
@click.option("--state", "state", default="held", help="held, redriving, redriven, purged or all.")
@option.as_json
@option.endpoint
def list_letters(name: str, state: str, as_json: bool, endpoint_url: str) -> None:
    """List a function's dead letters, oldest first.

    With --json: {"dead_letters": [{"id", "event_id", "redrives", "function", "reason", "error_type", "error_message",
    "at_ms", "state", "digest", "traceparent"}]}.
    """
    found = list(letters(Client(endpoint_url), name, state))
    output = Output(as_json)
    if as_json:
        output.json({"dead_letters": found})
        return
    output.table(
        ("EVENT", "AT", "REASON", "ERROR", "STATE"),
        [
            (one["event_id"], moment(one["at_ms"])[:19], one["reason"], _error(one, 60), one["state"])
            for one in found
        ],
        empty=f"{name} has no dead letters{'' if state in ('held', 'all') else f' that are {state}'}.",
    )  # fmt: skip


def letters(client: Client, name: str, state: str) -> Iterator[dict[str, Any]]:
    """Every dead letter of a function in a state."""
    return client.pages(letters_path(name), "dead_letters", cursor="cursor", ask="cursor", state=state, limit=1000)


def letters_path(name: str, *rest: str) -> str:
    """The path of a function's dead letters."""
    return admin_path(name, "dead-letters", *rest)


@click.command("show")
@option.function_name
@click.argument("event_id", metavar="ID")
@option.as_json
@option.endpoint
def show(name: str, event_id: str, as_json: bool, endpoint_url: str) -> None:
    """Show one dead letter with its payload and attempts.

    With --json: the keys of `ls` and "payload" (or "payload_base64"), "original" (when edited), "edited", "source",
    "accepted_at_ms", "attempts", "destination_errors"; of records of a stream or queue "batch" and "poison", else null.
    """
    found = Client(endpoint_url).get(letters_path(name, event_id))
    output = Output(as_json)
    if as_json:
        output.json(found)
        return
    for line in page(found):
        output.line(clean(line))


def page(letter: dict[str, Any]) -> Iterator[str]:
    """One dead letter as lines."""
    yield f"Event {letter['event_id']} of {letter['function']}: {letter['state']}"
    yield f"  accepted  {moment(letter['accepted_at_ms'])} from {letter['source']}"
    yield f"  given up  {moment(letter['at_ms'])}: {letter['reason']}"
    yield f"  error     {_error(letter)}"
    if letter["redrives"]:
        yield f"  redriven  {letter['redrives']} times before"
    for attempt in letter["attempts"]:
        yield f"  attempt {attempt['number']}  {moment(attempt['at_ms'])}  {span(attempt['duration_ms'])}  {_error(attempt)}"
    yield from poison.lines(letter)
    for error in letter["destination_errors"]:
        yield f"  destination  {error}"
    payload = payload_of(letter)
    yield f"Payload, {size(len(payload))}{' (edited; it failed with another)' if letter['edited'] else ''}:"
    yield _pretty(payload)


@click.command("edit")
@option.function_name
@click.argument("event_id", metavar="ID")
@click.option("--body", "body", metavar="JSON|@FILE|-", default="", help="The new payload; else $EDITOR.")
@option.as_json
@option.endpoint
def edit(name: str, event_id: str, body: str, as_json: bool, endpoint_url: str) -> None:
    """Correct the payload that a redrive will send, in $EDITOR or with --body. With --json: as `show`."""
    client = Client(endpoint_url)
    path = letters_path(name, event_id)
    output = Output(as_json)
    current = payload_of(client.get(path))
    payload = document(body, "--body") if body else _edited(current)
    if not body and payload.rstrip() == _pretty(current).encode().rstrip():
        raise CliError("Nothing was changed")
    found = client.call("PUT", path, body=payload, headers={"Content-Type": "application/json"}).json()
    if as_json:
        output.json(found)
    output.line(f"Changed. `fnrunner dlq redrive {name} {event_id}` sends it.")


@click.command("redrive")
@option.function_name
@click.argument("ids", metavar="[ID…]", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Every dead letter of the function that is held.")
@option.as_json
@option.endpoint
def redrive(name: str, ids: tuple[str, ...], every: bool, as_json: bool, endpoint_url: str) -> int:
    """Send dead letters back to their function under their old id. Exit status 1 when some could not be sent.

    Pending ones may have been sent; the server sends them again until it is certain. With --json: {"redriven": [ID],
    "refused": [{"event_id", "reason"}], "pending": [{"event_id", "reason"}]}.
    """
    client, output = Client(endpoint_url), Output(as_json)
    chosen = _chosen(client, name, ids, every)
    redriven, refused, pending = list[str](), list[dict[str, str]](), list[dict[str, str]]()
    with output.progress(f"redriving {name}") as progress:
        for batch in _batches(chosen):
            done = client.send("POST", letters_path(name, "redrive"), {"ids": batch})
            redriven += done["redriven"]
            refused += done["refused"]
            pending += done["pending"]
            progress(len(redriven) + len(refused) + len(pending), len(chosen))
    if as_json:
        output.json({"redriven": redriven, "refused": refused, "pending": pending})
    for one in (*refused, *pending):
        output.line(f"{one['event_id']}: {clean(one['reason'])}")
    counts = ((len(redriven), "redriven"), (len(refused), "not"), (len(pending), "pending"))
    output.line(", ".join(f"{count} {word}" for count, word in counts if count or word == "redriven"))
    return FAILED if refused else 0


@click.command("purge")
@option.function_name
@click.argument("ids", metavar="[ID…]", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Every dead letter of the function that is held.")
@click.option("--yes", "-y", "yes", is_flag=True, help="Do not ask.")
@option.as_json
@option.endpoint
def purge(name: str, ids: tuple[str, ...], every: bool, yes: bool, as_json: bool, endpoint_url: str) -> None:
    """Give dead letters up for good; their payloads are gone. With --json: {"purged": COUNT}."""
    client, output = Client(endpoint_url), Output(as_json)
    chosen = _chosen(client, name, ids, every)
    if chosen:
        confirm(f"Give up {len(chosen)} events of {name} for good?", yes)
    purged = 0
    for batch in _batches(chosen):
        purged += client.send("POST", letters_path(name, "purge"), {"ids": batch})["purged"]
    if as_json:
        output.json({"purged": purged})
    output.line(f"{purged} purged")


def payload_of(letter: dict[str, Any]) -> bytes:
    """The payload that would be redriven."""
    if "payload_base64" in letter:
        return b64decode(letter["payload_base64"])
    return str(letter["payload"]).encode()


def _chosen(client: Client, name: str, ids: tuple[str, ...], every: bool) -> list[str]:
    if bool(ids) == every:
        raise UsageFault("Say which dead letters: their ids or --all", f"`fnrunner dlq ls {name}` lists them.")
    # The ids are read first: letters that die while a redrive runs are not sent round in a circle.
    return list(ids) or [letter["event_id"] for letter in letters(client, name, "held")]


def _batches(ids: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(ids), BATCH):
        yield ids[start : start + BATCH]


def _error(item: dict[str, Any], most: int = 1000) -> str:
    text = f"{item['error_type']}: {item['error_message']}" if item["error_type"] else item["error_message"] or "-"
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 1] + "…"


def _pretty(payload: bytes) -> str:
    try:
        return json.dumps(json.loads(payload), indent=2, ensure_ascii=False)
    except ValueError:
        return payload.decode(errors="replace")


def _edited(payload: bytes) -> bytes:
    import shlex
    import subprocess
    import tempfile

    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if not editor:
        raise UsageFault("No editor is set", "Set EDITOR, or give the payload with --body JSON, @FILE or -.")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "payload.json"
        file.write_text(_pretty(payload) + "\n")
        if subprocess.run([*shlex.split(editor), str(file)], check=False).returncode:
            raise CliError(f"The editor {editor} failed; nothing was changed")
        return document(f"@{file}", "the edited payload")
