"""What this release does not have is refused by name, never ignored. A value that means *off* is accepted.

>>> refuse("CreateFunction", {"Layers": ["arn"]}, frozenset(), "1.0")
Traceback (most recent call last):
    ...
fnrunner.api.errors.NotSupported: fnrunner 1.0 does not support the parameter Layers of CreateFunction yet.
>>> refuse("CreateFunction", {"Layers": []}, frozenset(), "1.0")
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fnrunner.api.absent import feature_of
from fnrunner.api.errors import NotSupported

_EMPTY: tuple[Any, ...] = ("", [], {})

OFF: Mapping[str, tuple[Any, ...]] = {
    "Publish": (False,),
    "DryRun": (False,),
    "PackageType": ("Zip",),
    "SnapStart": ({"ApplyOn": "None"},),
    "TracingConfig": ({"Mode": "PassThrough"},),
    "VpcConfig": (
        {"SubnetIds": []},
        {"SecurityGroupIds": []},
        {"SubnetIds": [], "SecurityGroupIds": []},
        {"SubnetIds": [], "SecurityGroupIds": [], "Ipv6AllowedForDualStack": False},
    ),
    "ImageConfig": ({"EntryPoint": [], "Command": []},),
    "MetricsConfig": ({"Metrics": []},),
    "ConsumptionMode": ("Stream",),
    "S3ObjectStorageMode": ("COPY",),
}
"""Values, besides empty ones, that ask for nothing."""


def refuse_operation(operation: str, version: str) -> NotSupported:
    feature = feature_of(operation)
    return NotSupported(
        f"fnrunner {version} does not support {operation} yet{f': it has no {feature}' if feature else ''}."
    )


def refuse(operation: str, params: Mapping[str, Any], supports: frozenset[str], version: str) -> None:
    """Raises NotSupported for the first parameter that would have no effect."""
    for name in _without_effect(params, supports, ""):
        raise NotSupported(f"fnrunner {version} does not support the parameter {name} of {operation} yet.")


def _without_effect(params: Mapping[str, Any], supports: frozenset[str], prefix: str) -> Iterator[str]:
    for name, value in params.items():
        path = prefix + name
        if path in supports or value in _EMPTY or value in OFF.get(name, ()):
            continue
        if isinstance(value, dict) and any(known.startswith(path + ".") for known in supports):
            yield from _without_effect(value, supports, path + ".")
        else:
            yield path
