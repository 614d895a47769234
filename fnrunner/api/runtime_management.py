"""Who decides which runtime a function runs on. Here it is always the host's interpreter, whose updates the next environment
sees: what Lambda calls Auto. A runtime version cannot be kept, so the other modes are refused.
"""

from __future__ import annotations

from typing import Any

from fnrunner.api.errors import NotSupported
from fnrunner.api.reference import derive
from fnrunner.api.request import Call, Route, supporting
from fnrunner.api.response import Reply

AUTO = "Auto"


async def put(call: Call) -> Reply:
    document = await _current(call)
    if (mode := call.params["UpdateRuntimeOn"]) != AUTO:
        raise NotSupported(
            f"fnrunner {call.services.version} does not support UpdateRuntimeOn={mode} yet: functions run on the interpreter "
            "that the worker's host has. Use Auto."
        )
    return Reply(document)


async def get(call: Call) -> Reply:
    return Reply(await _current(call))


async def _current(call: Call) -> dict[str, Any]:
    ref = derive(call.params, call.services.home)
    function = await call.services.catalogue.get_function(ref.name, ref.qualifier)
    return {"UpdateRuntimeOn": AUTO, "FunctionArn": call.services.home.function(function.name, ref.qualifier)}


ROUTES = (
    Route("PutRuntimeManagementConfig", put, supporting("FunctionName", "Qualifier", "UpdateRuntimeOn")),
    Route("GetRuntimeManagementConfig", get, supporting("FunctionName", "Qualifier")),
)
