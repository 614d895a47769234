"""Event-invoke configurations: what follows the asynchronous events of a function. Put replaces, Update merges."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from fnrunner.api.document import event_invoke_config
from fnrunner.api.reference import derive
from fnrunner.api.request import Call, Route, supporting
from fnrunner.api.response import Reply
from fnrunner.model import limits
from fnrunner.model.arn import FunctionRef
from fnrunner.model.function import EventInvokeConfig

_NAMED = ("FunctionName", "Qualifier")
_SETTINGS = (
    "MaximumRetryAttempts",
    "MaximumEventAgeInSeconds",
    "DestinationConfig.OnSuccess.Destination",
    "DestinationConfig.OnFailure.Destination",
)

PAGE = 50


async def put(call: Call) -> Reply:
    ref = _ref(call)
    config = EventInvokeConfig(function=ref.name, qualifier=ref.qualifier, **_settings(call.params))
    saved = await call.services.catalogue.put_event_invoke_config(config)
    return Reply(event_invoke_config(saved, call.services.home))


async def update(call: Call) -> Reply:
    ref = _ref(call)
    saved = await call.services.catalogue.update_event_invoke_config(ref.name, ref.qualifier, _settings(call.params))
    return Reply(event_invoke_config(saved, call.services.home))


async def get(call: Call) -> Reply:
    ref = _ref(call)
    config = await call.services.catalogue.get_event_invoke_config(ref.name, ref.qualifier)
    return Reply(event_invoke_config(config, call.services.home))


async def delete(call: Call) -> Reply:
    ref = _ref(call)
    await call.services.catalogue.delete_event_invoke_config(ref.name, ref.qualifier)
    return Reply()


async def every(call: Call) -> Reply:
    """By qualifier; ``Marker`` is the qualifier that the page before ended with."""
    marker, size = call.params.get("Marker", ""), call.params.get("MaxItems", PAGE)
    configs = await call.services.catalogue.list_event_invoke_configs(_ref(call).name)
    found = [config for config in configs if config.qualifier > marker]
    page = [event_invoke_config(config, call.services.home) for config in found[:size]]
    more = {"NextMarker": found[size - 1].qualifier} if len(found) > size else {}
    return Reply({"FunctionEventInvokeConfigs": page, **more})


def _ref(call: Call) -> FunctionRef:
    """With the qualifier that the configuration is kept under."""
    ref = derive(call.params, call.services.home)
    return FunctionRef(ref.name, ref.qualifier or limits.LATEST)


def _settings(params: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if "MaximumRetryAttempts" in params:
        fields["max_retries"] = params["MaximumRetryAttempts"]
    if "MaximumEventAgeInSeconds" in params:
        fields["max_age"] = timedelta(seconds=params["MaximumEventAgeInSeconds"])
    for side, field in (("OnSuccess", "on_success"), ("OnFailure", "on_failure")):
        if side in params.get("DestinationConfig", {}):
            fields[field] = params["DestinationConfig"][side].get("Destination", "")
    return fields


ROUTES = (
    Route("PutFunctionEventInvokeConfig", put, supporting(*_NAMED, *_SETTINGS)),
    Route("UpdateFunctionEventInvokeConfig", update, supporting(*_NAMED, *_SETTINGS)),
    Route("GetFunctionEventInvokeConfig", get, supporting(*_NAMED)),
    Route("DeleteFunctionEventInvokeConfig", delete, supporting(*_NAMED)),
    Route("ListFunctionEventInvokeConfigs", every, supporting("FunctionName", "Marker", "MaxItems")),
)
