"""Topic subscriptions: which functions hear which topic, and which of its messages."""

from __future__ import annotations

from uuid import NAMESPACE_OID, uuid5

from sqlalchemy import Connection

from fnrunner.catalogue import triggers, versions
from fnrunner.catalogue.errors import InvalidParameterValue
from fnrunner.model import limits
from fnrunner.model.arn import Home
from fnrunner.model.trigger import TopicSubscription
from sources.errors import InvalidPattern
from sources.filter_policy import FilterPolicy, Scope


def id_of(topic: str, function: str, qualifier: str) -> str:
    """The same function hears a topic once: its subscription always has the same id.

    >>> id_of("news", "f", "") == id_of("news", "f", "$LATEST")
    True
    """
    return str(uuid5(NAMESPACE_OID, f"subscription/{topic}/{function}/{qualifier or limits.LATEST}"))


def check(subscription: TopicSubscription) -> None:
    """Raises InvalidParameterValue."""
    if not subscription.filter_policy:
        return
    try:
        FilterPolicy(subscription.filter_policy, Scope.BODY if subscription.body_filter else Scope.ATTRIBUTES)
    except InvalidPattern as error:
        raise InvalidParameterValue(f"Invalid parameter: FilterPolicy: {error}") from error


def put(connection: Connection, subscription: TopicSubscription, home: Home) -> None:
    """Made, or given another filter. Raises FunctionNotFound."""
    versions.fetch(connection, home, subscription.function, subscription.qualifier)
    triggers.save(connection, subscription)


def remove_of_topic(connection: Connection, topic: str) -> list[TopicSubscription]:
    """Those that were removed."""
    found = [one for one in triggers.of_type(connection, TopicSubscription) if one.topic == topic]
    for subscription in found:
        triggers.remove(connection, TopicSubscription, subscription.id)
    return found
