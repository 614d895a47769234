"""Event source mappings: what each kind of source can do, and what else must hold for one to be stored.

Source: Lambda API, CreateEventSourceMapping, and its messages as recorded.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import Connection, select

from fnrunner.catalogue import constraint, triggers, versions
from fnrunner.catalogue.errors import FunctionNotFound, InvalidParameterValue, MappingExists
from fnrunner.model import arn
from fnrunner.model.arn import FunctionRef, Home, InvalidArn
from fnrunner.model.function import Function
from fnrunner.store.schema import broker_queue
from sources import filters, queue_attributes
from sources.errors import InvalidPattern
from sources.mapping import EventSourceMapping, Kind, StartingPosition

SMALL_BATCH = 10
"""The largest batch of SQS without a batching window, and of a FIFO queue at all."""

DESTINATIONS = ("sqs", "sns", "kinesis", "lambda")
"""Services of an on-failure destination. AWS also knows S3 and topics of Kafka."""

RECORD_AGE_S = (60, 604_800)
_NO_POSITION = constraint.broken("startingPosition", None, "Member must not be null.")


def check(mapping: EventSourceMapping, home: Home, now: datetime) -> None:
    """All that can be said of a mapping by itself. Raises InvalidParameterValue."""
    if mapping.kind is Kind.SQS:
        _check_queue_batch(mapping)
    if mapping.kind.is_stream:
        _check_start(mapping, now)
    age = mapping.maximum_record_age
    if age is not None and not RECORD_AGE_S[0] <= age.total_seconds() <= RECORD_AGE_S[1]:
        raise InvalidParameterValue(
            f"1 validation error detected: Value '{age.total_seconds():g}' at 'maximumRecordAgeInSeconds' failed to satisfy "
            f"constraint: Member must be -1 or have value greater than or equal to {RECORD_AGE_S[0]}"
        )
    try:
        filters.check(mapping.filters, mapping.kind)
    except InvalidPattern as error:
        raise InvalidParameterValue(f"Invalid filter pattern definition. ({error})") from error
    if mapping.on_failure:
        _check_destination(mapping, home)


def _check_queue_batch(mapping: EventSourceMapping) -> None:
    window = mapping.batching_window > timedelta(0)
    if mapping.source_name.endswith(".fifo"):
        if mapping.batch_size > SMALL_BATCH:
            raise InvalidParameterValue(f"The most records in a batch of a FIFO queue are {SMALL_BATCH}.")
        if window:
            raise InvalidParameterValue("Batching window is not supported for FIFO queues.")
    elif mapping.batch_size > SMALL_BATCH and not window:
        raise InvalidParameterValue(
            "Maximum batch window in seconds must be greater than 0 if maximum batch size is greater than 10"
        )


def _check_start(mapping: EventSourceMapping, now: datetime) -> None:
    if mapping.starting_position is None:
        raise InvalidParameterValue(f"1 validation error detected: {_NO_POSITION}")
    at_timestamp = mapping.starting_position is StartingPosition.AT_TIMESTAMP
    if at_timestamp and mapping.kind is Kind.DYNAMODB:
        raise InvalidParameterValue(f"Unsupported starting position for arn type: {mapping.source_arn}")
    if at_timestamp and mapping.starting_timestamp is None:
        raise InvalidParameterValue("StartingPositionTimestamp is required for the starting position AT_TIMESTAMP.")
    if not at_timestamp and mapping.starting_timestamp is not None:
        raise InvalidParameterValue("StartingPositionTimestamp is for the starting position AT_TIMESTAMP only.")
    if mapping.starting_timestamp is not None and mapping.starting_timestamp > now:
        raise InvalidParameterValue("StartingPositionTimestamp cannot be in the future.")


def _check_destination(mapping: EventSourceMapping, home: Home) -> None:
    target = mapping.on_failure
    if target.startswith("kafka://"):
        raise InvalidParameterValue(f"The destination {target} is not supported: a topic of Kafka cannot be one here.")
    try:
        parsed = arn.parse(target)
    except InvalidArn:
        raise InvalidParameterValue(f"The destination ARN {target} is invalid.") from None
    if parsed.service not in DESTINATIONS:
        raise InvalidParameterValue(
            f"The destination {target} is not supported: {parsed.service} cannot be one here. "
            "Destinations are SQS queues, SNS topics, Kinesis streams and Lambda functions."
        )
    if (parsed.region, parsed.account) != (home.region, home.account):
        raise InvalidParameterValue(f"The destination ARN {target} is invalid: it is of another region or account.")
    if parsed.service == "lambda":
        try:
            ref = FunctionRef.parse(target)
        except InvalidArn:
            raise InvalidParameterValue(f"The destination ARN {target} is invalid.") from None
        if ref.name == mapping.function:
            raise InvalidParameterValue("You can't specify the function as a destination for itself.")


def check_function(connection: Connection, mapping: EventSourceMapping, home: Home) -> None:
    """The function exists, and a queue keeps a message away for as long as it may run. Raises InvalidParameterValue."""
    try:
        function = versions.fetch(connection, home, mapping.function, mapping.qualifier)
    except FunctionNotFound as error:
        raise InvalidParameterValue("Function does not exist") from error
    if mapping.kind is Kind.SQS and owns(mapping.source_arn, home):
        _check_visibility(connection, mapping, function)


def _check_visibility(connection: Connection, mapping: EventSourceMapping, function: Function) -> None:
    query = select(broker_queue.c.document).where(broker_queue.c.name == mapping.source_name)
    attributes = queue_attributes.read(json.loads(connection.execute(query).scalar() or "{}"))
    if (visibility := attributes.visibility_timeout) < function.timeout:
        raise InvalidParameterValue(
            f"Queue visibility timeout: {visibility.total_seconds():g} seconds is less than Function timeout: "
            f"{function.timeout.total_seconds():g} seconds"
        )


def owns(source_arn: str, home: Home) -> bool:
    """Whether the ARN means something on the own broker.

    >>> owns("arn:aws:sqs:us-east-1:000000000000:q", Home()), owns("arn:aws:sqs:us-east-1:111111111111:q", Home())
    (True, False)
    """
    return arn.parse(source_arn).account == home.account


def check_unique(connection: Connection, mapping: EventSourceMapping, home: Home) -> None:
    """No other mapping leads from the same source to the same function. Raises MappingExists."""
    for other in triggers.of_type(connection, EventSourceMapping):
        if other.uuid != mapping.uuid and _identity(other) == _identity(mapping):
            raise MappingExists(_described(mapping, home), other.uuid)


def _identity(mapping: EventSourceMapping) -> tuple[object, ...]:
    return (
        mapping.function, mapping.qualifier, mapping.source_arn, mapping.queue, mapping.topic,
        frozenset(mapping.bootstrap_servers),
    )  # fmt: skip


def _described(mapping: EventSourceMapping, home: Home) -> str:
    """The beginning of Lambda's sentence, which differs from source to source."""
    source, function = mapping.source_arn, mapping.function
    match mapping.kind:
        case Kind.SQS:
            return f'An event source mapping with SQS arn (" {source} ") and function (" {function} ")'
        case Kind.KAFKA:
            servers = source or ",".join(mapping.bootstrap_servers)
            return (
                f'An event source mapping with event source ("{servers}"), function '
                f'("{home.function(function, mapping.qualifier)}"), topics ("{mapping.topic}")'
            )
        case Kind.MQ:
            return (
                f'An event source mapping with event source ("{source}"), function '
                f'("{home.function(function, mapping.qualifier)}"), queues ("{mapping.queue}")'
            )
        case _:
            return f'The event source arn (" {source} ") and function (" {function} ") provided mapping'


def changed(mapping: EventSourceMapping, before: EventSourceMapping, now: datetime) -> EventSourceMapping:
    """``mapping``, as it is stored after ``before``: one revision on."""
    return replace(mapping, revision=before.revision + 1, last_modified=now)
