"""Tell destinations and dead-letter targets how an event ended.

Called before the event is settled: a crash in between tells a destination twice, never not at all. Nothing here raises
for a destination's sake: what could not be told is returned, counted and logged, and the event goes on. Only a broker that
is away is raised (Unavailable): the caller tries again, and a destination may be told twice under the same message id.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Protocol
from uuid import NAMESPACE_OID, uuid5

from broker.broker import Broker
from broker.envelope import TRACE_HEADERS, Envelope
from broker.errors import BrokerError, Unavailable, Unroutable
from broker.message import Headers, Message
from fnrunner.delivery.destination_record import Completion, record
from fnrunner.delivery.letter import DESTINATION_ERRORS
from fnrunner.delivery.retry import Reason, error_of
from fnrunner.delivery.text import cut_utf8, storable
from fnrunner.model import limits
from fnrunner.model.arn import FunctionRef, Home, InvalidArn, parse
from fnrunner.model.function import EventInvokeConfig
from fnrunner.model.invocation import (
    FunctionError,
    Outcome,
    Succeeded,
    SystemFault,
    Throttled,
    WorkerDied,
    error_payload,
)

log = logging.getLogger(__name__)

NO_HEADERS: Headers = MappingProxyType({})

ERROR_MESSAGE_BYTES = 1024
TIMEOUT = timedelta(seconds=10)
"""The longest that one destination may hold an event up."""


class Acceptor(Protocol):
    """Accept an event as the API does: publish it with confirm and enter it in the ledger. Raises on failure.

    ``event_id`` is the same when a crash makes a destination be told again.
    """

    def __call__(
        self,
        ref: FunctionRef,
        payload: bytes,
        *,
        event_id: str,
        source: str,
        xray: str,
        trace: Mapping[str, str],
    ) -> Awaitable[object]: ...


@dataclass(frozen=True, slots=True)
class DestinationFailure:
    """A destination that could not be told. ``kind``: OnSuccess, OnFailure, DeadLetterConfig."""

    kind: str
    arn: str
    why: str

    def __str__(self) -> str:
        return f"{self.kind} {self.arn}: {self.why}"


@dataclass(frozen=True, slots=True)
class Told:
    """Counts since the start, for metrics: ``dead_letter_errors`` and ``destination_failures`` as Lambda names them."""

    delivered: int = 0
    destination_failures: int = 0
    dead_letter_errors: int = 0


class Undeliverable(Exception):
    """The destination cannot be reached by its ARN. Correct it with put-function-event-invoke-config."""


class Destinations:
    """``clock`` gives epoch milliseconds; ``accept`` takes events for functions that are destinations."""

    def __init__(
        self,
        broker: Broker,
        home: Home,
        *,
        accept: Acceptor,
        clock: Callable[[], int],
        timeout: timedelta = TIMEOUT,
    ) -> None:
        self._broker = broker
        self._home = home
        self._accept = accept
        self._clock = clock
        self._timeout = timeout
        self._told = Told()

    @property
    def told(self) -> Told:
        return self._told

    async def deliver_success(
        self, envelope: Envelope, config: EventInvokeConfig, outcome: Succeeded, *, version: str = limits.LATEST
    ) -> tuple[DestinationFailure, ...]:
        """Tell OnSuccess, if there is one. ``envelope`` is the one that was delivered; ``version`` is what ran."""
        if not config.on_success:
            return ()
        completion = Completion(
            condition="Success",
            invoke_count=envelope.attempt + 1,
            version=version,
            status_code=200,
            payload=outcome.payload,
        )
        return await self._tell("OnSuccess", config.on_success, envelope, self._record(envelope, completion))

    async def deliver_failure(
        self,
        envelope: Envelope,
        config: EventInvokeConfig,
        reason: Reason,
        outcome: Outcome,
        *,
        dead_letter_arn: str = "",
        version: str = limits.LATEST,
    ) -> tuple[DestinationFailure, ...]:
        """Tell OnFailure and the dead-letter target, those that there are.

        ``envelope`` is the one of the decision, with its attempts charged; ``outcome`` the last one.
        """
        failures: tuple[DestinationFailure, ...] = ()
        if config.on_failure:
            body = self._record(envelope, _completion(envelope, reason, outcome, version))
            failures += await self._tell("OnFailure", config.on_failure, envelope, body)
        if dead_letter_arn:
            headers = dead_letter_headers(envelope, outcome)
            failures += await self._tell("DeadLetterConfig", dead_letter_arn, envelope, envelope.payload, headers)
        return failures

    async def tell_skipped(self, arn: str, envelope: Envelope, body: bytes) -> tuple[DestinationFailure, ...]:
        """Tell a mapping's on-failure destination of records that were given up; ``envelope`` stands for them."""
        return await self._tell("OnFailure", arn, envelope, body)

    def _record(self, envelope: Envelope, completion: Completion) -> bytes:
        arn = self._home.function(envelope.function, envelope.qualifier or limits.LATEST)
        return record(envelope, completion, function_arn=arn, now_ms=self._clock())

    async def _tell(
        self, kind: str, arn: str, envelope: Envelope, body: bytes, headers: Headers = NO_HEADERS
    ) -> tuple[DestinationFailure, ...]:
        message = _message(kind, arn, envelope, body, headers)
        try:
            async with asyncio.timeout(self._timeout.total_seconds()):
                await self._send(arn, envelope, message)
        except Unavailable:
            raise
        except Exception as error:
            if getattr(error, "status", None) == 503:
                # whoever accepts for a function cannot be reached now, as a broker that is away
                raise Unavailable(str(error)) from error
            # Whatever is wrong there, and with whoever accepts for a function: the event itself goes on.
            failure = DestinationFailure(kind, arn, _words(error))
            foreseen = isinstance(error, BrokerError | InvalidArn | Undeliverable | TimeoutError)
            log.warning(
                "event %s of %s: %s", envelope.id, envelope.function, failure, exc_info=None if foreseen else error
            )
            self._count(kind)
            return (failure,)
        self._told = replace(self._told, delivered=self._told.delivered + 1)
        return ()

    async def _send(self, arn: str, envelope: Envelope, message: Message) -> None:
        target = parse(arn)
        match target.service:
            case "lambda":
                await self._accept(
                    FunctionRef.parse(arn),
                    message.body,
                    event_id=message.message_id or envelope.id,
                    source=f"lambda:{envelope.function}",
                    xray=envelope.xray,
                    trace=envelope.trace,
                )
            case "sqs":
                await self._broker.publish(message, routing_key=target.resource)
            case "sns":
                await self._broker.publish(message, exchange=target.resource, routing_key=envelope.function)
            case "kinesis" if target.resource.startswith("stream/"):
                keyed = replace(message, headers={"partition-key": envelope.id, **message.headers})
                await self._broker.publish(keyed, routing_key=target.resource.removeprefix("stream/"))
            case _:
                raise Undeliverable(f"{target.service} cannot be a destination: use sqs, sns, lambda or kinesis")

    def _count(self, kind: str) -> None:
        name = "dead_letter_errors" if kind == "DeadLetterConfig" else "destination_failures"
        self._told = replace(self._told, **{name: getattr(self._told, name) + 1})


def noted(envelope: Envelope, failures: tuple[DestinationFailure, ...]) -> Envelope:
    """The envelope with what could not be told, so that the dead letter shows it."""
    if not failures:
        return envelope
    return replace(envelope, extra={**envelope.extra, DESTINATION_ERRORS: [str(failure) for failure in failures]})


def dead_letter_headers(envelope: Envelope, outcome: Outcome) -> dict[str, Any]:
    """What a dead-letter target gets beside the event itself. Source: Lambda, dead-letter queues."""
    message = error_of(outcome, envelope)[1]
    return {
        "RequestID": envelope.id,
        "ErrorCode": _status(envelope, outcome),
        "ErrorMessage": cut_utf8(storable(message, ERROR_MESSAGE_BYTES), ERROR_MESSAGE_BYTES),
    }


def _message(kind: str, arn: str, envelope: Envelope, body: bytes, headers: Mapping[str, Any]) -> Message:
    """Its id is the same each time this destination is told of this event, so that a repetition can be recognised."""
    trace = {name: envelope.trace[name] for name in TRACE_HEADERS if name in envelope.trace}
    if envelope.xray:
        trace["AWSTraceHeader"] = storable(envelope.xray, 1024)
    return Message(
        body,
        message_id=str(uuid5(NAMESPACE_OID, f"{kind}/{arn}/{envelope.id}/{envelope.redrives}")),
        headers={**trace, **headers},
        content_type="application/json",
    )


def _completion(envelope: Envelope, reason: Reason, outcome: Outcome, version: str) -> Completion:
    payload = None if reason is Reason.ZERO_RESERVED_CONCURRENCY else _error_payload(envelope, outcome)
    return Completion(
        condition=reason.value,
        invoke_count=envelope.attempt,
        version=version,
        status_code=_status(envelope, outcome),
        function_error="" if payload is None else "Unhandled",
        payload=payload,
    )


def _error_payload(envelope: Envelope, outcome: Outcome) -> bytes | None:
    """What the function answered last, rebuilt where the last outcome was no answer; None when it never ran."""
    match outcome:
        case FunctionError():
            return outcome.payload
        case WorkerDied():
            return error_payload(outcome.error_type, outcome.message)
        case _ if envelope.attempts:
            return error_payload(envelope.attempts[-1].error_type, envelope.attempts[-1].error_message)
        case _:
            return None


def _status(envelope: Envelope, outcome: Outcome) -> int:
    """200: the function failed; 429: it was throttled until the end; 500: it could not be run."""
    match outcome:
        case FunctionError() | WorkerDied():
            return 200
        case SystemFault():
            return 500
        case Throttled():
            return 429
        case _:
            return 200 if envelope.attempts else 429


def _words(error: Exception) -> str:
    match error:
        case TimeoutError():
            return "it did not answer in time"
        case Unroutable():
            return "no queue takes it: create the queue, or bind one to the topic"
        case _:
            return str(error) or type(error).__name__
