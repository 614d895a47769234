"""`fnrunner mapping`: which streams and queues invoke which functions, how far they are, and how they end."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click

from fnrunner.cli import option
from fnrunner.cli.client import ADMIN, MAPPINGS, Client, segment
from fnrunner.cli.error import ServerRefused, UsageFault
from fnrunner.cli.event_source import home_of, source_of, start_of, target_of
from fnrunner.cli.function import confirm
from fnrunner.cli.mapping_page import page
from fnrunner.cli.output import Output, clean

_SETTINGS: tuple[tuple[str, str, Any, str], ...] = (
    ("--batch-size", "BatchSize", click.IntRange(1, 10_000), "At most so many records in an event."),
    ("--window", "MaximumBatchingWindowInSeconds", click.IntRange(0, 300), "Gather records for so many seconds."),
    ("--parallelization", "ParallelizationFactor", click.IntRange(1, 10), "Batches of a shard at once, by key."),
    ("--max-age", "MaximumRecordAgeInSeconds", click.IntRange(-1, 604_800), "Pass over older records; -1: never."),
    ("--retries", "MaximumRetryAttempts", click.IntRange(-1, 10_000), "Pass over after so many; -1: never."),
    (
        "--tumbling-window",
        "TumblingWindowInSeconds",
        click.IntRange(0, 900),
        "Windows of so many seconds with a state.",
    ),
)
_FLAGS: tuple[tuple[str, str, str], ...] = (
    ("bisect", "BisectBatchOnFunctionError", "Halve a batch that fails."),
    ("report_failures", "FunctionResponseTypes", "The function may name the records that failed."),
)


def register(app: click.Group) -> None:
    group = click.Group("mapping", help="Let streams and queues invoke functions.", no_args_is_help=True)
    for command in (list_mappings, show, create, update, pause, resume, remove):
        group.add_command(command)
    app.add_command(group)


def settings(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that create and update have in common."""
    for flag, name, kind, text in reversed(_SETTINGS):
        command = click.option(flag, name, type=kind, metavar="N", help=text)(command)
    for flag, name, text in reversed(_FLAGS):
        dashed = flag.replace("_", "-")
        command = click.option(f"--{dashed}/--no-{dashed}", name, default=None, help=text)(command)
    command = click.option(
        "--filter",
        "Filters",
        metavar="JSON|@FILE",
        multiple=True,
        help="A pattern; one of them must match. '' for none.",
    )(command)
    command = click.option(
        "--on-failure",
        "OnFailure",
        metavar="ARN|queue:NAME|topic:NAME",
        help="Told of records passed over. '' for nobody.",
    )(command)
    command = click.option(
        "--max-concurrency", "MaximumConcurrency", type=click.IntRange(0, 1000), metavar="N",
        help="Batches of a queue at once, at least 2; 0 for no limit.",
    )(command)  # fmt: skip
    return click.option(
        "--access", "Access", metavar="TYPE=URI", multiple=True, help="How to get in: VIRTUAL_HOST=/, BASIC_AUTH=…"
    )(command)


@click.command("ls")
@click.option("--function", "function", default="", help="Those of one function.")
@option.as_json
@option.endpoint
def list_mappings(function: str, as_json: bool, endpoint_url: str) -> None:
    """List event source mappings. With --json: {"EventSourceMappings": […]}, as the Lambda API has them."""
    query = {"FunctionName": function} if function else {}
    found = list(Client(endpoint_url).pages(MAPPINGS, "EventSourceMappings", **query))
    output = Output(as_json)
    if as_json:
        output.json({"EventSourceMappings": found})
        return
    output.table(
        ("UUID", "FUNCTION", "SOURCE", "STATE", "LAST RESULT"),
        [
            (
                one["UUID"],
                one["FunctionArn"].partition(":function:")[2],
                source_name(one),
                one["State"],
                one.get("LastProcessingResult", "-"),
            )
            for one in found
        ],
        empty="There are no event source mappings yet. `fnrunner mapping create FUNCTION SOURCE` makes one.",
    )


@click.command("show")
@click.argument("uuid", metavar="UUID")
@option.as_json
@option.endpoint
def show(uuid: str, as_json: bool, endpoint_url: str) -> None:
    """Show one: its state, where each shard is, how its last batch ended, what was skipped.

    With --json: {"mapping": as the Lambda API has it, "source", "enabled", "revision", "shards": [{"shard", …}], "rewind"}.
    """
    found = Client(endpoint_url).get(admin_mapping(uuid))
    output = Output(as_json)
    if as_json:
        output.json(found)
        return
    for line in page(found):
        output.line(clean(line))


@click.command("create")
@click.argument("function", metavar="FUNCTION")
@click.argument("source", metavar="SOURCE")
@click.option(
    "--from", "start", metavar="start|end|TIME",
    help="Where a stream is read from: its oldest record, new ones only, or a time. [default: start]",
)  # fmt: skip
@click.option("--queue", "queue", metavar="NAME", help="The queue, where SOURCE is an ARN of a broker.")
@click.option("--topic", "topic", metavar="NAME", help="The topic, where SOURCE is an ARN of Kafka.")
@click.option("--consumer-group", "group", metavar="ID", help="Of Kafka. [default: the mapping's UUID]")
@click.option("--disabled", "disabled", is_flag=True, help="Made, but not read yet.")
@settings
@option.as_json
@option.endpoint
def create(
    function: str,
    source: str,
    start: str | None,
    queue: str | None,
    topic: str | None,
    group: str | None,
    disabled: bool,
    as_json: bool,
    endpoint_url: str,
    **given: Any,
) -> None:
    """Let SOURCE invoke FUNCTION, and print the mapping's UUID. With --json: what the Lambda API answers.

    SOURCE is an ARN, stream:NAME, queue:NAME, dynamodb:TABLE (the stream of that name, with changes of a table in it),
    mq:BROKER/QUEUE, or kafka:HOST:PORT/TOPIC.
    """
    client = Client(endpoint_url)
    home = home_of(client)
    document = {"FunctionName": function, **source_of(source, home, queue=queue, topic=topic)}
    if streamed(document):
        document |= start_of(start or "start")
    elif start:
        raise UsageFault(
            f"--from: {source} is a queue, which is read from its head",
            "Leave out --from: only streams have positions.",
        )
    if group:
        document["SelfManagedKafkaEventSourceConfig"] = {"ConsumerGroupId": group}
    if disabled:
        document["Enabled"] = False
    document |= parameters(given, lambda text: target_of(text, home))
    if "SelfManagedEventSource" in document:
        document.setdefault("SourceAccessConfigurations", [])
    with _source_there(source):
        made = client.send("POST", MAPPINGS, document)
    _answer(made, as_json)


@contextmanager
def _source_there(source: str) -> Iterator[None]:
    """A refusal for a queue or stream that does not exist says how to make it."""
    try:
        yield
    except ServerRefused as error:
        if how := maker_of(source, str(error)):
            raise ServerRefused(str(error), how, code=error.code, http_status=error.http_status) from error
        raise


def maker_of(source: str, message: str) -> str:
    """How the source that a refusal misses is made; empty where that is not what it is about.

    >>> maker_of("queue:jobs", "The specified queue does not exist.")
    '`fnrunner queue create jobs` makes it.'
    """
    if not re.search("queue does not exist|Stream not found|does not exist on the broker", message):
        return ""
    kind, _, rest = source.partition(":")
    if ":mq:" in source:
        return "`fnrunner queue create NAME` makes it."
    if kind == "arn":
        kind, rest = ("queue" if ":sqs:" in source else "stream"), re.split("[:/]", source)[-1]
        if ":dynamodb:" in source:
            rest = source.partition(":table/")[2].partition("/")[0]
    command = "queue" if kind in ("queue", "mq") else "stream"
    return f"`fnrunner {command} create {rest.rpartition('/')[2]}` makes it."


@click.command("update")
@click.argument("uuid", metavar="UUID")
@click.option("--function", "function", metavar="NAME", help="Another function.")
@settings
@option.as_json
@option.endpoint
def update(uuid: str, function: str | None, as_json: bool, endpoint_url: str, **given: Any) -> None:
    """Change what is given; the rest stays. Where it is read goes on. With --json: what the Lambda API answers."""
    client = Client(endpoint_url)
    home = home_of(client)
    document = parameters(given, lambda text: target_of(text, home))
    if function:
        document["FunctionName"] = function
    _answer(client.send("PUT", mapping_path(uuid), document), as_json)


@click.command("pause")
@click.argument("uuid", metavar="UUID")
@option.as_json
@option.endpoint
def pause(uuid: str, as_json: bool, endpoint_url: str) -> None:
    """Read no more until it is resumed; where it is stays. With --json: what the Lambda API answers."""
    _answer(Client(endpoint_url).send("PUT", mapping_path(uuid), {"Enabled": False}), as_json)


@click.command("resume")
@click.argument("uuid", metavar="UUID")
@option.as_json
@option.endpoint
def resume(uuid: str, as_json: bool, endpoint_url: str) -> None:
    """Go on where it was paused. With --json: what the Lambda API answers."""
    _answer(Client(endpoint_url).send("PUT", mapping_path(uuid), {"Enabled": True}), as_json)


@click.command("rm")
@click.argument("uuid", metavar="UUID")
@click.option("--yes", "-y", "yes", is_flag=True, help="Do not ask.")
@option.as_json
@option.endpoint
def remove(uuid: str, yes: bool, as_json: bool, endpoint_url: str) -> None:
    """Remove one, with where it is: made again, it starts anew. With --json: what the Lambda API answers."""
    confirm(f"Remove the event source mapping {uuid}, and forget where it is?", yes)
    _answer(Client(endpoint_url).call("DELETE", mapping_path(uuid)).json(), as_json)


def parameters(given: Mapping[str, Any], target: Callable[[str], str]) -> dict[str, Any]:
    """The options as parameters of the Lambda API; those that were not given are left out."""
    document = {name: given[name] for _, name, _, _ in _SETTINGS if given[name] is not None}
    if given["BisectBatchOnFunctionError"] is not None:
        document["BisectBatchOnFunctionError"] = given["BisectBatchOnFunctionError"]
    if given["FunctionResponseTypes"] is not None:
        document["FunctionResponseTypes"] = ["ReportBatchItemFailures"] if given["FunctionResponseTypes"] else []
    if given["Filters"]:
        texts = [option.document(text, "--filter").decode() for text in given["Filters"] if text]
        document["FilterCriteria"] = {"Filters": [{"Pattern": text} for text in texts]}
    if given["OnFailure"] is not None:
        where = {"Destination": target(given["OnFailure"])} if given["OnFailure"] else {}
        document["DestinationConfig"] = {"OnFailure": where}
    if given["MaximumConcurrency"] is not None:
        limit = given["MaximumConcurrency"]
        document["ScalingConfig"] = {"MaximumConcurrency": limit} if limit else {}
    if given["Access"]:
        pairs = option.pairs(given["Access"], "--access")
        document["SourceAccessConfigurations"] = [{"Type": kind, "URI": uri} for kind, uri in pairs.items()]
    return document


def streamed(document: Mapping[str, Any]) -> bool:
    """Whether it is read in order from a position."""
    return document.get("EventSourceArn", "arn:aws:kafka").split(":")[2] in ("kinesis", "dynamodb", "kafka")


def source_name(mapping: Mapping[str, Any]) -> str:
    """What it reads, for a table: the ARN, or servers and topic."""
    places = [*mapping.get("Queues", ()), *mapping.get("Topics", ())]
    servers = mapping.get("SelfManagedEventSource", {}).get("Endpoints", {}).get("KAFKA_BOOTSTRAP_SERVERS", [])
    return "/".join([mapping.get("EventSourceArn") or "kafka:" + ",".join(servers), *places])


def mapping_path(uuid: str) -> str:
    """The path of a mapping in the Lambda API."""
    return MAPPINGS + segment(uuid)


def admin_mapping(uuid: str) -> str:
    """The path of a mapping in fnrunner's own API."""
    return f"{ADMIN}/mappings/{segment(uuid)}"


def _answer(answer: Mapping[str, Any], as_json: bool) -> None:
    output = Output(as_json)
    if as_json:
        output.json(answer)
    output.line(f"{answer['UUID']}  {answer['State']}")
