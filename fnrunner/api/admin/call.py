"""The log of calls that changed something or were refused, the newest first."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Row
from starlette.responses import Response

from fnrunner.api.admin.endpoint import Ask, Endpoint, answer
from fnrunner.auth import call as calls
from fnrunner.auth.call import Query

MOST = 1000
LATEST = 10**15


async def every(ask: Ask) -> Response:
    """``next`` is what ``before`` takes for the page after; null at the end. Times are epoch milliseconds."""
    query = Query(
        principal=ask.text("principal"),
        operation=ask.text("operation"),
        resource=ask.text("resource"),
        access_key=ask.text("access_key"),
        request_id=ask.text("request_id"),
        since_ms=ask.number("since_ms", 0, 0, LATEST),
        until_ms=ask.number("until_ms", 0, 0, LATEST),
        failed=ask.text("failed") == "true",
        before=ask.number("before", 0, 0, 2**62),
        limit=ask.number("limit", 100, 1, MOST),
    )
    if (trail := ask.services.trail) is not None:
        # what was answered a moment ago is there
        await trail.settled()
    rows = await ask.services.store.read(lambda connection: calls.find(connection, query))
    left = len(rows) == query.limit
    return answer({"calls": [_shown(row) for row in rows], "next": rows[-1].id if left else None})


def _shown(row: Row[Any]) -> dict[str, Any]:
    document = dict(row._mapping)
    del document["id"]
    return document | {"parameters": json.loads(row.parameters)}


ROUTES = (Endpoint("GET", "/calls", every),)
