"""Spans for the steps of an event's life; see the package's docstring for the tree they form.

Source: OpenTelemetry semantic conventions for messaging and FaaS.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from fnrunner.telemetry import context as trace_context

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Tracer

MAX_STATE_CHARS = 512
"""Source: W3C Trace Context, the length that everybody should pass on."""

Attributes = Mapping[str, str | int | float | bool]


class Span(Protocol):
    """A step that has begun. ``carrier`` is what its children and the next hop get."""

    @property
    def carrier(self) -> dict[str, str]: ...
    def set(self, **attributes: str | int | float | bool) -> None:
        """Attribute names with ``__`` for the dot."""

    def fail(self, error_type: str, message: str = "") -> None: ...
    def end(self) -> None:
        """Idempotent."""


class Tracing(Protocol):
    """Makes spans. ``parent`` and ``links`` are carriers; an empty parent starts a new trace."""

    def accept(self, name: str, parent: Mapping[str, str], *, server: bool, attributes: Attributes) -> Span: ...
    def publish(self, destination: str, parent: Mapping[str, str], *, message_id: str, routing_key: str) -> Span: ...
    def process(
        self, queue: str, parent: Mapping[str, str], *, message_id: str, attempt: int, links: Sequence[str]
    ) -> Span: ...
    def function(self, name: str, parent: Mapping[str, str], *, attributes: Attributes) -> Span: ...
    def redrive(self, function: str, parent: Mapping[str, str], *, message_id: str, links: Sequence[str]) -> Span: ...
    def batch(self, source: str, *, size: int, links: Sequence[str]) -> Span:
        """A poller has one batch run: a trace of its own, linked to the trace of each record that has one."""

    def close(self) -> None: ...


class _PassedOn:
    """A span that is not recorded: the context goes on as it came."""

    __slots__ = ("carrier",)

    def __init__(self, carrier: dict[str, str]) -> None:
        self.carrier = carrier

    def set(self, **attributes: str | int | float | bool) -> None:
        pass

    def fail(self, error_type: str, message: str = "") -> None:
        pass

    def end(self) -> None:
        pass


class Untraced:
    """Records nothing; gives events their trace ids."""

    def _pass_on(self, parent: Mapping[str, str]) -> Span:
        return _PassedOn(dict(parent) if parent.get("traceparent") else trace_context.carrier(trace_context.new()))

    def accept(self, name: str, parent: Mapping[str, str], *, server: bool, attributes: Attributes) -> Span:
        # a stranger's header is taken only when it is well-formed; inside, it is our own
        known = trace_context.from_traceparent(parent.get("traceparent", ""))
        if known is None:
            return self._pass_on({})
        return self._pass_on(trace_context.carrier(known, parent.get("tracestate", "")[:MAX_STATE_CHARS]))

    def publish(self, destination: str, parent: Mapping[str, str], *, message_id: str, routing_key: str) -> Span:
        return self._pass_on(parent)

    def process(
        self, queue: str, parent: Mapping[str, str], *, message_id: str, attempt: int, links: Sequence[str]
    ) -> Span:
        return self._pass_on(parent)

    def function(self, name: str, parent: Mapping[str, str], *, attributes: Attributes) -> Span:
        return self._pass_on(parent)

    def redrive(self, function: str, parent: Mapping[str, str], *, message_id: str, links: Sequence[str]) -> Span:
        return self._pass_on(parent)

    def batch(self, source: str, *, size: int, links: Sequence[str]) -> Span:
        # one trace cannot be many records' own; the first one's goes on, as far as there is one
        return self._pass_on({"traceparent": links[0]} if links else {})

    def close(self) -> None:
        pass


class _Recorded:
    __slots__ = ("_span", "carrier")

    def __init__(self, span: object) -> None:
        from opentelemetry import trace

        assert isinstance(span, trace.Span)
        self._span = span
        c = span.get_span_context()
        self.carrier = trace_context.carrier(
            trace_context.TraceContext(f"{c.trace_id:032x}", f"{c.span_id:016x}", bool(c.trace_flags & 1)),
            c.trace_state.to_header() if c.trace_state else "",
        )

    def set(self, **attributes: str | int | float | bool) -> None:
        for name, value in attributes.items():
            self._span.set_attribute(name.replace("__", "."), value)

    def fail(self, error_type: str, message: str = "") -> None:
        from opentelemetry.trace import Status, StatusCode

        self._span.set_attribute("error.type", error_type)
        self._span.set_status(Status(StatusCode.ERROR, message[:1024] or error_type))

    def end(self) -> None:
        if self._span.is_recording():
            self._span.end()


class OpenTelemetryTracing:
    """Spans by the OpenTelemetry SDK; sampling as ``OTEL_TRACES_SAMPLER`` says."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer: Tracer = provider.get_tracer("fnrunner")

    def _start(
        self, name: str, kind: str, parent: Mapping[str, str], attributes: Attributes, links: Sequence[str] = ()
    ) -> Span:
        from opentelemetry import trace

        found = (trace_context.from_traceparent(text) for text in links)
        return _Recorded(
            self._tracer.start_span(
                name,
                context=self._context(parent),
                kind=trace.SpanKind[kind],
                attributes=dict(attributes),
                links=[trace.Link(self._span_context(c)) for c in found if c],
            )
        )

    def _context(self, parent: Mapping[str, str]):  # type: ignore[no-untyped-def]  # OpenTelemetry's Context
        from opentelemetry import trace
        from opentelemetry.context import Context

        if not (found := trace_context.from_traceparent(parent.get("traceparent", ""))):
            return Context()
        state = trace.TraceState.from_header([parent["tracestate"]]) if parent.get("tracestate") else None
        return trace.set_span_in_context(trace.NonRecordingSpan(self._span_context(found, state)), Context())

    @staticmethod
    def _span_context(c: trace_context.TraceContext, state: object = None):  # type: ignore[no-untyped-def]
        from opentelemetry import trace

        flags = trace.TraceFlags(trace.TraceFlags.SAMPLED if c.sampled else 0)
        kept = state if isinstance(state, trace.TraceState) else None
        return trace.SpanContext(int(c.trace_id, 16), int(c.span_id, 16), True, flags, kept)

    def accept(self, name: str, parent: Mapping[str, str], *, server: bool, attributes: Attributes) -> Span:
        return self._start(name, "SERVER" if server else "INTERNAL", parent, attributes)

    def publish(self, destination: str, parent: Mapping[str, str], *, message_id: str, routing_key: str) -> Span:
        attributes = {**_messaging(destination, message_id, "publish", "send"), _ROUTING_KEY: routing_key}
        return self._start(f"publish {destination}", "PRODUCER", parent, attributes)

    def process(
        self, queue: str, parent: Mapping[str, str], *, message_id: str, attempt: int, links: Sequence[str]
    ) -> Span:
        attributes = {**_messaging(queue, message_id, "process", "process"), "fnrunner.attempt": attempt}
        return self._start(f"process {queue}", "CONSUMER", parent, attributes, links)

    def function(self, name: str, parent: Mapping[str, str], *, attributes: Attributes) -> Span:
        return self._start(name, "SERVER", parent, attributes)

    def redrive(self, function: str, parent: Mapping[str, str], *, message_id: str, links: Sequence[str]) -> Span:
        return self._start(f"redrive {function}", "INTERNAL", parent, {"messaging.message.id": message_id}, links)

    def batch(self, source: str, *, size: int, links: Sequence[str]) -> Span:
        attributes: Attributes = {
            "messaging.system": "rabbitmq",
            "messaging.destination.name": source,
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.batch.message_count": size,
        }
        return self._start(f"process {source}", "CONSUMER", {}, attributes, links)

    def close(self) -> None:
        """Give the exporter a short time to send what it has."""
        self._provider.shutdown()


_ROUTING_KEY = "messaging.rabbitmq.destination.routing_key"


def _messaging(destination: str, message_id: str, operation: str, kind: str) -> dict[str, str | int | float | bool]:
    return {
        "messaging.system": "rabbitmq",
        "messaging.destination.name": destination,
        "messaging.operation.name": operation,
        "messaging.operation.type": kind,
        "messaging.message.id": message_id,
    }


def start(service: str, endpoint: str, *, instance: str) -> Tracing:
    """Tracing to the OTLP/HTTP ``endpoint``, or none when it is empty. ``service`` is ``service.name``."""
    if not endpoint:
        return Untraced()
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create({"service.name": service, "service.instance.id": instance})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return OpenTelemetryTracing(provider)
