"""Resource policies: who else may use a function or a layer version. Statements are added and taken away one by one, or the
policy of a function is put as a whole.

What a policy allows is judged by :mod:`fnrunner.auth`; here is what Lambda makes of the parameters.
Source: Lambda API, AddPermission, AddLayerVersionPermission; their answers as recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from fnrunner.api.errors import InvalidParameter, ResourceNotFound
from fnrunner.api.layer import layer_name
from fnrunner.api.reference import derive
from fnrunner.api.request import Call, Route, supporting
from fnrunner.api.response import Reply
from fnrunner.catalogue import layers, policies, policy_text, versions
from fnrunner.catalogue.errors import FunctionNotFound
from fnrunner.catalogue.policies import FUNCTION, LAYER, Place
from fnrunner.model import limits
from fnrunner.model.arn import Home


async def add(call: Call) -> Reply:
    place, home = _function(call), call.services.home
    statement = policy_text.function_statement(call.params, home.function(place.name, place.qualifier))

    def work(connection: Connection) -> None:
        _check_function(connection, home, place)
        policies.add(connection, place, statement, call.params.get("RevisionId"))

    await call.services.catalogue.change(work)
    return Reply({"Statement": policies.compact(statement)})


async def take_away(call: Call) -> Reply:
    place, home = _function(call), call.services.home

    def work(connection: Connection) -> None:
        _check_function(connection, home, place)
        policies.take_away(connection, place, call.params["StatementId"], call.params.get("RevisionId"))

    await call.services.catalogue.change(work)
    return Reply()


async def get(call: Call) -> Reply:
    return await _answer(call, _function(call))


async def add_to_layer(call: Call) -> Reply:
    place, home = _layer(call), call.services.home
    arn = home.layer(place.name, call.params["VersionNumber"])
    statement = policy_text.layer_statement(call.params, arn)

    def work(connection: Connection) -> policies.Policy:
        layers.fetch(connection, home, place.name, call.params["VersionNumber"])
        return policies.add(connection, place, statement, call.params.get("RevisionId"))

    policy = await call.services.catalogue.change(work)
    return Reply({"Statement": policies.compact(statement), "RevisionId": policy.revision_id})


async def take_from_layer(call: Call) -> Reply:
    place, home = _layer(call), call.services.home

    def work(connection: Connection) -> None:
        layers.fetch(connection, home, place.name, call.params["VersionNumber"])
        policies.take_away(connection, place, call.params["StatementId"], call.params.get("RevisionId"))

    await call.services.catalogue.change(work)
    return Reply()


async def get_of_layer(call: Call) -> Reply:
    place, home = _layer(call), call.services.home

    def work(connection: Connection) -> policies.Policy:
        layers.fetch(connection, home, place.name, call.params["VersionNumber"])
        return policies.fetch(connection, place)

    return _described(await call.services.catalogue.read(work))


async def put_whole(call: Call) -> Reply:
    """PutResourcePolicy: all statements at once."""
    place, home = _resource(call), call.services.home
    document = policy_text.whole(call.params["Policy"])

    def work(connection: Connection) -> policies.Policy:
        _check_function(connection, home, place)
        return policies.put(connection, place, document, call.params.get("RevisionId"))

    return _described(await call.services.catalogue.change(work))


async def get_whole(call: Call) -> Reply:
    return await _answer(call, _resource(call))


async def delete_whole(call: Call) -> Reply:
    place, home = _resource(call), call.services.home

    def work(connection: Connection) -> None:
        _check_function(connection, home, place)
        policies.remove(connection, place, call.params.get("RevisionId"))

    await call.services.catalogue.change(work)
    return Reply()


async def _answer(call: Call, place: Place) -> Reply:
    home = call.services.home

    def work(connection: Connection) -> policies.Policy:
        _check_function(connection, home, place)
        return policies.fetch(connection, place)

    return _described(await call.services.catalogue.read(work))


def _described(policy: policies.Policy) -> Reply:
    return Reply({"Policy": policy.document, "RevisionId": policy.revision_id})


def _function(call: Call) -> Place:
    return _place(call, call.params)


def _resource(call: Call) -> Place:
    """Raises ResourceNotFound for what is no function: runtimes have no policies here."""
    arn: str = call.params["ResourceArn"]
    if ":function:" not in arn:
        raise ResourceNotFound(f"There is no {arn}.")
    return _place(call, {"FunctionName": arn})


def _place(call: Call, params: Mapping[str, Any]) -> Place:
    ref = derive(params, call.services.home)
    if ref.qualifier.startswith("$"):
        raise InvalidParameter(f"We currently do not support adding policies for {ref.qualifier}.")
    return Place(FUNCTION, ref.name, ref.qualifier)


def _layer(call: Call) -> Place:
    return Place(LAYER, layer_name(call), str(call.params["VersionNumber"]))


def _check_function(connection: Connection, home: Home, place: Place) -> None:
    """Raises FunctionNotFound."""
    if not versions.exists(connection, place.name, place.qualifier):
        raise FunctionNotFound(home.function(place.name, place.qualifier or limits.LATEST))


_NAMED = ("FunctionName", "Qualifier", "StatementId", "RevisionId")
_LAYER = ("LayerName", "VersionNumber", "StatementId", "RevisionId")

ROUTES = (
    Route(
        "AddPermission",
        add,
        supporting(
            *_NAMED,
            "Action",
            "Principal",
            "SourceArn",
            "SourceAccount",
            "EventSourceToken",
            "FunctionUrlAuthType",
            "InvokedViaFunctionUrl",
            "PrincipalOrgID",
        ),
    ),
    Route("RemovePermission", take_away, supporting(*_NAMED)),
    Route("GetPolicy", get, supporting("FunctionName", "Qualifier")),
    Route("AddLayerVersionPermission", add_to_layer, supporting(*_LAYER, "Action", "Principal", "OrganizationId")),
    Route("RemoveLayerVersionPermission", take_from_layer, supporting(*_LAYER)),
    Route("GetLayerVersionPolicy", get_of_layer, supporting("LayerName", "VersionNumber")),
    Route("PutResourcePolicy", put_whole, supporting("ResourceArn", "Policy", "RevisionId")),
    Route("GetResourcePolicy", get_whole, supporting("ResourceArn")),
    Route("DeleteResourcePolicy", delete_whole, supporting("ResourceArn", "RevisionId")),
)
