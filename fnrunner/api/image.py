"""Functions that are container images: what a request says of its image, and what is answered of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fnrunner.api.errors import InvalidParameter
from fnrunner.model.image import ImageCode, ImageConfig
from fnrunner.sandbox.oci import engine, reference
from fnrunner.sandbox.oci.store import ImageStore, Tools
from fnrunner.sandbox.sandbox import SandboxError

IMAGE, ZIP = "Image", "Zip"
DIRECTORY = "images"
"""Where images are, in the data directory."""


def asks_for_image(params: Mapping[str, Any]) -> bool:
    """Whether a function is created of an image. Raises InvalidParameter where that is not certain."""
    kind, named = params.get("PackageType", ZIP), "ImageUri" in params["Code"]
    if kind == IMAGE and not named:
        raise InvalidParameter("Please provide ImageUri when creating a function with packageType Image.")
    if kind == ZIP and (named or "ImageConfig" in params):
        raise InvalidParameter(
            "Please don't provide ImageUri or ImageConfig when creating a function with packageType Zip."
        )
    return bool(kind == IMAGE)


async def resolved(data_dir: Path, uri: str, config: ImageConfig | None = None) -> ImageCode:
    """The image that is named so now. Raises InvalidParameter, also where this host cannot run images, with the remedy."""
    try:
        Tools.on_this_host()
        engine.require_any()
        digest = await ImageStore(data_dir / DIRECTORY).resolve(uri)
    except SandboxError as error:
        raise InvalidParameter(f"Source image {uri} cannot be used. {error}") from error
    return ImageCode(uri, digest, config or ImageConfig())


def config_of(asked: Mapping[str, Any]) -> ImageConfig:
    """An ``ImageConfig`` of a request. Empty lists leave what the image says, as on Lambda."""
    entry_point, command = asked.get("EntryPoint"), asked.get("Command")
    return ImageConfig(
        tuple(entry_point) if entry_point else None,
        tuple(command) if command else None,
        asked.get("WorkingDirectory", ""),
    )


def described(image: ImageCode) -> dict[str, Any]:
    """``ImageConfigResponse`` of a configuration; nothing where the function changes nothing of its image."""
    config = image.config
    document = {
        "EntryPoint": None if config.entry_point is None else list(config.entry_point),
        "Command": None if config.command is None else list(config.command),
        "WorkingDirectory": config.working_directory or None,
    }
    said = {name: value for name, value in document.items() if value is not None}
    return {"ImageConfigResponse": {"ImageConfig": said}} if said else {}


def location(image: ImageCode) -> dict[str, Any]:
    """``Code`` of GetFunction."""
    return {
        "RepositoryType": "ECR",
        "ImageUri": image.uri,
        "ResolvedImageUri": reference.resolved(image.uri, image.digest),
    }
