"""Whose the account's concurrency is: reserved, provisioned, left in the pool, each worker's share of it, and what runs."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, func, select
from starlette.responses import Response

from fnrunner.api.admin.endpoint import Ask, Endpoint, answer
from fnrunner.api.errors import ResourceNotFound
from fnrunner.catalogue import concurrency
from fnrunner.catalogue.concurrency import Progress
from fnrunner.model import limits
from fnrunner.model.account import unreserved
from fnrunner.store.schema import prepared, worker
from fnrunner.telemetry import fleet


async def show(ask: Ask) -> Response:
    """``function`` asks for one. ``running`` counts what is in use now, by function and by worker, a heartbeat old at most."""
    catalogue, name = ask.services.catalogue, ask.text("function")
    await catalogue.refresh()
    whole = {f.name: f for (_, version), f in catalogue.snapshot.functions.items() if version == limits.LATEST}
    if name and name not in whole:
        raise ResourceNotFound(f"Function not found: {ask.services.home.function(name)}")
    now_ms = int(ask.services.now().timestamp() * 1000)

    def work(connection: Connection) -> tuple[list[Progress], list[Row[Any]], list[fleet.Seen]]:
        found = [concurrency.progress(connection, one) for one in concurrency.every(connection)]
        return found, _workers(connection), fleet.read(connection, now_ms)

    provisioned, rows, processes = await ask.services.store.read(work)
    reservations = {function.name: function.reserved_concurrency for function in whole.values()}
    running: dict[str, dict[str, int]] = {one.id: dict(one.running) for one in processes if not one.silent}
    shown = [name] if name else sorted(whole)
    return answer(
        {
            "account": _account(catalogue.account_concurrency, reservations, provisioned),
            "functions": [
                {
                    "function": one,
                    "reserved": reservations[one],
                    "running": sum(counts.get(one, 0) for counts in running.values()),
                    "provisioned": [_progress(p) for p in provisioned if p.wanted.function == one],
                }
                for one in shown
            ],
            "workers": [_worker(row, running.get(row.id, {})) for row in rows],
        }
    )


def _account(limit: int, reservations: dict[str, int | None], provisioned: list[Progress]) -> dict[str, int]:
    """``provisioned`` counts what no reservation covers."""
    reserved = sum(number or 0 for number in reservations.values())
    left = unreserved(limit, reservations, [one.wanted for one in provisioned])
    return {
        "limit": limit,
        "reserved": reserved,
        "provisioned": limit - reserved - left,
        "unreserved": max(0, left),
    }


def _progress(one: Progress) -> dict[str, Any]:
    return {
        "qualifier": one.wanted.qualifier,
        "requested": one.wanted.requested,
        "allocated": one.state.allocated,
        "available": one.state.available,
        "status": one.state.status.value,
        "reason": one.state.reason,
    }


def _workers(connection: Connection) -> list[Row[Any]]:
    living = worker.c.stopped_ms.is_(None) & worker.c.died_ms.is_(None)
    held = func.coalesce(func.sum(prepared.c.share), 0).label("provisioned")
    query = (
        select(worker.c.id, worker.c.capacity, worker.c.share, held)
        .outerjoin(prepared, prepared.c.worker == worker.c.id)
        .where(living)
        .group_by(worker.c.id, worker.c.capacity, worker.c.share)
        .order_by(worker.c.id)
    )
    return list(connection.execute(query))


def _worker(row: Row[Any], running: dict[str, int]) -> dict[str, Any]:
    return {
        "id": row.id,
        "capacity": row.capacity,
        "share": row.share,
        "provisioned": int(row.provisioned),
        "running": sum(running.values()),
    }


ROUTES = (Endpoint("GET", "/concurrency", show),)
