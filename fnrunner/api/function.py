"""Functions: create, describe, list, update, delete. What a configuration may be is the catalogue's to judge."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from fnrunner.api.document import configuration, listed
from fnrunner.api.errors import InvalidParameter
from fnrunner.api.reference import derive, unpublished
from fnrunner.api.request import Call, Route, supporting
from fnrunner.api.response import Reply
from fnrunner.catalogue import NO_CODE
from fnrunner.catalogue.errors import FunctionNotFound
from fnrunner.model import limits
from fnrunner.model.function import Function

_CONFIGURATION = (
    "FunctionName", "Role", "Handler", "Description", "Timeout", "MemorySize", "Environment", "Runtime", "DeadLetterConfig",
    "EphemeralStorage", "LoggingConfig",
)  # fmt: skip
DEFAULT_PAGE = 50


def host_architecture() -> str:
    """What functions run on here, as Lambda names it."""
    return "arm64" if platform.machine() in ("aarch64", "arm64") else "x86_64"


async def create(call: Call) -> Reply:
    params = call.params
    ref = derive(params, call.services.home)
    _check_package(params)
    if "ZipFile" not in params["Code"]:
        raise InvalidParameter("Please provide a source for function code.")
    draft = Function(
        name=ref.name,
        runtime=params.get("Runtime", ""),
        handler=params.get("Handler", ""),
        code=NO_CODE,
        role=params["Role"],
        architecture=_architecture(params) or host_architecture(),
        tags=params.get("Tags", {}),
        **_settings(params),
    )
    function = await call.services.catalogue.create_function(
        draft, params["Code"]["ZipFile"], publish=params.get("Publish", False)
    )
    return Reply(configuration(function, call.services.home))


async def get(call: Call) -> Reply:
    function, qualifier = await _found(call)
    home = call.services.home
    document: dict[str, Any] = {
        "Configuration": configuration(function, home, qualifier=qualifier),
        "Code": {
            "RepositoryType": "S3",
            "Location": call.services.code_links.make(call.base_url, function.code.digest),
        },
    }
    if function.tags:
        document["Tags"] = dict(function.tags)
    if function.reserved_concurrency is not None:
        document["Concurrency"] = {"ReservedConcurrentExecutions": function.reserved_concurrency}
    return Reply(document)


async def get_configuration(call: Call) -> Reply:
    function, qualifier = await _found(call)
    return Reply(configuration(function, call.services.home, qualifier=qualifier))


async def every(call: Call) -> Reply:
    """``FunctionVersion=ALL`` lists every version of them, with qualified ARNs."""
    versions = call.params.get("FunctionVersion") == "ALL"
    page = await call.services.catalogue.list_functions(
        call.params.get("Marker", ""), call.params.get("MaxItems", DEFAULT_PAGE), all_versions=versions
    )
    home = call.services.home
    documents = [listed(one, home, qualifier=one.version if versions else "") for one in page.functions]
    return Reply({"Functions": documents, **({"NextMarker": page.next_marker} if page.next_marker else {})})


async def update_code(call: Call) -> Reply:
    params = call.params
    ref = unpublished(params, call.services.home)
    if "ZipFile" not in params:
        raise InvalidParameter("Please provide a source for function code.")
    function = await call.services.catalogue.update_code(
        ref.name,
        params["ZipFile"],
        architecture=_architecture(params),
        expected_revision=params.get("RevisionId"),
        dry_run=params.get("DryRun", False),
        publish=params.get("Publish", False),
    )
    published = function.version if function.version != limits.LATEST else ref.qualifier
    return Reply(configuration(function, call.services.home, qualifier=published))


async def update_configuration(call: Call) -> Reply:
    params = call.params
    ref = unpublished(params, call.services.home)
    changes = _settings(params)
    for name, field in (("Runtime", "runtime"), ("Handler", "handler"), ("Role", "role")):
        if name in params:
            changes[field] = params[name]
    function = await call.services.catalogue.update_configuration(
        ref.name, changes, expected_revision=params.get("RevisionId")
    )
    return Reply(configuration(function, call.services.home, qualifier=ref.qualifier))


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


async def code_signing(call: Call) -> Reply:
    """There is none; Terraform asks after each apply."""
    await _found(call)
    return Reply({})


async def _found(call: Call) -> tuple[Function, str]:
    """The function, and the qualifier that the caller gave."""
    ref = derive(call.params, call.services.home)
    return await call.services.catalogue.get_function(ref.name, ref.qualifier), ref.qualifier


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
    if "EphemeralStorage" in params:
        fields["ephemeral_storage_mb"] = params["EphemeralStorage"]["Size"]
    if "Environment" in params:
        fields["environment"] = params["Environment"].get("Variables", {})
        fields["has_environment"] = True
    if "DeadLetterConfig" in params:
        fields["dead_letter_arn"] = params["DeadLetterConfig"].get("TargetArn", "")
    for name, field in _LOGGING:
        if name in params.get("LoggingConfig", {}):
            fields[field] = params["LoggingConfig"][name]
    return fields


_LOGGING = (
    ("LogFormat", "log_format"),
    ("ApplicationLogLevel", "application_log_level"),
    ("SystemLogLevel", "system_log_level"),
    ("LogGroup", "log_group"),
)

ROUTES = (
    Route("CreateFunction", create, supporting(*_CONFIGURATION, "Code.ZipFile", "Architectures", "Tags", "Publish")),
    Route("GetFunction", get, supporting("FunctionName", "Qualifier")),
    Route("GetFunctionConfiguration", get_configuration, supporting("FunctionName", "Qualifier")),
    Route("ListFunctions", every, supporting("Marker", "MaxItems", "FunctionVersion")),
    Route(
        "UpdateFunctionCode",
        update_code,
        supporting("FunctionName", "ZipFile", "Architectures", "RevisionId", "DryRun", "Publish"),
    ),
    Route("UpdateFunctionConfiguration", update_configuration, supporting(*_CONFIGURATION, "RevisionId")),
    Route("DeleteFunction", delete, supporting("FunctionName", "Qualifier")),
    Route("GetFunctionCodeSigningConfig", code_signing, supporting("FunctionName")),
)
