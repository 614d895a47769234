"""Aliases in the store: names for versions, and what they may point at. Source: Lambda API, CreateAlias; its answers.

Each function here runs inside :meth:`~fnrunner.catalogue.catalogue.Catalogue.change`, or ``read`` where it only reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, delete, insert, select

from fnrunner.catalogue import constraint, document, functions, triggers
from fnrunner.catalogue.errors import (
    AliasExists,
    AliasNotFound,
    FunctionNotFound,
    InvalidParameterValue,
    PreconditionFailed,
    ValidationFailed,
)
from fnrunner.model import limits
from fnrunner.model.alias import Alias
from fnrunner.model.arn import Home
from fnrunner.model.function import Function
from fnrunner.store.schema import alias as table

NAME = r"(?!^[0-9]+$)([a-zA-Z0-9-_]+)"
NAME_CHARS = 128
CHANGEABLE = frozenset({"version", "description", "additional"})
PAGE = 50


@dataclass(frozen=True, slots=True)
class AliasPage:
    """``next_marker`` is empty on the last page."""

    aliases: tuple[Alias, ...]
    next_marker: str


def create(connection: Connection, home: Home, draft: Alias) -> Alias:
    """``draft`` with a revision. Raises FunctionNotFound (no such function or version), AliasExists, ValidationFailed,
    InvalidParameterValue.
    """
    alias = replace(draft, revision_id=str(uuid4()))
    _check_targets(connection, home, alias)
    if find(connection, alias.function, alias.name) is not None:
        raise AliasExists(home.function(alias.function, alias.name))
    row = {"function": alias.function, "name": alias.name, "document": document.dump_alias(alias)}
    connection.execute(insert(table).values(row))
    return alias


def change(
    connection: Connection,
    home: Home,
    function: str,
    name: str,
    changes: Mapping[str, Any],
    expected_revision: str | None = None,
) -> Alias:
    """``changes`` maps names of :data:`CHANGEABLE`. Raises FunctionNotFound, AliasNotFound, PreconditionFailed,
    ValidationFailed, InvalidParameterValue; TypeError for other names.
    """
    if unknown := set(changes) - CHANGEABLE:
        raise TypeError(f"no part of an alias: {', '.join(sorted(unknown))}")
    functions.fetch(connection, home, function)
    current = find(connection, function, name)
    if current is None:
        raise AliasNotFound(f"Alias not found: {home.function(function, name)}")
    if expected_revision and expected_revision != current.revision_id:
        raise PreconditionFailed
    alias = replace(current, **changes, revision_id=str(uuid4()))
    _check_targets(connection, home, alias)
    connection.execute(table.update().where(*_same(function, name)).values(document=document.dump_alias(alias)))
    return alias


def fetch(connection: Connection, home: Home, function: str, name: str) -> Alias:
    """Raises AliasNotFound."""
    if (alias := find(connection, function, name)) is None:
        raise AliasNotFound(f"Cannot find alias arn: {home.function(function, name)}")
    return alias


def find(connection: Connection, function: str, name: str) -> Alias | None:
    text = connection.execute(select(table.c.document).where(*_same(function, name))).scalar()
    return None if text is None else document.load_alias(text)


def page(
    connection: Connection, home: Home, function: str, *, version: str = "", marker: str = "", max_items: int = PAGE
) -> AliasPage:
    """By name, those that point at ``version`` where given, from behind ``marker``. Raises FunctionNotFound."""
    functions.fetch(connection, home, function)
    size = min(max_items, PAGE)
    found = [
        alias
        for alias in sorted(of_function(connection, function), key=lambda alias: alias.name)
        if alias.name > marker and (not version or version in alias.versions)
    ]
    return AliasPage(tuple(found[:size]), found[size - 1].name if len(found) > size else "")


def every(connection: Connection) -> list[Alias]:
    return [document.load_alias(text) for text in connection.execute(select(table.c.document)).scalars()]


def of_function(connection: Connection, function: str) -> list[Alias]:
    query = select(table.c.document).where(table.c.function == function)
    return [document.load_alias(text) for text in connection.execute(query).scalars()]


def remove(connection: Connection, home: Home, function: str, name: str) -> None:
    """With its event-invoke configuration, and whatever invokes it but event source mappings, as with a function.

    One that is not there is removed already. Raises FunctionNotFound.
    """
    functions.fetch(connection, home, function)
    connection.execute(delete(table).where(*_same(function, name)))
    triggers.remove_of_qualifier(connection, function, name)
    functions.remove_of_qualifier(connection, function, name)


def problems(alias: Alias) -> Iterator[str]:
    """What the alias alone breaks of Lambda's constraints."""
    yield from constraint.matches("name", alias.name, NAME)
    yield from constraint.at_most("name", alias.name, NAME_CHARS)
    yield from constraint.at_most("description", alias.description, limits.DESCRIPTION_CHARS)
    if alias.additional is not None:
        yield from constraint.between("routingConfig.additionalVersionWeights", alias.additional.weight, 0, 1)


def check_routing(alias: Alias, first: Function, second: Function) -> None:
    """Whether two versions may share one name: callers must not tell them apart by what they may do and where their
    failures go. Raises InvalidParameterValue.
    """
    if first.role != second.role:
        raise InvalidParameterValue(
            f"The versions {first.version} and {second.version} of alias {alias.name} have different execution roles. "
            "Publish versions with the same role."
        )
    if first.dead_letter_arn != second.dead_letter_arn:
        raise InvalidParameterValue(
            f"The versions {first.version} and {second.version} of alias {alias.name} have different dead-letter targets. "
            "Publish versions with the same target, or both without."
        )


def _check_targets(connection: Connection, home: Home, alias: Alias) -> None:
    if broken := list(problems(alias)):
        raise ValidationFailed(broken)
    first = _target(connection, home, alias, alias.version)
    if alias.additional is None:
        return
    if alias.additional.version == alias.version:
        raise InvalidParameterValue(
            f"Invalid function version {alias.version}. Function version {alias.version} is already included in routing "
            "configuration."
        )
    if limits.LATEST in alias.versions:
        raise InvalidParameterValue(f"{limits.LATEST} is not supported for an alias pointing to more than 1 version")
    check_routing(alias, first, _target(connection, home, alias, alias.additional.version))


def _target(connection: Connection, home: Home, alias: Alias, version: str) -> Function:
    try:
        return functions.fetch(connection, home, alias.function, version)
    except FunctionNotFound as error:
        raise FunctionNotFound(home.function(alias.function, version)) from error


def _same(function: str, name: str) -> tuple[Any, Any]:
    return table.c.function == function, table.c.name == name
