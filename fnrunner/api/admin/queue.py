"""Queues by hand: create, list, send, receive, purge. Their names are the users', so any AMQP client sees the same queues.

A queue's attributes are fnrunner's, not the broker's: the pollers of event source mappings keep to them. So they can change at
any time; a poller follows within half a minute.
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from starlette.background import BackgroundTask
from starlette.responses import Response

from broker.broker import Broker, Delivery
from broker.errors import BrokerError, QueueNotFound
from broker.message import Message
from broker.topology import Queue, Topology
from fnrunner.api.admin import created
from fnrunner.api.admin.endpoint import Ask, Endpoint, answer, field, only
from fnrunner.api.admin.header import check_headers, check_short
from fnrunner.api.body import blob
from fnrunner.api.errors import ClientGone, InvalidParameter, InvalidRequestContent
from sources import queue_attributes
from sources.errors import Misconfigured
from sources.queue_attributes import QueueAttributes

MAX_MESSAGES = 1000
TIMESTAMP = "timestamp_in_ms"
"""When the message was sent, to the millisecond, under the name of RabbitMQ's own timestamp interceptor."""


async def create(ask: Ask) -> Response:
    """Declare the quorum queue, and give it the attributes in the body. Those not given stay as they are."""
    name = created.checked_name(ask.path("name"))
    given, store = await ask.document(), ask.services.store
    known = await created.find(store, name)
    if known is not None and known.kind != created.QUORUM:
        raise InvalidParameter(f"{name} exists already as a {known.kind}: choose another name for the queue")
    await _check_dead_letter_queue(ask, name, _read({**(known.document if known else {}), **given}))
    await ask.services.broker.declare(Topology(queues=(Queue(name),)))
    await created.remember(store, name, created.QUORUM, ask.services.now())

    def merge(document: Mapping[str, Any]) -> Mapping[str, Any]:
        return queue_attributes.document_of(_read({**document, **given}))

    document = await created.change(store, name, merge) if given else (known.document if known else {})
    return answer({"name": name, "arn": ask.services.home.queue(name), "attributes": _shown_attributes(document)})


def _read(document: Mapping[str, Any]) -> QueueAttributes:
    try:
        return queue_attributes.read(document)
    except Misconfigured as error:
        raise InvalidParameter(str(error)) from error


def _shown_attributes(document: Mapping[str, Any]) -> dict[str, Any]:
    """All of them, those never given with their defaults."""
    return queue_attributes.document_of(_read(document))


async def _check_dead_letter_queue(ask: Ask, name: str, attributes: QueueAttributes) -> None:
    if not (dead := attributes.dead_letter_queue):
        return
    if created.checked_name(dead) == name:
        raise InvalidParameter(f"{name} cannot be its own dead-letter queue: create another for that")
    try:
        await ask.services.broker.depth(dead)
    except QueueNotFound as error:
        raise InvalidParameter(
            f"the dead-letter queue {dead} does not exist: create it first, with `fnrunner queue create {dead}`"
        ) from error


async def every(ask: Ask) -> Response:
    queues = await created.every(ask.services.store, created.QUORUM)
    return answer({"queues": [await _described(ask, queue) for queue in queues]})


async def show(ask: Ask) -> Response:
    """The depth, and the attributes of a queue that was created here. Any queue may be asked about, fnrunner's own too."""
    name = ask.path("name")
    depth = await ask.services.broker.depth(name)
    known = await created.find(ask.services.store, name)
    attributes = _shown_attributes(known.document) if known and known.kind == created.QUORUM else None
    return answer({
        "name": name, "arn": ask.services.home.queue(name), "ready": depth.ready, "unsettled": depth.unsettled,
        "consumers": depth.consumers, "attributes": attributes,
    })  # fmt: skip


async def _described(ask: Ask, queue: created.Created) -> dict[str, Any]:
    found = {"name": queue.name, "arn": ask.services.home.queue(queue.name)}
    attributes = {"attributes": _shown_attributes(queue.document)}
    try:
        depth = await ask.services.broker.depth(queue.name)
    except QueueNotFound:  # somebody deleted it on the broker
        return {**found, "ready": None, "unsettled": None, "consumers": None, **attributes}
    return {
        **found, "ready": depth.ready, "unsettled": depth.unsettled, "consumers": depth.consumers, **attributes
    }  # fmt: skip


async def purge(ask: Ask) -> Response:
    """Drop what waits; what somebody has in hand stays theirs."""
    name = created.checked_name(ask.path("name"))
    return answer({"name": name, "purged": await ask.services.broker.purge(name)})


async def send(ask: Ask) -> Response:
    """Publish each message with confirm, in order. When one is refused, those before it are in the queue."""
    name = created.checked_name(ask.path("name"))
    document = await ask.document()
    only(document, "messages")
    given = field(document, "messages", list, "an array of messages")
    if not 1 <= len(given) <= MAX_MESSAGES:
        raise InvalidRequestContent(f"messages takes 1 to {MAX_MESSAGES} messages")
    now = ask.services.now()
    messages = [_message(item, index, now) for index, item in enumerate(given)]
    for message in messages:
        await ask.services.broker.publish(message, routing_key=name)
    return answer({"message_ids": [message.message_id for message in messages]})


def _message(item: Any, index: int, now: datetime) -> Message:
    if not isinstance(item, dict):
        raise InvalidRequestContent(f"messages[{index}] takes an object")
    only(item, "body", "body_base64", "message_id", "headers", "content_type")
    if ("body" in item) == ("body_base64" in item):
        raise InvalidRequestContent(f"messages[{index}] takes one of body and body_base64")
    headers = field(item, "headers", dict, "an object of strings", {})
    if not all(isinstance(value, str) for value in headers.values()):
        raise InvalidRequestContent(f"messages[{index}].headers takes an object of strings")
    check_headers(headers, f"messages[{index}].headers")
    return Message(
        blob(item["body_base64"], "body_base64") if "body_base64" in item else _text(item["body"], index),
        message_id=_short(item, "message_id", index, str(uuid.uuid4())),
        headers={TIMESTAMP: round(now.timestamp() * 1000), **headers},
        timestamp=now,
        content_type=_short(item, "content_type", index, "") or None,
    )


def _short(item: dict[str, Any], name: str, index: int, default: str) -> str:
    return check_short(field(item, name, str, "a string", default), f"messages[{index}].{name}")


def _text(body: Any, index: int) -> bytes:
    if not isinstance(body, str):
        raise InvalidRequestContent(f"messages[{index}].body takes a string")
    try:
        return body.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequestContent(f"messages[{index}].body holds half of a surrogate pair") from error


async def receive(ask: Ask) -> Response:
    """Up to ``max`` messages that are there now. ``ack`` false only looks: they go back.

    They are settled after the answer was sent: a client that has gone by then leaves them in the queue.
    """
    name = created.checked_name(ask.path("name"))
    document = await ask.document()
    only(document, "max", "ack")
    most = field(document, "max", int, "a number", 1)
    ack = field(document, "ack", bool, "true or false", True)
    if not 1 <= most <= MAX_MESSAGES:
        raise InvalidRequestContent(f"max takes a number from 1 to {MAX_MESSAGES}")
    deliveries = await _take(ask.services.broker, name, most)
    if await ask.request.is_disconnected():
        await _settle(deliveries, requeue=True)
        raise ClientGone
    response = answer({"messages": [_shown(delivery) for delivery in deliveries]})
    response.background = BackgroundTask(_settle, deliveries, requeue=not ack)
    return response


async def _take(broker: Broker, queue: str, most: int) -> list[Delivery]:
    deliveries: list[Delivery] = []
    try:
        while len(deliveries) < most and (delivery := await broker.get(queue)) is not None:
            deliveries.append(delivery)
    except BaseException:
        await _settle(deliveries, requeue=True)
        raise
    return deliveries


async def _settle(deliveries: list[Delivery], *, requeue: bool) -> None:
    for delivery in deliveries:
        try:
            await (delivery.requeue() if requeue else delivery.ack())
        except BrokerError:
            # the connection was lost: the broker gives every one of them back by itself
            continue


def _shown(delivery: Delivery) -> dict[str, Any]:
    message = delivery.message
    shown: dict[str, Any] = {
        "message_id": message.message_id,
        "headers": {name: value if isinstance(value, str) else repr(value) for name, value in message.headers.items()},
        "content_type": message.content_type,
        "redelivered": delivery.redelivered,
    }
    try:
        shown["body"] = message.body.decode("utf-8")
    except UnicodeDecodeError:
        shown["body_base64"] = base64.b64encode(message.body).decode()
    return shown


ROUTES = (
    Endpoint("GET", "/queues", every),
    Endpoint("POST", "/queues/{name:path}/messages", send),
    Endpoint("POST", "/queues/{name:path}/receive", receive),
    Endpoint("POST", "/queues/{name:path}/purge", purge),
    Endpoint("PUT", "/queues/{name:path}", create),
    Endpoint("GET", "/queues/{name:path}", show),
)
