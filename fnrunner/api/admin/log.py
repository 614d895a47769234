"""A function's log: what it wrote, with Lambda's own START, END and REPORT lines put round each run.

The cursor says how far both books, log and attempts, have been read, so pages neither miss nor repeat a line. With ``wait_s``
an empty page is held back until something comes: that is how `fnrunner logs --follow` works.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Row, select
from starlette.responses import Response

from fnrunner.api.admin.endpoint import Ask, Endpoint, answer
from fnrunner.api.errors import InvalidParameter
from fnrunner.delivery.record import LogChunk
from fnrunner.model.function import Function
from fnrunner.model.invocation import ON_DEMAND, SNAP_START, FunctionError, Outcome, Report, Succeeded
from fnrunner.store.schema import attempt
from fnrunner.worker import log_lines

MAX_LINES = 10_000
MAX_WAIT_S = 20
LOOK_EVERY_S = 0.25
_RAN = ("succeeded", "failed")
_BEFORE, _WROTE, _AFTER = range(3)
_ENVIRONMENT_LOST = ("Sandbox.", "Runtime.ExitError", "Runtime.OutOfMemory")


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last row of each book that was shown.

    >>> Cursor.read("12.3"), str(Cursor(12, 3))
    (Cursor(log=12, attempt=3), '12.3')
    """

    log: int = 0
    attempt: int = 0

    def __str__(self) -> str:
        return f"{self.log}.{self.attempt}"

    @classmethod
    def read(cls, text: str) -> Cursor:
        """Raises InvalidParameter."""
        if not text:
            return cls()
        log, _, seen = text.partition(".")
        if not all(part.isascii() and part.isdecimal() and len(part) <= 18 for part in (log, seen)):
            raise InvalidParameter("cursor takes what a page of logs gave")
        return cls(int(log), int(seen))


@dataclass(frozen=True, slots=True)
class Line:
    """``order`` keeps START before and REPORT behind what was written in the same millisecond."""

    at_ms: int
    order: int
    request_id: str
    log_stream: str
    text: str

    def shown(self) -> dict[str, Any]:
        return {"at_ms": self.at_ms, "request_id": self.request_id, "log_stream": self.log_stream, "text": self.text}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for."""

    function: str
    since_ms: int
    contains: str
    request_id: str
    limit: int


async def read(ask: Ask) -> Response:
    wanted = Wanted(
        ask.path("name"),
        ask.number("since_ms", 0, 0, 2**53),
        ask.text("filter"),
        ask.text("request_id"),
        ask.number("limit", 1000, 1, MAX_LINES),
    )
    cursor, wait_s = Cursor.read(ask.text("cursor")), ask.number("wait_s", 0, 0, MAX_WAIT_S)
    deadline = asyncio.get_running_loop().time() + wait_s
    while True:
        lines, after = await page(ask, wanted, cursor)
        # rows that the filter hides move the cursor on, and there is still nothing to say
        cursor = after
        if lines or not await _keep_waiting(ask, deadline):
            return answer({"lines": [line.shown() for line in lines], "cursor": str(after)})


async def _keep_waiting(ask: Ask, deadline: float) -> bool:
    """Until the next look; False when time is up, the client has gone, or this process stops."""
    left = deadline - asyncio.get_running_loop().time()
    if left <= 0 or await ask.request.is_disconnected():
        return False
    try:
        await asyncio.wait_for(ask.services.stopping.wait(), min(left, LOOK_EVERY_S))
    except TimeoutError:
        return True
    return False


async def page(ask: Ask, wanted: Wanted, cursor: Cursor) -> tuple[list[Line], Cursor]:
    """Lines by time, and how far the books have been read for them."""
    # attempts first: a run's log is written before its attempt, so no REPORT is shown ahead of what it reports on
    runs = await _runs(ask, wanted, cursor.attempt)
    written = await ask.services.history.logs(
        wanted.function,
        since_ms=wanted.since_ms,
        contains=wanted.contains,
        event_id=wanted.request_id,
        after=cursor.log,
        limit=wanted.limit,
    )
    lines = [_written(chunk) for chunk in written.chunks]
    for run in runs:
        lines += (line for line in _around(run, ask) if wanted.contains.lower() in line.text.lower())
    lines.sort(key=lambda line: (line.at_ms, line.order))
    return lines, Cursor(written.cursor, runs[-1].id if runs else cursor.attempt)


async def _runs(ask: Ask, wanted: Wanted, after: int) -> list[Row[Any]]:
    query = select(attempt).where(
        attempt.c.function == wanted.function,
        attempt.c.ended_ms >= wanted.since_ms,
        attempt.c.id > after,
        attempt.c.outcome.in_(_RAN),
    )
    if wanted.request_id:
        query = query.where(attempt.c.event_id == wanted.request_id)
    query = query.order_by(attempt.c.id).limit(wanted.limit)
    return list(await ask.services.store.read(lambda connection: connection.execute(query).all()))


def _written(chunk: LogChunk) -> Line:
    return Line(chunk.at_ms, _WROTE, chunk.event_id, chunk.log_stream, chunk.text)


def _around(run: Row[Any], ask: Ask) -> Iterator[Line]:
    """What stands before and behind a run's own lines, in the log format that its version has."""
    figures = Report(
        duration_ms=run.duration_ms,
        billed_ms=run.billed_ms,
        memory_mb=run.memory_mb,
        max_memory_mb=run.max_memory_mb,
        init_ms=run.init_ms,
    )
    outcome: Outcome = Succeeded(b"")
    if run.outcome != "succeeded":
        lost = run.error_type.startswith(_ENVIRONMENT_LOST)
        outcome = FunctionError(run.error_type, run.error_message, b"", environment_lost=lost)
    version = ask.services.catalogue.lookup(run.function, run.version)
    region = ask.services.home.region
    if version is not None and version.log_format == "JSON":
        before, after = _json_lines(run, region, figures, outcome, version)
    else:
        before, after = _text_lines(run, region, figures, outcome)
    if before:
        yield Line(run.started_ms, _BEFORE, run.event_id, run.log_stream, before)
    if after:
        yield Line(run.ended_ms, _AFTER, run.event_id, run.log_stream, after)


def _text_lines(run: Row[Any], region: str, figures: Report, outcome: Outcome) -> tuple[str, str]:
    before = log_lines.start(run.event_id, run.version)
    if run.runtime_version:
        before = log_lines.init_start(run.runtime_version, region) + before
    return before, log_lines.end(run.event_id) + log_lines.report(run.event_id, figures, outcome)


def _json_lines(run: Row[Any], region: str, figures: Report, outcome: Outcome, version: Function) -> tuple[str, str]:
    """Those of a system log level above INFO are only told of failures."""
    if version.system_log_level == "WARN" and isinstance(outcome, Succeeded):
        return "", ""
    started, ended = (datetime.fromtimestamp(ms / 1000, UTC) for ms in (run.started_ms, run.ended_ms))
    after = log_lines.report_json(ended, run.event_id, figures, outcome)
    if version.system_log_level == "WARN":
        return "", after
    before = log_lines.start_json(started, run.event_id, run.version)
    if run.runtime_version:
        begun = started - timedelta(milliseconds=run.init_ms or 0.0)
        kind = SNAP_START if version.is_snapped else ON_DEMAND
        before = log_lines.init_start_json(begun, run.runtime_version, region, run.function, run.version, kind) + before
    return before, after


ROUTES = (Endpoint("GET", "/functions/{name}/logs", read),)
