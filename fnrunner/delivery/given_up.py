"""What becomes of records that a poller gives up: the mapping's on-failure destination hears, and a dead letter is filed.

Both are safe on the broker before the poller passes the records over. A crash in between does it again under the same id,
so that a destination may hear twice and the dead letter is filed once. ::

    poller ── give_up ──► destination (record, message id fixed) ──► ledger (accepted) ──► dead letter ──► position saved

Entering it in the ledger makes the audit account for it: a record that is given up is one accepted event, dead-lettered;
redriven, it goes to the function as an asynchronous event with the batch as its payload.

>>> from datetime import datetime
>>> from sources.mapping import EventSourceMapping
>>> mapping = EventSourceMapping("u", "f", source_arn="arn:aws:kinesis:us-east-1:000000000000:stream/s")
>>> lost = GivenUp(mapping, "shardId-000000000000", "RecordsLost", b"", "5", "9", 5, 0, datetime(2026, 1, 1, tzinfo=UTC))
>>> sorted(document(lost, "arn:f", 0))
['requestContext', 'timestamp', 'version']
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC
from typing import Any

from broker import names
from broker.broker import Broker
from broker.envelope import SYNC_LIMIT_BYTES, Attempt, Envelope, failed
from broker.errors import BrokerError
from broker.message import Message
from broker.topology import function_queues
from fnrunner.delivery.destination_record import timestamp
from fnrunner.delivery.destinations import Destinations, noted
from fnrunner.delivery.ledger import Ledger
from fnrunner.delivery.letter import AT_MS, ERROR_MESSAGE, ERROR_TYPE, REASON, dead_message
from fnrunner.delivery.record import AcceptedEvent
from fnrunner.delivery.text import storable
from fnrunner.model.arn import Home
from fnrunner.store.errors import StoreError
from sources import partial
from sources.errors import NotAccepted
from sources.invocation import Answered, Crashed, Failed, GivenUp
from sources.retrying import MALFORMED, TOO_LARGE, TOO_OLD

POISON = "poison"
"""Key of ``Envelope.extra``: the report of which record is guilty, and of what."""

BATCH = "batch"
"""Key of ``Envelope.extra``: which records of which source these are."""


class PollerLetters:
    """See :class:`sources.invocation.Letters`. ``clock`` gives epoch milliseconds."""

    def __init__(
        self, broker: Broker, home: Home, ledger: Ledger, destinations: Destinations, clock: Callable[[], int]
    ) -> None:
        self._broker = broker
        self._home = home
        self._ledger = ledger
        self._destinations = destinations
        self._clock = clock

    async def give_up(self, given_up: GivenUp) -> None:
        """Raises NotAccepted."""
        envelope = _envelope(given_up, self._home)
        try:
            if arn := given_up.mapping.on_failure:
                function = self._home.function(given_up.mapping.function, given_up.mapping.qualifier)
                body = json.dumps(document(given_up, function, self._clock()), separators=(",", ":")).encode()
                envelope = noted(envelope, await self._destinations.tell_skipped(arn, envelope, body))
            if given_up.payload:
                await self._file(given_up, envelope)
        except (BrokerError, StoreError) as error:
            raise NotAccepted(f"what was given up cannot be kept now: {error}") from error

    async def _file(self, given_up: GivenUp, envelope: Envelope) -> None:
        await self._ledger.accepted(
            AcceptedEvent(
                event_id=envelope.id,
                function=envelope.function,
                qualifier=envelope.qualifier,
                source=envelope.source,
                size_bytes=len(given_up.payload),
                at_ms=envelope.accepted_at_ms,
            )
        )
        # the function may have been deleted, and its mapping not: what is given up is kept all the same
        await self._broker.declare(function_queues(envelope.function))
        await self._broker.publish(_letter(given_up, envelope), exchange=names.DEAD, routing_key=envelope.function)


def document(given_up: GivenUp, function_arn: str, now_ms: int) -> dict[str, Any]:
    """The record that an on-failure destination gets: metadata only, besides the poison report.

    Source: Lambda, retaining discarded batches. ``functionError`` is null where a partial response named the records;
    what grew too old has no ``responseContext``.
    """
    result = given_up.result
    context = {
        "requestId": (getattr(result, "request_id", "") if result else "") or given_up.event_id,
        "functionArn": function_arn,
        "condition": given_up.condition,
        "approximateInvokeCount": given_up.attempts,
    }
    record: dict[str, Any] = {"requestContext": context}
    if result is not None and given_up.condition != TOO_OLD:
        crashed = isinstance(result, Crashed)
        record["responseContext"] = {
            "statusCode": 500 if crashed else 200,
            "executedVersion": getattr(result, "version", "") or "$LATEST",
            "functionError": "Unhandled" if isinstance(result, Failed | Crashed) else None,
        }
    record |= {"version": "1.0", "timestamp": timestamp(now_ms)}
    if given_up.info_key:
        record[given_up.info_key] = dict(given_up.info)
    if given_up.report:
        record["report"] = dict(given_up.report)
    return record


def _envelope(given_up: GivenUp, home: Home) -> Envelope:
    mapping = given_up.mapping
    at_ms = int(given_up.at.astimezone(UTC).timestamp() * 1000)
    error_type, message = _error(given_up)
    extra: dict[str, Any] = {
        BATCH: {
            "mapping": mapping.uuid,
            "source_arn": mapping.source_arn,
            "shard": given_up.shard,
            "first": given_up.first,
            "last": given_up.last,
            "size": given_up.size,
            "condition": given_up.condition,
        }
    }
    if given_up.report:
        extra[POISON] = json.dumps(given_up.report)
    envelope = Envelope(
        id=given_up.event_id,
        function=mapping.function,
        payload=given_up.payload if len(given_up.payload) <= SYNC_LIMIT_BYTES else b"{}",
        accepted_at_ms=at_ms,
        qualifier=mapping.qualifier,
        invoked_arn=home.function(mapping.function, mapping.qualifier),
        source=mapping.label,
        trigger=mapping.trigger,
        extra=extra,
    )
    if given_up.result is None:
        return envelope
    return failed(envelope, Attempt(max(1, given_up.attempts), at_ms, error_type, message))


def _letter(given_up: GivenUp, envelope: Envelope) -> Message:
    error_type, message = _error(given_up)
    at_ms = envelope.accepted_at_ms
    if len(given_up.payload) <= SYNC_LIMIT_BYTES:
        return dead_message(envelope, given_up.condition, error_type, message, at_ms=at_ms)
    # too large for an envelope: its bytes are filed as they are
    headers = {REASON: given_up.condition, ERROR_TYPE: error_type, ERROR_MESSAGE: storable(message, 1024), AT_MS: at_ms}
    return Message(given_up.payload, message_id=envelope.id, headers=headers, content_type="application/json")


def _error(given_up: GivenUp) -> tuple[str, str]:
    """The error's type and message, for a person."""
    match given_up.result:
        case Failed(error_type, message):
            return error_type, message
        case Crashed(reason):
            return "Runtime.WorkerDied", reason
        case None:
            words = given_up.report.get("reason") or _WORDS.get(given_up.condition, "It was given up untried")
            return f"Source.{given_up.condition}", str(words)
        case Answered():
            # it is a single record that the function can have named; whole batches failed by an answer that says nothing
            said: Mapping[str, Any] = next(iter(given_up.report.get("records", ())), {})
            if said.get("error_type") == partial.REPORTED:
                return "Source.BatchItemFailures", "The function named it among the batchItemFailures of its answer"
            words = said.get("error_message") or "The function's answer could not be understood"
            return f"Source.{partial.MALFORMED}", str(words)


_WORDS = {
    TOO_OLD: "It was older than the mapping's MaximumRecordAgeInSeconds before it could be tried",
    TOO_LARGE: "The event of this one record is larger than a function can be given",
    MALFORMED: "No event can be made of the record; the report says why",
}
