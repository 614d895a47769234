"""What becomes of functions that call themselves in a circle: ended when one comes up too often, unless it may go on.

Calls are counted from function to function by the Lambda API; what goes through a queue or a stream begins anew.
"""

from __future__ import annotations

from sqlalchemy import Connection

from fnrunner.api.reference import derive
from fnrunner.api.request import Call, Route, supporting
from fnrunner.api.response import Reply
from fnrunner.catalogue import function_setting, functions
from fnrunner.catalogue.function_setting import ALLOW, Name

TERMINATE = "Terminate"


async def put(call: Call) -> Reply:
    home, name, wanted = call.services.home, derive(call.params, call.services.home).name, call.params["RecursiveLoop"]

    def work(connection: Connection) -> None:
        functions.fetch(connection, home, name)
        if wanted == ALLOW:
            function_setting.put(connection, name, Name.RECURSION, wanted)
        else:
            function_setting.remove(connection, name, Name.RECURSION)

    await call.services.catalogue.change(work)
    return Reply({"RecursiveLoop": wanted})


async def get(call: Call) -> Reply:
    home, name = call.services.home, derive(call.params, call.services.home).name

    def work(connection: Connection) -> str:
        functions.fetch(connection, home, name)
        return function_setting.find(connection, name, Name.RECURSION)

    return Reply({"RecursiveLoop": await call.services.catalogue.read(work) or TERMINATE})


ROUTES = (
    Route("PutFunctionRecursionConfig", put, supporting("FunctionName", "RecursiveLoop")),
    Route("GetFunctionRecursionConfig", get, supporting("FunctionName")),
)
