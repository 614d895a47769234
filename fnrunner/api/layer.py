"""Layers: publish versions, describe, list and delete them. What a function may have of them is the catalogue's to judge."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Any

from fnrunner.api import code_source
from fnrunner.api.document import lambda_time
from fnrunner.api.errors import Forbidden, InvalidParameter, ResourceNotFound
from fnrunner.api.request import Call, Route, supporting
from fnrunner.api.response import Reply
from fnrunner.catalogue import NO_CODE, layers
from fnrunner.model.arn import Home, InvalidArn
from fnrunner.model.layer import LayerRef, LayerVersion

PAGE = 50
_NO_SOURCE = "Please provide a source for the layer's content: Content.ZipFile, or Content.S3Bucket and Content.S3Key."


async def publish(call: Call) -> Reply:
    """Each call makes a new version, also of the same zip."""
    params = call.params
    name = layer_name(call)
    code_source.check(params["Content"], _NO_SOURCE)
    draft = LayerVersion(
        name,
        NO_CODE,
        description=params.get("Description", ""),
        license_info=params.get("LicenseInfo", ""),
        runtimes=tuple(params.get("CompatibleRuntimes", ())),
        architectures=tuple(params.get("CompatibleArchitectures", ())),
    )
    catalogue = call.services.catalogue
    source = await code_source.read(catalogue, params["Content"])
    made = await catalogue.publish_layer(draft, source.content, largest=source.largest)
    return Reply(_whole(call, made))


async def get(call: Call) -> Reply:
    return Reply(_whole(call, await _found(call, layer_name(call), call.params["VersionNumber"])))


async def get_by_arn(call: Call) -> Reply:
    ref = _reference(call, call.params["Arn"])
    return Reply(_whole(call, await _found(call, ref.name, ref.version)))


async def every(call: Call) -> Reply:
    """By name; of each the newest version that suits. ``Marker`` is the name that the page before ended with."""
    marker, size = call.params.get("Marker", ""), call.params.get("MaxItems", PAGE)
    suiting = _suiting(call, await call.services.catalogue.read(layers.every))
    latest = [next(of_name) for name, of_name in groupby(suiting, lambda layer: layer.name) if name > marker]
    home = call.services.home
    found = [
        {
            "LayerName": layer.name,
            "LayerArn": home.layer(layer.name),
            "LatestMatchingVersion": described(layer, home),
        }
        for layer in latest[:size]
    ]
    return Reply({"Layers": found, **({"NextMarker": latest[size - 1].name} if len(latest) > size else {})})


async def versions(call: Call) -> Reply:
    """The newest first; ``Marker`` is the version that the page before ended with."""
    name, marker, size = layer_name(call), call.params.get("Marker", ""), call.params.get("MaxItems", PAGE)
    if marker and not (marker.isascii() and marker.isdecimal() and len(marker) < 19):
        raise InvalidParameter("The marker is not one that a listing returned.")
    found = list(_suiting(call, await call.services.catalogue.read(lambda c: layers.versions_of(c, name))))
    if marker:
        found = [layer for layer in found if layer.version < int(marker)]
    page = [described(layer, call.services.home) for layer in found[:size]]
    return Reply({"LayerVersions": page, **({"NextMarker": str(page[-1]["Version"])} if len(found) > size else {})})


async def delete(call: Call) -> Reply:
    """One that is not there is deleted already."""
    await call.services.catalogue.delete_layer_version(layer_name(call), call.params["VersionNumber"])
    return Reply()


def layer_name(call: Call) -> str:
    """The layer that ``LayerName`` names. Raises InvalidParameter, ResourceNotFound, Forbidden."""
    return _reference(call, call.params["LayerName"]).name


def described(layer: LayerVersion, home: Home) -> dict[str, Any]:
    """As lists have it: without its content. What was not said of it is absent."""
    document: dict[str, Any] = {
        "LayerVersionArn": home.layer(layer.name, layer.version),
        "Version": layer.version,
        "Description": layer.description,
        "CreatedDate": lambda_time(layer.created),
    }
    if layer.runtimes:
        document["CompatibleRuntimes"] = list(layer.runtimes)
    if layer.architectures:
        document["CompatibleArchitectures"] = list(layer.architectures)
    if layer.license_info:
        document["LicenseInfo"] = layer.license_info
    return document


def _whole(call: Call, layer: LayerVersion) -> dict[str, Any]:
    home = call.services.home
    content: dict[str, Any] = {
        "Location": call.services.code_links.make(call.base_url, layer.code.digest),
        "CodeSha256": layer.code.sha256,
        "CodeSize": layer.code.size_bytes,
    }
    if layer.signature is not None and not layer.signature.fault:
        content["SigningProfileVersionArn"] = layer.signature.profile
        content["SigningJobArn"] = layer.signature.job
    return {"LayerArn": home.layer(layer.name), **described(layer, home), "Content": content}


async def _found(call: Call, name: str, version: int) -> LayerVersion:
    home = call.services.home
    return await call.services.catalogue.read(lambda connection: layers.fetch(connection, home, name, version))


def _suiting(call: Call, found: Iterable[LayerVersion]) -> Iterable[LayerVersion]:
    runtime, architecture = call.params.get("CompatibleRuntime", ""), call.params.get("CompatibleArchitecture", "")
    return (layer for layer in found if layer.suits(runtime, architecture))


def _reference(call: Call, text: str) -> LayerRef:
    home = call.services.home
    try:
        ref = LayerRef.parse(text)
    except InvalidArn:
        raise ResourceNotFound(f"Layer version {text} does not exist.") from None
    if ref.region and ref.region != home.region:
        raise InvalidParameter(
            f"Layers are not in the same region as the request. Layers are expected to be in region {home.region}."
        )
    if ref.account and ref.account != home.account:
        raise Forbidden(f"Layers of account {ref.account} are not accessible: this is account {home.account}.")
    return ref


_FILTERS = ("CompatibleRuntime", "CompatibleArchitecture", "Marker", "MaxItems")

ROUTES = (
    Route(
        "PublishLayerVersion",
        publish,
        supporting(
            "LayerName",
            "Description",
            "Content.ZipFile",
            *(f"Content.{name}" for name in code_source.BUCKET),
            "CompatibleRuntimes",
            "CompatibleArchitectures",
            "LicenseInfo",
        ),
    ),
    Route("GetLayerVersion", get, supporting("LayerName", "VersionNumber")),
    Route("GetLayerVersionByArn", get_by_arn, supporting("Arn")),
    Route("ListLayers", every, supporting(*_FILTERS)),
    Route("ListLayerVersions", versions, supporting("LayerName", *_FILTERS)),
    Route("DeleteLayerVersion", delete, supporting("LayerName", "VersionNumber")),
)
