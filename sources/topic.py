"""A subscription to a topic as values: what is configured, what must exist on the broker, and what its dead letters say."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from broker import names
from broker.topology import DELIVERY_LIMIT, Binding, Exchange, ExchangeKind, Queue, Topology
from sources.errors import Misconfigured
from sources.filter_policy import FilterPolicy, Scope
from sources.invocation import GivenUp
from sources.mapping import EventSourceMapping, Kind
from sources.source import Services
from sources.topic_event import Notification

_LONGEST_ID = 200


@dataclass(frozen=True, slots=True)
class TopicPace:
    """``look``: between two declarations of what must exist. ``hold``: how long a message that is not accepted is kept
    before it is given back to the queue; well below the broker's consumer timeout of 30 minutes. ``closing``: how long
    what was taken may take to finish."""

    look: timedelta = timedelta(seconds=30)
    hold: timedelta = timedelta(minutes=5)
    accept_timeout: timedelta = timedelta(seconds=60)
    retry_longest: timedelta = timedelta(seconds=30)
    closing: timedelta = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class TopicWatch:
    """A function that hears the topic called ``topic``. ``id`` names the subscription, for ever: its queue is called after
    it. ``filter_policy`` is JSON text, empty for all messages; ``body_filter``: it is about the body instead of the
    attributes. ``prefetch`` is how many messages are held at once. Raises Misconfigured, InvalidPattern.
    """

    id: str
    topic: str
    function: str
    qualifier: str = ""
    filter_policy: str = ""
    body_filter: bool = False
    prefetch: int = 64
    pace: TopicPace = field(default_factory=TopicPace)

    def __post_init__(self) -> None:
        if not 0 < len(self.id.encode()) <= _LONGEST_ID:
            raise Misconfigured(f"subscription {self.id!r}: an id has 1 to {_LONGEST_ID} bytes")
        if not self.topic or self.topic.startswith("amq."):
            raise Misconfigured(
                f"subscription {self.id}: {self.topic!r} cannot be the exchange of a topic: name another"
            )
        if self.prefetch < 1:
            raise Misconfigured(f"subscription {self.id}: prefetch is 1 or more, not {self.prefetch}")
        self.policy()

    def policy(self) -> FilterPolicy | None:
        """None: every message is wanted."""
        scope = Scope.BODY if self.body_filter else Scope.ATTRIBUTES
        return FilterPolicy(self.filter_policy, scope) if self.filter_policy else None


def topology(watch: TopicWatch) -> Topology:
    """What must exist: the topic's exchange, and the subscription's queue with everything that is published to it."""
    queue = names.topic(watch.id)
    return Topology(
        exchanges=(Exchange(watch.topic, ExchangeKind.TOPIC),),
        queues=(
            Queue(
                queue,
                dead_letter_exchange=names.DEAD,
                dead_letter_routing_key=watch.function,
                delivery_limit=DELIVERY_LIMIT,
            ),
        ),
        bindings=(Binding(watch.topic, queue, "#"),),
    )


class _Subscribed(EventSourceMapping):
    """The subscription, as what its dead letters say they come from."""

    __slots__ = ()

    @property
    def kind(self) -> Kind:
        return Kind.SQS  # a queue, whose messages are settled one by one

    @property
    def label(self) -> str:
        return f"sns:{self.queue}"


def given_up(watch: TopicWatch, services: Services, found: Notification, reason: str) -> GivenUp:
    """A message that the acceptor refuses for good, as a dead letter of the function."""
    mapping = _Subscribed(
        watch.id, watch.function, watch.qualifier, source_arn=topic_arn(watch, services), queue=watch.topic
    )
    return GivenUp(
        mapping=mapping,
        shard="",
        condition="Refused",
        payload=found.payload,
        first=found.event_id,
        last=found.event_id,
        size=1,
        attempts=0,
        at=services.clock(),
        report={"reason": reason},
    )


def topic_arn(watch: TopicWatch, services: Services) -> str:
    return f"arn:aws:sns:{services.region}:{services.account}:{watch.topic}"
