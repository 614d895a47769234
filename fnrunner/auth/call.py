"""The log of calls that change something or were refused: who, what, from where, and what came of it.

A record is written once and never changed; it goes when it is older than the history that is kept. Secrets are not in it:
values of parameters whose name says so, environments, code and payloads are left out, and long values are cut.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select

from fnrunner.store.schema import control_call as table

HIDDEN = "***"
MAX_VALUE_CHARS = 512
MAX_PARAMETERS_CHARS = 8 * 1024
MAX_DEPTH = 6
_SECRET_NAMES = ("secret", "password", "token", "credential", "zipfile", "payload", "clientcontext", "privatekey")
_SECRET_MAPS = frozenset(("variables", "environment"))
_WIDTHS = {column.name: getattr(column.type, "length", None) for column in table.columns}


@dataclass(frozen=True, slots=True)
class Call:
    """``principal`` and ``access_key`` are empty for who is unknown. ``parameters`` is JSON; ``error_code`` empty: it went
    well.
    """

    at_ms: int
    request_id: str
    principal: str
    access_key: str
    service: str
    operation: str
    resource: str
    parameters: str
    source_ip: str
    user_agent: str
    status: int
    error_code: str


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked for; empty takes all. ``principal`` and ``resource`` may be parts. ``before`` is a row's id."""

    principal: str = ""
    operation: str = ""
    resource: str = ""
    access_key: str = ""
    request_id: str = ""
    since_ms: int = 0
    until_ms: int = 0
    failed: bool = False
    before: int = 0
    limit: int = 100


def shown(params: Mapping[str, Any]) -> str:
    """Parameters as the log has them.

    >>> shown({"FunctionName": "f", "Environment": {"Variables": {"A": "b"}}, "Code": {"ZipFile": b"PK"}})
    '{"FunctionName": "f", "Environment": {"A": "***"}, "Code": {"ZipFile": "***"}}'
    """
    text = json.dumps({key: _shown(key, value, 0) for key, value in params.items()}, default=str)
    if len(text) <= MAX_PARAMETERS_CHARS:
        return text
    return json.dumps({"cut": text[: MAX_PARAMETERS_CHARS // 2]})


def _shown(name: str, value: Any, depth: int) -> Any:
    lowered = name.lower()
    if isinstance(value, bytes) or depth > MAX_DEPTH or any(part in lowered for part in _SECRET_NAMES):
        return HIDDEN
    if lowered in _SECRET_MAPS:
        inner = value.get("Variables", value) if isinstance(value, Mapping) else None
        return dict.fromkeys(inner, HIDDEN) if isinstance(inner, Mapping) else HIDDEN
    if isinstance(value, Mapping):
        return {str(key): _shown(str(key), one, depth + 1) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_shown(name, one, depth + 1) for one in value[:64]]
    if isinstance(value, str) and len(value) > MAX_VALUE_CHARS:
        return value[:MAX_VALUE_CHARS] + "…"
    return value


def write(connection: Connection, calls: Sequence[Call]) -> None:
    """Texts are cut to the columns' widths, and have no NUL: PostgreSQL takes none."""
    rows = [{name: _fitting(name, value) for name, value in asdict(call).items()} for call in calls]
    connection.execute(insert(table), rows)


def _fitting(name: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return value.replace("\0", "\\0").encode("utf-8", "replace").decode()[: _WIDTHS[name]]


def find(connection: Connection, query: Query) -> list[Row[Any]]:
    """The newest first."""
    wanted = select(table).order_by(table.c.id.desc()).limit(query.limit)
    for column, text in ((table.c.principal, query.principal), (table.c.resource, query.resource)):
        if text:
            wanted = wanted.where(column.contains(text, autoescape=True))
    for column, text in (
        (table.c.operation, query.operation),
        (table.c.access_key, query.access_key),
        (table.c.request_id, query.request_id),
    ):
        if text:
            wanted = wanted.where(column == text)
    if query.since_ms:
        wanted = wanted.where(table.c.at_ms >= query.since_ms)
    if query.until_ms:
        wanted = wanted.where(table.c.at_ms < query.until_ms)
    if query.failed:
        wanted = wanted.where(table.c.status >= 400)
    if query.before:
        wanted = wanted.where(table.c.id < query.before)
    return list(connection.execute(wanted))


def forget(connection: Connection, before_ms: int) -> int:
    """Records older than this; how many went."""
    return connection.execute(delete(table).where(table.c.at_ms < before_ms)).rowcount
