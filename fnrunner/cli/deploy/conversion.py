"""A function's events, as a template has them, as the triggers that they ask for, with every default filled in.

Defaults are said in full, so that what left the template goes back to its default on the server.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fnrunner.cli.deploy.event import IMPLICIT_API, IMPLICIT_REST_API, Event
from fnrunner.cli.deploy.spec import RouteSpec
from fnrunner.cli.deploy.trigger import Kind, TriggerSpec
from fnrunner.model import arn

_FIXED = ("StartingPosition", "StartingPositionTimestamp", "SelfManagedKafkaEventSourceConfig")
_SOURCE = ("EventSourceArn", "SelfManagedEventSource", "Topics", "Queues")
_COMMON: Mapping[str, Any] = {"Enabled": True, "BatchSize": 100, "FilterCriteria": {"Filters": []}}
_RETRIES: Mapping[str, Any] = {
    "DestinationConfig": {"OnFailure": {}},
    "MaximumRecordAgeInSeconds": -1,
    "MaximumRetryAttempts": -1,
    "BisectBatchOnFunctionError": False,
}
_STREAM: Mapping[str, Any] = {
    **_COMMON,
    **_RETRIES,
    "MaximumBatchingWindowInSeconds": 0,
    "ParallelizationFactor": 1,
    "TumblingWindowInSeconds": 0,
    "FunctionResponseTypes": [],
}
_SERVERS = "KAFKA_BOOTSTRAP_SERVERS"
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "sqs": {
        **_COMMON,
        "BatchSize": 10,
        "MaximumBatchingWindowInSeconds": 0,
        "FunctionResponseTypes": [],
        "ScalingConfig": {},
    },
    "kinesis": _STREAM,
    "dynamodb": _STREAM,
    "mq": {**_COMMON, "MaximumBatchingWindowInSeconds": None, "SourceAccessConfigurations": []},
    "kafka": {
        **_COMMON,
        **_RETRIES,
        "MaximumBatchingWindowInSeconds": None,
        "FunctionResponseTypes": [],
        "SourceAccessConfigurations": [],
    },
}
"""What UpdateEventSourceMapping can change, by service, and what it is where nothing is said. A window of None is half a
second, to which an update cannot return."""

GROUP = "SelfManagedKafkaEventSourceConfig"

_EVENT_SOURCE = {"SQS": "Queue", "Kinesis": "Stream", "DynamoDB": "Stream", "MQ": "Broker"}


def triggers(events: Mapping[str, Event], function: str, qualifier: str = "") -> list[TriggerSpec]:
    """What the events of a function ask for, besides those of buckets and the routes of APIs."""
    read = [_trigger(name, event, function) for name, event in events.items() if event.type not in ("S3", *ROUTES)]
    return [replace(trigger, qualifier=qualifier) for trigger in read] if qualifier else read


ROUTES = ("HttpApi", "Api")


def routes(events: Mapping[str, Event], function: str, implicit_api: str, qualifier: str = "") -> list[RouteSpec]:
    """The routes that lead to a function. ``implicit_api`` is where those of HTTP APIs belong that name none."""
    return [
        _route(name, event, function, implicit_api, qualifier) for name, event in events.items() if event.type in ROUTES
    ]


def implicit_rest_api(implicit_api: str) -> str:
    """The REST API of routes that name none, from the HTTP API of such routes: a stack's own names go together.

    >>> implicit_rest_api("serverlesshttpapi"), implicit_rest_api("shop-serverlesshttpapi")
    ('serverlessrestapi', 'shop-serverlessrestapi')
    """
    usual = IMPLICIT_API.lower()
    if not implicit_api.endswith(usual):
        return f"{implicit_api[:58]}-rest"
    return implicit_api.removesuffix(usual) + IMPLICIT_REST_API.lower()


def _trigger(name: str, event: Event, function: str) -> TriggerSpec:
    properties = event.properties
    match event.type:
        case "SNS":
            return _subscription(name, properties)
        case "Schedule":
            return _rule(name, properties, function)
        case "ScheduleV2":
            return _schedule(name, properties, function)
        case "SelfManagedKafka":
            return mapping(name, _kafka(properties))
        case kind:
            source = {"EventSourceArn": properties.get(_EVENT_SOURCE[kind]) or ""}
            rest = {key: value for key, value in properties.items() if key != _EVENT_SOURCE[kind]}
            return mapping(name, {**source, **rest})


def _kafka(properties: Mapping[str, Any]) -> dict[str, Any]:
    named = ("KafkaBootstrapServers", "ConsumerGroupId")
    parameters = {key: value for key, value in properties.items() if key not in named}
    parameters["SelfManagedEventSource"] = {"Endpoints": {_SERVERS: properties.get("KafkaBootstrapServers") or []}}
    if group := properties.get("ConsumerGroupId"):
        parameters[GROUP] = {"ConsumerGroupId": group}
    return parameters


def mapping(name: str, parameters: Mapping[str, Any]) -> TriggerSpec:
    """An event source mapping from parameters of CreateEventSourceMapping."""
    service = service_of(parameters)
    body: dict[str, Any] = {**DEFAULTS[service]}
    fixed = {key: parameters[key] for key in _FIXED if key in parameters}
    body |= {key: value for key, value in parameters.items() if key not in _FIXED and key not in _SOURCE}
    return TriggerSpec(Kind.MAPPING, name, mapping_key(parameters), body, fixed)


def service_of(parameters: Mapping[str, Any]) -> str:
    """``sqs``, ``kinesis``, ``dynamodb``, ``mq`` or ``kafka``."""
    if not parameters.get("EventSourceArn"):
        return "kafka"
    return arn.parse(parameters["EventSourceArn"]).service


def mapping_key(parameters: Mapping[str, Any]) -> str:
    """What a mapping reads: an ARN or servers, and the queue or topic there.

    >>> mapping_key({"EventSourceArn": "arn:aws:mq:r:a:broker:b:1", "Queues": ["q"]})
    'arn:aws:mq:r:a:broker:b:1 q'
    """
    servers = parameters.get("SelfManagedEventSource", {}).get("Endpoints", {}).get(_SERVERS, [])
    places = [*(parameters.get("Topics") or []), *(parameters.get("Queues") or [])]
    return " ".join([parameters.get("EventSourceArn") or ",".join(sorted(map(str, servers))), *map(str, places)])


def mapping_parameters(key: str) -> dict[str, Any]:
    """The parameters that :func:`mapping_key` made the key of.

    >>> mapping_parameters("kafka:9092 orders")["Topics"]
    ['orders']
    """
    source, _, place = key.partition(" ")
    if not source.startswith("arn:"):
        return {"SelfManagedEventSource": {"Endpoints": {_SERVERS: source.split(",")}}, "Topics": [place]}
    return {"EventSourceArn": source, **({"Queues": [place]} if place else {})}


def url(given: Mapping[str, Any]) -> TriggerSpec:
    """A function URL from FunctionUrlConfig, or from an AWS::Lambda::Url."""
    # what is off is not told by the server either
    cors = {key: value for key, value in (given.get("Cors") or {}).items() if value}
    body = {"AuthType": given.get("AuthType"), "InvokeMode": given.get("InvokeMode") or "BUFFERED", "Cors": cors}
    return TriggerSpec(Kind.URL, "FunctionUrl", "", body)


def _subscription(name: str, properties: Mapping[str, Any]) -> TriggerSpec:
    topic = str(properties.get("Topic") or "").rpartition(":")[2]
    policy = properties.get("FilterPolicy")
    body = {
        "filter_policy": canonical(policy) if policy else None,
        "filter_scope": properties.get("FilterPolicyScope") or "MessageAttributes",
    }
    return TriggerSpec(Kind.SUBSCRIPTION, name, topic, body)


def canonical(document: Any) -> str:
    """JSON that is the same for the same document."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"))


def _rule(name: str, properties: Mapping[str, Any], function: str) -> TriggerSpec:
    enabled = properties.get("Enabled", True) and properties.get("State") != "DISABLED"
    return _scheduled(name, properties, function, {"expression": properties.get("Schedule"), "enabled": enabled})


def _schedule(name: str, properties: Mapping[str, Any], function: str) -> TriggerSpec:
    window = properties.get("FlexibleTimeWindow") or {}
    minutes = window.get("MaximumWindowInMinutes") or 0 if window.get("Mode") == "FLEXIBLE" else 0
    body = {
        "expression": properties.get("ScheduleExpression"),
        "timezone": properties.get("ScheduleExpressionTimezone") or "UTC",
        "enabled": properties.get("State") != "DISABLED",
        "start": properties.get("StartDate"),
        "end": properties.get("EndDate"),
        "flexible_window_s": float(minutes * 60),
    }
    return _scheduled(name, properties, function, body)


def _scheduled(name: str, properties: Mapping[str, Any], function: str, body: Mapping[str, Any]) -> TriggerSpec:
    key = properties.get("Name") or f"{function}-{name}"
    whole = {
        "timezone": "UTC", "start": None, "end": None, "flexible_window_s": 0.0,
        "input": properties.get("Input"), "description": properties.get("Description") or "",
        **body,
    }  # fmt: skip
    return TriggerSpec(Kind.SCHEDULE, name, str(key), whole)


def _route(name: str, event: Event, function: str, implicit_api: str, qualifier: str) -> RouteSpec:
    properties, rest = event.properties, event.type == "Api"
    usual = implicit_rest_api(implicit_api) if rest else implicit_api
    path = str(properties.get("Path") or "")
    method = str(properties.get("Method") or "ANY").upper().replace("*", "ANY")
    everything = path in ("", "$default")
    return RouteSpec(
        name,
        str(properties.get("RestApiId" if rest else "ApiId") or usual).lower(),
        function,
        "" if everything else method,
        "" if everything else path,
        properties.get("TimeoutInMillis"),
        qualifier,
        type="rest" if rest else "http",
        payload="1.0" if rest else properties.get("PayloadFormatVersion") or "2.0",
    )
