"""Lambda's model as botocore reads it, so that the API is not judged by its own reading of it."""

from __future__ import annotations

from functools import cache
from typing import Any

import botocore.session
from botocore.model import OperationModel, ServiceModel, Shape

from fnrunner.api import app

BESIDE_THE_TABLE = ("Invoke", "InvokeWithResponseStream")
"""Operations with a door of their own."""


@cache
def service() -> ServiceModel:
    return botocore.session.get_session().get_service_model("lambda")


def operation(name: str) -> OperationModel:
    return service().operation_model(name)


def supported() -> list[str]:
    """The operations of this release, in the model's order."""
    has = {*(route.operation for route in app.LAMBDA_ROUTES), *BESIDE_THE_TABLE}
    return [name for name in service().operation_names if name in has]


def members(name: str) -> dict[str, Shape]:
    shape = operation(name).input_shape
    return {} if shape is None else dict(shape.members)


def required(name: str) -> list[str]:
    shape = operation(name).input_shape
    return [] if shape is None else list(shape.required_members)


def location(name: str, member: str) -> str:
    """``uri``, ``querystring``, ``header``, ``payload`` or ``body``."""
    model = operation(name)
    shape = members(name)[member]
    if model.input_shape.serialization.get("payload") == member:
        return "payload"
    return str(shape.serialization.get("location", "body"))


def wire_name(shape: Shape, member: str) -> str:
    return str(shape.serialization.get("name", member))


def has_body(name: str) -> bool:
    """Whether its request is a JSON document."""
    return any(location(name, member) == "body" for member in members(name))


def error_shapes() -> dict[str, Any]:
    """Every modelled error by its code."""
    return {shape.name: shape for shape in service().error_shapes}


def dummy(name: str) -> dict[str, Any]:
    """The required parameters with something of their type, so that a client can send them."""
    of_type: dict[str, Any] = {"structure": {}, "list": [], "map": {}, "integer": 1, "long": 1}
    return {key: of_type.get(members(name)[key].type_name, "x") for key in required(name)}
