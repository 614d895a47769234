"""`fnrunner stream`: create, fill, list, rewind and remove streams without an AMQP client."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import click

from fnrunner.cli import option, removal
from fnrunner.cli.client import ADMIN, Client, segment
from fnrunner.cli.error import CliError, UsageFault
from fnrunner.cli.event_source import rewind_to
from fnrunner.cli.function import confirm
from fnrunner.cli.json_lines import JsonLines
from fnrunner.cli.output import Output

BATCH = 1000


def register(app: click.Group) -> None:
    group = click.Group("stream", help="Create, fill, list, rewind and remove streams.", no_args_is_help=True)
    group.add_command(create)
    group.add_command(put)
    group.add_command(list_streams)
    group.add_command(rewind)
    group.add_command(remove)
    app.add_command(group)
    app.add_command(click.Group("streams", group.commands, help=group.help, no_args_is_help=True, hidden=True))


@click.command("create")
@click.argument("name", metavar="NAME")
@click.option("--partitions", "partitions", type=click.IntRange(1, 100), default=1, help="How many, for ever.")
@option.as_json
@option.endpoint
def create(name: str, partitions: int, as_json: bool, endpoint_url: str) -> None:
    """Create a stream; nothing changes where it exists. With --json: {"name", "arn", "partitions": [QUEUE]}."""
    made = Client(endpoint_url).send("PUT", stream_path(name), {"partitions": partitions})
    output = Output(as_json)
    if as_json:
        output.json(made)
    output.line(made["arn"])


@click.command("put")
@click.argument("name", metavar="NAME")
@click.argument("data", metavar="[DATA]", default="")
@click.option("--key", "key", metavar="K", help="The record's key.")
@click.option("--jsonl", "jsonl", metavar="FILE|-", default="", help='A record a line: {"key": …, "data": …}.')
@option.as_json
@option.endpoint
def put(name: str, data: str, key: str | None, jsonl: str, as_json: bool, endpoint_url: str) -> None:
    """Put records, in order within a partition. With --json: {"stored", "by_partition": {QUEUE: COUNT}}."""
    if bool(data) == bool(jsonl):
        raise UsageFault("Say what to put: either DATA or --jsonl", "For example: --jsonl readings.jsonl")
    if jsonl and key is not None:
        raise UsageFault("--key: with --jsonl each line has its own key", "Leave --key out.")
    client, output, by_partition = Client(endpoint_url), Output(as_json), Counter[str]()

    def send(records: list[dict[str, Any]]) -> None:
        # confirmed before the next are sent: what was counted here is stored
        by_partition.update(client.send("POST", f"{stream_path(name)}/records", {"records": records})["by_partition"])

    if data:
        send([{"key": key, "data": data}])
    else:
        JsonLines(jsonl, "put", _record).deliver(BATCH, send)
    stored = by_partition.total()
    if as_json:
        output.json({"stored": stored, "by_partition": dict(by_partition)})
    spread = ", ".join(f"{queue}: {count}" for queue, count in sorted(by_partition.items()) if count)
    output.line(f"{stored} stored ({spread})" if spread else "0 stored")


@click.command("ls")
@option.as_json
@option.endpoint
def list_streams(as_json: bool, endpoint_url: str) -> None:
    """List the streams that were created here. With --json: {"streams": [{"name", "arn", "partitions": [QUEUE]}]}."""
    found = Client(endpoint_url).get(f"{ADMIN}/streams")
    output = Output(as_json)
    if as_json:
        output.json(found)
        return
    output.table(
        ("NAME", "PARTITIONS", "ARN"),
        [[item["name"], len(item["partitions"]), item["arn"]] for item in found["streams"]],
        empty="There are no streams yet. `fnrunner stream create NAME` makes one.",
    )


@click.command("rewind")
@click.argument("name", metavar="NAME|UUID")
@click.option("--to", "to", metavar="POSITION|TIME|start|end", required=True, help="The next record to be read.")
@click.option("--yes", "-y", "yes", is_flag=True, help="Do not ask.")
@option.as_json
@option.endpoint
def rewind(name: str, to: str, yes: bool, as_json: bool, endpoint_url: str) -> None:
    """Let the event source mapping UUID, or all of the stream NAME, go on from elsewhere.

    Records between are given to the functions again, or passed over; a position counts in each partition. With --json:
    {"rewound": [{"uuid", "id", "to"}]}.
    """
    client, output = Client(endpoint_url), Output(as_json)
    document = {"to": rewind_to(to)}
    uuids = _mappings_of(client, name)
    confirm(f"Let {len(uuids)} event source mapping{'s' if len(uuids) > 1 else ''} of {name} go on from {to}?", yes)
    done = [
        {"uuid": uuid, **client.send("PUT", f"{ADMIN}/mappings/{segment(uuid)}/rewind", document)} for uuid in uuids
    ]
    if as_json:
        output.json({"rewound": done})
    for one in done:
        output.line(f"{one['uuid']} goes on from {to}")


@click.command("rm")
@click.argument("name", metavar="NAME")
@click.option("--yes", "-y", "yes", is_flag=True, help="Do not ask.")
@option.as_json
@option.endpoint
def remove(name: str, yes: bool, as_json: bool, endpoint_url: str) -> None:
    """Remove a stream that was created here, with its records. With --json: {"removed": NAME}.

    Before it asks, it says what the stream holds and what reads it.
    """
    client, output = Client(endpoint_url), Output(as_json)
    if not yes:
        confirm(removal.question("stream", name, removal.of_stream(client, name)), yes)
    client.call("DELETE", stream_path(name))
    if as_json:
        output.json({"removed": name})
    output.line(f"Removed {name}.")


def _mappings_of(client: Client, name: str) -> list[str]:
    """The mapping, or those that read the stream. Raises CliError when there are none."""
    if re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", name):
        return [name]
    found = [one["mapping"]["UUID"] for one in client.get(f"{ADMIN}/mappings")["mappings"] if _reads(one, name)]
    if not found:
        raise CliError(
            f"No event source mapping reads a stream {name}",
            "`fnrunner mapping ls` lists them. A queue cannot be rewound: what was taken from it is gone.",
        )
    return found


def _reads(found: dict[str, Any], name: str) -> bool:
    kind, _, source = found["source"].partition(":")
    return source == name and kind in ("kinesis", "dynamodb", "kafka")


def stream_path(name: str) -> str:
    """The path of a stream."""
    return f"{ADMIN}/streams/{segment(name)}"


def _record(item: dict[str, Any]) -> dict[str, Any]:
    if "data" not in item or set(item) - {"key", "data"}:
        raise ValueError('is not {"key": …, "data": …}')
    return item
