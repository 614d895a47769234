"""Call a function and wait, or hand it an event and get a receipt."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from broker import names
from broker.broker import Broker, State
from broker.envelope import Envelope, to_message
from broker.errors import BrokerError, Unroutable
from broker.reply import ReplyKind
from broker.topology import function_queues
from fnrunner.catalogue import Catalogue, function_setting
from fnrunner.catalogue.function_setting import Name
from fnrunner.delivery.ledger import Ledger
from fnrunner.delivery.record import AcceptedEvent
from fnrunner.invoke import errors
from fnrunner.invoke.payload import checked
from fnrunner.invoke.request import Requests
from fnrunner.invoke.stream import StreamedCall
from fnrunner.model import alias, limits, lineage
from fnrunner.model.arn import FunctionRef, Home
from fnrunner.model.function import Function
from fnrunner.model.invocation import ThrottleReason
from fnrunner.store.errors import StoreError
from fnrunner.telemetry import context as trace_context
from fnrunner.telemetry.active import ActiveSampling
from fnrunner.telemetry.metrics import Metrics
from fnrunner.telemetry.tracing import Span, Tracing

log = logging.getLogger(__name__)

PUBLISH_PATIENCE = timedelta(seconds=15)
LEDGER_PATIENCE = timedelta(seconds=10)

NO_TRACE: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class CallResult:
    """``function_error`` is ``Unhandled`` or empty. ``log_tail`` is the last 4 KB of the log when it was asked for."""

    request_id: str
    payload: bytes
    function_error: str
    executed_version: str
    log_tail: bytes
    xray: str


class Front:
    """See the package's docstring for what is promised. ``now`` gives aware UTC."""

    def __init__(
        self,
        *,
        home: Home,
        broker: Broker,
        catalogue: Catalogue,
        ledger: Ledger,
        tracing: Tracing,
        metrics: Metrics,
        sync_wait: timedelta,
        now: Callable[[], datetime],
    ) -> None:
        self._home = home
        self._broker = broker
        self._catalogue = catalogue
        self._ledger = ledger
        self._tracing = tracing
        self._metrics = metrics
        self._sampling = ActiveSampling()
        self._requests = Requests(broker, sync_wait)
        self._now = now

    async def check(self, ref: FunctionRef, ticket: str = "") -> Function:
        """The version that ``ref`` names; ``ticket`` decides between those of an alias.

        Raises FunctionNotFound, WrongAccount.
        """
        if ref.region and ref.region != self._home.region:
            raise errors.FunctionNotFound(
                f"Functions from '{ref.region}' are not reachable in this region ('{self._home.region}')"
            )
        if ref.account and ref.account != self._home.account:
            raise errors.WrongAccount(f"Account {ref.account} is not served here; this is {self._home.account}")
        function = self._catalogue.resolve(ref.name, ref.qualifier, ticket)
        if function is None:
            # another process may have created it a moment ago
            await self._catalogue.refresh()
            function = self._catalogue.resolve(ref.name, ref.qualifier, ticket)
        if function is None:
            arn = self._home.function(ref.name, ref.qualifier or limits.LATEST)
            raise errors.FunctionNotFound(f"Function not found: {arn}")
        return function

    async def accept(
        self,
        ref: FunctionRef,
        payload: bytes,
        *,
        event_id: str | None = None,
        source: str = "api",
        trigger: str = "other",
        xray: str = "",
        trace: Mapping[str, str] = NO_TRACE,
    ) -> str:
        """Take an event to be run later; its request id, once the broker has confirmed it.

        Raises FunctionNotFound, InvalidPayload, PayloadTooLarge, RecursiveInvocation, ServiceUnavailable.
        """
        function = await self.check(ref)
        payload = await checked(payload, asynchronous=True)
        if (health := self._ledger.health).reason:
            raise errors.ServiceUnavailable(
                f"The store cannot be written: {health.reason}. The event was not accepted."
            )
        self._refuse_when_blocked()
        descent = await self._descent(function, xray)
        event_id = event_id or str(uuid.uuid4())
        parent = self._parent(function, trace, xray)
        name = f"{source} {function.name}"
        span = self._tracing.accept(name, parent, server=source == "api", attributes={"faas.invocation_id": event_id})
        try:
            envelope = self._envelope(function, ref, payload, event_id, source, trigger, descent)
            await self._publish(envelope, span)
            await self._write_down(envelope, span)
            self._metrics.accepted.labels(function.name, source).inc()
        except errors.InvokeError as error:
            span.fail(error.code, str(error))
            raise
        finally:
            span.end()
        return event_id

    async def call(
        self,
        ref: FunctionRef,
        payload: bytes,
        *,
        client_context: str = "",
        log_tail: bool = False,
        xray: str = "",
        trace: Mapping[str, str] = NO_TRACE,
        source: str = "api",
        trigger: str = "http",
    ) -> CallResult:
        """Run it now and wait for the answer.

        Raises FunctionNotFound, InvalidPayload, PayloadTooLarge, Throttled, NoWorker, RecursiveInvocation, ServiceUnavailable,
        ServiceFault.
        """
        function, payload, request_id = await self._admit(ref, payload)
        descent, parent = await self._descent(function, xray), self._parent(function, trace, xray)
        with self._opened(request_id, function, ref, payload, source, trigger, parent, descent) as (envelope, span):
            asked = _with(envelope, client_context, log_tail, span.carrier)
            answer = await self._requests.ask(function, to_message(asked, persistent=False))
        return CallResult(
            request_id=envelope.id,
            payload=answer.payload,
            function_error="Unhandled" if answer.kind is ReplyKind.ERROR else "",
            executed_version=answer.version,
            log_tail=answer.log_tail,
            xray=asked.xray,
        )

    @asynccontextmanager
    async def stream(
        self,
        ref: FunctionRef,
        payload: bytes,
        *,
        client_context: str = "",
        log_tail: bool = False,
        xray: str = "",
        trace: Mapping[str, str] = NO_TRACE,
        source: str = "api",
        trigger: str = "http",
    ) -> AsyncIterator[StreamedCall]:
        """Run it now and have the answer in pieces; entered when the first piece, or the end, is there.

        Leaving before the end stops the work. While nobody iterates the function is held back. Raises as ``call``.
        """
        function, payload, request_id = await self._admit(ref, payload)
        descent, parent = await self._descent(function, xray), self._parent(function, trace, xray)
        with self._opened(request_id, function, ref, payload, source, trigger, parent, descent) as (envelope, span):
            asked = replace(_with(envelope, client_context, log_tail, span.carrier), streamed=True)
            first, rest = await self._requests.ask_for_stream(function, to_message(asked, persistent=False))
            answer = StreamedCall(envelope.id, asked.xray, first, rest)
            try:
                yield answer
            finally:
                await rest.aclose()
                if answer.error_code or not answer.complete:
                    span.fail(answer.error_code or "ClientDisconnected")

    async def _admit(self, ref: FunctionRef, payload: bytes) -> tuple[Function, bytes, str]:
        """What is to be called, with a payload that is JSON, and the request id, which decides the version of an alias."""
        request_id = str(uuid.uuid4())
        function = await self.check(ref, alias.ticket(request_id, 0))
        payload = await checked(payload, asynchronous=False)
        if function.reserved_concurrency == 0:
            raise errors.Throttled(ThrottleReason.RESERVED)
        if function.environment_error:
            raise errors.KeyFailure(function.environment_error)
        self._refuse_when_blocked()
        return function, payload, request_id

    @contextmanager
    def _opened(
        self,
        request_id: str,
        function: Function,
        ref: FunctionRef,
        payload: bytes,
        source: str,
        trigger: str,
        parent: Mapping[str, str],
        descent: str,
    ) -> Iterator[tuple[Envelope, Span]]:
        """The envelope of a request and its span, which lasts as long as the block and fails with it."""
        span = self._tracing.accept(
            f"{'invoke' if source == 'api' else source} {function.name}",
            parent,
            server=trigger == "http",
            attributes={"faas.invocation_id": request_id},
        )
        try:
            yield self._envelope(function, ref, payload, request_id, source, trigger, descent), span
        except errors.InvokeError as error:
            span.fail(error.code, str(error))
            raise
        finally:
            span.end()

    async def _descent(self, function: Function, xray: str) -> str:
        """The functions that this invocation came through, as the header of its caller tells; empty for one of its own.

        Raises RecursiveInvocation when this one has come up too often and is not allowed to.
        """
        if not lineage.of(xray):
            return ""
        found = lineage.counted(xray, function.name)
        looping = lineage.times(found, function.name) > lineage.MOST or lineage.total(found) > lineage.LONGEST
        if looping and not await self._may_recur(function.name):
            raise errors.RecursiveInvocation
        return found

    async def _may_recur(self, name: str) -> bool:
        """As it is in the store now: a loop is broken by whoever changes it."""
        setting = await self._catalogue.read(lambda c: function_setting.find(c, name, Name.RECURSION))
        return setting == function_setting.ALLOW

    def _parent(self, function: Function, trace: Mapping[str, str], xray: str) -> Mapping[str, str]:
        """What the caller sent of a trace; where it sent nothing, the function decides whether one begins."""
        return self._sampling.parent(function.name, function.tracing_mode, trace or _carrier(xray), time.monotonic())

    def _refuse_when_blocked(self) -> None:
        """At once: an alarm lasts, and whoever asks can go elsewhere or come back."""
        if (status := self._broker.status).state is State.BLOCKED:
            raise errors.ServiceUnavailable(f"The broker is blocked: {status.reason}. Nothing was accepted.")

    def _envelope(
        self,
        function: Function,
        ref: FunctionRef,
        payload: bytes,
        event_id: str,
        source: str,
        trigger: str,
        descent: str,
    ) -> Envelope:
        return Envelope(
            id=event_id,
            function=function.name,
            payload=payload,
            accepted_at_ms=int(self._now().timestamp() * 1000),
            qualifier=ref.qualifier,
            invoked_arn=self._home.function(function.name, ref.qualifier),
            source=source,
            trigger=trigger,
            xray=lineage.joined("", descent),
        )

    async def _write_down(self, envelope: Envelope, span: Span) -> None:
        """The event is the broker's already, so its id is given out even when the store takes longer than that."""
        event = AcceptedEvent(
            event_id=envelope.id,
            function=envelope.function,
            qualifier=envelope.qualifier,
            source=envelope.source,
            size_bytes=len(envelope.payload),
            at_ms=envelope.accepted_at_ms,
            traceparent=span.carrier.get("traceparent", ""),
        )
        try:
            async with asyncio.timeout(LEDGER_PATIENCE.total_seconds()):
                await asyncio.shield(asyncio.ensure_future(self._ledger.accepted(event)))
        except (TimeoutError, StoreError) as error:
            log.warning("event %s was accepted and is not in the ledger yet: %s", envelope.id, error)

    async def _publish(self, envelope: Envelope, parent: Span) -> None:
        queue = names.events(envelope.function)
        span = self._tracing.publish(queue, parent.carrier, message_id=envelope.id, routing_key=queue)
        message = to_message(_with(envelope, "", False, span.carrier))
        try:
            try:
                await self._broker.publish(message, routing_key=queue, timeout=PUBLISH_PATIENCE)
            except Unroutable:
                # somebody deleted the queue: the function exists, so its queue must
                await self._broker.declare(function_queues(envelope.function))
                await self._broker.publish(message, routing_key=queue, timeout=PUBLISH_PATIENCE)
        except BrokerError as error:
            span.fail(type(error).__name__, str(error))
            raise errors.ServiceUnavailable(str(error)) from error
        finally:
            span.end()


def _carrier(xray: str) -> Mapping[str, str]:
    context = trace_context.from_xray(xray) if xray else None
    return trace_context.carrier(context) if context else {}


def _with(envelope: Envelope, client_context: str, log_tail: bool, trace: Mapping[str, str]) -> Envelope:
    return replace(
        envelope,
        client_context=client_context,
        log_tail=log_tail,
        trace=trace,
        xray=lineage.joined(trace_context.to_xray(trace_context.of(trace)), lineage.of(envelope.xray)),
    )
