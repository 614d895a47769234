"""What went wrong, in the words of the Runtime API: error documents and their types."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .server import Exchange

LARGEST_RESPONSE = 6 * 1024 * 1024 + 100
LARGEST_ERROR = 6 * 1024 * 1024 + 100
LARGEST_REQUEST = 1024 * 1024
"""Of what is neither a response nor an error: registrations and subscriptions."""


def document(error_type: str, message: str) -> bytes:
    """
    >>> document("Runtime.ExitError", "RequestId: 1")
    b'{"errorType":"Runtime.ExitError","errorMessage":"RequestId: 1"}'
    """
    import json

    return json.dumps({"errorType": error_type, "errorMessage": message}, separators=(",", ":")).encode()


def refuse(exchange: Exchange, status: int, error_type: str, message: str) -> None:
    """Answer a request with an error. Source: Runtime API, ErrorResponse."""
    import json

    body = {"errorMessage": message, "errorType": error_type}
    exchange.answer(status, json.dumps(body, separators=(",", ":")).encode())


def known_type(text: str, kind: str, *more: str) -> str:
    """The type that a header names, or that it is unknown.

    >>> known_type("Function.Unhandled", "Function", "Runtime"), known_type("Unhandled", "Function", "Runtime")
    ('Function.Unhandled', 'Function.Unknown')
    """
    category, dot, reason = text.partition(".")
    if dot and category in (kind, *more) and reason.isascii() and reason.isalpha() and reason[0].isupper():
        return text
    return f"{kind}.Unknown"


def exit_reason(status: int) -> str:
    """How a process of an extension ended.

    >>> exit_reason(0), exit_reason(3), exit_reason(-9)
    ('exit code 0', 'exit status 3', 'signal: killed')
    """
    if status == 0:
        return "exit code 0"
    if status > 0:
        return f"exit status {status}"
    from signal import strsignal

    return f"signal: {(strsignal(-status) or str(-status)).lower()}"
