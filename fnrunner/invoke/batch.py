"""The pollers' door to functions: one synchronous invocation a batch, and what came of it as a closed set of results.

What is nobody's fault is :class:`~sources.invocation.Deferred`: the poller waits and asks again, and no record is charged.
"""

from __future__ import annotations

import json
import logging

from fnrunner.invoke import errors
from fnrunner.invoke.front import CallResult, Front
from fnrunner.model.arn import FunctionRef
from fnrunner.model.invocation import ThrottleReason
from fnrunner.telemetry.tracing import Span, Tracing
from sources.invocation import Answered, BatchCall, Crashed, Deferred, Failed, Result, TooLarge

log = logging.getLogger(__name__)


class BatchInvoker:
    """See :class:`sources.invocation.Invoker`."""

    def __init__(self, front: Front, tracing: Tracing) -> None:
        self._front = front
        self._tracing = tracing

    async def invoke(self, call: BatchCall) -> Result:
        """Have it run and wait."""
        span = self._tracing.batch(call.mapping.label, size=call.size, links=call.links)
        try:
            result = await self._ask(call, span)
            if isinstance(result, Failed):
                span.fail(result.error_type, result.message)
            elif not isinstance(result, Answered):
                span.fail(type(result).__name__, str(getattr(result, "reason", "")))
            return result
        finally:
            span.end()

    async def _ask(self, call: BatchCall, span: Span) -> Result:
        mapping = call.mapping
        try:
            result = await self._front.call(
                FunctionRef(mapping.function, mapping.qualifier),
                call.payload,
                source=mapping.label,
                trigger=mapping.trigger,
                trace=span.carrier,
            )
        except errors.InvokeError as error:
            return _refused(error, call)
        except Exception as error:  # a bug of ours must not be charged to the records, nor end the poller
            log.exception("a batch for %s could not be invoked", mapping.function)
            return Deferred(f"{type(error).__name__}: {error}")
        return _answered(result)


def _refused(error: errors.InvokeError, call: BatchCall) -> Result:
    match error:
        case errors.Throttled():
            capped = error.reason == ThrottleReason.RESERVED.value
            return Deferred("its reserved concurrency is used up" if capped else "no capacity is free", throttled=True)
        case errors.PayloadTooLarge():
            return TooLarge(len(call.payload))
        case errors.WorkerLost():
            return Crashed(str(error))
        case _:
            return Deferred(str(error))


def _answered(result: CallResult) -> Result:
    if not result.function_error:
        return Answered(result.payload, result.request_id, result.executed_version)
    try:
        document = json.loads(result.payload)
    except ValueError:
        document = {}
    said = document if isinstance(document, dict) else {}
    return Failed(
        str(said.get("errorType") or "Unhandled"),
        str(said.get("errorMessage") or ""),
        result.payload,
        result.request_id,
        result.executed_version,
    )
