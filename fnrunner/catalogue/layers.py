"""Layers in the store, and what a function may have of them. Versions never change and their numbers are given once.

Each function with a ``connection`` runs inside :meth:`~fnrunner.catalogue.catalogue.Catalogue.change`, or ``read`` where it
only reads. Source: Lambda API, layers; its answers as recorded.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from fnrunner.catalogue import constraint, document, policies
from fnrunner.catalogue.errors import (
    InvalidParameterValue,
    LayerVersionNotFound,
    UnzippedTooLarge,
    ValidationFailed,
)
from fnrunner.catalogue.validation import ARCHITECTURES
from fnrunner.model import limits
from fnrunner.model.arn import Home, InvalidArn
from fnrunner.model.function import AttachedLayer, Function
from fnrunner.model.layer import LayerRef, LayerVersion
from fnrunner.store.schema import layer as number_table
from fnrunner.store.schema import layer_version as table

LICENSE_CHARS = 512
MOST_VERSIONS = 2**31 - 1
"""What the column takes."""

MOST_RUNTIMES = 15


class TogetherTooLarge(UnzippedTooLarge):
    """``size_bytes`` is that of the code and all layers."""

    def __init__(self, size_bytes: int) -> None:
        super().__init__(
            f"Function code combined with layers exceeds the maximum allowed size of {limits.UNZIPPED_BYTES} bytes. The actual "
            f"size is {size_bytes} bytes."
        )


def check(layer: LayerVersion) -> None:
    """Raises ValidationFailed."""
    problems = [
        *constraint.at_most("description", layer.description, limits.DESCRIPTION_CHARS),
        *constraint.at_most("licenseInfo", layer.license_info, LICENSE_CHARS),
    ]
    for architecture in layer.architectures:
        problems += constraint.one_of("compatibleArchitectures", architecture, ARCHITECTURES)
    if len(layer.runtimes) > MOST_RUNTIMES:
        rule = f"Member must have length less than or equal to {MOST_RUNTIMES}"
        problems.append(constraint.broken("compatibleRuntimes", f"[{', '.join(layer.runtimes)}]", rule))
    if problems:
        raise ValidationFailed(problems)


def publish(connection: Connection, draft: LayerVersion, now: datetime) -> LayerVersion:
    """The draft with the next number: each call makes a new version, also of the same zip."""
    last = connection.execute(select(number_table.c.number).where(number_table.c.name == draft.name)).scalar()
    layer = replace(draft, version=(last or 0) + 1, created=now)
    if last is None:
        connection.execute(insert(number_table).values(name=layer.name, number=layer.version))
    else:
        same = number_table.c.name == layer.name
        connection.execute(update(number_table).where(same).values(number=layer.version))
    row = {"layer": layer.name, "version": layer.version, "digest": layer.code.digest, "document": dump(layer)}
    connection.execute(insert(table).values(row))
    return layer


def fetch(connection: Connection, home: Home, name: str, version: int) -> LayerVersion:
    """Raises LayerVersionNotFound, and InvalidParameterValue for a number below 1."""
    if version < 1:
        raise InvalidParameterValue("Layer Version Cannot be less than 1")
    possible = version <= MOST_VERSIONS
    text = connection.execute(select(table.c.document).where(*_same(name, version))).scalar() if possible else None
    if text is None:
        raise LayerVersionNotFound(home.layer(name, version))
    return load(text)


def versions_of(connection: Connection, name: str) -> list[LayerVersion]:
    """The newest first; none where there is no such layer."""
    query = select(table.c.document).where(table.c.layer == name).order_by(table.c.version.desc())
    return [load(text) for text in connection.execute(query).scalars()]


def every(connection: Connection) -> list[LayerVersion]:
    """All versions of all layers, by name, of each the newest first."""
    found = [load(text) for text in connection.execute(select(table.c.document)).scalars()]
    return sorted(found, key=lambda layer: (layer.name, -layer.version))


def remove(connection: Connection, name: str, version: int) -> str:
    """The digest that it had, with its policy; empty where there was none. Functions that have it keep it.

    Raises InvalidParameterValue for a number below 1.
    """
    if version < 1:
        raise InvalidParameterValue("Layer Version Cannot be less than 1")
    if version > MOST_VERSIONS:
        return ""
    digest: str | None = connection.execute(select(table.c.digest).where(*_same(name, version))).scalar()
    connection.execute(delete(table).where(*_same(name, version)))
    policies.forget_layer(connection, name, version)
    return digest or ""


def attached(connection: Connection, home: Home, arns: Sequence[str]) -> tuple[AttachedLayer, ...]:
    """What a function gets that lists these ARNs. Raises InvalidParameterValue."""
    if len(arns) > limits.LAYERS:
        raise InvalidParameterValue(f"Cannot reference more than {limits.LAYERS} layers.")
    found: dict[str, LayerVersion] = {}
    for arn in arns:
        layer = _listed(connection, home, arn)
        if (other := found.get(layer.name)) is not None:
            raise InvalidParameterValue(
                "Two different versions of the same layer are not allowed to be referenced in the same function. "
                f"{home.layer(other.name, other.version)} and {arn} are versions of the same layer."
            )
        found[layer.name] = layer
    return tuple(AttachedLayer(home.layer(one.name, one.version), one.code, one.signature) for one in found.values())


def check_together(function: Function) -> None:
    """Whether the function can have its layers. Raises TogetherTooLarge."""
    if not function.layers:
        return
    size = function.code.unzipped_bytes + sum(layer.code.unzipped_bytes for layer in function.layers)
    if size > limits.UNZIPPED_BYTES:
        raise TogetherTooLarge(size)


def dump(layer: LayerVersion) -> str:
    return document.dump(
        {
            "name": layer.name,
            "version": layer.version,
            "code": document.dump_code(layer.code),
            "description": layer.description,
            "license_info": layer.license_info,
            "runtimes": list(layer.runtimes),
            "architectures": list(layer.architectures),
            "signature": document.dump_signature(layer.signature),
            "created": layer.created.isoformat(),
        }
    )


def load(text: str) -> LayerVersion:
    """Raises KeyError or ValueError for what no release wrote."""
    found: dict[str, Any] = json.loads(text)
    return LayerVersion(
        name=found["name"],
        version=found["version"],
        code=document.load_code(found["code"]),
        description=found.get("description", ""),
        license_info=found.get("license_info", ""),
        runtimes=tuple(found.get("runtimes", ())),
        architectures=tuple(found.get("architectures", ())),
        signature=document.load_signature(found.get("signature")),
        created=datetime.fromisoformat(found["created"]),
    )


def _listed(connection: Connection, home: Home, arn: str) -> LayerVersion:
    """As the API has it for a function: what does not exist is a wrong parameter."""
    try:
        ref = LayerRef.parse(arn)
    except InvalidArn:
        raise InvalidParameterValue(f"Layer version {arn} does not exist.") from None
    if ref.region and ref.region != home.region:
        raise InvalidParameterValue(
            f"Layers are not in the same region as the function. Layers are expected to be in region {home.region}."
        )
    if ref.version < 1:
        raise InvalidParameterValue("Layer Version Cannot be less than 1")
    if ref.account != home.account:
        raise InvalidParameterValue(f"Layer version {arn} does not exist.")
    try:
        return fetch(connection, home, ref.name, ref.version)
    except LayerVersionNotFound as error:
        raise InvalidParameterValue(str(error)) from error


def _same(name: str, version: int) -> tuple[Any, Any]:
    return table.c.layer == name, table.c.version == version
