"""Tags of what is no function, by the end of its ARN. Functions carry theirs themselves.

>>> mapping("u"), config("csc-1")
('event-source-mapping:u', 'code-signing-config:csc-1')
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from fnrunner.catalogue import document
from fnrunner.catalogue.errors import InvalidParameterValue
from fnrunner.catalogue.validation import check_tags
from fnrunner.store.schema import resource_tag as table


def mapping(uuid: str) -> str:
    return f"event-source-mapping:{uuid}"


def config(config_id: str) -> str:
    return f"code-signing-config:{config_id}"


def of(connection: Connection, resource: str) -> dict[str, str]:
    text = connection.execute(select(table.c.document).where(table.c.resource == resource)).scalar()
    found: dict[str, str] = json.loads(text) if text else {}
    return found


def add(connection: Connection, resource: str, tags: Mapping[str, str]) -> None:
    """Or change their values. Raises InvalidParameterValue."""
    if not tags:
        raise InvalidParameterValue("An error occurred and the request cannot be processed.")
    _change(connection, resource, lambda current: {**current, **tags})


def take_away(connection: Connection, resource: str, keys: list[str]) -> None:
    """Keys that are not there are passed over."""
    _change(connection, resource, lambda current: {key: value for key, value in current.items() if key not in keys})


def forget(connection: Connection, resource: str) -> None:
    """What has them goes."""
    connection.execute(delete(table).where(table.c.resource == resource))


def _change(connection: Connection, resource: str, change: Callable[[Mapping[str, str]], dict[str, str]]) -> None:
    tags = change(of(connection, resource))
    check_tags(tags)
    if not tags:
        forget(connection, resource)
        return
    values: dict[str, Any] = {"document": document.dump(tags)}
    if connection.execute(update(table).where(table.c.resource == resource).values(values)).rowcount == 0:
        connection.execute(insert(table).values(resource=resource, **values))
