"""How the installation is: versions, what this process does, the broker, the store, the processes, the load.

What `fnrunner doctor` and `fnrunner status` read.
"""

from __future__ import annotations

import asyncio
import platform
import shutil
import socket
from pathlib import Path
from typing import Any

from sqlalchemy import Row, select
from starlette.responses import Response

from fnrunner.api.admin.endpoint import Ask, Endpoint, answer
from fnrunner.api.health import document
from fnrunner.model.load import Load
from fnrunner.store import schema
from fnrunner.store.errors import StoreError
from fnrunner.telemetry import fleet
from fnrunner.telemetry.fleet import Seen

ALIVE_MS = 30_000
"""A worker whose last heartbeat is older counts as silent."""
MAX_WORKERS = 500


async def status(ask: Ask) -> Response:
    """Answers whatever is broken: a part that cannot be asked says why."""
    services = ask.services
    broker = services.broker.status
    workers, processes, fault = await _processes(ask)
    return answer(
        {
            "version": services.version,
            "python": platform.python_version(),
            "health": document(await services.health()),
            "region": services.home.region,
            "account": services.home.account,
            "auth": services.settings.auth,
            "broker": {
                "kind": "embedded" if services.settings.broker_url == "embedded:" else "rabbitmq",
                "node": services.broker.node,
                "state": broker.state.value,
                "reason": broker.reason,
                "reconnects": broker.reconnects,
            },
            "store": {"kind": services.store.dialect, "url": services.store.where, "fault": fault},
            "sandbox": services.settings.sandbox,
            "host": socket.gethostname(),
            "data_dir": await asyncio.to_thread(_disk, services.settings.data_dir),
            "credentials_file": str(services.settings.credentials),
            "workers": workers,
            "processes": [_process(seen) for seen in processes],
            "load": _load(services.load()),
        }
    )


async def _processes(ask: Ask) -> tuple[list[dict[str, Any]], list[Seen], str]:
    table = schema.worker
    query = select(table).where(table.c.stopped_ms.is_(None)).order_by(table.c.started_ms.desc()).limit(MAX_WORKERS)
    now_ms = int(ask.services.now().timestamp() * 1000)
    try:
        rows, seen = await ask.services.store.read(
            lambda connection: (connection.execute(query).all(), fleet.read(connection, now_ms))
        )
    except StoreError as error:
        return [], [], str(error)
    by_id = {process.id: process for process in seen}
    return [_worker(row, by_id.get(row.id), now_ms) for row in rows], seen, ""


def _disk(directory: Path) -> dict[str, Any]:
    """``free_bytes`` is None where nobody knows."""
    try:
        return {"path": str(directory), "free_bytes": shutil.disk_usage(directory).free}
    except OSError:
        return {"path": str(directory), "free_bytes": None}


def _worker(row: Row[Any], seen: Seen | None, now_ms: int) -> dict[str, Any]:
    silent = now_ms - row.heartbeat_ms > ALIVE_MS
    draining = seen is not None and seen.draining
    return {
        "id": row.id,
        "host": row.host,
        "pid": row.pid,
        "zone": row.zone,
        "capacity": row.capacity,
        "running": 0 if seen is None or seen.silent else sum(seen.running.values()),
        "started_ms": row.started_ms,
        "heartbeat_ms": row.heartbeat_ms,
        "runtimes": {} if seen is None else dict(seen.runtimes),
        "state": "dead" if row.died_ms is not None else "silent" if silent else "draining" if draining else "alive",
    }


def _process(seen: Seen) -> dict[str, Any]:
    return {
        "id": seen.id,
        "roles": list(seen.roles),
        "host": seen.host,
        "pid": seen.pid,
        "state": seen.state,
        "heartbeat_ms": seen.heartbeat_ms,
        "problems": list(seen.problems),
    }


def _load(load: Load | None) -> dict[str, Any] | None:
    """None while nothing is known. Ages are in seconds, shares from 0 to 1."""
    if load is None:
        return None
    return {
        "taken_ms": load.taken_ms,
        "capacity": load.capacity,
        "running": load.running,
        "busy_share": round(load.busy_share, 4),
        "functions": [
            {
                "function": name,
                "backlog": of.backlog,
                "ready": of.ready,
                "unsettled": of.unsettled,
                "running": of.running,
                "limit": of.limit,
                "busy_share": round(of.busy_share, 4),
                "oldest_event_age_s": of.oldest_s,
            }
            for name, of in sorted(load.functions.items())
        ],
    }


ROUTES = (Endpoint("GET", "/status", status),)
