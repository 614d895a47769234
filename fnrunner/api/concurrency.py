"""Reserved concurrency, and what the account may use. Source: Lambda API; quotas of a default account."""

from __future__ import annotations

from fnrunner.api.errors import InvalidParameter
from fnrunner.api.reference import derive
from fnrunner.api.request import Call, Route, supporting
from fnrunner.api.response import Reply
from fnrunner.catalogue import layers
from fnrunner.concurrency import fleet
from fnrunner.model import limits
from fnrunner.model.account import unreserved

TOTAL_CODE_BYTES = 75 * 1024 * 1024 * 1024


async def put(call: Call) -> Reply:
    name = _whole_function(call)
    reserved: int = call.params["ReservedConcurrentExecutions"]
    catalogue = call.services.catalogue
    await catalogue.set_concurrency(name, reserved)
    # number and generation of one snapshot: another change may have come in between
    snapshot = catalogue.snapshot
    if (function := snapshot.function(name)) is not None:
        await fleet.tell(call.services.broker.permits(name), function.reserved_concurrency, snapshot.change)
    return Reply({"ReservedConcurrentExecutions": reserved})


async def get(call: Call) -> Reply:
    function = await call.services.catalogue.get_function(_whole_function(call))
    if function.reserved_concurrency is None:
        return Reply({})
    return Reply({"ReservedConcurrentExecutions": function.reserved_concurrency})


async def delete(call: Call) -> Reply:
    await call.services.catalogue.set_concurrency(_whole_function(call), None)
    return Reply()


async def account(call: Call) -> Reply:
    await call.services.catalogue.refresh()
    catalogue = call.services.catalogue
    functions = catalogue.snapshot.functions.values()
    reservations = {one.name: one.reserved_concurrency for one in functions if one.version == limits.LATEST}
    left = unreserved(catalogue.account_concurrency, reservations, catalogue.snapshot.provisioned.values())
    names = {function.name for function in functions}
    codes = [one.code for one in functions] + [one.code for one in await catalogue.read(layers.every)]
    return Reply(
        {
            "AccountLimit": {
                "TotalCodeSize": TOTAL_CODE_BYTES,
                "CodeSizeUnzipped": limits.UNZIPPED_BYTES,
                "CodeSizeZipped": limits.ZIP_BYTES,
                "ConcurrentExecutions": catalogue.account_concurrency,
                "UnreservedConcurrentExecutions": max(0, left),
            },
            "AccountUsage": {
                "TotalCodeSize": sum(code.size_bytes for code in codes),
                "FunctionCount": len(names),
            },
        }
    )


def _whole_function(call: Call) -> str:
    ref = derive(call.params, call.services.home)
    if ref.qualifier:
        raise InvalidParameter(
            "This operation is permitted on Lambda functions only. Aliases and versions do not support this operation. "
            "Please specify either a function name or an unqualified function ARN."
        )
    return ref.name


ROUTES = (
    Route("PutFunctionConcurrency", put, supporting("FunctionName", "ReservedConcurrentExecutions")),
    Route("GetFunctionConcurrency", get, supporting("FunctionName")),
    Route("DeleteFunctionConcurrency", delete, supporting("FunctionName")),
    Route("GetAccountSettings", account, supporting()),
)
