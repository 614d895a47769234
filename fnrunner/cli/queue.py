"""`fnrunner queue`: create, fill, read and list queues without an AMQP client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from fnrunner.cli import option
from fnrunner.cli.client import ADMIN, Client, segment
from fnrunner.cli.error import UsageFault
from fnrunner.cli.option import content, pairs, rows
from fnrunner.cli.output import Output, clean

BATCH = 100


def register(app: click.Group) -> None:
    group = click.Group("queue", help="Create, fill, read and list queues.", no_args_is_help=True)
    group.add_command(create)
    group.add_command(send)
    group.add_command(receive)
    group.add_command(list_queues)
    app.add_command(group)


@click.command("create")
@click.argument("name", metavar="NAME")
@option.as_json
@option.endpoint
def create(name: str, as_json: bool, endpoint_url: str) -> None:
    """Create a quorum queue; nothing changes where it exists. With --json: {"name", "arn"}."""
    made = Client(endpoint_url).send("PUT", queue_path(name), {})
    output = Output(as_json)
    if as_json:
        output.json(made)
    output.line(made["arn"])


@click.command("send")
@click.argument("name", metavar="NAME")
@click.argument("body", metavar="BODY…", nargs=-1, required=True)
@click.option("--header", "header", metavar="K=V", multiple=True, help="A header; repeatable.")
@click.option("--message-id", "message_id", metavar="ID", default="", help="The id, for one message.")
@click.option("--lines", "lines", is_flag=True, help="Each line of a body is a message.")
@option.as_json
@option.endpoint
def send(
    name: str,
    body: tuple[str, ...],
    header: tuple[str, ...],
    message_id: str,
    lines: bool,
    as_json: bool,
    endpoint_url: str,
) -> None:
    """Send messages, each confirmed by the broker. With --json: {"message_ids": [ID]}."""
    bodies = [part for text in body for part in _parts(content(text, "BODY"), lines)]
    if message_id and len(bodies) != 1:
        raise UsageFault(f"--message-id: there are {len(bodies)} messages", "Send them one at a time.")
    more: dict[str, Any] = {"headers": pairs(header, "--header")} if header else {}
    if message_id:
        more["message_id"] = message_id
    client, output, ids = Client(endpoint_url), Output(as_json), list[str]()
    for start in range(0, len(bodies), BATCH):
        messages = [{**_body(part), **more} for part in bodies[start : start + BATCH]]
        ids += client.send("POST", f"{queue_path(name)}/messages", {"messages": messages})["message_ids"]
    if as_json:
        output.json({"message_ids": ids})
    for item in ids:
        output.line(item)


@click.command("receive")
@click.argument("name", metavar="NAME")
@click.option("--max", "most", type=click.IntRange(1, 1000), default=1, help="At most so many messages.")
@click.option("--keep", "keep", is_flag=True, help="Only look: the messages stay in the queue.")
@option.as_json
@option.endpoint
def receive(name: str, most: int, keep: bool, as_json: bool, endpoint_url: str) -> None:
    """Take messages that are there now, and print their bodies, a line each.

    With --json: {"messages": [{"message_id", "headers", "content_type", "redelivered", "body" or "body_base64"}]}.
    """
    found = Client(endpoint_url).send("POST", f"{queue_path(name)}/receive", {"max": most, "ack": not keep})
    output = Output(as_json)
    if as_json:
        output.json(found)
        return
    for message in found["messages"]:
        output.line(clean(message.get("body", message.get("body_base64", ""))))
    if not found["messages"]:
        output.note(f"The queue {name} is empty.")


@click.command("ls")
@option.as_json
@option.endpoint
def list_queues(as_json: bool, endpoint_url: str) -> None:
    """List the queues that were created here. With --json: {"queues": [{"name", "arn", "ready", "unsettled", "consumers"}]}."""
    found = Client(endpoint_url).get(f"{ADMIN}/queues")
    output = Output(as_json)
    if as_json:
        output.json(found)
        return
    output.table(
        ("NAME", "READY", "UNSETTLED", "CONSUMERS", "ARN"),
        rows(found["queues"], "name", "ready", "unsettled", "consumers", "arn"),
        empty="There are no queues yet. `fnrunner queue create NAME` makes one.",
    )


def queue_path(name: str) -> str:
    """The path of a queue."""
    return f"{ADMIN}/queues/{segment(name)}"


def _parts(data: bytes, lines: bool) -> Iterator[bytes]:
    if lines:
        yield from (line for line in data.splitlines() if line)
    else:
        yield data


def _body(data: bytes) -> dict[str, str]:
    try:
        return {"body": data.decode()}
    except UnicodeDecodeError:
        from base64 import b64encode

        return {"body_base64": b64encode(data).decode()}
