"""Event-invoke configurations: what follows the asynchronous events of one qualifier of a function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from fnrunner.catalogue import constraint, document, versions
from fnrunner.catalogue.errors import EventInvokeConfigNotFound, InvalidParameterValue, ValidationFailed
from fnrunner.model import arn, limits
from fnrunner.model.arn import FunctionRef, Home, InvalidArn
from fnrunner.model.function import EventInvokeConfig
from fnrunner.store.schema import event_invoke_config as table

CHANGEABLE = frozenset({"max_retries", "max_age", "on_success", "on_failure"})
SERVICES = ("lambda", "sqs", "sns")
"""Where results can be sent: AWS also knows EventBridge and S3."""

DESTINATION = (
    r"$|kafka://([^.]([a-zA-Z0-9\-_.]{0,248}))|arn:(aws[a-zA-Z0-9-]*):([a-zA-Z0-9\-])+:"
    r"((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1})?:(\d{12})?:(.*)"
)


def check(config: EventInvokeConfig, home: Home) -> None:
    """Raises ValidationFailed, InvalidParameterValue."""
    if config.max_retries is None and config.max_age is None and not config.on_success and not config.on_failure:
        raise InvalidParameterValue("You must specify at least one of error handling or destination setting.")
    problems = []
    if config.max_retries is not None:
        problems += constraint.between("maximumRetryAttempts", config.max_retries, *limits.MAX_RETRIES)
    if config.max_age is not None:
        age_s = config.max_age.total_seconds()
        problems += constraint.between("maximumEventAgeInSeconds", age_s, *limits.EVENT_AGE_S)
    for path, target in (("onSuccess", config.on_success), ("onFailure", config.on_failure)):
        problems += constraint.matches(f"destinationConfig.{path}.destination", target, DESTINATION)
    if problems:
        raise ValidationFailed(problems)
    for target in (config.on_success, config.on_failure):
        if target:
            _check_destination(config, target, home)


def merged(config: EventInvokeConfig, changes: Mapping[str, Any], now: datetime) -> EventInvokeConfig:
    """``changes`` maps names of :data:`CHANGEABLE`. Raises TypeError for others."""
    if unknown := set(changes) - CHANGEABLE:
        raise TypeError(f"no part of an event-invoke configuration: {', '.join(sorted(unknown))}")
    return replace(config, **changes, last_modified=now)


def check_function_exists(connection: Connection, name: str, qualifier: str) -> None:
    """Raises EventInvokeConfigNotFound."""
    if not versions.exists(connection, name, qualifier):
        raise EventInvokeConfigNotFound(None)


def fetch(connection: Connection, home: Home, name: str, qualifier: str) -> EventInvokeConfig:
    """Raises EventInvokeConfigNotFound."""
    found = connection.execute(select(table.c.document).where(*_same(name, qualifier))).scalar()
    if found is None:
        raise EventInvokeConfigNotFound(home.function(name, qualifier))
    return document.load_event_invoke_config(found)


def every(connection: Connection, name: str) -> tuple[EventInvokeConfig, ...]:
    """Those of a function, by qualifier."""
    query = select(table.c.document).where(table.c.function == name)
    found = (document.load_event_invoke_config(row) for row in connection.execute(query).scalars())
    return tuple(sorted(found, key=lambda config: config.qualifier))


def save(connection: Connection, config: EventInvokeConfig) -> None:
    connection.execute(delete(table).where(*_same(config.function, config.qualifier)))
    row = {
        "function": config.function,
        "qualifier": config.qualifier,
        "document": document.dump_event_invoke_config(config),
    }
    connection.execute(insert(table).values(row))


def remove(connection: Connection, home: Home, name: str, qualifier: str) -> None:
    """Raises EventInvokeConfigNotFound."""
    if connection.execute(delete(table).where(*_same(name, qualifier))).rowcount == 0:
        raise EventInvokeConfigNotFound(home.function(name, qualifier))


def _same(name: str, qualifier: str) -> tuple[Any, Any]:
    return table.c.function == name, table.c.qualifier == qualifier


def _check_destination(config: EventInvokeConfig, target: str, home: Home) -> None:
    try:
        service = arn.parse(target).service
    except InvalidArn:
        service = ""
    if service not in SERVICES:
        raise InvalidParameterValue(
            f"The provided destination config {_shown(config)} is invalid. "
            "Destinations are Lambda functions, SQS queues and SNS topics."
        )
    if service != "lambda":
        return
    try:
        ref = FunctionRef.parse(target)
    except InvalidArn:
        raise InvalidParameterValue(f"The destination ARN {target} is invalid.") from None
    # Without its "function:" a layer's ARN would read as a function named "layer".
    if not target.startswith(home.function("")) or (ref.region, ref.account) != (home.region, home.account):
        raise InvalidParameterValue(f"The destination ARN {target} is invalid.")
    if ref.name == config.function:
        raise InvalidParameterValue("You can't specify the function as a destination for itself.")


def _shown(config: EventInvokeConfig) -> str:
    success = f"OnSuccess(destination={config.on_success})" if config.on_success else "null"
    failure = f"OnFailure(destination={config.on_failure})" if config.on_failure else "null"
    return f"DestinationConfig(onSuccess={success}, onFailure={failure})"
