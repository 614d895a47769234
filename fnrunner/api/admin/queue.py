"""Queues by hand: create, list, send, receive. The names are exactly the users', so any AMQP client sees the same queues."""

from __future__ import annotations

import base64
import uuid
from typing import Any

from starlette.background import BackgroundTask
from starlette.responses import Response

from broker.broker import Broker, Delivery
from broker.errors import BrokerError, QueueNotFound
from broker.message import Message
from broker.topology import Queue, Topology
from fnrunner.api.admin import created
from fnrunner.api.admin.endpoint import Ask, Endpoint, answer, field, only
from fnrunner.api.body import blob
from fnrunner.api.errors import ClientGone, InvalidRequestContent

MAX_MESSAGES = 1000


async def create(ask: Ask) -> Response:
    """Declare the quorum queue; nothing changes where it exists."""
    name = created.checked_name(ask.path("name"))
    await ask.services.broker.declare(Topology(queues=(Queue(name),)))
    await created.remember(ask.services.store, name, created.QUORUM, ask.services.now())
    return answer({"name": name, "arn": ask.services.home.queue(name)})


async def every(ask: Ask) -> Response:
    queues = await created.every(ask.services.store, created.QUORUM)
    return answer({"queues": [await _described(ask, queue.name) for queue in queues]})


async def show(ask: Ask) -> Response:
    """The depth. Any queue may be asked about, fnrunner's own too."""
    name = ask.path("name")
    depth = await ask.services.broker.depth(name)
    return answer({"name": name, "ready": depth.ready, "unsettled": depth.unsettled, "consumers": depth.consumers})


async def _described(ask: Ask, name: str) -> dict[str, Any]:
    arn = ask.services.home.queue(name)
    try:
        depth = await ask.services.broker.depth(name)
    except QueueNotFound:  # somebody deleted it on the broker
        return {"name": name, "arn": arn, "ready": None, "unsettled": None, "consumers": None}
    return {
        "name": name, "arn": arn, "ready": depth.ready, "unsettled": depth.unsettled, "consumers": depth.consumers
    }  # fmt: skip


async def send(ask: Ask) -> Response:
    """Publish each message with confirm, in order. When one is refused, those before it are in the queue."""
    name = created.checked_name(ask.path("name"))
    document = await ask.document()
    only(document, "messages")
    given = field(document, "messages", list, "an array of messages")
    if not 1 <= len(given) <= MAX_MESSAGES:
        raise InvalidRequestContent(f"messages takes 1 to {MAX_MESSAGES} messages")
    messages = [_message(item, index) for index, item in enumerate(given)]
    for message in messages:
        await ask.services.broker.publish(message, routing_key=name)
    return answer({"message_ids": [message.message_id for message in messages]})


def _message(item: Any, index: int) -> Message:
    if not isinstance(item, dict):
        raise InvalidRequestContent(f"messages[{index}] takes an object")
    only(item, "body", "body_base64", "message_id", "headers", "content_type")
    if ("body" in item) == ("body_base64" in item):
        raise InvalidRequestContent(f"messages[{index}] takes one of body and body_base64")
    headers = field(item, "headers", dict, "an object of strings", {})
    if not all(isinstance(value, str) for value in headers.values()):
        raise InvalidRequestContent(f"messages[{index}].headers takes an object of strings")
    return Message(
        blob(item["body_base64"], "body_base64") if "body_base64" in item else _text(item["body"], index),
        message_id=field(item, "message_id", str, "a string", str(uuid.uuid4())),
        headers=headers,
        content_type=field(item, "content_type", str, "a string", "") or None,
    )


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
    Endpoint("PUT", "/queues/{name:path}", create),
    Endpoint("GET", "/queues/{name:path}", show),
)
