"""Requests as raw HTTP: nothing looks at a parameter before the server does."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import quote

import httpx

from tests.conformance.api import model


def send(client: httpx.Client, name: str, params: dict[str, Any], **headers: str) -> httpx.Response:
    """As an SDK sends it, whatever the parameters are. A value of bytes is base64 in a document, and raw elsewhere."""
    operation, members = model.operation(name), model.members(name)
    path, _, fixed = operation.http["requestUri"].partition("?")
    query = [tuple(pair.split("=", 1)) for pair in fixed.split("&")] if fixed else []
    document: dict[str, Any] = {}
    sent: dict[str, bytes] = {key: value.encode() for key, value in headers.items()}
    content = b""
    for key, value in params.items():
        place = model.location(name, key) if key in members else "body"
        wire = model.wire_name(members[key], key) if key in members else key
        if place == "uri":
            path = path.replace(f"{{{wire}}}", _label(_text(value)))
        elif place == "querystring":
            query += [(wire, _text(item)) for item in (value if isinstance(value, list) else [value])]
        elif place == "header":
            sent[wire] = _text(value).encode()
        elif place == "payload":
            content = value if isinstance(value, bytes) else str(value).encode()
        else:
            document[key] = value
    if model.has_body(name):
        content = json.dumps(document, default=_base64).encode()
    return client.request(operation.http["method"], path, params=query, headers=sent, content=content)


def _label(text: str) -> str:
    """Dots too, where clients and proxies would take them for steps in the path."""
    return quote(text, safe="").replace(".", "%2E") if set(text) == {"."} else quote(text, safe="")


def _text(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _base64(value: Any) -> str:
    return base64.b64encode(value).decode()
