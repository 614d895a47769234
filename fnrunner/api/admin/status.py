"""How the installation is: versions, what this process does, the broker, the store, the workers. What doctor reads."""

from __future__ import annotations

import platform
from typing import Any

from sqlalchemy import Row, select
from starlette.responses import Response

from fnrunner.api.admin.endpoint import Ask, Endpoint, answer
from fnrunner.api.health import document
from fnrunner.store import schema
from fnrunner.store.errors import StoreError

ALIVE_MS = 30_000
"""A worker whose last heartbeat is older counts as silent."""
MAX_WORKERS = 500


async def status(ask: Ask) -> Response:
    """Answers whatever is broken: a part that cannot be asked says why."""
    services = ask.services
    broker = services.broker.status
    workers, fault = await _workers(ask)
    return answer(
        {
            "version": services.version,
            "python": platform.python_version(),
            "health": document(await services.health()),
            "region": services.home.region,
            "account": services.home.account,
            "broker": {
                "kind": "embedded" if services.settings.broker_url == "embedded:" else "rabbitmq",
                "node": services.broker.node,
                "state": broker.state.value,
                "reason": broker.reason,
                "reconnects": broker.reconnects,
            },
            "store": {"kind": services.store.dialect, "url": services.store.where, "fault": fault},
            "sandbox": services.settings.sandbox,
            "workers": workers,
        }
    )


async def _workers(ask: Ask) -> tuple[list[dict[str, Any]], str]:
    table = schema.worker
    query = select(table).where(table.c.stopped_ms.is_(None)).order_by(table.c.started_ms.desc()).limit(MAX_WORKERS)
    try:
        rows = await ask.services.store.read(lambda connection: connection.execute(query).all())
    except StoreError as error:
        return [], str(error)
    now_ms = int(ask.services.now().timestamp() * 1000)
    return [_worker(row, now_ms) for row in rows], ""


def _worker(row: Row[Any], now_ms: int) -> dict[str, Any]:
    silent = now_ms - row.heartbeat_ms > ALIVE_MS
    return {
        "id": row.id,
        "host": row.host,
        "pid": row.pid,
        "zone": row.zone,
        "capacity": row.capacity,
        "started_ms": row.started_ms,
        "heartbeat_ms": row.heartbeat_ms,
        "state": "dead" if row.died_ms is not None else "silent" if silent else "alive",
    }


ROUTES = (Endpoint("GET", "/status", status),)
