"""One request at the door: what came, and the ways to answer it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from starlette.types import Receive, Scope, Send

from fnrunner.api.http_answer import Dialect, TooLarge, read_body, send_and_linger, send_response
from fnrunner.api.http_stream import Finish
from fnrunner.api.lambda_api import path_of
from sources.http.request import Request, in_ascii, readable_headers
from sources.http.response import Response


@dataclass(frozen=True, slots=True)
class Visit:
    """``request`` has the path and query as they were sent, and no body until :meth:`with_body`.

    ``finish`` is done to every head that goes out; ``request_id`` is what the client is told when no function runs.
    """

    scope: Scope
    receive: Receive
    send: Send
    request: Request
    request_id: str
    finish: Finish

    async def answer(self, response: Response) -> None:
        await send_response(self.send, self.finish(response), self.request.method, self.request_id)

    async def with_body(self, dialect: Dialect) -> Visit | None:
        """The visit with the request's body; None when that was too large, which the client has been told then.

        Raises ClientGone.
        """
        try:
            body = await read_body(self.scope, self.receive)
        except TooLarge as error:
            refused = self.finish(dialect.failure(error))
            await send_and_linger(self.send, self.receive, refused, self.request.method, self.request_id)
            return None
        return replace(self, request=replace(self.request, body=body))


def request_of(scope: Scope) -> Request:
    """The request as it was sent, but for its body."""
    client, server = scope.get("client"), scope.get("server")
    return Request(
        method=scope["method"],
        raw_path=in_ascii(path_of(scope).encode("latin-1")),
        raw_query=in_ascii(scope["query_string"]),
        headers=readable_headers(scope["headers"]),
        protocol=f"HTTP/{scope['http_version']}",
        scheme=scope["scheme"],
        source_ip=client[0] if client else "",
        port=server[1] if server and server[1] else 0,
    )
