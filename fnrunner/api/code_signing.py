"""Code signing configurations, and which function has which. What a signature is worth is the catalogue's to judge."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from fnrunner.api.document import lambda_time
from fnrunner.api.reference import derive
from fnrunner.api.request import Call, Route, supporting
from fnrunner.api.response import Reply
from fnrunner.catalogue import code_signing, functions, resource_tags
from fnrunner.model.arn import Home
from fnrunner.model.signing import CodeSigningConfig

PAGE = 10_000
_UNTRUSTED = "UntrustedArtifactOnDeployment"
_ENFORCE, _WARN = "Enforce", "Warn"


async def create(call: Call) -> Reply:
    home, tags = call.services.home, call.params.get("Tags", {})
    config = CodeSigningConfig(code_signing.new_id(), modified=call.now, **_given(call.params))

    def work(connection: Connection) -> CodeSigningConfig:
        if tags:
            resource_tags.add(connection, resource_tags.config(config.config_id), tags)
        return code_signing.create(connection, config)

    return _one(await call.services.catalogue.change(work), home)


async def get(call: Call) -> Reply:
    home, arn = call.services.home, call.params["CodeSigningConfigArn"]
    return _one(await call.services.catalogue.read(lambda c: code_signing.fetch(c, home, arn)), home)


async def update(call: Call) -> Reply:
    home, arn = call.services.home, call.params["CodeSigningConfigArn"]
    changes = _given(call.params)
    return _one(
        await call.services.catalogue.change(lambda c: code_signing.change(c, home, arn, changes, call.now)), home
    )


async def delete(call: Call) -> Reply:
    home, arn = call.services.home, call.params["CodeSigningConfigArn"]
    await call.services.catalogue.change(lambda c: code_signing.remove(c, home, arn))
    return Reply()


async def every(call: Call) -> Reply:
    """By id; ``Marker`` is the id that the page before ended with."""
    home, marker, size = call.services.home, call.params.get("Marker", ""), call.params.get("MaxItems", PAGE)
    configs = await call.services.catalogue.read(code_signing.every)
    found = [config for config in configs if config.config_id > marker]
    more = {"NextMarker": found[size - 1].config_id} if len(found) > size else {}
    return Reply({"CodeSigningConfigs": [described(config, home) for config in found[:size]], **more})


async def users(call: Call) -> Reply:
    """The functions that have it, by name; ``Marker`` is the name that the page before ended with."""
    home, arn = call.services.home, call.params["CodeSigningConfigArn"]
    marker, size = call.params.get("Marker", ""), call.params.get("MaxItems", PAGE)

    def work(connection: Connection) -> list[str]:
        code_signing.fetch(connection, home, arn)
        return [name for name in code_signing.users_of(connection, arn) if name > marker]

    names = await call.services.catalogue.read(work)
    more = {"NextMarker": names[size - 1]} if len(names) > size else {}
    return Reply({"FunctionArns": [home.function(name) for name in names[:size]], **more})


async def attach(call: Call) -> Reply:
    home, name, arn = call.services.home, _function(call), call.params["CodeSigningConfigArn"]

    def work(connection: Connection) -> None:
        functions.fetch(connection, home, name)
        code_signing.attach(connection, home, name, arn)

    await call.services.catalogue.change(work)
    return Reply({"CodeSigningConfigArn": arn, "FunctionName": name})


async def attached(call: Call) -> Reply:
    """Empty where there is none."""
    home, name = call.services.home, _function(call)

    def work(connection: Connection) -> str:
        functions.fetch(connection, home, name)
        return code_signing.attached(connection, name)

    arn = await call.services.catalogue.read(work)
    return Reply({"CodeSigningConfigArn": arn, "FunctionName": name} if arn else {})


async def detach(call: Call) -> Reply:
    """One that is not there is removed already."""
    home, name = call.services.home, _function(call)

    def work(connection: Connection) -> None:
        functions.fetch(connection, home, name)
        code_signing.detach(connection, name)

    await call.services.catalogue.change(work)
    return Reply()


def described(config: CodeSigningConfig, home: Home) -> dict[str, Any]:
    return {
        "CodeSigningConfigId": config.config_id,
        "CodeSigningConfigArn": home.code_signing_config(config.config_id),
        "Description": config.description,
        "AllowedPublishers": {"SigningProfileVersionArns": list(config.publishers)},
        "CodeSigningPolicies": {_UNTRUSTED: _ENFORCE if config.enforce else _WARN},
        "LastModified": lambda_time(config.modified),
    }


def _one(config: CodeSigningConfig, home: Home) -> Reply:
    return Reply({"CodeSigningConfig": described(config, home)})


def _function(call: Call) -> str:
    """It belongs to all versions."""
    return derive(call.params, call.services.home).name


def _given(params: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if "Description" in params:
        fields["description"] = params["Description"]
    if "AllowedPublishers" in params:
        fields["publishers"] = tuple(params["AllowedPublishers"]["SigningProfileVersionArns"])
    if _UNTRUSTED in params.get("CodeSigningPolicies", {}):
        fields["enforce"] = params["CodeSigningPolicies"][_UNTRUSTED] == _ENFORCE
    return fields


_SETTINGS = (
    "Description",
    "AllowedPublishers.SigningProfileVersionArns",
    "CodeSigningPolicies.UntrustedArtifactOnDeployment",
)

ROUTES = (
    Route("CreateCodeSigningConfig", create, supporting(*_SETTINGS, "Tags")),
    Route("GetCodeSigningConfig", get, supporting("CodeSigningConfigArn")),
    Route("UpdateCodeSigningConfig", update, supporting("CodeSigningConfigArn", *_SETTINGS)),
    Route("DeleteCodeSigningConfig", delete, supporting("CodeSigningConfigArn")),
    Route("ListCodeSigningConfigs", every, supporting("Marker", "MaxItems")),
    Route("ListFunctionsByCodeSigningConfig", users, supporting("CodeSigningConfigArn", "Marker", "MaxItems")),
    Route("PutFunctionCodeSigningConfig", attach, supporting("FunctionName", "CodeSigningConfigArn")),
    Route("GetFunctionCodeSigningConfig", attached, supporting("FunctionName")),
    Route("DeleteFunctionCodeSigningConfig", detach, supporting("FunctionName")),
)
