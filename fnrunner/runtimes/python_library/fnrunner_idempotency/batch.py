"""Batches: each record of an event is an effect of its own, with the record's identity for a key."""

from __future__ import annotations

import functools
import logging
from datetime import timedelta

from . import deadline
from .decorator import COROUTINE, DAY, MARGIN, flags, idempotent_function
from .errors import IdempotencyConfigurationError, IdempotencyKeyError
from .key import digest

TYPE_CHECKING = False  # what type checkers take for True; importing typing would cost a cold start
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from .key import Selector
    from .store import Store

log = logging.getLogger(__name__)

_UNKNOWN = (
    "this record has no identity of its own. Publish messages to queues with a message_id, or give `key`, a callable of the "
    "record"
)


def record_key(record: Mapping[str, Any]) -> list[str]:
    """The idempotency key of a record: what is the same whenever it is delivered again, in whatever batch.

    SQS: queue and messageId · Kinesis: stream, shard, sequence number and data · DynamoDB: table and eventID · SNS: MessageId ·
    S3: object, sequencer and event · Amazon MQ: messageId · Kafka: topic, partition, offset and value. Data is part of it
    where positions begin anew with a stream that is made again under its name.

    >>> record_key({"eventSource": "aws:sqs", "eventSourceARN": "arn:q", "messageId": "m", "body": "1"})
    ['aws:sqs', 'arn:q', 'm']

    Raises IdempotencyKeyError for a record without identity.
    """
    try:
        key = _identity(record)
    except (KeyError, TypeError, AttributeError):
        raise IdempotencyKeyError(_UNKNOWN) from None
    if not all(isinstance(part, (str, int)) and part != "" for part in key):
        raise IdempotencyKeyError(_UNKNOWN)
    return [str(part) for part in key]


def _identity(record: Mapping[str, Any]) -> list[Any]:
    source = record.get("eventSource") or record.get("EventSource")
    identity = _IDENTITIES.get(str(source))
    if identity is not None:
        return [source, *identity(record)]
    if "basicProperties" in record:
        return ["aws:rmq", record["basicProperties"]["messageId"]]
    return ["kafka", record["topic"], record["partition"], record["offset"], _data(record.get("value") or "")]


def _object_identity(record: Mapping[str, Any]) -> list[Any]:
    bucket, named = record["s3"]["bucket"], record["s3"]["object"]
    return [record["eventName"], bucket["name"], named["key"], named["sequencer"]]


_IDENTITIES: Mapping[str, Callable[[Mapping[str, Any]], list[Any]]] = {
    "aws:sqs": lambda record: [record["eventSourceARN"], record["messageId"]],
    "aws:kinesis": lambda record: [record["eventSourceARN"], record["eventID"], _data(record["kinesis"]["data"])],
    "aws:dynamodb": lambda record: [record["eventSourceARN"], record["eventID"]],
    "aws:sns": lambda record: [record["EventSubscriptionArn"], record["Sns"]["MessageId"]],
    "aws:s3": _object_identity,
}


def _data(text: str) -> str:
    return digest(text)


def records_of(event: Any) -> list[Mapping[str, Any]]:
    """The records of an event of any source, in order.

    Raises IdempotencyKeyError for an event that is no batch.
    """
    if isinstance(event, dict):
        found = event.get("Records", event.get("records", event.get("rmqMessagesByQueue")))
        if isinstance(found, list):
            return found
        if isinstance(found, dict):
            return [record for batch in found.values() for record in batch]
    raise IdempotencyKeyError(
        "this event has no records, so an idempotent batch cannot take it. Use `idempotent` for it"
    )


def item_identifier(record: Mapping[str, Any]) -> Any:
    """How a partial batch response names the record.

    Raises IdempotencyConfigurationError for a source that has none.
    """
    source = record.get("eventSource")
    if source == "aws:sqs":
        return record["messageId"]
    if source == "aws:kinesis":
        return record["kinesis"]["sequenceNumber"]
    if source == "aws:dynamodb":
        return record["dynamodb"]["SequenceNumber"]
    if "topic" in record:
        return {"partition": f"{record['topic']}-{record['partition']}", "offset": record["offset"]}
    raise IdempotencyConfigurationError("this event source has no partial batch responses; leave partial_responses out")


def idempotent_batch(
    *,
    store: Store,
    key: Selector | None = None,
    expires: timedelta = DAY,
    payload: Selector | None = None,
    margin: timedelta = MARGIN,
    scope: str | None = None,
    partial_responses: bool = False,
) -> Callable[[Callable[[Any], Any]], Callable[..., Any]]:
    """Make a handler of a function of one record; the function runs once for each record, whatever batches it comes in.

    ``key``, a callable of the record, is ``record_key`` unless given; ``payload`` is a callable of it as well. Records run
    one after the other. When one fails, a queue's others still run, a stream's later ones do not; then the error is raised
    and the batch comes back, in which those that have succeeded are passed over. With ``partial_responses`` the failed ones
    are returned as ``{"batchItemFailures": […]}``: only for an event source mapping with ReportBatchItemFailures, without
    which they would be lost.
    """

    for what, value in (("key", key), ("payload", payload)):
        if value is not None and not callable(value):
            raise IdempotencyConfigurationError(f"{what} of a batch takes a callable of the record")
    guard = idempotent_function(
        store=store, key=key or record_key, expires=expires, payload=payload, margin=margin, scope=scope
    )

    def decorate(process: Callable[[Any], Any]) -> Callable[..., Any]:
        if flags(process) & COROUTINE:
            raise IdempotencyConfigurationError(
                "the function of a batch's record is called one after the other: make it plain"
            )
        guarded = guard(process)

        @functools.wraps(process)
        def handler(event: Any, context: Any) -> Any:
            records = records_of(event)
            # before anything is run
            identifiers = [item_identifier(record) for record in records] if partial_responses else []
            with deadline.invocation(context):
                failures = _run_each(guarded, records)
            if partial_responses:
                return {"batchItemFailures": [{"itemIdentifier": identifiers[place]} for place in failures]}
            for error in failures.values():
                raise error
            return {"records": len(records)}

        return handler

    return decorate


def _run_each(guarded: Callable[[Any], Any], records: Sequence[Mapping[str, Any]]) -> dict[int, Exception]:
    """What was raised, by the places of the records."""
    failures: dict[int, Exception] = {}
    for place, record in enumerate(records):
        try:
            guarded(record)
        except Exception as error:
            log.error("a record failed: %s: %s", type(error).__name__, error, exc_info=error)
            failures[place] = error
            if not _in_any_order(record):
                break
    return failures


def _in_any_order(record: Mapping[str, Any]) -> bool:
    fifo = str(record.get("eventSourceARN", "")).endswith(".fifo") or "MessageGroupId" in record.get("attributes", {})
    return (record.get("eventSource") == "aws:sqs" and not fifo) or "basicProperties" in record
