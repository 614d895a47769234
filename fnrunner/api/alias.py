"""Aliases of functions: names for versions, with weights where two versions share one. Source: Lambda API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fnrunner.api import document
from fnrunner.api.errors import InvalidParameter
from fnrunner.api.reference import unpublished
from fnrunner.api.request import Call, Route, supporting
from fnrunner.api.response import Reply
from fnrunner.catalogue import aliases
from fnrunner.model.alias import Additional, Alias

_GIVEN = ("FunctionName", "Name", "FunctionVersion", "Description", "RoutingConfig.AdditionalVersionWeights")


async def create(call: Call) -> Reply:
    home, name = call.services.home, _function(call)
    draft = Alias(function=name, name=call.params["Name"], **_changes(call.params))
    alias = await call.services.catalogue.change(lambda connection: aliases.create(connection, home, draft))
    return Reply(document.alias(alias, home))


async def get(call: Call) -> Reply:
    home, name = call.services.home, _function(call)
    alias = await call.services.catalogue.read(lambda c: aliases.fetch(c, home, name, call.params["Name"]))
    return Reply(document.alias(alias, home))


async def update(call: Call) -> Reply:
    """What is not given stays; a ``RoutingConfig`` without versions takes the weights away."""
    home, name, changes = call.services.home, _function(call), _changes(call.params)
    revision = call.params.get("RevisionId")
    alias = await call.services.catalogue.change(
        lambda connection: aliases.change(connection, home, name, call.params["Name"], changes, revision)
    )
    return Reply(document.alias(alias, home))


async def delete(call: Call) -> Reply:
    """One that does not exist is deleted already."""
    home, name = call.services.home, _function(call)
    await call.services.catalogue.change(lambda c: aliases.remove(c, home, name, call.params["Name"]))
    return Reply()


async def every(call: Call) -> Reply:
    """By name; ``Marker`` is the name that the page before ended with."""
    home, name = call.services.home, _function(call)
    page = await call.services.catalogue.read(
        lambda connection: aliases.page(
            connection,
            home,
            name,
            version=call.params.get("FunctionVersion", ""),
            marker=call.params.get("Marker", ""),
            max_items=call.params.get("MaxItems", aliases.PAGE),
        )
    )
    found = [document.alias(alias, home) for alias in page.aliases]
    return Reply({"Aliases": found, **({"NextMarker": page.next_marker} if page.next_marker else {})})


def _function(call: Call) -> str:
    return unpublished(call.params, call.services.home).name


def _changes(params: Mapping[str, Any]) -> dict[str, Any]:
    """By field of Alias; what was not given is not there. Raises InvalidParameter for more than one second version."""
    fields: dict[str, Any] = {}
    if "FunctionVersion" in params:
        fields["version"] = params["FunctionVersion"]
    if "Description" in params:
        fields["description"] = params["Description"]
    if "RoutingConfig" in params:
        weights = params["RoutingConfig"].get("AdditionalVersionWeights", {})
        if len(weights) > 1:
            raise InvalidParameter("Number of items in AdditionalVersionWeights cannot be greater than 1")
        fields["additional"] = next((Additional(version, weight) for version, weight in weights.items()), None)
    return fields


ROUTES = (
    Route("CreateAlias", create, supporting(*_GIVEN)),
    Route("GetAlias", get, supporting("FunctionName", "Name")),
    Route("UpdateAlias", update, supporting(*_GIVEN, "RevisionId")),
    Route("DeleteAlias", delete, supporting("FunctionName", "Name")),
    Route("ListAliases", every, supporting("FunctionName", "FunctionVersion", "Marker", "MaxItems")),
)
