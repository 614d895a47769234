"""An event source mapping as the Lambda API writes it: from parameters to a mapping, and from a mapping to an answer.

Which members an answer has depends on the kind of source. Times are epoch seconds, here and in event-invoke
configurations only. Source: Lambda API, EventSourceMappingConfiguration; answers as recorded.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

from fnrunner.api.errors import InvalidParameter
from fnrunner.model import arn
from fnrunner.model.arn import FunctionRef, Home
from sources.errors import Misconfigured
from sources.mapping import EventSourceMapping, Kind, SourceAccess, StartingPosition, kind_of

KAFKA_SERVERS = "KAFKA_BOOTSTRAP_SERVERS"
REPORT_FAILURES = "ReportBatchItemFailures"
HALF_A_SECOND = timedelta(milliseconds=500)
"""The batching window of Kafka and Amazon MQ where none is given, which is not shown then."""

_EVERY = frozenset(
    (
        "UUID",
        "FunctionName",
        "EventSourceArn",
        "Enabled",
        "BatchSize",
        "FilterCriteria",
        "MaximumBatchingWindowInSeconds",
    )
)
_RETRIES = frozenset(
    ("DestinationConfig", "MaximumRecordAgeInSeconds", "MaximumRetryAttempts", "BisectBatchOnFunctionError")
)
_STREAM = _RETRIES | {
    "StartingPosition", "StartingPositionTimestamp", "ParallelizationFactor", "TumblingWindowInSeconds",
    "FunctionResponseTypes",
}  # fmt: skip
_OF_KIND: Mapping[Kind, frozenset[str]] = MappingProxyType(
    {
        Kind.SQS: _EVERY | {"FunctionResponseTypes", "ScalingConfig"},
        Kind.KINESIS: _EVERY | _STREAM,
        Kind.DYNAMODB: _EVERY | _STREAM,
        Kind.MQ: _EVERY | {"Queues", "SourceAccessConfigurations"},
        Kind.KAFKA: _EVERY
        | _RETRIES
        | {
            "StartingPosition", "StartingPositionTimestamp", "FunctionResponseTypes", "Topics", "SelfManagedEventSource",
            "SourceAccessConfigurations", "SelfManagedKafkaEventSourceConfig", "AmazonManagedKafkaEventSourceConfig",
        },
    }
)  # fmt: skip
_SOME: frozenset[str] = frozenset().union(*_OF_KIND.values())
_OFF: tuple[Any, ...] = ([], {}, "")
_ACCESS: Mapping[Kind, tuple[str, ...]] = MappingProxyType(
    {
        Kind.MQ: ("BASIC_AUTH", "VIRTUAL_HOST"),
        Kind.KAFKA: (
            "BASIC_AUTH", "SASL_SCRAM_512_AUTH", "SASL_SCRAM_256_AUTH", "CLIENT_CERTIFICATE_TLS_AUTH",
            "SERVER_ROOT_CA_CERTIFICATE",
        ),
    }
)  # fmt: skip


def created(params: Mapping[str, Any], ref: FunctionRef, now: datetime) -> EventSourceMapping:
    """The mapping that CreateEventSourceMapping asks for, with the defaults of its kind. Raises InvalidParameter."""
    kind = _kind(params)
    mapping = EventSourceMapping(
        uuid=str(uuid.uuid4()),
        function=ref.name,
        qualifier=ref.qualifier,
        source_arn=params.get("EventSourceArn", ""),
        batch_size=10 if kind is Kind.SQS else 100,
        batching_window=HALF_A_SECOND if kind in (Kind.MQ, Kind.KAFKA) else timedelta(0),
        created=now,
        last_modified=now,
        **_source(params, kind),
    )
    if kind is Kind.KAFKA:
        mapping = replace(mapping, consumer_group=mapping.uuid)
    return _with(mapping, params, kind)


def updated(mapping: EventSourceMapping, params: Mapping[str, Any], ref: FunctionRef | None) -> EventSourceMapping:
    """The mapping with what UpdateEventSourceMapping changes; the rest stays. Raises InvalidParameter."""
    if ref is not None:
        mapping = replace(mapping, function=ref.name, qualifier=ref.qualifier)
    return _with(mapping, params, mapping.kind)


def _kind(params: Mapping[str, Any]) -> Kind:
    source = params.get("EventSourceArn", "")
    if not source:
        if "SelfManagedEventSource" in params:
            return Kind.KAFKA
        raise InvalidParameter("Unrecognized event source.")
    if "SelfManagedEventSource" in params:
        raise InvalidParameter("EventSourceArn stands beside SelfManagedEventSource: one of them is the source.")
    try:
        kind = kind_of(source)
        resource = arn.parse(source).resource
    except (Misconfigured, arn.InvalidArn):
        raise InvalidParameter("Unrecognized event source.") from None
    if not resource.startswith(_RESOURCES[kind]):
        raise InvalidParameter("Unrecognized event source.")
    if kind is Kind.KINESIS and "/consumer/" in resource:
        raise InvalidParameter("Consumers with enhanced fan-out are not supported: name the stream itself.")
    if kind is Kind.DYNAMODB and "/stream/" not in resource:
        raise InvalidParameter("Unrecognized event source. (A table's stream has the form table/NAME/stream/LABEL.)")
    return kind


_RESOURCES: Mapping[Kind, str] = MappingProxyType(
    {Kind.SQS: "", Kind.KINESIS: "stream/", Kind.DYNAMODB: "table/", Kind.MQ: "broker:", Kind.KAFKA: "cluster/"}
)


def _source(params: Mapping[str, Any], kind: Kind) -> dict[str, Any]:
    """What says where records come from and cannot be changed later."""
    fields: dict[str, Any] = {}
    if kind.is_stream and (position := params.get("StartingPosition")):
        fields["starting_position"] = StartingPosition(position)
    if kind.is_stream and "StartingPositionTimestamp" in params:
        fields["starting_timestamp"] = moment(params["StartingPositionTimestamp"], "StartingPositionTimestamp")
    if kind is Kind.MQ:
        fields["queue"] = _only(params, "Queues", "an Amazon MQ broker")
    if kind is Kind.KAFKA:
        fields["topic"] = _only(params, "Topics", "Kafka")
        servers = params.get("SelfManagedEventSource", {}).get("Endpoints", {}).get(KAFKA_SERVERS, [])
        fields["bootstrap_servers"] = tuple(servers)
        if not fields["bootstrap_servers"] and "EventSourceArn" not in params:
            raise InvalidParameter("Unrecognized event source.")
        if "SourceAccessConfigurations" not in params:
            raise InvalidParameter("Required 'sourceAccessConfigurations' parameter is missing.")
    return fields


def _only(params: Mapping[str, Any], name: str, source: str) -> str:
    if len(given := params.get(name, [])) != 1:
        raise InvalidParameter(f"{name} takes exactly one name where the source is {source}.")
    return str(given[0])


def _with(mapping: EventSourceMapping, params: Mapping[str, Any], kind: Kind) -> EventSourceMapping:
    for name, value in params.items():
        if name in _SOME - _OF_KIND[kind] and value not in _OFF:
            raise InvalidParameter(f"Unsupported {name} parameter for given event source mapping type.")
    if "OnSuccess" in (destination := params.get("DestinationConfig", {})) and destination["OnSuccess"]:
        raise InvalidParameter("Unsupported DestinationConfig parameter for given event source mapping type.")
    fields = {
        field: read(params[name])
        for name, (field, read) in _SETTINGS.items()
        if name in params and name in _OF_KIND[kind]
    }
    if group := _consumer_group(params, kind):
        fields["consumer_group"] = group
    for access in fields.get("access", ()):
        if access.type not in _ACCESS[kind]:
            raise InvalidParameter(
                f"SourceAccessConfigurations of the type {access.type} are not supported for this event source; "
                f"{', '.join(_ACCESS[kind])} are."
            )
    return replace(mapping, **fields)


def _consumer_group(params: Mapping[str, Any], kind: Kind) -> str:
    if kind is not Kind.KAFKA:
        return ""
    managed, own = "AmazonManagedKafkaEventSourceConfig", "SelfManagedKafkaEventSourceConfig"
    name, other = (managed, own) if "EventSourceArn" in params else (own, managed)
    if params.get(other):
        raise InvalidParameter(f"Unsupported {other} parameter for given event source mapping type.")
    return str(params.get(name, {}).get("ConsumerGroupId", ""))


def _seconds_or_none(value: int) -> timedelta | None:
    return None if value == -1 else timedelta(seconds=value)


def _access(given: list[Mapping[str, str]]) -> tuple[SourceAccess, ...]:
    return tuple(SourceAccess(one.get("Type", ""), one.get("URI", "")) for one in given)


_SETTINGS: Mapping[str, tuple[str, Any]] = MappingProxyType(
    {
        "Enabled": ("enabled", bool),
        "BatchSize": ("batch_size", int),
        "MaximumBatchingWindowInSeconds": ("batching_window", lambda value: timedelta(seconds=value)),
        "ParallelizationFactor": ("parallelization_factor", int),
        "MaximumRecordAgeInSeconds": ("maximum_record_age", _seconds_or_none),
        "MaximumRetryAttempts": ("maximum_retry_attempts", lambda value: None if value == -1 else value),
        "BisectBatchOnFunctionError": ("bisect", bool),
        "FunctionResponseTypes": ("report_failures", lambda value: REPORT_FAILURES in value),
        "TumblingWindowInSeconds": ("tumbling_window", lambda value: timedelta(seconds=value)),
        "FilterCriteria": (
            "filters",
            lambda value: tuple(one["Pattern"] for one in value.get("Filters", []) if "Pattern" in one),
        ),
        "DestinationConfig": ("on_failure", lambda value: (value.get("OnFailure") or {}).get("Destination", "")),
        "ScalingConfig": ("maximum_concurrency", lambda value: value.get("MaximumConcurrency")),
        "SourceAccessConfigurations": ("access", _access),
    }
)
"""Parameters that create and update have in common: the field of each, and how its value is read."""


def moment(value: Any, name: str) -> datetime:
    """A time as SDKs send it: epoch seconds, or ISO 8601. Raises InvalidParameter.

    >>> moment(0, "T").isoformat(), moment("2026-01-01T00:00:00Z", "T").isoformat()
    ('1970-01-01T00:00:00+00:00', '2026-01-01T00:00:00+00:00')
    """
    try:
        if isinstance(value, int | float) and math.isfinite(value):
            return datetime.fromtimestamp(value, UTC)
        read = datetime.fromisoformat(str(value))
    except (ValueError, OverflowError, OSError):
        raise InvalidParameter(f"{name} takes a time: epoch seconds or ISO 8601.") from None
    return read if read.tzinfo else read.replace(tzinfo=UTC)


def described(mapping: EventSourceMapping, home: Home, *, state: str, reason: str, result: str) -> dict[str, Any]:
    """The EventSourceMappingConfiguration. ``result`` is how the last batch ended."""
    document: dict[str, Any] = {
        "UUID": mapping.uuid,
        "BatchSize": mapping.batch_size,
        "FunctionArn": home.function(mapping.function, mapping.qualifier),
        "EventSourceMappingArn": f"arn:aws:lambda:{home.region}:{home.account}:event-source-mapping:{mapping.uuid}",
        "LastModified": mapping.last_modified.timestamp(),
        "State": state,
        "StateTransitionReason": reason,
    }
    if mapping.source_arn:
        document["EventSourceArn"] = mapping.source_arn
    if mapping.batching_window != HALF_A_SECOND:
        document["MaximumBatchingWindowInSeconds"] = int(mapping.batching_window.total_seconds())
    if mapping.filters:
        document["FilterCriteria"] = {"Filters": [{"Pattern": pattern} for pattern in mapping.filters]}
    if mapping.kind is not Kind.SQS:
        document["LastProcessingResult"] = result
    match mapping.kind:
        case Kind.SQS:
            return document | _of_queue(mapping)
        case Kind.MQ:
            return document | {"Queues": [mapping.queue], "SourceAccessConfigurations": _accesses(mapping)}
        case Kind.KAFKA:
            return document | _of_kafka(mapping)
        case _:
            return document | _of_stream(mapping)


def _of_queue(mapping: EventSourceMapping) -> dict[str, Any]:
    limit = mapping.maximum_concurrency
    scaling = {} if limit is None else {"ScalingConfig": {"MaximumConcurrency": limit}}
    return {"FunctionResponseTypes": _response_types(mapping), **scaling}


def _of_stream(mapping: EventSourceMapping) -> dict[str, Any]:
    return {
        **_position(mapping),
        **_retries(mapping),
        "ParallelizationFactor": mapping.parallelization_factor,
        "TumblingWindowInSeconds": int(mapping.tumbling_window.total_seconds()),
        "FunctionResponseTypes": _response_types(mapping),
    }


def _of_kafka(mapping: EventSourceMapping) -> dict[str, Any]:
    own = not mapping.source_arn
    group = {"ConsumerGroupId": mapping.consumer_group}
    return {
        **_position(mapping),
        **_retries(mapping),
        "FunctionResponseTypes": _response_types(mapping),
        "Topics": [mapping.topic],
        "SourceAccessConfigurations": _accesses(mapping),
        "SelfManagedKafkaEventSourceConfig" if own else "AmazonManagedKafkaEventSourceConfig": group,
        **({"SelfManagedEventSource": {"Endpoints": {KAFKA_SERVERS: list(mapping.bootstrap_servers)}}} if own else {}),
    }


def _position(mapping: EventSourceMapping) -> dict[str, Any]:
    position: dict[str, Any] = {}
    if mapping.starting_position is not None:
        position["StartingPosition"] = mapping.starting_position.value
    if mapping.starting_timestamp is not None:
        position["StartingPositionTimestamp"] = mapping.starting_timestamp.timestamp()
    return position


def _retries(mapping: EventSourceMapping) -> dict[str, Any]:
    age, attempts = mapping.maximum_record_age, mapping.maximum_retry_attempts
    return {
        "DestinationConfig": {"OnFailure": {"Destination": mapping.on_failure} if mapping.on_failure else {}},
        "MaximumRecordAgeInSeconds": -1 if age is None else int(age.total_seconds()),
        "MaximumRetryAttempts": -1 if attempts is None else attempts,
        "BisectBatchOnFunctionError": mapping.bisect,
    }


def _response_types(mapping: EventSourceMapping) -> list[str]:
    return [REPORT_FAILURES] if mapping.report_failures else []


def _accesses(mapping: EventSourceMapping) -> list[dict[str, str]]:
    return [{"Type": access.type, "URI": access.uri} for access in mapping.access]
