"""Whether there is anything to read where an event source mapping points, here or where the settings lead."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from broker.errors import BrokerError, QueueNotFound
from fnrunner.api.admin import created
from fnrunner.api.errors import ApiError, InvalidParameter
from fnrunner.api.services import Services
from fnrunner.catalogue.mapping import owns
from fnrunner.model import arn
from fnrunner.settings import OWN_BROKER
from sources.adapters import rmq
from sources.errors import Misconfigured
from sources.mapping import EventSourceMapping, Kind, name_of
from sources.source import Services as SourceServices

PATIENCE = timedelta(seconds=10)
"""How long the broker may take to say whether a queue exists."""

NO_QUEUE = (
    "Error occurred while ReceiveMessage. SQS Error Code: AWS.SimpleQueueService.NonExistentQueue. SQS Error Message: "
    "The specified queue does not exist."
)
RESERVED = ("fnrunner.", "amq.")


class SourceAway(ApiError):
    """The broker cannot say now whether the source exists. Try again."""

    code, status, type = "ServiceException", 503, "Service"


async def check_source(mapping: EventSourceMapping, services: Services) -> None:
    """Raises InvalidParameter, SourceAway."""
    match mapping.kind:
        case Kind.KAFKA:
            if mapping.source_arn:
                raise InvalidParameter(
                    "Clusters of Amazon MSK are not supported: nothing here knows their addresses. Name the bootstrap "
                    "servers with SelfManagedEventSource."
                )
        case Kind.MQ:
            await _check_broker(mapping, services)
        case _:
            await _check_named(mapping, services)


async def _check_broker(mapping: EventSourceMapping, services: Services) -> None:
    unused: Any = None
    known = SourceServices(unused, unused, unused, virtual_hosts=services.settings.virtual_hosts)
    try:
        rmq.virtual_host(mapping, known)
    except Misconfigured as error:
        raise InvalidParameter(str(error)) from error
    if name_of(mapping.source_arn) == OWN_BROKER:
        await _check_there(mapping, services)


async def _check_named(mapping: EventSourceMapping, services: Services) -> None:
    source, home, kind = mapping.source_arn, services.home, mapping.kind.value
    if owns(source, home):
        if (region := arn.parse(source).region) != home.region:
            raise InvalidParameter(f"Event sources of the region {region} cannot be read in {home.region}: {source}")
        await _check_there(mapping, services)
    elif kind not in services.settings.aws_endpoints:
        raise InvalidParameter(
            f"{source} is of another account than this one, {home.account}, and FNRUNNER_AWS_ENDPOINTS names no "
            f"endpoint of {kind} to read it from."
        )


async def _check_there(mapping: EventSourceMapping, services: Services) -> None:
    name = mapping.source_name
    if name.startswith(RESERVED):
        raise InvalidParameter(f"The queue {name} is the broker's or fnrunner's own: it cannot be an event source.")
    known = await created.find(services.store, name)
    stream = known is not None and known.kind.startswith(created.STREAM)
    if stream and not mapping.kind.is_stream:
        raise InvalidParameter(f"{name} is a stream, not a queue: its ARN is {_stream_arn(name, services)}")
    if known is not None and not stream and mapping.kind.is_stream:
        raise InvalidParameter(f"{name} is a queue, not a stream: its ARN is {services.home.queue(name)}")
    # a super stream made with another client is not remembered: its first partition tells of it
    names = [name, f"{name}-0"] if mapping.kind.is_stream else [name]
    if any([await _exists(one, services) for one in names]):
        return
    match mapping.kind:
        case Kind.SQS:
            raise InvalidParameter(NO_QUEUE)
        case Kind.MQ:
            raise InvalidParameter(f"The queue {name} does not exist on the broker {OWN_BROKER}: create it first.")
        case _:
            raise InvalidParameter(f"Stream not found: {mapping.source_arn}")


async def _exists(name: str, services: Services) -> bool:
    try:
        async with asyncio.timeout(PATIENCE.total_seconds()):
            await services.broker.depth(name)
    except QueueNotFound:
        return False
    except (BrokerError, TimeoutError) as error:
        raise SourceAway(f"{SourceAway()} ({str(error) or 'no answer in time'})") from error
    return True


def _stream_arn(name: str, services: Services) -> str:
    return f"arn:aws:kinesis:{services.home.region}:{services.home.account}:stream/{name}"
