"""/healthz, /readyz and /metrics: for orchestrators and Prometheus.

Alive says that restarting would not help; ready that work sent here is done. Both name in JSON what is wrong. With the API
they say in ``x-fnrunner-auth`` whether it wants signatures (``iam``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fnrunner.api.services import Health, HealthServices, Services
from fnrunner.model.problem import Problem


def routes(services: Services | HealthServices) -> list[Route]:
    auth = {"x-fnrunner-auth": services.settings.auth} if isinstance(services, Services) else {}

    async def healthz(_: Request) -> Response:
        health = await services.health()
        return _answer(health.alive, health, auth)

    async def readyz(_: Request) -> Response:
        health = await services.health()
        return _answer(health.ready, health, auth)

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(services.registry), headers={"content-type": CONTENT_TYPE_LATEST})

    return [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)]


def _answer(good: bool, health: Health, auth: Mapping[str, str]) -> Response:
    return JSONResponse(document(health), 200 if good else 503, headers={"cache-control": "no-store", **auth})


def document(health: Health) -> dict[str, Any]:
    """The health in JSON. ``status`` is ``ok``, ``degraded`` (alive, with problems) or ``failing``."""
    well = health.ready and not health.problems
    return {
        "status": "failing" if not health.alive else "ok" if well else "degraded",
        "alive": health.alive,
        "ready": health.ready,
        "roles": list(health.roles),
        "problems": [told(problem) for problem in health.problems],
    }


def told(problem: Problem) -> dict[str, str]:
    """A problem in JSON. ``code`` is one of :class:`~fnrunner.model.problem.Code`."""
    return {
        "code": "" if problem.code is None else problem.code.value,
        "part": problem.part,
        "message": problem.message,
        "remedy": problem.remedy,
    }
