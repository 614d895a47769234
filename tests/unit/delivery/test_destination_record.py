"""The destination record is Lambda's, byte for byte."""

from __future__ import annotations

import json

import pytest

from broker.envelope import Envelope
from fnrunner.delivery.destination_record import Completion, record

ARN = "arn:aws:lambda:us-east-1:111111111111:function:f:$LATEST"
AT_MS = 1_764_109_105_123
EVENT = Envelope(id="r-1", function="f", payload=b'{"message":"x"}', accepted_at_ms=0)


def test_a_failure_record_is_what_aws_was_seen_to_write() -> None:
    error = b'{"errorMessage":"intentional failure","errorType":"Exception","requestId":"r-1","stackTrace":["..."]}'
    done = Completion("RetriesExhausted", 3, "$LATEST", 200, "Unhandled", error)
    assert record(EVENT, done, function_arn=ARN, now_ms=AT_MS) == (
        b'{"version":"1.0","timestamp":"2025-11-25T22:18:25.123Z",'
        b'"requestContext":{"requestId":"r-1","functionArn":"' + ARN.encode() + b'","condition":"RetriesExhausted",'
        b'"approximateInvokeCount":3},'
        b'"requestPayload":{"message":"x"},'
        b'"responseContext":{"statusCode":200,"executedVersion":"$LATEST","functionError":"Unhandled"},'
        b'"responsePayload":' + error + b"}"
    )


def test_a_success_has_no_function_error() -> None:
    written = json.loads(record(EVENT, Completion("Success", 1, payload=b"null"), function_arn=ARN, now_ms=0))
    assert written["responseContext"] == {"statusCode": 200, "executedVersion": "$LATEST"}
    assert written["responsePayload"] is None


def test_an_event_that_never_ran_has_no_response() -> None:
    written = json.loads(record(EVENT, Completion("ZeroReservedConcurrency", 0), function_arn=ARN, now_ms=0))
    assert list(written) == ["version", "timestamp", "requestContext", "requestPayload"]


@pytest.mark.parametrize("payload", [b'{"n": 1.0, "n":2e5 }', b'"\\u00e9 \xc3\xa9"', b"  [1]\n"])
def test_payloads_are_quoted_without_being_written_again(payload: bytes) -> None:
    event = Envelope(id="1", function="f", payload=payload, accepted_at_ms=0)
    assert b'"requestPayload":' + payload + b"}" in record(event, Completion("x", 0), function_arn=ARN, now_ms=0)


@pytest.mark.parametrize(
    ("payload", "shown"),
    [(b"plain text", "plain text"), (b"\xff", "\ufffd"), (b"NaN", "NaN"), (b"[" * 100_000, "[" * 100_000)],
)
def test_bytes_that_are_no_json_become_a_string(payload: bytes, shown: str) -> None:
    done = Completion("Success", 1, payload=payload)
    assert json.loads(record(EVENT, done, function_arn=ARN, now_ms=0))["responsePayload"] == shown


def test_an_empty_payload_is_the_empty_event() -> None:
    event = Envelope(id="1", function="f", payload=b"", accepted_at_ms=0)
    assert json.loads(record(event, Completion("x", 0), function_arn=ARN, now_ms=0))["requestPayload"] == {}
