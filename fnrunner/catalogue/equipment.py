"""What a function is deployed with besides its configuration: code whose signature is accepted, and layers.

Each function here runs inside :meth:`~fnrunner.catalogue.catalogue.Catalogue.change`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection

from fnrunner.catalogue import code_signing, layers
from fnrunner.catalogue.errors import InvalidParameterValue
from fnrunner.catalogue.package import Signed
from fnrunner.catalogue.validation import ONLY_IMAGE
from fnrunner.model.arn import Home
from fnrunner.model.function import Function


def with_code(connection: Connection, home: Home, function: Function, signed: Signed | None, now: datetime) -> Function:
    """The function, whose new code has this signature. Raises InvalidCodeSignature, CodeVerificationFailed,
    TogetherTooLarge.
    """
    config = code_signing.config_of(connection, home, function.name)
    signature = code_signing.weighed(connection, signed) if config else None
    function = replace(function, signature=code_signing.admit(connection, config, function.name, signature, now))
    layers.check_together(function)
    return function


def with_layers(connection: Connection, home: Home, function: Function, arns: Sequence[str], now: datetime) -> Function:
    """The function with these layers and no others. Raises InvalidParameterValue for layers that it cannot have,
    InvalidCodeSignature, CodeVerificationFailed.
    """
    if arns and function.image is not None:
        raise InvalidParameterValue(ONLY_IMAGE)
    attached = layers.attached(connection, home, arns)
    config = code_signing.config_of(connection, home, function.name)
    for layer in attached:
        code_signing.admit(connection, config, layer.arn, layer.signature, now)
    function = replace(function, layers=attached)
    layers.check_together(function)
    return function
