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
REST_API = "AWS::Serverless::Api"
MAPPING = "AWS::Lambda::EventSourceMapping"
LAYER = "AWS::Serverless::LayerVersion"
ROLE = "AWS::IAM::Role"
MANAGED_POLICY = "AWS::IAM::ManagedPolicy"
LOG_GROUP = "AWS::Logs::LogGroup"
URL = "AWS::Lambda::Url"
INVOKE_CONFIG = "AWS::Lambda::EventInvokeConfig"
PERMISSION = "AWS::Lambda::Permission"
SUBSCRIPTION = "AWS::SNS::Subscription"
RULE = "AWS::Events::Rule"
SCHEDULE = "AWS::Scheduler::Schedule"
VERSION = "AWS::Lambda::Version"
ALIAS = "AWS::Lambda::Alias"
NAMES: Mapping[str, str] = {
    FUNCTION: "FunctionName",
    BUCKET: "BucketName",
    QUEUE: "QueueName",
    STREAM: "Name",
    TOPIC: "TopicName",
    HTTP_API: "",
    REST_API: "",
    MAPPING: "",
    LAYER: "LayerName",
    LOG_GROUP: "LogGroupName",
    ROLE: "RoleName",
    MANAGED_POLICY: "ManagedPolicyName",
    **dict.fromkeys((URL, INVOKE_CONFIG, PERMISSION, SUBSCRIPTION, VERSION, ALIAS), ""),
    RULE: "Name",
    SCHEDULE: "Name",
}
"""Every type there is, and the property that names one; empty: its logical id does."""

_NO_TABLE = (
    "is not supported: there are no tables here. What can stand for a table's change stream is a stream of the table's name "
    "(AWS::Kinesis::Stream with that Name), which arn:aws:dynamodb:REGION:ACCOUNT:table/NAME/stream/LABEL means"
)
REFUSED: Mapping[str, str] = {
    "AWS::DynamoDB::Table": _NO_TABLE,
    "AWS::Serverless::SimpleTable": _NO_TABLE,
    "AWS::Serverless::Application": "is not supported: deploy its template as a stack of its own",
    "AWS::Serverless::StateMachine": "is not supported: there are no state machines here",
    "AWS::Serverless::GraphQLApi": "is not supported: there is no GraphQL here",
    "AWS::Serverless::Connector": "is not supported: name the policies under Policies of the function",
    "AWS::CloudFormation::Stack": "is not supported: deploy its template as a stack of its own",
    "AWS::SQS::QueuePolicy": "is not supported: queues have no policies here; leave it out",
    "AWS::SNS::TopicPolicy": "is not supported: topics have no policies here; leave it out",
    "AWS::S3::BucketPolicy": "is not supported: buckets have no policies here; leave it out",
    "AWS::ResourceGroups::Group": "is not supported: there are no resource groups here; leave it out",
    "AWS::ApplicationInsights::Application": "is not supported: there is no CloudWatch here; leave it out",
    "AWS::CloudWatch::Alarm": "is not supported: /metrics is for Prometheus, which has alerts",
}

_FUNCTION = text(takes="a function, as !GetAtt FUNCTION.Arn gives it")
_BUCKET = section(
    {
        "BucketName": text(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", takes="3 to 63 of a-z 0-9 . -"),
        "NotificationConfiguration": section(
            {
                "LambdaConfigurations": items(
                    section(
                        {"Event": event.S3_EVENT, "Function": _FUNCTION, "Filter": event.S3_FILTER},
                        required=("Event", "Function"),
                    )
                )
            }
        ),
    }
)
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
_TOPIC = section(
    {
        "TopicName": text(r"[a-zA-Z0-9_-]{1,200}", takes="1 to 200 of a-z A-Z 0-9 - _"),
        "Subscription": items(
            section({"Protocol": one_of("lambda"), "Endpoint": _FUNCTION}, required=("Protocol", "Endpoint"))
        ),
    }
)
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


def cors(node: Node, where: str, faults: Faults) -> dict[str, Any] | None:
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


_QUOTED = text(r"'[^']*'|[^']*", takes="a text, which may be in quotes of its own")


def _unquoted(node: Node, where: str, faults: Faults) -> str | None:
    """SAM takes a REST API's headers as API Gateway has them: in quotes."""
    read: str | None = _QUOTED(node, where, faults)
    return None if read is None else read.strip("'")


def _listed(node: Node, where: str, faults: Faults) -> list[str]:
    """What is between commas."""
    return [part.strip() for part in (_unquoted(node, where, faults) or "").split(",") if part.strip()]


def _age(node: Node, where: str, faults: Faults) -> int | None:
    value: int | None = whole(0, 86_400)(Node(node.line, node.value, node.text.strip("'")), where, faults)
    return value


_REST_CORS = section(
    {
        "AllowCredentials": event.boolean,
        "AllowHeaders": _listed,
        "AllowMethods": _listed,
        "AllowOrigin": _unquoted,
        "MaxAge": _age,
    },
    required=("AllowOrigin",),
)


def rest_cors(node: Node, where: str, faults: Faults) -> dict[str, Any] | None:
    """Rules for preflights, or an origin alone: every method is allowed then."""
    given = {"AllowOrigin": _unquoted(node, where, faults)} if node.is_scalar else _REST_CORS(node, where, faults)
    if not (origin := given.pop("AllowOrigin", None)):
        return None
    return cors_document({"AllowMethods": ["*"], **given, "AllowOrigins": [origin]})


_ENDPOINT = text("REGIONAL|EDGE", takes="REGIONAL or EDGE, which are the same here")


def _endpoint(node: Node, where: str, faults: Faults) -> Any:
    """The type, alone or in a mapping."""
    return (_ENDPOINT if node.is_scalar else section({"Type": _ENDPOINT}))(node, where, faults)


REST_COMMON: Mapping[str, Reader] = {
    "Cors": rest_cors,
    "EndpointConfiguration": _endpoint,
    # the second stage that it keeps SAM from making is not made here either
    "OpenApiVersion": text(r"[23]\.\d(\.\d)?", takes="2.0 or 3.0.1"),
    "TracingEnabled": event.boolean,
}
"""What ``Globals.Api`` and a REST API's properties have in common."""

_REST_API = section(
    {
        **REST_COMMON,
        "StageName": text(r"[a-zA-Z0-9_-]{1,128}", takes="a name"),
        "Name": text(),
        "Description": text(),
    },
    required=("StageName",),
)
_HTTP_API = section(
    {"StageName": text(r"\$default|[a-zA-Z0-9_-]{1,128}", takes="$default or a name"), "CorsConfiguration": cors}
)
_LAYER = section(
    {
        "LayerName": text(r"[a-zA-Z0-9-_]{1,140}", takes="1 to 140 of a-z A-Z 0-9 - _"),
        "ContentUri": text(takes="a folder or a .zip file"),
        "Description": schema.SHARED["Description"],
        "CompatibleRuntimes": items(text()),
        "CompatibleArchitectures": schema.SHARED["Architectures"],
        "LicenseInfo": text(r".{0,512}", takes="at most 512 characters"),
        "RetentionPolicy": text("(?i)Retain|Delete", takes="Retain or Delete"),
    },
    required=("ContentUri",),
)
_LOG_GROUP = section(
    {"LogGroupName": text(r"[\.\-_/#A-Za-z0-9]{1,512}", takes="a log group's name"), "RetentionInDays": whole(1, 3653)}
)
_ROLE = section(
    {
        "RoleName": text(r"[\w+=,.@-]{1,64}", takes="1 to 64 of a-z A-Z 0-9 + = , . @ - _"),
        "AssumeRolePolicyDocument": event.document,
        "Description": text(r".{0,1000}", takes="at most 1000 characters"),
        "ManagedPolicyArns": items(schema.arn_of("iam")),
        "Policies": items(
            section({"PolicyName": text(), "PolicyDocument": event.document}, required=("PolicyName", "PolicyDocument"))
        ),
    },
    required=("AssumeRolePolicyDocument",),
)
_MANAGED_POLICY = section(
    {
        "ManagedPolicyName": text(r"[\w+=,.@-]{1,128}", takes="1 to 128 of a-z A-Z 0-9 + = , . @ - _"),
        "PolicyDocument": event.document,
        "Description": text(r".{0,1000}", takes="at most 1000 characters"),
        "Path": one_of("/"),
        "Roles": items(text(takes="a role of this template, as !Ref gives it")),
    },
    required=("PolicyDocument",),
)
READERS: Mapping[str, Reader] = {
    ROLE: _ROLE,
    MANAGED_POLICY: _MANAGED_POLICY,
    LAYER: _LAYER,
    LOG_GROUP: _LOG_GROUP,
    BUCKET: _BUCKET, QUEUE: _QUEUE, STREAM: _STREAM, TOPIC: _TOPIC, HTTP_API: _HTTP_API, MAPPING: _MAPPING,
    REST_API: _REST_API,
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
