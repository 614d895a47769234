"""Calls an ASGI application without a server: one request in, one response out."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp, Message


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


async def ask(
    app: ASGIApp,
    method: str,
    path: str,
    *,
    query: str = "",
    headers: dict[str, str] | None = None,
    chunks: Iterable[bytes] = (b"",),
) -> Answer:
    """``path`` is sent as it is, percent-encoded or not; each of ``chunks`` is a message of the body."""
    from urllib.parse import unquote

    parts = list(chunks)
    sent = iter(
        {"type": "http.request", "body": part, "more_body": index < len(parts) - 1} for index, part in enumerate(parts)
    )
    got: list[Message] = []

    async def receive() -> Message:
        return next(sent, {"type": "http.disconnect"})

    async def send(message: Message) -> None:
        got.append(message)

    given = {"host": "127.0.0.1:9000", **(headers or {})}
    await app(
        {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(name.lower().encode(), value.encode()) for name, value in given.items()],
            "server": ("127.0.0.1", 9000),
            "client": ("127.0.0.1", 1),
            "root_path": "",
        },
        receive,
        send,
    )
    assert [message["type"] for message in got] == ["http.response.start", "http.response.body"], got
    names = [name.decode() for name, _ in got[0]["headers"]]
    assert len(set(names)) == len(names), f"a header is there twice: {names}"
    pairs = {name.decode(): value.decode("latin-1") for name, value in got[0]["headers"]}
    return Answer(got[0]["status"], pairs, got[1]["body"])
