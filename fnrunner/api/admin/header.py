"""What a message may be given besides its body, so that any AMQP client can be given it as it is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from fnrunner.api.errors import InvalidRequestContent

NAME_BYTES, SHORT_BYTES = 128, 255
"""Source: AMQP 0-9-1, field tables and short strings."""

_WHOLE = range(-(2**63), 2**63)


def check_headers(headers: Mapping[str, Any], where: str) -> None:
    """Raises InvalidRequestContent for a name or a number that would be cut, or that no client can send."""
    for name, value in headers.items():
        if not 0 < _bytes(name) <= NAME_BYTES:
            raise InvalidRequestContent(f"the name {name[:64]!r} in {where} takes 1 to {NAME_BYTES} bytes")
        fits = value in _WHOLE if isinstance(value, int) else not isinstance(value, float) or math.isfinite(value)
        if not fits:
            raise InvalidRequestContent(f"{where}.{name[:64]} takes a number of at most 64 bits")


def check_short(text: str, where: str) -> str:
    """The text. Raises InvalidRequestContent for one that no property of a message takes."""
    if _bytes(text) > SHORT_BYTES:
        raise InvalidRequestContent(f"{where} takes at most {SHORT_BYTES} bytes")
    return text


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "replace"))
