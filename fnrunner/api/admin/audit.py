"""The audit: whether every accepted event is accounted for."""

from __future__ import annotations

from dataclasses import asdict

from starlette.responses import Response

from fnrunner.api.admin import known
from fnrunner.api.admin.endpoint import Ask, Endpoint, answer


async def balance(ask: Ask) -> Response:
    """``balanced`` is true when no function misses an event; 404 for a function of which nothing is known.

    May take seconds: suspicions are looked at twice.
    """
    name = ask.text("function")
    if name:
        await known.check(ask, name)
    balances = await ask.services.audit.run(name or None)
    return answer(
        {
            "balanced": all(one.balanced for one in balances),
            "functions": [{**asdict(one), "balanced": one.balanced} for one in balances],
        }
    )


ROUTES = (Endpoint("GET", "/audit", balance),)
