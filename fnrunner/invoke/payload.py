"""Whether a payload is one that a function may be given. The bytes go on unchanged: nothing is re-serialised."""

from __future__ import annotations

import json

from fnrunner.invoke.errors import InvalidPayload, PayloadTooLarge
from fnrunner.model import limits


def checked(payload: bytes, *, asynchronous: bool) -> bytes:
    """The payload; an empty one is ``{}``. Raises PayloadTooLarge and InvalidPayload with Lambda's texts.

    >>> checked(b"", asynchronous=False)
    b'{}'
    """
    if asynchronous and len(payload) > limits.ASYNC_PAYLOAD_BYTES:
        raise PayloadTooLarge(
            f"{len(payload)} byte payload is too large for the Event invocation type"
            f" (limit {limits.ASYNC_PAYLOAD_BYTES} bytes)"
        )
    if len(payload) > limits.SYNC_PAYLOAD_BYTES:
        raise PayloadTooLarge(
            f"Request must be smaller than {limits.SYNC_PAYLOAD_BYTES} bytes for the InvokeFunction operation"
        )
    if not payload:
        return b"{}"
    try:
        _DECODER.decode(payload.decode())
    except (ValueError, RecursionError) as error:
        text = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InvalidPayload(
            f"Could not parse request body into json: Could not parse payload into json: {text}"
        ) from error
    return payload


def _digits(text: str) -> str:
    """Numbers are not converted: only their form is checked, and a million digits cost nothing."""
    return text


def _refused(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_int=_digits, parse_float=_digits, parse_constant=_refused)
