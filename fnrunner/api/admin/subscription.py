"""Topics: make one, publish to it, list it with its subscriptions, subscribe functions, remove.

A topic is the topic exchange of exactly that name: any AMQP client publishes to it. Publishing to a topic that nobody hears
is no error, as with SNS.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

from sqlalchemy import delete
from starlette.responses import Response

from broker.errors import QueueNotFound, Unroutable
from broker.message import Message
from broker.topology import Exchange, ExchangeKind, Topology
from fnrunner.api.admin import created
from fnrunner.api.admin.endpoint import Ask, Endpoint, answer, field, only
from fnrunner.api.admin.header import check_headers
from fnrunner.api.errors import InvalidParameter, InvalidRequestContent, ResourceNotFound
from fnrunner.api.reference import derive
from fnrunner.catalogue import subscription as rules
from fnrunner.catalogue import triggers
from fnrunner.catalogue.errors import NotFound
from fnrunner.model.trigger import TopicSubscription
from fnrunner.store import schema
from sources.filter_policy import Scope

TOPIC = "topic"
MAX_MESSAGE_BYTES = 256 * 1024
"""Source: SNS quotas, the size of a message."""


async def create(ask: Ask) -> Response:
    """Declare the exchange; nothing changes where it exists."""
    name = created.checked_name(ask.path("name"))
    await ask.services.broker.declare(Topology(exchanges=(_exchange(name),)))
    await created.remember(ask.services.store, name, TOPIC, ask.services.now())
    return answer(_described(ask, name, []))


async def every(ask: Ask) -> Response:
    subscriptions = await ask.services.catalogue.list_triggers(TopicSubscription)
    names = {topic.name for topic in await created.every(ask.services.store, TOPIC)}
    names |= {subscription.topic for subscription in subscriptions}
    return answer({"topics": [_described(ask, name, subscriptions) for name in sorted(names)]})


async def remove(ask: Ask) -> Response:
    """With its subscriptions."""
    name = created.checked_name(ask.path("name"))
    gone = await ask.services.catalogue.change(lambda c: rules.remove_of_topic(c, name))
    known = await created.find(ask.services.store, name)
    if known is None and not gone:
        raise ResourceNotFound(f"There is no topic {name}. `fnrunner topic ls` lists them.")
    if known is not None and known.kind == TOPIC:
        await ask.services.broker.delete(Topology(exchanges=(_exchange(name),)))
        table = schema.broker_queue
        rows = delete(table).where(table.c.name == name, table.c.kind == TOPIC)
        await ask.services.store.write(lambda connection: connection.execute(rows) and None)
    return Response(status_code=204)


async def publish(ask: Ask) -> Response:
    """One message with confirm. ``heard`` false: no queue took it, since nobody hears the topic."""
    name = created.checked_name(ask.path("name"))
    document = await ask.document()
    only(document, "message", "subject", "attributes")
    message = _message(document)
    if not await _is_topic(ask, name):
        raise ResourceNotFound(f"There is no topic {name}. Create it with `fnrunner topic create {name}`.")
    try:
        await ask.services.broker.publish(message, exchange=name, routing_key=name)
    except Unroutable:
        return answer({"message_id": message.message_id, "heard": False})
    except QueueNotFound as error:
        raise ResourceNotFound(f"The topic {name} is gone from the broker. Create it again.") from error
    return answer({"message_id": message.message_id, "heard": True})


def _message(document: dict[str, Any]) -> Message:
    body = field(document, "message", str, "a string").encode("utf-8", "replace")
    if len(body) > MAX_MESSAGE_BYTES:
        raise InvalidParameter(f"A message has at most {MAX_MESSAGE_BYTES} bytes; this one has {len(body)}")
    attributes = field(document, "attributes", dict, "an object", {})
    headers: dict[str, Any] = {}
    for name, value in attributes.items():
        if not isinstance(value, str | int | float) or isinstance(value, bool):
            raise InvalidRequestContent(f"attributes.{name[:64]} takes a string or a number")
        headers[name] = value
    check_headers(headers, "attributes")
    subject = field(document, "subject", str, "a string", "")
    if subject:
        headers["subject"] = subject
    return Message(body, message_id=str(uuid.uuid4()), headers=headers)


async def subscriptions(ask: Ask) -> Response:
    """By id; those of one function with ``function=NAME``."""
    wanted = ask.text("function")
    found = await ask.services.catalogue.list_triggers(TopicSubscription)
    return answer({"subscriptions": [_shown(ask, one) for one in found if wanted in ("", one.function)]})


async def subscribe(ask: Ask) -> Response:
    """A function hears the topic from now on. Again with another filter: that one holds.

    ``topic_made``: nobody had created the topic here, and nothing had heard it.
    """
    topic = created.checked_name(ask.path("name"))
    document = await ask.document()
    only(document, "function", "qualifier", "filter_policy", "filter_scope")
    subscription = _read(ask, topic, document)
    rules.check(subscription)
    new = not await _is_topic(ask, topic)
    if await created.find(ask.services.store, topic) is None:
        # somebody else's exchange is as good; where there is none, it is made
        await ask.services.broker.declare(Topology(exchanges=(_exchange(topic),)))
    home = ask.services.home
    await ask.services.catalogue.change(lambda c: rules.put(c, subscription, home))
    return answer({**_shown(ask, subscription), "topic_made": new})


async def _is_topic(ask: Ask, name: str) -> bool:
    """Whether it was created here, or something hears it."""
    if await created.find(ask.services.store, name) is not None:
        return True
    return any(one.topic == name for one in await ask.services.catalogue.list_triggers(TopicSubscription))


def _read(ask: Ask, topic: str, document: dict[str, Any]) -> TopicSubscription:
    home = ask.services.home
    given = field(document, "function", str, "a function's name or ARN")
    qualifier = field(document, "qualifier", str, "a string", "")
    ref = derive({"FunctionName": given, "Qualifier": qualifier}, home)
    policy = document.get("filter_policy") or ""
    if isinstance(policy, Mapping):
        policy = json.dumps(policy, separators=(",", ":"))
    if not isinstance(policy, str):
        raise InvalidRequestContent("filter_policy takes an object, or its JSON as a text")
    scope = field(document, "filter_scope", str, "a string", Scope.ATTRIBUTES.value)
    if scope not in [one.value for one in Scope]:
        raise InvalidParameter(f"filter_scope takes {Scope.ATTRIBUTES.value} or {Scope.BODY.value}")
    return TopicSubscription(
        rules.id_of(topic, ref.name, ref.qualifier), topic, ref.name, ref.qualifier, policy, scope == Scope.BODY.value
    )


async def unsubscribe(ask: Ask) -> Response:
    key = ask.path("id")
    try:
        await ask.services.catalogue.change(lambda c: triggers.remove(c, TopicSubscription, key))
    except NotFound as error:
        raise ResourceNotFound(f"There is no subscription {key}. `fnrunner topic ls --json` lists them.") from error
    return Response(status_code=204)


def _exchange(name: str) -> Exchange:
    return Exchange(name, ExchangeKind.TOPIC)


def _arn(ask: Ask, topic: str) -> str:
    return f"arn:aws:sns:{ask.services.home.region}:{ask.services.home.account}:{topic}"


def _described(ask: Ask, name: str, subscriptions: list[TopicSubscription]) -> dict[str, Any]:
    heard = [_shown(ask, subscription) for subscription in subscriptions if subscription.topic == name]
    return {"name": name, "arn": _arn(ask, name), "subscriptions": heard}


def _shown(ask: Ask, subscription: TopicSubscription) -> dict[str, Any]:
    return {
        "id": subscription.id,
        "arn": f"{_arn(ask, subscription.topic)}:{subscription.id}",
        "topic": subscription.topic,
        "function": subscription.function,
        "qualifier": subscription.qualifier,
        "filter_policy": subscription.filter_policy or None,
        "filter_scope": (Scope.BODY if subscription.body_filter else Scope.ATTRIBUTES).value,
    }


ROUTES = (
    Endpoint("GET", "/topics", every),
    Endpoint("GET", "/subscriptions", subscriptions),
    Endpoint("DELETE", "/subscriptions/{id}", unsubscribe),
    Endpoint("POST", "/topics/{name:path}/messages", publish),
    Endpoint("PUT", "/topics/{name:path}/subscriptions", subscribe),
    Endpoint("PUT", "/topics/{name:path}", create),
    Endpoint("DELETE", "/topics/{name:path}", remove),
)
