"""Tags of functions, event source mappings and code signing configurations, by ARN."""

from __future__ import annotations

from sqlalchemy import Connection

from fnrunner.api.errors import Forbidden, InvalidParameter, ResourceNotFound
from fnrunner.api.reference import derive
from fnrunner.api.request import Call, Route, supporting
from fnrunner.api.response import Reply
from fnrunner.catalogue import code_signing, resource_tags, triggers
from fnrunner.catalogue.errors import NotFound
from fnrunner.model.arn import Home, parse
from sources.mapping import EventSourceMapping


async def every(call: Call) -> Reply:
    if name := _function(call):
        return Reply({"Tags": dict(await call.services.catalogue.tags(name))})
    home, arn = call.services.home, call.params["Resource"]

    def work(connection: Connection) -> dict[str, str]:
        return resource_tags.of(connection, _existing(connection, home, arn))

    return Reply({"Tags": await call.services.catalogue.read(work)})


async def tag(call: Call) -> Reply:
    tags = call.params["Tags"]
    if name := _function(call):
        await call.services.catalogue.tag(name, tags)
        return Reply()
    home, arn = call.services.home, call.params["Resource"]
    await call.services.catalogue.change(lambda c: resource_tags.add(c, _existing(c, home, arn), tags))
    return Reply()


async def untag(call: Call) -> Reply:
    keys = call.params["TagKeys"]
    if name := _function(call):
        await call.services.catalogue.untag(name, keys)
        return Reply()
    home, arn = call.services.home, call.params["Resource"]
    await call.services.catalogue.change(lambda c: resource_tags.take_away(c, _existing(c, home, arn), keys))
    return Reply()


def _function(call: Call) -> str:
    """The name of the function in the ARN; empty where it is something else. Raises Forbidden, ResourceNotFound for what is
    another account's or region's, and InvalidParameter for versions and aliases.
    """
    resource, home = call.params["Resource"], call.services.home
    arn = parse(resource)
    if arn.resource.partition(":")[0] != "function":
        if arn.account != home.account:
            raise Forbidden(f"Resources of account {arn.account} are not accessible: this is account {home.account}.")
        return ""
    ref = derive({"FunctionName": resource}, home)
    if ref.qualifier:
        raise InvalidParameter(
            "Tags on function aliases and versions are not supported. Please specify a function ARN."
        )
    return ref.name


def _existing(connection: Connection, home: Home, arn: str) -> str:
    """What the tags are kept under. Raises NotFound, ResourceNotFound."""
    kind, _, key = parse(arn).resource.partition(":")
    if kind == "code-signing-config":
        return resource_tags.config(code_signing.fetch(connection, home, arn).config_id)
    if kind != "event-source-mapping":
        raise ResourceNotFound(f"{kind.replace('-', ' ').capitalize()} not found: {arn}")
    try:
        if arn != home.mapping(key):
            raise NotFound
        return resource_tags.mapping(triggers.fetch(connection, EventSourceMapping, key).uuid)
    except NotFound as error:
        raise ResourceNotFound(f"Event source mapping not found: {arn}") from error


ROUTES = (
    Route("ListTags", every, supporting("Resource")),
    Route("TagResource", tag, supporting("Resource", "Tags")),
    Route("UntagResource", untag, supporting("Resource", "TagKeys")),
)
