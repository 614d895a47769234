"""Resource policies of functions and of layer versions in the store: one JSON document for each qualifier, in IAM's language.

What a policy allows is judged elsewhere; here it is only what Lambda lets be written. Each function with a ``connection``
runs inside :meth:`~fnrunner.catalogue.catalogue.Catalogue.change`, or ``read`` where it only reads.
Source: Lambda API, AddPermission, AddLayerVersionPermission; their answers as recorded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, delete, insert, select, update

from fnrunner.catalogue.errors import (
    NotFound,
    PolicyNotFound,
    PolicyRevisionDiffers,
    PolicyTooLong,
    StatementExists,
)
from fnrunner.model import limits
from fnrunner.store.schema import policy as table

FUNCTION, LAYER = "function", "layer"
_READ_BY = {FUNCTION: "GetPolicy", LAYER: "GetLayerPolicy"}

Statement = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Policy:
    """``document`` is the JSON text, ``revision_id`` changes with it."""

    document: str
    revision_id: str

    @property
    def statements(self) -> list[dict[str, Any]]:
        """In the order in which they were added."""
        found: list[dict[str, Any]] = json.loads(self.document)["Statement"]
        return found


@dataclass(frozen=True, slots=True)
class Place:
    """Whose policy it is: of the function or layer ``name``, for a ``qualifier`` (empty: the function itself)."""

    kind: str
    name: str
    qualifier: str = ""


def find(connection: Connection, place: Place) -> Policy | None:
    row = connection.execute(select(table.c.document, table.c.revision_id).where(*_at(place))).first()
    return None if row is None else Policy(row.document, row.revision_id)


def fetch(connection: Connection, place: Place) -> Policy:
    """Raises PolicyNotFound."""
    if (found := find(connection, place)) is None:
        raise PolicyNotFound
    return found


def of_functions(connection: Connection) -> dict[tuple[str, str], str]:
    """The documents of all functions' policies, by (function, qualifier)."""
    query = select(table.c.name, table.c.qualifier, table.c.document).where(table.c.kind == FUNCTION)
    return {(row.name, row.qualifier): row.document for row in connection.execute(query)}


def add(connection: Connection, place: Place, statement: Statement, expected_revision: str | None = None) -> Policy:
    """The policy with this statement at its end. Raises StatementExists, PolicyRevisionDiffers, PolicyTooLong."""
    current = find(connection, place)
    _guard(place, current, expected_revision)
    statements = current.statements if current else []
    if any(one.get("Sid") == statement["Sid"] for one in statements):
        raise StatementExists(statement["Sid"])
    return _save(connection, place, written([*statements, statement]))


def take_away(connection: Connection, place: Place, sid: str, expected_revision: str | None = None) -> None:
    """Without its last statement there is no policy. Raises NotFound, PolicyRevisionDiffers."""
    if (current := find(connection, place)) is None:
        raise NotFound("No policy is associated with the given resource.")
    _guard(place, current, expected_revision)
    left = [one for one in current.statements if one.get("Sid") != sid]
    if len(left) == len(current.statements):
        raise NotFound(f"Statement {sid} is not found in resource policy.")
    if left:
        _save(connection, place, written(left))
    else:
        connection.execute(delete(table).where(*_at(place)))


def put(connection: Connection, place: Place, document: str, expected_revision: str | None = None) -> Policy:
    """All of it at once. Raises PolicyRevisionDiffers, PolicyTooLong."""
    _guard(place, find(connection, place), expected_revision)
    return _save(connection, place, document)


def remove(connection: Connection, place: Place, expected_revision: str | None = None) -> None:
    """Raises PolicyNotFound, PolicyRevisionDiffers."""
    _guard(place, fetch(connection, place), expected_revision)
    connection.execute(delete(table).where(*_at(place)))


def forget_function(connection: Connection, name: str) -> None:
    """It goes, with all its qualifiers."""
    connection.execute(delete(table).where(table.c.kind == FUNCTION, table.c.name == name))


def forget_qualifier(connection: Connection, name: str, qualifier: str) -> None:
    """A version or alias goes."""
    connection.execute(delete(table).where(*_at(Place(FUNCTION, name, qualifier))))


def forget_layer(connection: Connection, name: str, version: int) -> None:
    connection.execute(delete(table).where(*_at(Place(LAYER, name, str(version)))))


def written(statements: list[Statement] | list[dict[str, Any]]) -> str:
    """The document that Lambda makes of statements.

    >>> written([{"Sid": "a"}])
    '{"Version":"2012-10-17","Id":"default","Statement":[{"Sid":"a"}]}'
    """
    return compact({"Version": "2012-10-17", "Id": "default", "Statement": statements})


def compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _save(connection: Connection, place: Place, document: str) -> Policy:
    if len(document.encode()) > limits.POLICY_BYTES:
        raise PolicyTooLong
    policy = Policy(document, str(uuid4()))
    values = {"document": policy.document, "revision_id": policy.revision_id}
    if connection.execute(update(table).where(*_at(place)).values(values)).rowcount == 0:
        key = {"kind": place.kind, "name": place.name, "qualifier": place.qualifier}
        connection.execute(insert(table).values(key | values))
    return policy


def _guard(place: Place, current: Policy | None, expected_revision: str | None) -> None:
    if expected_revision and (current is None or expected_revision != current.revision_id):
        raise PolicyRevisionDiffers(_READ_BY[place.kind])


def _at(place: Place) -> tuple[Any, ...]:
    return table.c.kind == place.kind, table.c.name == place.name, table.c.qualifier == place.qualifier
