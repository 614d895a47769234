"""Published versions in the store: immutable copies of ``$LATEST``, each with a number that is never given twice.

Each function here runs inside :meth:`~fnrunner.catalogue.catalogue.Catalogue.change`, or ``read`` where it only reads.
Source: Lambda API, PublishVersion; its answers as measured.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from uuid import uuid4

from sqlalchemy import Connection, delete, insert, select, update

from fnrunner.catalogue import aliases, constraint, functions, triggers
from fnrunner.catalogue.errors import (
    CodeDiffers,
    FunctionNotFound,
    InvalidParameterValue,
    ValidationFailed,
    VersionInUse,
)
from fnrunner.catalogue.functions import Page
from fnrunner.model import limits
from fnrunner.model.arn import Home
from fnrunner.model.function import Function
from fnrunner.store.schema import function as function_table
from fnrunner.store.schema import publication as table


@dataclass(frozen=True, slots=True)
class Publication:
    """The last number that was given, and the revision that ``$LATEST`` had afterwards."""

    number: int
    revision_id: str


def unchanged(last: Publication | None, latest: Function) -> bool:
    """Whether ``$LATEST`` is still what the last version was made of: every update gives it another revision.

    >>> from fnrunner.model.function import Code
    >>> latest = Function("f", "python3.11", "a.b", Code("", 0), "role", revision_id="r2")
    >>> unchanged(Publication(1, "r2"), latest), unchanged(Publication(1, "r1"), latest), unchanged(None, latest)
    (True, False, False)
    """
    return last is not None and last.revision_id == latest.revision_id


def published(latest: Function, number: int, description: str | None) -> Function:
    """The version that is made of ``$LATEST``: all of it but what belongs to the function. Raises ValidationFailed."""
    description = latest.description if description is None else description
    if problems := constraint.at_most("description", description, limits.DESCRIPTION_CHARS):
        raise ValidationFailed(problems)
    return replace(
        latest,
        version=str(number),
        description=description,
        tags=MappingProxyType({}),
        reserved_concurrency=None,
        revision_id=str(uuid4()),
    )


def belonging(version: Function, latest: Function) -> Function:
    """The version with what all versions share: reserved concurrency and tags."""
    return replace(version, reserved_concurrency=latest.reserved_concurrency, tags=latest.tags)


def publish(
    connection: Connection,
    home: Home,
    name: str,
    *,
    description: str | None = None,
    code_sha256: str = "",
    expected_revision: str | None = None,
) -> Function:
    """A new version, or the last one when nothing has changed since, whose description stays then.

    ``code_sha256`` is base64, as Lambda shows it; the code of ``$LATEST`` must have it. The revision of ``$LATEST``
    changes with a new version. Raises FunctionNotFound, PreconditionFailed, CodeDiffers, ValidationFailed.
    """
    latest = functions.fetch(connection, home, name)
    functions.guard(latest, expected_revision)
    if code_sha256 and code_sha256 != latest.code.sha256:
        raise CodeDiffers(code_sha256, latest.code.sha256)
    last = _last(connection, name)
    if last is not None and unchanged(last, latest):
        try:
            return fetch(connection, home, name, str(last.number))
        except FunctionNotFound:
            pass  # it was deleted: its number is spent all the same
    version = published(latest, last.number + 1 if last else 1, description)
    functions.insert_version(connection, version)
    bumped = replace(latest, revision_id=str(uuid4()))
    functions.save(connection, bumped)
    _remember(connection, name, Publication(int(version.version), bumped.revision_id))
    return belonging(version, latest)


def fetch(connection: Connection, home: Home, name: str, qualifier: str) -> Function:
    """What the qualifier names: ``$LATEST`` or empty, a version, or the first version of an alias.

    Raises FunctionNotFound, with the qualifier that was asked for.
    """
    latest = functions.fetch(connection, home, name, asked=qualifier)
    if qualifier in ("", limits.LATEST):
        return latest
    alias = aliases.find(connection, name, qualifier)
    version = alias.version if alias else qualifier
    if version == limits.LATEST:
        return latest
    return belonging(functions.fetch(connection, home, name, version), latest)


def exists(connection: Connection, name: str, qualifier: str) -> bool:
    """Whether something can be invoked by this qualifier."""
    return functions.has(connection, name, qualifier or limits.LATEST) or (
        aliases.find(connection, name, qualifier) is not None
    )


def page(connection: Connection, home: Home, name: str, *, marker: str = "", max_items: int = functions.PAGE) -> Page:
    """``$LATEST``, then the versions by number, from behind the version ``marker``. Raises FunctionNotFound."""
    latest = functions.fetch(connection, home, name)
    size = min(max_items, functions.PAGE)
    found = [latest, *(belonging(version, latest) for version in functions.published_of(connection, name))]
    if marker:
        behind = functions.number_of(marker)
        found = [version for version in found if functions.number_of(version.version) > behind]
    return Page(tuple(found[:size]), found[size - 1].version if len(found) > size else "")


def remove(connection: Connection, home: Home, name: str, version: str) -> frozenset[str]:
    """The digests of its code and layers. Its event-invoke configuration and what invokes it go with it, but for event
    source mappings.

    Raises FunctionNotFound, VersionInUse while an alias points at it, InvalidParameterValue for ``$LATEST``.
    """
    if version == limits.LATEST:
        raise InvalidParameterValue("$LATEST version cannot be deleted without deleting the function.")
    function = functions.fetch(connection, home, name, version)
    pointing = [alias.name for alias in aliases.of_function(connection, name) if version in alias.versions]
    if pointing:
        raise VersionInUse(home.function(name, version), sorted(pointing))
    same = (function_table.c.name == name, function_table.c.version == version)
    connection.execute(delete(function_table).where(*same))
    triggers.remove_of_qualifier(connection, name, version)
    functions.remove_of_qualifier(connection, name, version)
    return functions.digests_of(function)


def _last(connection: Connection, name: str) -> Publication | None:
    row = connection.execute(select(table.c.number, table.c.revision_id).where(table.c.function == name)).first()
    return None if row is None else Publication(row.number, row.revision_id)


def _remember(connection: Connection, name: str, made: Publication) -> None:
    values = {"number": made.number, "revision_id": made.revision_id}
    if connection.execute(update(table).where(table.c.function == name).values(values)).rowcount == 0:
        connection.execute(insert(table).values(function=name, **values))
