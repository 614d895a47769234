"""`fnrunner invoke --stream`: the answer on standard output while the function makes it."""

from __future__ import annotations

import base64
import codecs
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from fnrunner.cli.client import STREAMED_FUNCTIONS, Client, segment
from fnrunner.cli.error import FAILED, ServerUnreachable
from fnrunner.cli.output import Output, clean


@dataclass(frozen=True, slots=True)
class Ending:
    """How a streamed answer ended; ``error_code`` is empty when all went well. ``log`` is empty unless asked for."""

    error_code: str = ""
    error_details: str = ""
    log: str = ""


def invoke_stream(
    client: Client,
    name: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    qualifier: str,
    timeout: timedelta,
    output: Output,
) -> int:
    """Print every piece as it comes; the exit status. With JSON a line a piece, ``{"chunk": …}``, and one for the end.

    Raises ServerUnreachable when the answer stops before its end.
    """
    path = f"{STREAMED_FUNCTIONS}/{segment(name)}/response-streaming-invocations"
    with client.stream(path, query={"Qualifier": qualifier or None}, body=body, headers=headers, timeout=timeout) as (
        reply,
        pieces,
    ):
        text = codecs.getincrementaldecoder("utf-8")("replace")
        for event in events(pieces):
            if isinstance(event, Ending):
                _print_end(output, event, reply.headers, text.decode(b"", final=True))
                return FAILED if event.error_code else 0
            if not output.as_json:
                output.raw(event)
            elif chunk := text.decode(event):
                output.json({"chunk": chunk})
    raise ServerUnreachable(
        "The answer stopped before its end", "The server may have stopped; `fnrunner doctor` looks."
    )


def events(pieces: Iterator[bytes]) -> Iterator[bytes | Ending]:
    """The chunks of an event stream, and its ending. Raises ServerUnreachable for what is no event stream."""
    # botocore takes longer to import than everything else here
    from botocore.eventstream import EventStreamBuffer, ParserError

    buffer = EventStreamBuffer()
    for piece in pieces:
        buffer.add_data(piece)
        try:
            for message in buffer:
                if message.headers.get(":event-type") == "PayloadChunk":
                    yield message.payload
                else:
                    yield _ending(json.loads(message.payload))
        except (ParserError, ValueError) as error:
            raise ServerUnreachable(
                f"The answer is not an event stream: {error}", "Is this a fnrunner endpoint? Check --endpoint-url."
            ) from error


def _ending(told: Mapping[str, Any]) -> Ending:
    return Ending(
        told.get("ErrorCode") or "",
        told.get("ErrorDetails") or "",
        base64.b64decode(told.get("LogResult") or "").decode(errors="replace"),
    )


def _print_end(output: Output, ending: Ending, headers: Mapping[str, str], rest: str) -> None:
    request_id = headers.get("x-amzn-requestid", "")
    if output.as_json:
        if rest:
            output.json({"chunk": rest})
        output.json(
            {
                "request_id": request_id,
                "executed_version": headers.get("x-amz-executed-version", ""),
                "error_code": ending.error_code or None,
                "error_details": ending.error_details or None,
                "log": ending.log or None,
            }
        )
        return
    if ending.log:
        output.note(clean(ending.log).rstrip("\n"))
    if ending.error_code:
        output.note(f"{ending.error_code}: {clean(ending.error_details)}")
        output.note(f"The function failed. `fnrunner why {request_id}` shows its log.")
