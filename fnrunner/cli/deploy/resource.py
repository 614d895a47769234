"""What a template may say of resources that are no functions, and what each of them becomes.

Whatever is not in a table here is refused by name. Source: CloudFormation's and SAM's resource specifications.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fnrunner.cli.deploy import event, schema
from fnrunner.cli.deploy.fault import Faults
from fnrunner.cli.deploy.schema import Reader, items, one_of, section, text, whole
from fnrunner.cli.deploy.source import Node
from fnrunner.cli.deploy.spec import QueueSpec, StreamSpec
from fnrunner.model import arn

FUNCTION = "AWS::Serverless::Function"
BUCKET = "AWS::S3::Bucket"
QUEUE = "AWS::SQS::Queue"
STREAM = "AWS::Kinesis::Stream"
TOPIC = "AWS::SNS::Topic"
HTTP_API = "AWS::Serverless::HttpApi"
MAPPING = "AWS::Lambda::EventSourceMapping"
NAMES: Mapping[str, str] = {
    FUNCTION: "FunctionName",
    BUCKET: "BucketName",
    QUEUE: "QueueName",
    STREAM: "Name",
    TOPIC: "TopicName",
    HTTP_API: "",
    MAPPING: "",
}
"""Every type there is, and the property that names one; empty: its logical id does."""

_NO_TABLE = (
    "is not supported: there are no tables here. What can stand for a table's change stream is a stream of the table's name "
    "(AWS::Kinesis::Stream with that Name), which arn:aws:dynamodb:REGION:ACCOUNT:table/NAME/stream/LABEL means"
)
_SCHEDULE = "is not supported: use an event of the type ScheduleV2 of the function"
REFUSED: Mapping[str, str] = {
    "AWS::DynamoDB::Table": _NO_TABLE,
    "AWS::Serverless::SimpleTable": _NO_TABLE,
    "AWS::Scheduler::Schedule": _SCHEDULE,
    "AWS::Events::Rule": _SCHEDULE,
    "AWS::SNS::Subscription": "is not supported: use an event of the type SNS of the function",
    "AWS::Serverless::Api": "is not supported: use AWS::Serverless::HttpApi",
    "AWS::Lambda::Url": "is not supported: use FunctionUrlConfig of the function",
}

_BUCKET = section({"BucketName": text(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", takes="3 to 63 of a-z 0-9 . -")})
_REDRIVE = section(
    {"deadLetterTargetArn": schema.arn_of("sqs"), "maxReceiveCount": whole(1, 1000)},
    required=("deadLetterTargetArn", "maxReceiveCount"),
)
_QUEUE = section(
    {
        "QueueName": text(r"[a-zA-Z0-9_-]{1,80}|[a-zA-Z0-9_-]{1,75}\.fifo", takes="1 to 80 of a-z A-Z 0-9 - _"),
        "VisibilityTimeout": whole(0, 43_200),
        "RedrivePolicy": _REDRIVE,
        "FifoQueue": event.boolean,
    }
)
_STREAM = section(
    {
        "Name": text(r"[a-zA-Z0-9_.-]{1,128}", takes="1 to 128 of a-z A-Z 0-9 _ . -"),
        "ShardCount": whole(1, 100),
        "StreamModeDetails": section({"StreamMode": one_of("PROVISIONED")}),
    }
)
_TOPIC = section({"TopicName": text(r"[a-zA-Z0-9_-]{1,200}", takes="1 to 200 of a-z A-Z 0-9 - _")})
_MAPPING = section(
    {
        "FunctionName": text(takes="a function, as !Ref gives it"),
        "EventSourceArn": schema.arn_of("sqs", "kinesis", "dynamodb", "mq"),
        "SelfManagedEventSource": section(
            {"Endpoints": section({"KafkaBootstrapServers": items(text())}, required=("KafkaBootstrapServers",))}
        ),
        "SelfManagedKafkaEventSourceConfig": section({"ConsumerGroupId": text()}),
        "Topics": items(text()),
        "Queues": items(text()),
        **event.STREAM,
        **event.SCALING,
        **event.ACCESS,
    },
    required=("FunctionName",),
)


def _cors(node: Node, where: str, faults: Faults) -> dict[str, Any] | None:
    """Rules, or ``true`` for every origin."""
    if node.is_scalar:
        if event.boolean(node, where, faults):
            return {"allow_origins": ["*"], "allow_methods": ["*"], "allow_headers": ["*"]}
        return None
    return cors_document(event.CORS(node, where, faults))


def cors_document(given: Mapping[str, Any]) -> dict[str, Any]:
    """Rules in the server's shape.

    >>> cors_document({"AllowOrigins": ["*"], "MaxAge": 5})
    {'allow_origins': ['*'], 'max_age_s': 5}
    """
    named = {
        "AllowCredentials": "allow_credentials", "AllowHeaders": "allow_headers", "AllowMethods": "allow_methods",
        "AllowOrigins": "allow_origins", "ExposeHeaders": "expose_headers", "MaxAge": "max_age_s",
    }  # fmt: skip
    return {named[key]: value for key, value in given.items() if value is not None}


_HTTP_API = section(
    {"StageName": text(r"\$default|[a-zA-Z0-9_-]{1,128}", takes="$default or a name"), "CorsConfiguration": _cors}
)
READERS: Mapping[str, Reader] = {
    BUCKET: _BUCKET, QUEUE: _QUEUE, STREAM: _STREAM, TOPIC: _TOPIC, HTTP_API: _HTTP_API, MAPPING: _MAPPING,
}  # fmt: skip


def queue(name: str, values: Mapping[str, Any], line: int, where: str, faults: Faults) -> QueueSpec:
    fifo = bool(values.get("FifoQueue"))
    if fifo != name.endswith(".fifo"):
        faults.add(line, where, f"has the name {name}: the name of a FIFO queue ends with .fifo, and of no other")
    attributes: dict[str, Any] = {"fifo": True} if fifo else {}
    if "VisibilityTimeout" in values:
        attributes["visibility_timeout_s"] = values["VisibilityTimeout"]
    if policy := values.get("RedrivePolicy"):
        attributes["max_receive_count"] = policy.get("maxReceiveCount")
        attributes["dead_letter_queue"] = (
            arn.parse(policy["deadLetterTargetArn"]).resource if policy.get("deadLetterTargetArn") else ""
        )
    return QueueSpec(name, attributes)


def in_order(queues: list[QueueSpec]) -> tuple[QueueSpec, ...]:
    """Those that others send their dead letters to come first; a circle stays as it is.

    >>> [q.name for q in in_order([QueueSpec("a", {"dead_letter_queue": "b"}), QueueSpec("b")])]
    ['b', 'a']
    """
    ordered: dict[str, QueueSpec] = {}
    known = {spec.name: spec for spec in queues}

    def place(spec: QueueSpec, above: frozenset[str]) -> None:
        target = known.get(spec.attributes.get("dead_letter_queue", ""))
        if target is not None and target.name not in above:
            place(target, above | {spec.name})
        ordered.setdefault(spec.name, spec)

    for spec in queues:
        place(spec, frozenset({spec.name}))
    return tuple(ordered.values())


def stream(name: str, values: Mapping[str, Any]) -> StreamSpec:
    return StreamSpec(name, values.get("ShardCount") or 1)


def mapping(values: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of CreateEventSourceMapping, without the function."""
    parameters = {key: value for key, value in values.items() if key != "FunctionName"}
    if servers := (values.get("SelfManagedEventSource") or {}).get("Endpoints"):
        parameters["SelfManagedEventSource"] = {
            "Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": servers.get("KafkaBootstrapServers") or []}
        }
    return parameters
