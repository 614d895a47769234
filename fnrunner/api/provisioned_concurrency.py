"""Provisioned concurrency of versions and aliases as the Lambda API configures it. Source: Lambda API; its answers.

>>> from datetime import UTC, datetime
>>> provisioned_time(datetime(2019, 11, 21, 19, 32, 12, 999, tzinfo=UTC))
'2019-11-21T19:32:12+0000'
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from fnrunner.api.reference import derive
from fnrunner.api.request import Call, Route, supporting
from fnrunner.api.response import Reply
from fnrunner.catalogue import concurrency
from fnrunner.catalogue.concurrency import Progress
from fnrunner.model.arn import FunctionRef
from fnrunner.model.provisioned import ProvisionedConcurrency, State, Status

PAGE = 50


async def put(call: Call) -> Reply:
    """Always IN_PROGRESS at first, with what was prepared before."""
    home, ref, catalogue = call.services.home, _ref(call), call.services.catalogue
    number: int = call.params["ProvisionedConcurrentExecutions"]
    wanted = ProvisionedConcurrency(ref.name, ref.qualifier, number, call.now)

    def work(connection: Connection) -> Progress:
        made = concurrency.put(connection, home, wanted, catalogue.account_concurrency)
        return concurrency.progress(connection, made)

    progress = await catalogue.change(work)
    state = progress.state
    begun = Progress(progress.wanted, State(Status.IN_PROGRESS, state.allocated, state.available))
    return Reply(_described(begun))


async def get(call: Call) -> Reply:
    home, ref = call.services.home, _ref(call)

    def work(connection: Connection) -> Progress:
        return concurrency.progress(connection, concurrency.fetch(connection, home, ref.name, ref.qualifier))

    return Reply(_described(await call.services.catalogue.read(work)))


async def delete(call: Call) -> Reply:
    """One that is not there is deleted already."""
    home, ref = call.services.home, _ref(call)
    await call.services.catalogue.change(lambda c: concurrency.remove(c, home, ref.name, ref.qualifier))
    return Reply()


async def every(call: Call) -> Reply:
    """By qualifier; ``Marker`` is the qualifier that the page before ended with."""
    home, ref = call.services.home, derive(call.params, call.services.home)
    size, marker = min(call.params.get("MaxItems", PAGE), PAGE), call.params.get("Marker", "")

    def work(connection: Connection) -> list[Progress]:
        found = concurrency.of_function(connection, home, ref.name)
        return [concurrency.progress(connection, one) for one in found if one.qualifier > marker]

    found = await call.services.catalogue.read(work)
    listed = [{"FunctionArn": home.function(ref.name, one.wanted.qualifier), **_described(one)} for one in found[:size]]
    more = {"NextMarker": found[size - 1].wanted.qualifier} if len(found) > size else {}
    return Reply({"ProvisionedConcurrencyConfigs": listed, **more})


def provisioned_time(moment: datetime) -> str:
    """Whole seconds: other times of the Lambda API look different."""
    return f"{moment:%Y-%m-%dT%H:%M:%S}+0000"


def _described(progress: Progress) -> Mapping[str, Any]:
    state = progress.state
    document = {
        "RequestedProvisionedConcurrentExecutions": progress.wanted.requested,
        "AvailableProvisionedConcurrentExecutions": state.available,
        "AllocatedProvisionedConcurrentExecutions": state.allocated,
        "Status": state.status.value,
        "LastModified": provisioned_time(progress.wanted.last_modified),
    }
    return document | ({"StatusReason": state.reason} if state.reason else {})


def _ref(call: Call) -> FunctionRef:
    return derive(call.params, call.services.home)


ROUTES = (
    Route(
        "PutProvisionedConcurrencyConfig",
        put,
        supporting("FunctionName", "Qualifier", "ProvisionedConcurrentExecutions"),
    ),
    Route("GetProvisionedConcurrencyConfig", get, supporting("FunctionName", "Qualifier")),
    Route("DeleteProvisionedConcurrencyConfig", delete, supporting("FunctionName", "Qualifier")),
    Route("ListProvisionedConcurrencyConfigs", every, supporting("FunctionName", "Marker", "MaxItems")),
)
