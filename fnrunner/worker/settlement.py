"""Carry out what follows an outcome: retry copy, destinations, dead letter, reply, record, acknowledgement.

The order is always: publish with confirm, write the attempt down, acknowledge. A crash in between duplicates, never loses.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from broker import names, reply
from broker.broker import Broker, Delivery
from broker.delays import milliseconds
from broker.envelope import to_message
from broker.errors import AskerGone, BrokerError, DeliveryLost
from broker.message import Message
from broker.reply import Reply, ReplyKind
from fnrunner.catalogue import Catalogue
from fnrunner.delivery import retry
from fnrunner.delivery.destinations import Destinations, noted
from fnrunner.delivery.ledger import Ledger
from fnrunner.delivery.letter import dead_message
from fnrunner.delivery.record import AttemptRecord
from fnrunner.delivery.retry import DeadLetter, Decision, Finish, RetryAfter
from fnrunner.model.function import EventInvokeConfig
from fnrunner.model.invocation import FunctionError, Succeeded, SystemFault, Throttled
from fnrunner.telemetry.tracing import Tracing
from fnrunner.worker.execution import Execution, Kind
from fnrunner.worker.outcome import name_of
from fnrunner.worker.reply_stream import ReplyStream

log = logging.getLogger(__name__)


class Settlement:
    """``retry_delays`` and ``backoff`` are the waits after function errors and after throttles."""

    def __init__(
        self,
        *,
        broker: Broker,
        catalogue: Catalogue,
        destinations: Destinations,
        ledger: Ledger,
        tracing: Tracing,
        worker_id: str,
        retry_delays: Sequence[timedelta],
        backoff: Sequence[timedelta],
    ) -> None:
        self._broker = broker
        self._catalogue = catalogue
        self._destinations = destinations
        self._ledger = ledger
        self._tracing = tracing
        self._worker_id = worker_id
        self._retry_delays = retry_delays
        self._backoff = backoff

    def decide(self, execution: Execution, now_ms: int) -> Decision:
        """What follows, purely."""
        assert execution.answer is not None
        function = execution.function
        envelope = execution.envelope
        if function is None:
            return DeadLetter(retry.Reason.FUNCTION_NOT_FOUND, envelope)
        return retry.decide(
            envelope,
            execution.answer.outcome,
            self._config(execution),
            now_ms,
            self._retry_delays,
            self._backoff,
            run=retry.Run(
                worker=self._worker_id,
                duration_ms=execution.answer.report.duration_ms,
                traceparent=execution.span.carrier.get("traceparent", ""),
                digest=execution.digest,
            ),
            reserved_concurrency=function.reserved_concurrency,
        )

    async def publish(self, execution: Execution) -> None:
        """Publish what follows, with confirm. Raises BrokerError: publish again, the ids stay the same."""
        match execution.decision:
            case Finish():
                await self._succeed(execution)
            case RetryAfter(delay, envelope):
                queue = names.events(envelope.function)
                hop = names.delay(milliseconds(delay)) if delay else queue
                span = self._tracing.publish(hop, execution.span.carrier, message_id=envelope.id, routing_key=queue)
                try:
                    await self._broker.publish_later(to_message(envelope), queue=queue, delay=delay)
                finally:
                    span.end()
            case DeadLetter():
                await self._give_up(execution, execution.decision)
            case None:
                raise AssertionError("nothing has been decided")

    async def _succeed(self, execution: Execution) -> None:
        assert execution.answer is not None
        if not isinstance(outcome := execution.answer.outcome, Succeeded):
            raise AssertionError(f"{outcome!r} was taken for a success")
        config = self._config(execution)
        if config.on_success:
            traced = replace(execution.envelope, trace=execution.span.carrier)
            await self._destinations.deliver_success(traced, config, outcome, version=execution.version)

    async def _give_up(self, execution: Execution, decision: DeadLetter) -> None:
        assert execution.answer is not None
        outcome, function = execution.answer.outcome, execution.function
        error_type, message = retry.error_of(outcome, execution.envelope)
        failures = await self._destinations.deliver_failure(
            replace(decision.envelope, trace=execution.span.carrier),
            self._config(execution),
            decision.reason,
            outcome,
            dead_letter_arn=function.dead_letter_arn if function else "",
            version=execution.version,
        )
        envelope = noted(decision.envelope, failures)
        span = self._tracing.publish(
            names.DEAD, execution.span.carrier, message_id=envelope.id, routing_key=envelope.function
        )
        try:
            letter = dead_message(envelope, decision.reason.value, error_type, message, execution.digest)
            await self._broker.publish(letter, exchange=names.DEAD, routing_key=envelope.function)
        finally:
            span.end()

    def record(self, execution: Execution, now_ms: int) -> AttemptRecord:
        """The row of this attempt."""
        assert execution.answer is not None
        report = execution.answer.report
        error_type, message = retry.error_of(execution.answer.outcome, execution.envelope)
        delay = execution.decision.delay if isinstance(execution.decision, RetryAfter) else None
        return AttemptRecord(
            event_id=execution.envelope.id,
            function=execution.envelope.function,
            number=execution.envelope.attempt + 1,
            started_ms=execution.started_ms,
            ended_ms=now_ms,
            outcome=name_of(execution.answer.outcome),
            kind=execution.kind.value,
            version=execution.version,
            error_type=error_type,
            error_message=message,
            retry_in_ms=None if delay is None else milliseconds(delay),
            duration_ms=report.duration_ms,
            billed_ms=report.billed_ms,
            memory_mb=report.memory_mb,
            max_memory_mb=report.max_memory_mb,
            init_ms=report.init_ms,
            cold_reason=report.cold_reason,
            imports=report.imports,
            runtime_version=report.runtime_version,
            log_stream=report.log_stream,
            digest=execution.digest,
            worker=self._worker_id,
            traceparent=execution.span.carrier.get("traceparent", ""),
        )

    def stream(self, execution: Execution) -> ReplyStream | None:
        """Where a streamed answer goes while the function makes it; None when it is to be answered whole."""
        if execution.kind is Kind.REQUEST and execution.envelope.streamed:
            return ReplyStream(self._broker, execution.delivery.message, execution.version)
        return None

    async def reply(self, execution: Execution, now_ms: int, log_tail: bytes) -> None:
        """Answer a request, let it go, and note the attempt."""
        await self.refuse(execution.delivery, self._reply_of(execution, log_tail))
        self._ledger.note_attempt(self.record(execution, now_ms))

    async def refuse(self, delivery: Delivery, answer: Reply) -> None:
        """Send an answer to whoever asked, and acknowledge. When the broker is gone, so is the asker's wait for it."""
        message = Message(reply.encode(answer), persistent=False)
        try:
            await self._broker.reply(delivery.message, message)
        except AskerGone:
            log.info("the caller of a request on %s went away before the end of its answer", delivery.queue)
        except BrokerError as error:
            log.warning("an answer could not be sent: %s", error)
        await self.acknowledge(delivery)

    @staticmethod
    async def acknowledge(delivery: Delivery) -> None:
        """Tell the broker; when the channel is gone, the delivery comes again."""
        try:
            await delivery.ack()
        except DeliveryLost:
            log.info("a delivery of %s was lost with its channel; it comes again", delivery.queue)

    def _config(self, execution: Execution) -> EventInvokeConfig:
        if execution.function is None or execution.kind is Kind.REQUEST:
            return EventInvokeConfig(execution.envelope.function)
        return self._catalogue.snapshot.event_invoke_config(execution.function.name, execution.envelope.qualifier)

    @staticmethod
    def _reply_of(execution: Execution, log_tail: bytes) -> Reply:
        assert execution.answer is not None
        match execution.answer.outcome:
            case Succeeded(payload):
                return Reply(payload, version=execution.version, log_tail=log_tail)
            case FunctionError() as error:
                return Reply(error.payload, ReplyKind.ERROR, execution.version, error.error_type, log_tail=log_tail)
            case Throttled(reason):
                return Reply(kind=ReplyKind.THROTTLED, code=reason.value)
            case SystemFault() as fault:
                return Reply(kind=ReplyKind.FAULT, code=fault.error_type, message=fault.message)
            case other:
                return Reply(kind=ReplyKind.FAULT, code=type(other).__name__, message="The request was not run")
