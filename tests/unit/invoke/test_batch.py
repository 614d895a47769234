"""A batch's invocation ends in one of a closed set of results; only the function's own failures are charged to records."""

from __future__ import annotations

from typing import Any, cast

import pytest

from fnrunner.invoke import errors
from fnrunner.invoke.batch import BatchInvoker
from fnrunner.invoke.front import CallResult, Front
from fnrunner.model.invocation import ThrottleReason
from fnrunner.telemetry.tracing import Untraced
from sources.invocation import Answered, BatchCall, Crashed, Deferred, Failed, TooLarge
from sources.mapping import EventSourceMapping

MAPPING = EventSourceMapping("u", "f", source_arn="arn:aws:sqs:us-east-1:000000000000:jobs")
CALL = BatchCall(MAPPING, b'{"Records":[]}', 1)


class FakeFront:
    """Gives ``answer``, or raises it."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked: dict[str, Any] = {}

    async def call(self, ref: Any, payload: bytes, **more: Any) -> CallResult:
        self.asked = {"ref": ref, "payload": payload, **more}
        if isinstance(self.answer, Exception):
            raise self.answer
        return cast(CallResult, self.answer)


def answer(payload: bytes, error: str = "") -> CallResult:
    return CallResult("r", payload, error, "$LATEST", b"", "")


async def invoke(said: Any) -> tuple[Any, FakeFront]:
    front = FakeFront(said)
    return await BatchInvoker(cast(Front, front), Untraced()).invoke(CALL), front


async def test_an_answer_is_passed_on_with_its_request() -> None:
    result, front = await invoke(answer(b'{"batchItemFailures":[]}'))
    assert result == Answered(b'{"batchItemFailures":[]}', "r", "$LATEST")
    assert (front.asked["source"], front.asked["trigger"]) == ("sqs:jobs", "pubsub")


async def test_a_function_error_tells_type_and_message() -> None:
    body = b'{"errorType":"ValueError","errorMessage":"no"}'
    assert (await invoke(answer(body, "Unhandled")))[0] == Failed("ValueError", "no", body, "r", "$LATEST")


@pytest.mark.parametrize("body", [b"no json", b"[]", b"{}"])
async def test_an_error_without_a_type_is_an_error_all_the_same(body: bytes) -> None:
    assert (await invoke(answer(body, "Unhandled")))[0] == Failed("Unhandled", "", body, "r", "$LATEST")


@pytest.mark.parametrize(
    ("error", "throttled"),
    [
        (errors.Throttled(ThrottleReason.RESERVED), True),
        (errors.Throttled(ThrottleReason.CAPACITY), True),
        (errors.NoWorker(), False),
        (errors.ServiceUnavailable("away"), False),
        (errors.FunctionNotFound("gone"), False),
        (errors.ServiceFault("no environment"), False),
        (RuntimeError("a bug"), False),
    ],
)
async def test_what_is_not_the_records_fault_is_deferred(error: Exception, throttled: bool) -> None:
    result, _ = await invoke(error)
    assert isinstance(result, Deferred)
    assert result.throttled is throttled
    assert result.reason


async def test_a_worker_that_died_may_have_died_of_the_batch() -> None:
    assert isinstance((await invoke(errors.WorkerLost()))[0], Crashed)


async def test_a_payload_over_the_limit_is_to_be_split() -> None:
    assert (await invoke(errors.PayloadTooLarge()))[0] == TooLarge(len(CALL.payload))
