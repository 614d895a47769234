"""Trace context as text: W3C's ``traceparent`` and Lambda's ``X-Amzn-Trace-Id``, each made from the other.

>>> c = from_traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
>>> to_xray(c)
'Root=1-0af76519-16cd43dd8448eb211c80319c;Parent=b7ad6b7169203331;Sampled=1'
>>> from_xray(to_xray(c)) == c
True
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_ROOT = re.compile(r"1-([0-9a-f]{8})-([0-9a-f]{24})")


@dataclass(frozen=True, slots=True)
class TraceContext:
    """``trace_id`` 32 and ``span_id`` 16 lower-case hex digits."""

    trace_id: str
    span_id: str
    sampled: bool


def new() -> TraceContext:
    """A fresh context that nobody has sampled."""
    digits = os.urandom(24).hex()
    return TraceContext(digits[:32], digits[32:], False)


def from_traceparent(text: str) -> TraceContext | None:
    """None when it is missing or malformed: a bad header starts a new trace, as W3C says."""
    if not (match := _TRACEPARENT.fullmatch(text)) or set(match[1]) == {"0"} or set(match[2]) == {"0"}:
        return None
    return TraceContext(match[1], match[2], bool(int(match[3], 16) & 1))


def to_traceparent(context: TraceContext) -> str:
    return f"00-{context.trace_id}-{context.span_id}-{'01' if context.sampled else '00'}"


def from_xray(text: str) -> TraceContext | None:
    """None when it has no well-formed root. A missing parent gets a fresh span id."""
    parts = dict(part.split("=", 1) for part in text.split(";") if "=" in part)
    if not (root := _ROOT.fullmatch(parts.get("Root", ""))):
        return None
    parent = parts.get("Parent", "")
    span_id = parent if re.fullmatch(r"[0-9a-f]{16}", parent) else os.urandom(8).hex()
    return TraceContext(root[1] + root[2], span_id, parts.get("Sampled") == "1")


def to_xray(context: TraceContext) -> str:
    root = f"1-{context.trace_id[:8]}-{context.trace_id[8:]}"
    return f"Root={root};Parent={context.span_id};Sampled={int(context.sampled)}"


def carrier(context: TraceContext, state: str = "") -> dict[str, str]:
    """The W3C headers of a context."""
    headers = {"traceparent": to_traceparent(context)}
    return {**headers, "tracestate": state} if state else headers


def of(trace: Mapping[str, str], xray: str = "") -> TraceContext:
    """The context that a caller sent, by either header, or a new one."""
    return from_traceparent(trace.get("traceparent", "")) or from_xray(xray) or new()
