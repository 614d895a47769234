"""Response streaming for Python functions: ``import awslambda`` works inside every execution environment.

A handler streams its response in one of two ways. It yields it, as bytes or str (sent as UTF-8)::

    def handler(event, context):
        yield "first"
        yield b"second"

An ``async def`` handler that yields works the same, and so does returning any iterator of bytes or str, such as an open
file. Or the handler writes it, as in Node.js::

    @awslambda.streamify_response
    def handler(event, response_stream, context):
        response_stream.set_content_type("text/plain")
        response_stream.write("first")
        response_stream.end()

The handler may be ``async def``; ``write`` itself never awaits. What it returns is ignored. The response is complete when
the handler returns, whether or not it called ``end``; after ``end`` a write raises ValueError.

Behind a function URL a response can say its status, headers and cookies before its body::

    yield awslambda.http_prelude({"statusCode": 201, "headers": {"content-type": "text/html"}, "cookies": ["a=b"]})
    response_stream = awslambda.HttpResponseStream.from_(response_stream, {"statusCode": 201})

Each piece leaves at once. A client that reads slowly holds the handler back, in ``yield`` or ``write``, while its timeout
runs. When the client goes away a generator gets GeneratorExit at its next ``yield`` and a writer gets BrokenPipeError; a
handler that has not ended two seconds later is killed. There is no limit on a response's size and none on its speed.
Invoked without streaming, such a handler is answered whole, within the usual 6 MB.

Lambda itself streams from Node.js and from custom runtimes only, so this is fnrunner's own; the bytes on the wire are
Lambda's.
"""

from __future__ import annotations

import functools
import json

TYPE_CHECKING = False  # what type checkers take for True; importing typing would cost a cold start
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

HTTP_INTEGRATION = "application/vnd.awslambda.http-integration-response"
END_OF_PRELUDE = bytes(8)


class Prelude(bytes):
    """The bytes of an HTTP prelude: JSON and eight NULs. To be yielded before everything else."""

    content_type = HTTP_INTEGRATION


def http_prelude(metadata: Mapping[str, Any]) -> Prelude:
    """Status, headers and cookies, to be yielded first: ``{"statusCode": 200, "headers": {…}, "cookies": ["a=b"]}``.

    Raises TypeError for what is no mapping, or holds what JSON has not.
    """
    if not hasattr(metadata, "keys"):
        raise TypeError(f"the metadata of an HTTP response is a mapping, not {type(metadata).__name__}")
    return Prelude(json.dumps(dict(metadata)).encode() + END_OF_PRELUDE)


class HttpResponseStream:
    """Named as in Node.js."""

    @staticmethod
    def from_(response_stream: Any, metadata: Mapping[str, Any]) -> Any:
        """The same stream; ``metadata``, as in :func:`http_prelude`, is sent before its first write.

        Raises ValueError when something was written already, and TypeError as ``http_prelude``.
        """
        response_stream.set_prelude(HTTP_INTEGRATION, bytes(http_prelude(metadata)))
        return response_stream


def streamify_response(handler: Callable[..., Any]) -> Callable[..., Any]:
    """The handler, to be called with ``(event, response_stream, context)`` from now on."""

    @functools.wraps(handler)
    def streamed(*arguments: Any) -> Any:
        return handler(*arguments)

    streamed.streams_response = True  # type: ignore[attr-defined]
    return streamed
