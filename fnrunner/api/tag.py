"""Tags of functions, the only resources there are to tag."""

from __future__ import annotations

from fnrunner.api.errors import InvalidParameter, NotSupported
from fnrunner.api.reference import derive
from fnrunner.api.request import Call, Route, supporting
from fnrunner.api.response import Reply


async def every(call: Call) -> Reply:
    function = await call.services.catalogue.get_function(_function(call))
    return Reply({"Tags": dict(function.tags)})


async def tag(call: Call) -> Reply:
    await call.services.catalogue.tag(_function(call), call.params["Tags"])
    return Reply()


async def untag(call: Call) -> Reply:
    await call.services.catalogue.untag(_function(call), call.params["TagKeys"])
    return Reply()


def _function(call: Call) -> str:
    """The name in the resource's ARN. Raises NotSupported for ARNs of other kinds, which do not exist here."""
    resource: str = call.params["Resource"]
    kind = resource.split(":")[5]
    if kind != "function":
        raise NotSupported(f"fnrunner {call.services.version} has no resources of the kind {kind} to tag.")
    ref = derive({"FunctionName": resource}, call.services.home)
    if ref.qualifier:
        raise InvalidParameter(
            "Tags on function aliases and versions are not supported. Please specify a function ARN."
        )
    return ref.name


ROUTES = (
    Route("ListTags", every, supporting("Resource")),
    Route("TagResource", tag, supporting("Resource", "Tags")),
    Route("UntagResource", untag, supporting("Resource", "TagKeys")),
)
