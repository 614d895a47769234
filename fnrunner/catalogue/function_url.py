"""Function URLs in the store: at most one a function and one for each of its aliases, changed within one transaction.

Each function here runs inside :meth:`~fnrunner.catalogue.catalogue.Catalogue.change`.
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from fnrunner.catalogue import constraint, cors, trigger_document, triggers, versions
from fnrunner.catalogue.errors import CatalogueError, NotFound, ValidationFailed
from fnrunner.model.arn import Home
from fnrunner.model.trigger import FunctionUrl
from fnrunner.store.schema import trigger as table

ID_CHARS = 32
METHODS = ("GET", "PUT", "HEAD", "POST", "PATCH", "DELETE", "*")
CHANGEABLE = frozenset({"auth_type", "cors", "invoke_mode"})
_FIELDS = {
    "allow_methods": "allowMethods", "allow_origins": "allowOrigins", "allow_headers": "allowHeaders",
    "expose_headers": "exposeHeaders", "max_age_s": "maxAge",
}  # fmt: skip


class FunctionUrlExists(CatalogueError):
    """``arn`` is the function's."""

    code, status, message_key, type = "ResourceConflictException", 409, "message", "User"

    def __init__(self, arn: str) -> None:
        super().__init__(
            f"Failed to create function url config for [functionArn = {arn}]. "
            "Error message:  FunctionUrlConfig exists for this Lambda function"
        )


class NoSuchFunction(NotFound):
    """Function does not exist"""


def new_id() -> str:
    """A name that nobody guesses."""
    return "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(ID_CHARS))


def create(connection: Connection, home: Home, url: FunctionUrl) -> FunctionUrl:
    """Raises NoSuchFunction, FunctionUrlExists, ValidationFailed."""
    check(url)
    if not versions.exists(connection, url.function, url.qualifier):
        raise NoSuchFunction
    if any(one.qualifier == url.qualifier for one in of_function(connection, url.function)):
        raise FunctionUrlExists(home.function(url.function, url.qualifier))
    triggers.save(connection, url)
    return url


def fetch(connection: Connection, function: str, qualifier: str = "") -> FunctionUrl:
    """The URL of a function. Raises NotFound."""
    for url in of_function(connection, function):
        if url.qualifier == qualifier:
            return url
    raise NotFound


def change(
    connection: Connection, function: str, qualifier: str, changes: Mapping[str, Any], now: datetime
) -> FunctionUrl:
    """``changes`` maps names of :data:`CHANGEABLE`. Raises NotFound, ValidationFailed; TypeError for other names."""
    if unknown := set(changes) - CHANGEABLE:
        raise TypeError(f"no part of a function URL: {', '.join(sorted(unknown))}")
    url = replace(fetch(connection, function, qualifier), **changes, last_modified=now)
    check(url)
    triggers.save(connection, url)
    return url


def remove(connection: Connection, function: str, qualifier: str = "") -> FunctionUrl:
    """Raises NotFound."""
    return triggers.remove(connection, FunctionUrl, fetch(connection, function, qualifier).url_id)


def of_function(connection: Connection, function: str) -> list[FunctionUrl]:
    """By qualifier."""
    query = select(table.c.document).where(table.c.kind == triggers.KINDS[FunctionUrl], table.c.function == function)
    found = (trigger_document.load(FunctionUrl, text) for text in connection.execute(query).scalars())
    return sorted(found, key=lambda url: url.qualifier)


def check(url: FunctionUrl) -> None:
    """What the API's model leaves open, since it ends up in headers. Raises ValidationFailed."""
    if url.cors is None:
        return
    problems = [
        constraint.broken(f"cors.{_FIELDS[field]}", value, rule)
        for field, value, rule in cors.broken(url.cors, METHODS)
    ]
    if problems:
        raise ValidationFailed(problems)
