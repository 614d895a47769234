"""`fnrunner queue`: create, fill, read, list, purge and remove queues without an AMQP client."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import click

from fnrunner.cli import option, removal
from fnrunner.cli.client import ADMIN, Client, segment
from fnrunner.cli.error import ServerRefused, UsageFault
from fnrunner.cli.function import confirm
from fnrunner.cli.json_lines import JsonLines
from fnrunner.cli.option import content, pairs, rows
from fnrunner.cli.output import Output, clean

BATCH = 100
GROUP_HEADER = "message-group-id"


def register(app: click.Group) -> None:
    group = click.Group("queue", help="Create, fill, read, list, purge and remove queues.", no_args_is_help=True)
    group.add_command(create)
    group.add_command(send)
    group.add_command(receive)
    group.add_command(list_queues)
    group.add_command(show)
    group.add_command(purge)
    group.add_command(remove)
    app.add_command(group)


@click.command("create")
@click.argument("name", metavar="NAME")
@click.option(
    "--visibility-timeout",
    "visibility",
    type=click.IntRange(0, 43_200),
    metavar="SECONDS",
    help="How long a message that failed stays away; 30 unless given. Not below the function's timeout.",
)
@click.option(
    "--max-receive-count",
    "most",
    type=click.IntRange(1, 1000),
    metavar="N",
    help="After so many receives a message goes to the dead-letter queue.",
)
@click.option("--dead-letter-queue", "dead", metavar="NAME", help="A queue that exists.")
@click.option("--fifo", "fifo", is_flag=True, help="Messages without a group are handled in order, too.")
@option.as_json
@option.endpoint
def create(
    name: str, visibility: int | None, most: int | None, dead: str | None, fifo: bool, as_json: bool, endpoint_url: str
) -> None:
    """Create a quorum queue. Where it exists, only the attributes that are given change.

    With --json: {"name", "arn", "attributes": {"visibility_timeout_s", "max_receive_count", "dead_letter_queue", "fifo"}}.
    """
    given = {"visibility_timeout_s": visibility, "max_receive_count": most, "dead_letter_queue": dead}
    attributes: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    if fifo:
        attributes["fifo"] = True
    client, output = Client(endpoint_url), Output(as_json)
    before = _attributes(client, name)
    made = client.send("PUT", queue_path(name), attributes)
    if as_json:
        output.json(made)
    output.line(made["arn"])
    changes = list(changed(before, made["attributes"])) if before else []
    if changes:
        output.note(f"The queue {name} was there, and has changed: {', '.join(changes)}")


def _attributes(client: Client, name: str) -> dict[str, Any] | None:
    """Those of a queue that is there; None: it is not, or may not be looked at."""
    try:
        return (client.find(queue_path(name)) or {}).get("attributes")
    except ServerRefused:
        return None


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """What is different, from what to what.

    >>> list(changed({"fifo": False, "max_receive_count": None}, {"fifo": False, "max_receive_count": 3}))
    ['max receive count from none to 3']
    """
    for key, value in after.items():
        if before.get(key) != value:
            yield f"{key.replace('_', ' ')} from {_text(before.get(key))} to {_text(value)}"


def _text(value: object) -> object:
    return "none" if value in (None, "") else value


@click.command("send")
@click.argument("name", metavar="NAME")
@click.argument("body", metavar="BODY…", nargs=-1)
@click.option("--header", "header", metavar="K=V", multiple=True, help="A header; repeatable.")
@click.option("--group", "group", metavar="ID", default="", help="The message group: its messages stay in order.")
@click.option("--message-id", "message_id", metavar="ID", default="", help="The id, for one message.")
@click.option("--lines", "lines", is_flag=True, help="Each line of a body is a message.")
@click.option(
    "--jsonl",
    "jsonl",
    metavar="FILE|-",
    default="",
    help='A message a line: {"data": …, "key"?: GROUP, "headers"?: {…}, "message_id"?: ID}.',
)
@option.as_json
@option.endpoint
def send(
    name: str,
    body: tuple[str, ...],
    header: tuple[str, ...],
    group: str,
    message_id: str,
    lines: bool,
    jsonl: str,
    as_json: bool,
    endpoint_url: str,
) -> None:
    """Send messages, each confirmed by the broker. With --json: {"message_ids": [ID]}."""
    if bool(body) == bool(jsonl):
        raise UsageFault("Say what to send: either BODY or --jsonl", "For example: --jsonl orders.jsonl")
    bodies = [part for text in body for part in _parts(content(text, "BODY"), lines)]
    if message_id and len(bodies) != 1:
        raise UsageFault(f"--message-id: there are {len(bodies)} messages", "Send them one at a time.")
    headers = {**pairs(header, "--header"), **({GROUP_HEADER: group} if group else {})}
    own = {"message_id": message_id} if message_id else {}
    client, output, ids = Client(endpoint_url), Output(as_json), list[str]()

    def deliver(batch: list[dict[str, Any]]) -> None:
        # confirmed before the next are sent: what was counted here is in the queue
        messages = [{**each, "headers": {**headers, **each.get("headers", {})}} for each in batch]
        ids.extend(client.send("POST", f"{queue_path(name)}/messages", {"messages": messages})["message_ids"])

    if jsonl:
        JsonLines(jsonl, "sent", _message).deliver(BATCH, deliver)
    for start in range(0, len(bodies), BATCH):
        deliver([{**_body(part), **own} for part in bodies[start : start + BATCH]])
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
    """List the queues that were created here.

    With --json: {"queues": [{"name", "arn", "ready", "unsettled", "consumers", "attributes": {…}}]}.
    """
    found = Client(endpoint_url).get(f"{ADMIN}/queues")
    output = Output(as_json)
    if as_json:
        output.json(found)
        return
    listed = [{**queue, "visibility": f"{queue['attributes']['visibility_timeout_s']} s", "dead": _dead(queue)}
              for queue in found["queues"]]  # fmt: skip
    output.table(
        ("NAME", "READY", "UNSETTLED", "CONSUMERS", "VISIBILITY", "DEAD-LETTER QUEUE", "ARN"),
        rows(listed, "name", "ready", "unsettled", "consumers", "visibility", "dead", "arn"),
        empty="There are no queues yet. `fnrunner queue create NAME` makes one.",
    )


@click.command("show")
@click.argument("name", metavar="NAME")
@option.as_json
@option.endpoint
def show(name: str, as_json: bool, endpoint_url: str) -> None:
    """Show a queue: how much is in it, and its attributes. fnrunner's own queues have none.

    With --json: {"name", "arn", "ready", "unsettled", "consumers", "attributes": {…} or null}.
    """
    found = Client(endpoint_url).get(queue_path(name))
    output = Output(as_json)
    if as_json:
        output.json(found)
        return
    attributes = found["attributes"] or {}
    facts = [["ready", found["ready"]], ["unsettled", _known(found["unsettled"])], ["consumers", found["consumers"]]]
    if attributes:
        facts += [
            ["visibility timeout", f"{attributes['visibility_timeout_s']} s"],
            ["dead-letter queue", _dead(found) or "none: messages come again until they succeed"],
            ["fifo", "yes" if attributes["fifo"] else "no"],
        ]
    output.table((found["name"], found["arn"]), facts, empty="")


@click.command("purge")
@click.argument("name", metavar="NAME")
@click.option("--yes", "-y", "yes", is_flag=True, help="Do not ask.")
@option.as_json
@option.endpoint
def purge(name: str, yes: bool, as_json: bool, endpoint_url: str) -> None:
    """Throw away what waits in a queue. With --json: {"name", "purged": COUNT}."""
    client, output = Client(endpoint_url), Output(as_json)
    ready = client.get(queue_path(name))["ready"]
    confirm(f"Throw away {ready} messages of the queue {name} for good?", yes)
    done = client.send("POST", f"{queue_path(name)}/purge", {})
    if as_json:
        output.json(done)
    output.line(f"{done['purged']} thrown away")


@click.command("rm")
@click.argument("name", metavar="NAME")
@click.option("--yes", "-y", "yes", is_flag=True, help="Do not ask.")
@option.as_json
@option.endpoint
def remove(name: str, yes: bool, as_json: bool, endpoint_url: str) -> None:
    """Remove a queue that was created here, with what is in it. With --json: {"removed": NAME}.

    Before it asks, it says what the queue holds, what reads it, and which queues send their dead letters there.
    """
    client, output = Client(endpoint_url), Output(as_json)
    if not yes:
        facts = removal.of_queue(client, client.get(queue_path(name)))
        confirm(removal.question("queue", name, facts), yes)
    client.call("DELETE", queue_path(name))
    if as_json:
        output.json({"removed": name})
    output.line(f"Removed {name}.")


def _dead(queue: dict[str, Any]) -> str | None:
    attributes = queue["attributes"]
    dead, most = attributes["dead_letter_queue"], attributes["max_receive_count"]
    return f"{dead} after {most} receives" if dead else None


def _known(count: int | None) -> str:
    return "the broker does not say" if count is None else str(count)


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


_FIELDS = {"data", "key", "group", "headers", "message_id"}


def _message(item: dict[str, Any]) -> dict[str, Any]:
    """One line as the API takes it: ``data`` that is no text is sent as JSON; ``key`` and ``group`` both name the message
    group. Raises ValueError.
    """
    if "data" not in item or set(item) - _FIELDS:
        raise ValueError('is not {"data": …, "key"?, "headers"?, "message_id"?}')
    data, headers = item["data"], item.get("headers") or {}
    group = item.get("group", item.get("key"))
    if not isinstance(headers, dict) or not (group is None or isinstance(group, str)):
        raise ValueError("has no object as its headers, or no text as its key")
    message: dict[str, Any] = {"body": data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)}
    message["headers"] = {**headers, **({GROUP_HEADER: group} if group else {})}
    if item.get("message_id") is not None:
        message["message_id"] = item["message_id"]
    return message
