"""Functions of a template that are container images, in the terms of packages.

An image's package is a zip with one file, ``image.json``: ``{"uri", "digest"}``. So it is kept for the way back as any other
code is; what is sent to the server is the image's name, and what is compared is its digest.
"""

from __future__ import annotations

import asyncio
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fnrunner.cli.deploy.package import Entry, Package, pack
from fnrunner.cli.error import UsageFault

FILE = "image.json"
UNCHANGED: Mapping[str, Any] = {"EntryPoint": [], "Command": [], "WorkingDirectory": ""}
"""The ImageConfig that leaves everything as the image says."""


def package(uri: str) -> Package:
    """Of the image that is named so now. Raises UsageFault."""
    from fnrunner.sandbox.oci.store import ImageStore
    from fnrunner.sandbox.sandbox import SandboxError

    try:
        digest = asyncio.run(ImageStore(Path()).resolve(uri))
    except SandboxError as error:
        raise UsageFault(f"The image {uri} cannot be used: {error}", "Correct ImageUri, or build the image.") from error
    return packed(uri, digest)


def packed(uri: str, digest: str) -> Package:
    """The same image gives the same bytes.

    >>> named(packed("host/app:1", "ab"))["uri"]
    'host/app:1'
    """
    return pack({FILE: Entry(json.dumps({"uri": uri, "digest": digest}, sort_keys=True).encode())})


def named(package: Package) -> Mapping[str, str]:
    """``uri`` and ``digest`` of an image's package."""
    with zipfile.ZipFile(io.BytesIO(package.data)) as archive:
        found: Mapping[str, str] = json.loads(archive.read(FILE))
    return found


def source(package: Package) -> dict[str, str]:
    """What CreateFunction's Code and UpdateFunctionCode take: exactly this image, where its place can be asked for it."""
    from fnrunner.sandbox.oci import reference

    image = named(package)
    remote = reference.source(image["uri"]).startswith(reference.REMOTE)
    return {"ImageUri": f"{image['uri']}@sha256:{image['digest']}" if remote else image["uri"]}


def published_sha256(code: Package) -> str:
    """CodeSha256 as the server has it: an image's is its digest in hex."""
    return named(code)["digest"] if code.names == {FILE} and code.data else code.code_sha256


def in_terms_of_packages(configuration: Mapping[str, Any], code: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration of the server's with the CodeSha256 that the image's package has, and ImageConfig as it is asked for.

    ``code`` is GetFunction's.
    """
    if configuration.get("PackageType") != "Image":
        return dict(configuration)
    sha256 = packed(_plain(code["ImageUri"]), configuration["CodeSha256"]).code_sha256
    config = configuration.get("ImageConfigResponse", {}).get("ImageConfig", {})
    return {**configuration, "CodeSha256": sha256, "ImageConfig": {**UNCHANGED, **config}}


def _plain(uri: str) -> str:
    """Without the digest that deploying adds.

    >>> _plain("host/app:1@sha256:ab"), _plain("oci:/a/b:c")
    ('host/app:1', 'oci:/a/b:c')
    """
    return uri.partition("@sha256:")[0]
