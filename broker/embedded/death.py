"""What a dead-lettered message carries: RabbitMQ's ``x-death`` and ``x-first-death-*`` headers.

Source: RabbitMQ, Dead Letter Exchanges, *effects on messages*.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Literal

from broker.delays import milliseconds
from broker.message import Message

Reason = Literal["expired", "rejected", "delivery_limit"]


def bury(message: Message, *, reason: Reason, queue: str, exchange: str, routing_key: str, at_ms: int) -> Message:
    """The message as it leaves ``queue``: the event first in ``x-death``, its expiration removed."""
    past = _deaths(message.headers)
    again = next((d for d in past if d.get("queue") == queue and d.get("reason") == reason), None)
    event: dict[str, Any] = {
        "count": 1 + (int(again["count"]) if again else 0),
        "reason": reason,
        "queue": queue,
        "time": datetime.fromtimestamp(at_ms // 1000, UTC),
        "exchange": exchange,
        "routing-keys": [routing_key],
    }
    if message.expiration is not None:
        event["original-expiration"] = str(milliseconds(message.expiration))
    headers: dict[str, Any] = {
        "x-first-death-reason": reason,
        "x-first-death-queue": queue,
        "x-first-death-exchange": exchange,
        **message.headers,
        "x-death": [event, *(d for d in past if d is not again)],
    }
    return replace(message, headers=headers, expiration=None)


def went_round(message: Message, queue: str) -> bool:
    """It comes back to a queue where it died before, and nobody rejected it on the way: a cycle without a consumer."""
    past = _deaths(message.headers)
    return any(d.get("queue") == queue for d in past) and all(d.get("reason") != "rejected" for d in past)


def first_reason(headers: Mapping[str, Any]) -> str | None:
    """Why it was dead-lettered the first time, or None when it never was."""
    reason = headers.get("x-first-death-reason")
    return reason if isinstance(reason, str) else None


def _deaths(headers: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    past = headers.get("x-death")
    return [d for d in past if isinstance(d, Mapping)] if isinstance(past, list | tuple) else []
