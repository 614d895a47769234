"""What a template may say of a function's events, and what each asks of the server: one table a type.

A type or a property that is not in a table is refused by name. Source: SAM specification, EventSource objects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fnrunner.cli.deploy import schema
from fnrunner.cli.deploy.fault import Faults
from fnrunner.cli.deploy.schema import Reader, items, one_of, section, text, whole
from fnrunner.cli.deploy.source import Node

IMPLICIT_API = "ServerlessHttpApi"
"""The HTTP API of routes that name none."""

IMPLICIT_REST_API, IMPLICIT_STAGE = "ServerlessRestApi", "Prod"
"""The REST API of routes that name none, and its stage."""

REFUSED: Mapping[str, str] = {
    "DocumentDB": "is not supported: nothing here reads Amazon DocumentDB",
    "MSK": "is not supported: use SelfManagedKafka, which names the bootstrap servers",
}


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of a function's Events, read."""

    type: str
    properties: Mapping[str, Any]


def boolean(node: Node, where: str, faults: Faults) -> bool | None:
    read = one_of("true", "false")(Node(node.line, node.value, node.text.lower()), where, faults)
    return None if read is None else read == "true"


def whole_or_minus_one(low: int, high: int) -> Reader:
    """A whole number; -1 stands for no limit."""
    inner = whole(low, high)

    def read(node: Node, where: str, faults: Faults) -> int | None:
        if node.is_scalar and node.text == "-1":
            return -1
        value: int | None = inner(node, where, faults)
        return value

    return read


def seconds(node: Node, where: str, faults: Faults) -> float | None:
    """Epoch seconds."""
    read: str | None = text(r"\d{1,12}(\.\d{1,6})?", takes="a time in epoch seconds")(node, where, faults)
    return None if read is None else float(read)


def plain(node: Node, where: str, faults: Faults) -> Any:
    """A node as the JSON that it is, for what is passed on as a document."""
    match node.value:
        case dict() as entries:
            return {name: plain(child, f"{where}.{name}", faults) for name, child in entries.items()}
        case tuple() as elements:
            return [plain(child, f"{where}[{i}]", faults) for i, child in enumerate(elements)]
        case value:
            return value


def document(node: Node, where: str, faults: Faults) -> Any:
    """A mapping, or its JSON as a text."""
    if node.is_scalar:
        return _json(node, where, faults)
    if isinstance(node.value, dict):
        return plain(node, where, faults)
    faults.add(node.line, where, f"is {node.kind}: it takes a mapping, or its JSON as a text")
    return None


def _json(node: Node, where: str, faults: Faults) -> Any:
    import json

    try:
        return json.loads(node.text)
    except ValueError as error:
        faults.add(node.line, where, f"is no JSON: {error}")
        return None


def json_text(node: Node, where: str, faults: Faults) -> str | None:
    if not node.is_scalar:
        faults.add(node.line, where, f"is {node.kind}: it takes JSON as a text")
        return None
    return None if _json(node, where, faults) is None and node.text != "null" else node.text


def pattern(node: Node, where: str, faults: Faults) -> str | None:
    """A filter pattern, checked here so that its line can be named."""
    from sources.errors import InvalidPattern
    from sources.filters import compile_pattern

    read: str | None = text(takes="a filter pattern as JSON text")(node, where, faults)
    if read is not None:
        try:
            compile_pattern(read)
        except InvalidPattern as error:
            faults.add(node.line, where, f"is no filter pattern: {error}")
            return None
    return read


def expression(*kinds: str) -> Reader:
    """A schedule's expression; whether its parts are right is checked here too."""
    takes = " or ".join(f"{kind}(…)" for kind in kinds)

    def read(node: Node, where: str, faults: Faults) -> str | None:
        from sources.errors import InvalidSchedule
        from sources.schedule_expression import parse

        value: str | None = text(rf"({'|'.join(kinds)})\(.*\)", takes=takes)(node, where, faults)
        if value is not None:
            try:
                parse(value)
            except InvalidSchedule as error:
                faults.add(node.line, where, f"is no schedule: {error}")
                return None
        return value

    return read


def moment(node: Node, where: str, faults: Faults) -> str | None:
    """A time in UTC, as the server tells it; one without an offset is UTC already."""
    from datetime import UTC, datetime

    try:
        read = datetime.fromisoformat(node.text)
        return (read if read.tzinfo else read.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
    except (ValueError, OverflowError):
        faults.add(node.line, where, f"is {node.kind}: it takes a time such as 2030-01-31T12:00:00Z")
        return None


def flexible_window(node: Node, where: str, faults: Faults) -> dict[str, Any]:
    """A window that is flexible has a length, and no other has."""
    inner = section({"Mode": one_of("OFF", "FLEXIBLE"), "MaximumWindowInMinutes": whole(1, 1440)}, required=("Mode",))
    values: dict[str, Any] = inner(node, where, faults)
    mode, minutes = values.get("Mode"), "MaximumWindowInMinutes" in values
    if mode == "FLEXIBLE" and not minutes:
        faults.add(node.line, where, "has no MaximumWindowInMinutes, which the Mode FLEXIBLE needs")
    if mode == "OFF" and minutes:
        faults.add(node.line, f"{where}.MaximumWindowInMinutes", "has no effect with the Mode OFF: leave it out")
    return values


def http_route(node: Node, where: str, faults: Faults) -> dict[str, Any]:
    """A route; one without a path takes everything, so that it cannot name a method."""
    values: dict[str, Any] = section(
        {
            "ApiId": text(takes="an API, as !Ref gives it"),
            "Method": _METHOD,
            "Path": text(r"/.*|\$default", takes="a path that begins with /"),
            "PayloadFormatVersion": one_of("2.0", "1.0"),
            "TimeoutInMillis": whole(50, 30_000),
        }
    )(node, where, faults)
    method = str(values.get("Method") or "ANY").upper()
    if method not in ("ANY", "*") and values.get("Path", "$default") == "$default":
        what = (
            f"is {method}, but the route has no Path of its own and takes every method: give it a Path, or leave it out"
        )
        faults.add(node.entries()["Method"].line, f"{where}.Method", what)
    return values


def rest_route(node: Node, where: str, faults: Faults) -> dict[str, Any]:
    """A route of a REST API, which anybody may call: Auth can only say that."""
    values: dict[str, Any] = section(
        {
            "RestApiId": text(takes="an API, as !Ref gives it"),
            "Method": _METHOD,
            "Path": text(r"/.*", takes="a path that begins with /"),
            "TimeoutInMillis": whole(50, 900_000),
            "Auth": section({"Authorizer": one_of("NONE")}),
        },
        required=("Method", "Path"),
    )(node, where, faults)
    return values


def on_failure(node: Node, where: str, faults: Faults) -> dict[str, Any]:
    """DestinationConfig of a mapping."""
    values = section({"OnFailure": section({"Type": one_of("SQS", "SNS"), "Destination": _DESTINATION})})(
        node, where, faults
    )
    target = (values.get("OnFailure") or {}).get("Destination")
    return {"OnFailure": {"Destination": target} if target else {}}


_DESTINATION = schema.arn_of("sqs", "sns", "kinesis", "lambda")
_ACCESS = section({"Type": text(), "URI": text()}, required=("Type", "URI"))
_FILTERS = section({"Filters": items(section({"Pattern": pattern}, required=("Pattern",)))})
COMMON: Mapping[str, Reader] = {
    "BatchSize": whole(1, 10_000),
    "Enabled": boolean,
    "FilterCriteria": _FILTERS,
    "MaximumBatchingWindowInSeconds": whole(0, 300),
}
RETRIES: Mapping[str, Reader] = {
    "BisectBatchOnFunctionError": boolean,
    "DestinationConfig": on_failure,
    "MaximumRecordAgeInSeconds": whole_or_minus_one(60, 604_800),
    "MaximumRetryAttempts": whole_or_minus_one(0, 10_000),
}
RESPONSES: Mapping[str, Reader] = {"FunctionResponseTypes": items(one_of("ReportBatchItemFailures"))}
SCALING: Mapping[str, Reader] = {"ScalingConfig": section({"MaximumConcurrency": whole(2, 1000)})}
START: Mapping[str, Reader] = {
    "StartingPosition": one_of("TRIM_HORIZON", "LATEST", "AT_TIMESTAMP"),
    "StartingPositionTimestamp": seconds,
}
STREAM: Mapping[str, Reader] = {
    **COMMON,
    **RETRIES,
    **RESPONSES,
    **START,
    "ParallelizationFactor": whole(1, 10),
    "TumblingWindowInSeconds": whole(0, 900),
}
ACCESS: Mapping[str, Reader] = {"SourceAccessConfigurations": items(_ACCESS)}
NAME = text(r"[0-9a-zA-Z_.-]{1,64}", takes="1 to 64 of a-z A-Z 0-9 - _ .")
_STATE = one_of("ENABLED", "DISABLED")
_METHOD = text(r"(?i)GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS|ANY|\*", takes="a method of HTTP, or ANY")

_S3_EVENTS = r"s3:Object(Created|Removed):(\*|Put|Post|Copy|CompleteMultipartUpload|Delete|DeleteMarkerCreated)"
S3_EVENT = text(_S3_EVENTS, takes="s3:ObjectCreated:*, s3:ObjectRemoved:* or an exact form of them")
_RULE = section({"Name": one_of("prefix", "suffix"), "Value": text()}, required=("Name", "Value"))


def _rules(node: Node, where: str, faults: Faults) -> list[dict[str, Any]]:
    """At most one prefix and one suffix: S3 takes no more."""
    read: list[dict[str, Any]] = items(_RULE)(node, where, faults)
    names = [rule.get("Name") for rule in read]
    for name in ("prefix", "suffix"):
        if names.count(name) > 1:
            faults.add(node.line, where, f"have more than one {name}: give each a function's event of its own")
    return read


S3_FILTER = section({"S3Key": section({"Rules": _rules})})
SCHEDULE_V2: Mapping[str, Reader] = {
    "ScheduleExpression": expression("rate", "cron", "at"),
    "ScheduleExpressionTimezone": text(takes="a time zone such as Europe/Berlin"),
    "FlexibleTimeWindow": flexible_window,
    "Name": NAME,
    "GroupName": one_of("default"),
    "Description": text(),
    "State": _STATE,
    "Input": json_text,
    "StartDate": moment,
    "EndDate": moment,
}
TYPES: Mapping[str, Reader] = {
    "S3": section(
        {
            "Bucket": text(takes="a bucket's name, as !Ref gives it"),
            "Events": items(S3_EVENT),
            "Filter": S3_FILTER,
        },
        required=("Bucket", "Events"),
    ),
    "SQS": section({"Queue": schema.arn_of("sqs"), **COMMON, **RESPONSES, **SCALING}, required=("Queue",)),
    "Kinesis": section({"Stream": schema.arn_of("kinesis"), **STREAM}, required=("Stream", "StartingPosition")),
    "DynamoDB": section({"Stream": schema.arn_of("dynamodb"), **STREAM}, required=("Stream", "StartingPosition")),
    "MQ": section({"Broker": schema.arn_of("mq"), "Queues": items(text()), **COMMON, **ACCESS}, required=("Broker", "Queues")),
    "SelfManagedKafka": section(
        {
            "KafkaBootstrapServers": items(text(takes="HOST:PORT")),
            "Topics": items(text()),
            "ConsumerGroupId": text(),
            **COMMON,
            **RETRIES,
            **RESPONSES,
            **START,
            **ACCESS,
        },
        required=("KafkaBootstrapServers", "Topics", "StartingPosition"),
    ),
    "SNS": section(
        {
            "Topic": schema.arn_of("sns"),
            "FilterPolicy": document,
            "FilterPolicyScope": one_of("MessageAttributes", "MessageBody"),
        },
        required=("Topic",),
    ),
    "Schedule": section(
        {
            "Schedule": expression("rate", "cron"),
            "Name": NAME,
            "Description": text(),
            "Enabled": boolean,
            "State": _STATE,
            "Input": json_text,
        },
        required=("Schedule",),
    ),
    "ScheduleV2": section(SCHEDULE_V2, required=("ScheduleExpression",)),
    "HttpApi": http_route,
    "Api": rest_route,
}  # fmt: skip


def event(node: Node, where: str, faults: Faults) -> Event | None:
    """One entry of a function's Events."""
    entries = node.entries()
    if (kind := entries.get("Type")) is None:
        faults.add(node.line, where, "has no Type, which it needs")
        return None
    if kind.text not in TYPES:
        why = REFUSED.get(kind.text, f"is not supported ({', '.join(TYPES)} are)")
        faults.add(kind.line, f"{where}.Type", f"{kind.text} {why}")
        return None
    # a route of everything has no properties
    needed = () if kind.text == "HttpApi" else ("Properties",)
    whole_event = section({"Type": text(), "Properties": TYPES[kind.text]}, required=needed)
    return Event(kind.text, whole_event(node, where, faults).get("Properties") or {})


def events(node: Node, where: str, faults: Faults) -> dict[str, Event]:
    """A function's Events by their name."""
    if not isinstance(node.value, dict):
        faults.add(node.line, where, f"is {node.kind}: it takes a mapping")
        return {}
    read = {name: event(child, f"{where}.{name}", faults) for name, child in node.value.items()}
    return {name: one for name, one in read.items() if one}


_TEXTS = items(text())
CORS = section(
    {
        "AllowCredentials": boolean,
        "AllowHeaders": _TEXTS,
        "AllowMethods": _TEXTS,
        "AllowOrigins": _TEXTS,
        "ExposeHeaders": _TEXTS,
        "MaxAge": whole(0, 86_400),
    }
)
FUNCTION_URL = section(
    {"AuthType": one_of("NONE", "AWS_IAM"), "Cors": CORS, "InvokeMode": one_of("BUFFERED", "RESPONSE_STREAM")},
    required=("AuthType",),
)
