"""Topic subscriptions of the catalogue as what their adapter is configured with."""

from __future__ import annotations

from fnrunner.model.trigger import TopicSubscription
from sources.topic import TopicWatch


def topic_watch(subscription: TopicSubscription) -> TopicWatch:
    """Raises Misconfigured, InvalidPattern."""
    return TopicWatch(
        id=subscription.id,
        topic=subscription.topic,
        function=subscription.function,
        qualifier=subscription.qualifier,
        filter_policy=subscription.filter_policy,
        body_filter=subscription.body_filter,
    )
