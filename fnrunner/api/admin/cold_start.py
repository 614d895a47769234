"""A function's cold starts: how many of its runs began in a new environment, why, how long that took, what was imported."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, func, select
from starlette.responses import Response

from fnrunner.api.admin import known
from fnrunner.api.admin.endpoint import Ask, Endpoint, answer
from fnrunner.store.schema import attempt

_RAN = ("succeeded", "failed")
MOST = 1_000


async def read(ask: Ask) -> Response:
    """``{"function", "runs", "cold", "reasons": {reason: count}, "starts": [{"at_ms", "version", "reason", "init_ms",
    "imports", "event_id", "log_stream"}]}``: the newest ``limit`` starts since ``since_ms``, oldest first; ``imports`` is
    null where the runtime does not tell, else ``{"modules", "imports": [[package, ms], …], "copied"}``.
    """
    function = ask.path("name")
    await known.check(ask, function)
    since_ms = ask.number("since_ms", 0, 0, 1 << 53)
    limit = ask.number("limit", 20, 1, MOST)
    ran = and_(attempt.c.function == function, attempt.c.ended_ms >= since_ms, attempt.c.outcome.in_(_RAN))
    runs, reasons, starts = await ask.services.store.read(
        lambda connection: (
            connection.execute(select(func.count()).select_from(attempt).where(ran)).scalar_one(),
            connection.execute(_reasons(ran)).all(),
            connection.execute(_starts(ran, limit)).all(),
        )
    )
    return answer(
        {
            "function": function,
            "runs": runs,
            "cold": sum(count for _, count in reasons),
            "reasons": {row[0]: row[1] for row in reasons},
            "starts": [_start(row) for row in reversed(starts)],
        }
    )


def _reasons(ran: ColumnElement[bool]) -> Any:
    cold = select(attempt.c.cold_reason, func.count()).where(ran, attempt.c.cold_reason != "")
    return cold.group_by(attempt.c.cold_reason).order_by(func.count().desc(), attempt.c.cold_reason)


def _starts(ran: ColumnElement[bool], limit: int) -> Any:
    return select(attempt).where(ran, attempt.c.cold_reason != "").order_by(attempt.c.id.desc()).limit(limit)


def _start(row: Row[Any]) -> dict[str, Any]:
    return {
        "at_ms": row.started_ms,
        "version": row.version,
        "reason": row.cold_reason,
        "init_ms": row.init_ms,
        "imports": imports(row.imports),
        "event_id": row.event_id,
        "log_stream": row.log_stream,
    }


def imports(text: str) -> dict[str, Any] | None:
    """What an attempt has noted, as a document; None where that is nothing, or was cut to fit its column."""
    try:
        found: dict[str, Any] | None = json.loads(text) if text else None
    except ValueError:
        return None
    return found


ROUTES = (Endpoint("GET", "/functions/{name}/cold-starts", read),)
