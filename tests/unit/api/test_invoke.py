"""Invoke, without a server: what the front is asked, and the answer header for header."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fnrunner.api import shape
from fnrunner.api.asked import decode_client_context
from fnrunner.api.invoke import Invoke
from fnrunner.api.services import Services
from fnrunner.invoke import errors
from fnrunner.model import limits
from fnrunner.model.arn import FunctionRef, Home
from fnrunner.model.invocation import ThrottleReason
from tests.unit.api.asgi import Answer, ask

OPERATION = next(operation for operation in shape.load() if operation.name == "Invoke")
PATH = "/2015-03-31/functions/{}/invocations"
CONTEXT = base64.b64encode(b'{"custom":{"a":"b"}}').decode()


@dataclass
class Front:
    error: Exception | None = None
    function_error: str = ""
    answer: bytes = b'{"b": 1.0}'
    asked: list[tuple[Any, ...]] = field(default_factory=list)

    async def call(self, ref: FunctionRef, payload: bytes, **more: Any) -> Any:
        self._note("call", ref, payload, more)
        return SimpleNamespace(
            request_id="run-1", payload=self.answer, function_error=self.function_error, executed_version="$LATEST",
            log_tail=b"START\n" if more["log_tail"] else b"", xray="Root=1-0-0;Sampled=0",
        )  # fmt: skip

    async def accept(self, ref: FunctionRef, payload: bytes, **more: Any) -> str:
        self._note("accept", ref, payload, more)
        return "event-1"

    async def check(self, ref: FunctionRef) -> None:
        self._note("check", ref, b"", {})

    def _note(self, *asked: Any) -> None:
        self.asked.append(asked)
        if self.error is not None:
            raise self.error


async def invoke(
    front: Front, name: str = "f", *, query: str = "", chunks: Iterable[bytes] = (b'{"a":1}',), **headers: str
) -> Answer:
    services = cast("Services", SimpleNamespace(front=front, home=Home(), version="9.9"))
    door = Invoke(services, OPERATION)
    path = PATH.format(name)
    segment = door.function_of("POST", path)
    assert segment is not None

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await door(scope, receive, send, segment)

    given = {key.replace("_", "-"): value for key, value in headers.items()}
    return await ask(app, "POST", path, query=query, headers=given, chunks=chunks)


async def test_a_call_is_answered_with_the_functions_bytes_and_lambdas_headers() -> None:
    front = Front()
    answer = await invoke(front)
    assert (answer.status, answer.body) == (200, b'{"b": 1.0}')
    assert answer.headers == {
        "content-type": "application/json",
        "content-length": "10",
        "x-amzn-requestid": "run-1",
        "x-amz-executed-version": "$LATEST",
        "x-amzn-remapped-content-length": "0",
        "x-amzn-trace-id": "Root=1-0-0;Sampled=0",
    }
    kind, ref, payload, more = front.asked[0]
    assert (kind, ref, payload) == ("call", FunctionRef("f"), b'{"a":1}')
    assert more == {"client_context": "", "log_tail": False, "xray": "", "trace": {}}


async def test_a_function_error_is_200_with_a_header() -> None:
    answer = await invoke(Front(function_error="Unhandled"))
    assert (answer.status, answer.headers["x-amz-function-error"]) == (200, "Unhandled")


async def test_the_log_tail_and_the_contexts_go_through() -> None:
    front = Front()
    answer = await invoke(
        front, X_Amz_Log_Type="Tail", X_Amz_Client_Context=CONTEXT, X_Amzn_Trace_Id="Root=1-2-3",
        traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01", tracestate="k=v",
    )  # fmt: skip
    assert base64.b64decode(answer.headers["x-amz-log-result"]) == b"START\n"
    assert front.asked[0][3] == {
        "client_context": '{"custom":{"a":"b"}}',
        "log_tail": True,
        "xray": "Root=1-2-3",
        "trace": {"traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01", "tracestate": "k=v"},
    }


async def test_an_event_is_answered_202_with_an_empty_body() -> None:
    front = Front()
    answer = await invoke(front, X_Amz_Invocation_Type="Event", X_Amzn_Trace_Id="Root=1-2-3")
    assert (answer.status, answer.body, answer.headers["x-amzn-requestid"]) == (202, b"", "event-1")
    assert "x-amz-executed-version" not in answer.headers
    assert front.asked[0][3] == {"trigger": "http", "xray": "Root=1-2-3", "trace": {}}


async def test_an_event_that_was_not_taken_is_not_202() -> None:
    answer = await invoke(Front(errors.ServiceUnavailable("down")), X_Amz_Invocation_Type="Event")
    assert (answer.status, answer.headers["x-amzn-errortype"]) == (503, "ServiceException")


async def test_a_dry_run_is_204_and_runs_nothing() -> None:
    front = Front()
    answer = await invoke(front, X_Amz_Invocation_Type="DryRun")
    assert (answer.status, answer.body, [asked[0] for asked in front.asked]) == (204, b"", ["check"])
    assert "content-length" not in answer.headers


@pytest.mark.parametrize(
    ("name", "query", "qualifier"),
    [
        ("f%3Aprod", "", "prod"),
        ("f", "Qualifier=7", "7"),
        ("f%3A7", "Qualifier=7", "7"),
        ("arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Afunction%3Af%3A%24LATEST", "", "$LATEST"),
        ("arn:aws:lambda:us-east-1:000000000000:function:f", "Qualifier=%24LATEST", "$LATEST"),
    ],
)
async def test_a_function_may_be_named_in_every_way(name: str, query: str, qualifier: str) -> None:
    front = Front()
    for _ in range(2):  # the second time the name is remembered
        assert (await invoke(front, name, query=query)).status == 200
    assert {(asked[1].name, asked[1].qualifier) for asked in front.asked} == {("f", qualifier)}


@pytest.mark.parametrize(
    ("headers", "code", "text"),
    [
        (
            {"X_Amz_Invocation_Type": "Async"},
            "ValidationException",
            "1 validation error detected: Value 'Async' at 'invocationType' failed to satisfy constraint: "
            "Member must satisfy enum value set: [Event, RequestResponse, DryRun]",
        ),
        (
            {"X_Amz_Log_Type": "All"},
            "ValidationException",
            "1 validation error detected: Value 'All' at 'logType' failed to satisfy constraint: "
            "Member must satisfy enum value set: [None, Tail]",
        ),
        (
            {"X_Amz_Tenant_Id": "t"},
            "InvalidParameterValueException",
            "fnrunner 9.9 does not support the parameter TenantId of Invoke yet.",
        ),
        (
            {"X_Amz_Durable_Execution_Name": "d"},
            "InvalidParameterValueException",
            "fnrunner 9.9 does not support the parameter DurableExecutionName of Invoke yet.",
        ),
        (
            {"X_Amz_Client_Context": "?"},
            "InvalidRequestContentException",
            "Client context must be a valid Base64-encoded JSON object.",
        ),
        (
            {"X_Amz_Client_Context": "a" * 3584},
            "InvalidRequestContentException",
            "Client context must be no more than 3583 bytes when base64-encoded.",
        ),
    ],
)
async def test_an_unusual_header_is_refused_in_lambdas_words(headers: dict[str, str], code: str, text: str) -> None:
    front = Front()
    answer = await invoke(front, **headers)
    assert (answer.status, answer.headers["x-amzn-errortype"], answer.json()["message"]) == (400, code, text)
    assert front.asked == []


async def test_a_remembered_name_does_not_let_an_unusual_header_pass() -> None:
    services = cast("Services", SimpleNamespace(front=Front(), home=Home(), version="9.9"))
    door = Invoke(services, OPERATION)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await door(scope, receive, send, "f")

    assert (await ask(app, "POST", PATH.format("f"))).status == 200
    assert (await ask(app, "POST", PATH.format("f"), headers={"X-Amz-Tenant-Id": "t"})).status == 400


async def test_a_payload_may_have_6_mib_and_one_byte_more_is_too_large() -> None:
    most = b"1" * limits.SYNC_PAYLOAD_BYTES
    assert (await invoke(Front(), chunks=[most[:1000], most[1000:]])).status == 200
    answer = await invoke(Front(), chunks=[most, b"1"])
    assert (answer.status, answer.headers["x-amzn-errortype"]) == (413, "RequestEntityTooLargeException")
    assert answer.json()["message"] == "Request must be smaller than 6291456 bytes for the InvokeFunction operation"


async def test_an_event_of_more_than_the_larger_limit_says_its_own_size_and_limit() -> None:
    answer = await invoke(Front(), chunks=[b"1" * (limits.SYNC_PAYLOAD_BYTES + 1)], X_Amz_Invocation_Type="Event")
    text = "6291457 byte payload is too large for the Event invocation type (limit 1048576 bytes)"
    assert (answer.status, answer.json()["message"]) == (413, text)


async def test_a_throttle_has_its_reason_and_retry_after() -> None:
    answer = await invoke(Front(errors.Throttled(ThrottleReason.RESERVED)))
    assert (answer.status, answer.headers["retry-after"]) == (429, "1")
    assert json.loads(answer.body) == {
        "Reason": "ReservedFunctionConcurrentInvocationLimitExceeded", "Type": "User", "message": "Rate Exceeded."
    }  # fmt: skip


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/2015-03-31/functions/f/invocations"),
        ("POST", "/2015-03-31/functions/a/b/invocations"),
        ("POST", "/2021-11-15/functions/f/invocations"),
        ("POST", "/2015-03-31/functions/invocations"),
    ],
)
def test_other_paths_are_not_taken_for_invoke(method: str, path: str) -> None:
    assert Invoke.function_of(method, path) is None


@pytest.mark.parametrize(("path", "segment"), [("f/invocations", "f"), ("f/invocations/", "f"), ("/invocations", "")])
def test_a_trailing_slash_and_an_empty_name_are_invoke_s_to_judge(path: str, segment: str) -> None:
    assert Invoke.function_of("POST", f"/2015-03-31/functions/{path}") == segment


@pytest.mark.parametrize("text", ["null", "[]", "1", "NaN", '"a"'])
def test_a_client_context_is_an_object(text: str) -> None:
    with pytest.raises(Exception, match="valid Base64-encoded JSON object"):
        decode_client_context(base64.b64encode(text.encode()).decode())
