"""Tumbling windows: records are aggregated over spans of time, and the state goes from one invocation to the next. Pure.

A record belongs to the span of its arrival; one that came late to the one that is open. When a window is over, the function
is invoked once more with its state and no records, and the state is dropped. A state of more than 1 MB ends its window early.

Source: Lambda developer guide, "Implementing stateful Kinesis Data Streams processing in Lambda".

>>> window = window_at(datetime(2026, 1, 1, 7, 4, 59, tzinfo=UTC), timedelta(minutes=2))
>>> keys(window, "shardId-0", "arn:s", final=False)["window"]
{'start': '2026-01-01T07:04:00Z', 'end': '2026-01-01T07:06:00Z'}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sources.invocation import Answered
from sources.mapping import EPOCH
from sources.partial import MALFORMED, FailedWhole

STATE_LIMIT_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Window:
    """``size_bytes`` is the state's, rendered."""

    start: datetime
    end: datetime
    state: Mapping[str, Any] = field(default_factory=dict)
    size_bytes: int = 2

    @property
    def oversized(self) -> bool:
        return self.size_bytes > STATE_LIMIT_BYTES

    def with_state(self, state: Mapping[str, Any]) -> Window:
        return Window(self.start, self.end, state, len(json.dumps(state, separators=(",", ":"))))


def window_at(moment: datetime, size: timedelta) -> Window:
    """The window of that moment. Spans are counted from 1970 on."""
    start = EPOCH + (moment - EPOCH) // size * size
    return Window(start, start + size)


def keys(window: Window, shard: str, arn: str, *, final: bool) -> Mapping[str, Any]:
    """What the event has beside its records."""
    return {
        "window": {"start": _written(window.start), "end": _written(window.end)},
        "state": window.state,
        "shardId": shard,
        "eventSourceARN": arn,
        "isFinalInvokeForWindow": final,
        "isWindowTerminatedEarly": final and window.oversized,
    }


def state_of(result: Answered) -> tuple[Mapping[str, Any], Mapping[str, Any]] | FailedWhole:
    """The function's answer and the state in it.

    >>> state_of(Answered(b'{"state": {"n": 1}}'))[1], state_of(Answered(b'{}')).error_type
    ({'n': 1}, 'BatchResponseMalformed')
    """
    try:
        answer = json.loads(result.payload)
    except (ValueError, RecursionError):
        answer = None
    state = answer.get("state") if isinstance(answer, dict) else None
    if not isinstance(state, dict):
        return FailedWhole(
            result,
            MALFORMED,
            'the answer has no "state". With a tumbling window, return {"state": {…}} for what is to be kept',
        )
    return answer, state


def stored(window: Window) -> Mapping[str, Any]:
    return {"start": window.start.isoformat(), "end": window.end.isoformat(), "state": window.state}


def loaded(document: Mapping[str, Any]) -> Window:
    """The inverse of :func:`stored`."""
    start, end = (datetime.fromisoformat(document[name]) for name in ("start", "end"))
    return Window(start, end).with_state(document["state"])


def _written(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
