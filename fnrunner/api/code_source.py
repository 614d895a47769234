"""Where a request says that a package is: in the request itself, or in a bucket. Exactly one of them.

A bucket is a directory (:mod:`fnrunner.catalogue.bucket_object`), which this process reads as it is then; what becomes of
the object afterwards does not matter to the function. What is uploaded may have 50 MB, what is in a bucket as much as it
may have unzipped. Source: Lambda API, FunctionCode and LayerVersionContentInput.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fnrunner.api.errors import InvalidParameter
from fnrunner.catalogue import Catalogue, bucket_object
from fnrunner.model import limits

BUCKET = ("S3Bucket", "S3Key", "S3ObjectVersion")
_UNVERSIONED = "null"
"""What S3 calls the version of an object in a bucket that keeps none."""


@dataclass(frozen=True, slots=True)
class Source:
    """A zip, and how many bytes one from there may have."""

    content: bytes = field(repr=False)
    largest: int = limits.ZIP_BYTES


def check(code: Mapping[str, Any], nothing: str = "Please provide a source for function code.") -> None:
    """Raises InvalidParameter unless ``code`` names one source; ``nothing`` is what is said where it names none."""
    for name in ("ZipFile", "ImageUri"):
        if name in code and any(other in code for other in (*BUCKET, "ZipFile", "ImageUri") if other != name):
            article = "an" if name == "ImageUri" else "a"
            raise InvalidParameter(
                f"Please do not provide other FunctionCode parameters when providing {article} {name}."
            )
    if "ZipFile" in code or "ImageUri" in code:
        return
    if "S3Bucket" not in code or "S3Key" not in code:
        raise InvalidParameter(nothing)


async def read(catalogue: Catalogue, code: Mapping[str, Any]) -> Source:
    """The zip of what :func:`check` has found in order and is no image.

    Raises NoSuchBucket, NoSuchKey, NoSuchVersion, ObjectForbidden, ObjectTooLarge.
    """
    if "ZipFile" in code:
        return Source(code["ZipFile"])
    known = {bucket.name: bucket for bucket in await catalogue.list_buckets()}
    if (bucket := known.get(code["S3Bucket"])) is None:
        raise bucket_object.NoSuchBucket
    if (version := code.get("S3ObjectVersion", _UNVERSIONED)) != _UNVERSIONED:
        raise bucket_object.NoSuchVersion(version)
    content = await asyncio.to_thread(bucket_object.read, bucket, code["S3Key"], limits.UNZIPPED_BYTES)
    return Source(content, limits.UNZIPPED_BYTES)
