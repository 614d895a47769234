"""The record that a destination gets, byte for byte as Lambda writes it, with the payloads quoted as they are.

Source: Lambda, configuring destinations; recorded responses of AWS.

>>> event = Envelope(id="1", function="f", payload=b'{"a":1.0}', accepted_at_ms=0)
>>> record(event, Completion("ZeroReservedConcurrency", 0), function_arn="arn:f:$LATEST", now_ms=0).decode()
'{"version":"1.0","timestamp":"1970-01-01T00:00:00.000Z","requestContext":{"requestId":"1",\
"functionArn":"arn:f:$LATEST","condition":"ZeroReservedConcurrency","approximateInvokeCount":0},\
"requestPayload":{"a":1.0}}'
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime

from broker.envelope import Envelope
from fnrunner.delivery.text import is_json
from fnrunner.model import limits


@dataclass(frozen=True, slots=True)
class Completion:
    """How an event ended. ``condition``: ``Success`` or a Reason's value. ``function_error``: ``Unhandled`` or empty.

    ``payload`` None: there was no answer, and the record has no response. ``invoke_count``: attempts that were made.
    """

    condition: str
    invoke_count: int
    version: str = limits.LATEST
    status_code: int = 200
    function_error: str = ""
    payload: bytes | None = None


def record(envelope: Envelope, completion: Completion, *, function_arn: str, now_ms: int) -> bytes:
    """The record as JSON in UTF-8. ``function_arn`` is qualified. Payloads are not parsed and written again, so that
    numbers and spacing stay as the client sent them; bytes that are no JSON are quoted as a string.
    """
    request = _json(
        {
            "requestId": envelope.id,
            "functionArn": function_arn,
            "condition": completion.condition,
            "approximateInvokeCount": completion.invoke_count,
        }
    )
    parts = [
        b'{"version":"1.0","timestamp":"',
        timestamp(now_ms).encode(),
        b'","requestContext":',
        request,
        b',"requestPayload":',
        _quoted(envelope.payload or b"{}"),
    ]
    if completion.payload is not None:
        response: dict[str, object] = {
            "statusCode": completion.status_code,
            "executedVersion": completion.version,
        }
        if completion.function_error:
            response["functionError"] = completion.function_error
        parts += [
            b',"responseContext":',
            _json(response),
            b',"responsePayload":',
            _quoted(completion.payload or b"null"),
        ]
    return b"".join([*parts, b"}"])


def timestamp(epoch_ms: int) -> str:
    """ISO 8601 in UTC with milliseconds.

    >>> timestamp(1_764_109_105_123)
    '2025-11-25T22:18:25.123Z'
    """
    moment = datetime.fromtimestamp(epoch_ms // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{epoch_ms % 1000:03d}Z"


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _quoted(payload: bytes) -> bytes:
    return payload if is_json(payload) else _json(payload.decode("utf-8", "replace"))
