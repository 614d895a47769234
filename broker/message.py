"""A message as AMQP 0-9-1 has it, without any client library's type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

Headers = Mapping[str, Any]
"""AMQP header values: str, bytes, int, float, bool, aware datetime, None, and lists and tables of these."""


@dataclass(frozen=True, slots=True)
class Message:
    """What is published and what is delivered.

    ``body`` is opaque. ``expiration`` is the longest time it may wait in a queue; zero means *deliver at once to a
    consumer with room, or dead-letter*. ``persistent`` messages survive a restart of the broker. ``timestamp`` has
    a resolution of one second on the wire.
    """

    body: bytes
    message_id: str | None = None
    headers: Headers = field(default_factory=dict)
    content_type: str | None = None
    content_encoding: str | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    expiration: timedelta | None = None
    persistent: bool = True
    priority: int | None = None
    timestamp: datetime | None = None
    type: str | None = None
    app_id: str | None = None
    user_id: str | None = None
