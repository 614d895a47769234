"""Functions: create, describe, list, update, delete. What a configuration may be is the catalogue's to judge."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection

from fnrunner.api import code_source, image, kms, role
from fnrunner.api.document import configuration, listed
from fnrunner.api.errors import InvalidParameter
from fnrunner.api.lifecycle import created, updating
from fnrunner.api.reference import derive, unpublished
from fnrunner.api.request import Call, Route, supporting
from fnrunner.api.response import Reply
from fnrunner.catalogue import NO_CODE, versions
from fnrunner.catalogue.errors import FunctionNotFound
from fnrunner.model import limits
from fnrunner.model.function import Function
from fnrunner.model.image import ImageCode

_CONFIGURATION = (
    "FunctionName", "Role", "Handler", "Description", "Timeout", "MemorySize", "Environment", "Runtime", "DeadLetterConfig",
    "EphemeralStorage", "LoggingConfig", "Layers", "KMSKeyArn", "SnapStart.ApplyOn", "TracingConfig.Mode", "ImageConfig",
)  # fmt: skip
DEFAULT_PAGE = 50


def host_architecture() -> str:
    """What functions run on here, as Lambda names it."""
    return "arm64" if platform.machine() in ("aarch64", "arm64") else "x86_64"


async def create(call: Call) -> Reply:
    params = call.params
    ref = derive(params, call.services.home)
    _check_package(params)
    is_image = image.asks_for_image(params)
    code_source.check(params["Code"])
    await role.check(call.services, params["Role"])
    await kms.check(call.services, params.get("KMSKeyArn"))
    draft = Function(
        name=ref.name,
        runtime=params.get("Runtime", ""),
        handler=params.get("Handler", ""),
        code=NO_CODE,
        role=params["Role"],
        architecture=_architecture(params) or host_architecture(),
        tags=params.get("Tags", {}),
        image=await _image(call) if is_image else None,
        **_settings(params),
    )
    catalogue = call.services.catalogue
    source = code_source.Source(b"") if is_image else await code_source.read(catalogue, params["Code"])
    function = await catalogue.create_function(
        draft,
        source.content,
        largest=source.largest,
        publish=params.get("Publish", False),
        layer_arns=params.get("Layers", ()),
        code_signing_config=params.get("CodeSigningConfigArn", ""),
    )
    return Reply(created(function, call.services.home))


async def get(call: Call) -> Reply:
    function, described = await _described(call)
    document: dict[str, Any] = {
        "Configuration": described,
        "Code": _location(call, function),
    }
    if function.tags:
        document["Tags"] = dict(function.tags)
    if function.reserved_concurrency is not None:
        document["Concurrency"] = {"ReservedConcurrentExecutions": function.reserved_concurrency}
    return Reply(document)


async def get_configuration(call: Call) -> Reply:
    return Reply((await _described(call))[1])


async def every(call: Call) -> Reply:
    """``FunctionVersion=ALL`` lists every version of them, with qualified ARNs."""
    all_versions = call.params.get("FunctionVersion") == "ALL"
    if (region := call.params.get("MasterRegion")) is not None:
        if not all_versions:
            raise InvalidParameter("FunctionVersion must be set to ALL if MasterRegion is specified")
        if region not in ("ALL", call.services.home.region):
            return Reply({"Functions": []})  # nothing is replicated here from elsewhere
    page = await call.services.catalogue.list_functions(
        call.params.get("Marker", ""), call.params.get("MaxItems", DEFAULT_PAGE), all_versions=all_versions
    )
    home = call.services.home
    documents = [listed(one, home, qualifier=one.version if all_versions else "") for one in page.functions]
    return Reply({"Functions": documents, **({"NextMarker": page.next_marker} if page.next_marker else {})})


async def update_code(call: Call) -> Reply:
    params = call.params
    ref = unpublished(params, call.services.home)
    code_source.check(params)
    dry_run = params.get("DryRun", False)
    catalogue = call.services.catalogue
    async with call.services.updates.of(ref.name, call.services.home.function(ref.name)):
        if "ImageUri" in params:
            # asked of the registry only for a function that can take it
            if (await catalogue.get_function(ref.name)).image is None:
                raise InvalidParameter("Please don't provide ImageUri when updating a function with packageType Zip.")
            update = partial(
                catalogue.update_image,
                ref.name,
                await image.resolved(call.services.settings.data_dir, params["ImageUri"]),
            )
        else:
            if "ZipFile" not in params:
                # a function that is not there is said before what its code would be
                await catalogue.get_function(ref.name)
            source = await code_source.read(catalogue, params)
            update = partial(catalogue.update_code, ref.name, source.content, largest=source.largest)
        function = await update(
            architecture=_architecture(params),
            expected_revision=params.get("RevisionId"),
            dry_run=dry_run,
            publish=params.get("Publish", False),
        )
    qualifier = function.version if function.version != limits.LATEST else ref.qualifier
    describe = configuration if dry_run else updating
    return Reply(describe(function, call.services.home, qualifier=qualifier))


async def update_configuration(call: Call) -> Reply:
    params = call.params
    ref = unpublished(params, call.services.home)
    changes = _settings(params)
    for name, field in (("Runtime", "runtime"), ("Handler", "handler"), ("Role", "role")):
        if name in params:
            changes[field] = params[name]
    if "Layers" in params:
        changes["layers"] = params["Layers"]
    if "ImageConfig" in params:
        changes["image"] = await _reconfigured(call, ref.name)
    await role.check(call.services, params.get("Role"))
    await kms.check(call.services, params.get("KMSKeyArn"))
    async with call.services.updates.of(ref.name, call.services.home.function(ref.name)):
        function = await call.services.catalogue.update_configuration(
            ref.name, changes, expected_revision=params.get("RevisionId")
        )
    return Reply(updating(function, call.services.home, qualifier=ref.qualifier))


async def delete(call: Call) -> Reply:
    """204, as Lambda answers, though its model says 200. A version that does not exist is deleted already."""
    ref = derive(call.params, call.services.home)
    if not ref.qualifier:
        await call.services.catalogue.delete_function(ref.name)
        return Reply(status=204)
    if ref.qualifier != limits.LATEST and not ref.qualifier.isdecimal():
        raise InvalidParameter("Deletion of aliases is not currently supported.")
    await call.services.catalogue.get_function(ref.name)
    with contextlib.suppress(FunctionNotFound):
        await call.services.catalogue.delete_version(ref.name, ref.qualifier)
    return Reply(status=204)


async def _image(call: Call) -> ImageCode:
    uri, config = call.params["Code"]["ImageUri"], call.params.get("ImageConfig", {})
    return await image.resolved(call.services.settings.data_dir, uri, image.config_of(config))


async def _reconfigured(call: Call, name: str) -> ImageCode:
    """Its image with the configuration that the request gives it. Raises InvalidParameter."""
    found = (await call.services.catalogue.get_function(name)).image
    if found is None:
        raise InvalidParameter("ImageConfig is not supported for functions with packageType Zip.")
    return replace(found, config=image.config_of(call.params["ImageConfig"]))


def _location(call: Call, function: Function) -> dict[str, Any]:
    if function.image is not None:
        return image.location(function.image)
    return {"RepositoryType": "S3", "Location": call.services.code_links.make(call.base_url, function.code.digest)}


async def _described(call: Call) -> tuple[Function, dict[str, Any]]:
    """The function that is asked for, and its configuration. Versions do not change; the unpublished one may be changing."""
    home, updates = call.services.home, call.services.updates
    ref = derive(call.params, home)

    def work(connection: Connection) -> tuple[Function, bool]:
        if ref.qualifier in ("", limits.LATEST):
            return updates.look(connection, home, ref.name)
        found = versions.fetch(connection, home, ref.name, ref.qualifier)
        return found, found.version == limits.LATEST and updates.look(connection, home, ref.name)[1]

    function, changing = await call.services.catalogue.read(work)
    return function, (updating if changing else configuration)(function, home, qualifier=ref.qualifier)


def _check_package(params: Mapping[str, Any]) -> None:
    if params.get("PackageType", "Zip") == "Zip" and not (params.get("Runtime") and params.get("Handler")):
        raise InvalidParameter(
            "Runtime and Handler are mandatory parameters for functions created with deployment packages."
        )


def _architecture(params: Mapping[str, Any]) -> str | None:
    """The one that was asked for. Raises InvalidParameter for one that this host cannot run."""
    if not (asked := params.get("Architectures")):
        return None
    if asked[0] != host_architecture():
        raise InvalidParameter(
            f"Architectures: fnrunner runs functions on {host_architecture()} here, not on {asked[0]}."
        )
    return str(asked[0])


def _settings(params: Mapping[str, Any]) -> dict[str, Any]:
    """What creating and updating share, by field of Function; what was not given is not there."""
    fields: dict[str, Any] = {}
    if "Description" in params:
        fields["description"] = params["Description"]
    if "Timeout" in params:
        fields["timeout"] = timedelta(seconds=params["Timeout"])
    if "MemorySize" in params:
        fields["memory_mb"] = params["MemorySize"]
    if "Environment" in params:
        fields["environment"] = params["Environment"].get("Variables", {})
        fields["has_environment"] = True
    if "KMSKeyArn" in params:
        fields["kms_key_arn"] = params["KMSKeyArn"]
    if "DeadLetterConfig" in params:
        fields["dead_letter_arn"] = params["DeadLetterConfig"].get("TargetArn", "")
    for structure, name, field in _MEMBERS:
        if name in params.get(structure, {}):
            fields[field] = params[structure][name]
    return fields


_MEMBERS = (
    ("EphemeralStorage", "Size", "ephemeral_storage_mb"),
    ("TracingConfig", "Mode", "tracing_mode"),
    ("SnapStart", "ApplyOn", "snap_start"),
    ("LoggingConfig", "LogFormat", "log_format"),
    ("LoggingConfig", "ApplicationLogLevel", "application_log_level"),
    ("LoggingConfig", "SystemLogLevel", "system_log_level"),
    ("LoggingConfig", "LogGroup", "log_group"),
)

ROUTES = (
    Route(
        "CreateFunction",
        create,
        supporting(
            *_CONFIGURATION,
            "Code.ZipFile",
            *(f"Code.{name}" for name in code_source.BUCKET),
            "Code.ImageUri",
            "PackageType",
            "Architectures",
            "Tags",
            "Publish",
            "CodeSigningConfigArn",
        ),
    ),
    Route("GetFunction", get, supporting("FunctionName", "Qualifier")),
    Route("GetFunctionConfiguration", get_configuration, supporting("FunctionName", "Qualifier")),
    Route("ListFunctions", every, supporting("Marker", "MaxItems", "FunctionVersion", "MasterRegion")),
    Route(
        "UpdateFunctionCode",
        update_code,
        supporting(
            *("FunctionName", "ZipFile", *code_source.BUCKET, "ImageUri"),
            *("Architectures", "RevisionId", "DryRun", "Publish"),
        ),
    ),
    Route("UpdateFunctionConfiguration", update_configuration, supporting(*_CONFIGURATION, "RevisionId")),
    Route("DeleteFunction", delete, supporting("FunctionName", "Qualifier")),
)
