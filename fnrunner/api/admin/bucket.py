"""Buckets (watched directories) and which of their events invoke which function."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import Any

from starlette.responses import Response

from fnrunner.api.admin.endpoint import Ask, Endpoint, answer, field, only
from fnrunner.api.errors import InvalidParameter, InvalidRequestContent
from fnrunner.model.function import Bucket, Notification

MAX_NOTIFICATIONS = 100


async def every(ask: Ask) -> Response:
    return answer({"buckets": [_bucket(ask, bucket) for bucket in await ask.services.catalogue.list_buckets()]})


async def put(ask: Ask) -> Response:
    """Make it, or point it elsewhere. The directory is absolute, on the host that runs the sources.

    Without one it keeps the directory it has; a new bucket gets ``buckets/NAME`` in the data directory, which is made.
    ``create`` false refuses a directory that does not exist, where the sources run in this process and it can be seen.
    """
    document = await ask.document()
    only(document, "directory", "create")
    name, given = ask.path("name"), field(document, "directory", str, "an absolute path", "")
    bucket = Bucket(name, given) if given else await _chosen(ask, name)
    if given and not field(document, "create", bool, "true or false", True):
        await _check_there(ask, bucket)
    await ask.services.catalogue.put_bucket(bucket)
    if not given:
        await asyncio.to_thread(Path(bucket.directory).mkdir, parents=True, exist_ok=True)
    return answer(_bucket(ask, bucket))


async def _check_there(ask: Ask, bucket: Bucket) -> None:
    """Raises InvalidParameter. Whether it exists on another host only the sources there know."""
    roles = (await ask.services.health()).roles
    if "sources" in roles and not await asyncio.to_thread(Path(bucket.directory).is_dir):
        raise NoDirectory(bucket.directory)


class NoDirectory(InvalidParameter):
    """A bucket is to watch what is no directory."""

    def __init__(self, directory: str) -> None:
        super().__init__(f"There is no directory {directory}")
        self.remedy = "Correct the path, or let it be made: `fnrunner bucket put NAME DIR --create`."


async def _chosen(ask: Ask, name: str) -> Bucket:
    known = {bucket.name: bucket for bucket in await ask.services.catalogue.list_buckets()}
    return known.get(name) or Bucket(name, str(ask.services.settings.data_dir.absolute() / "buckets" / name))


async def remove(ask: Ask) -> Response:
    """Watched no longer; its files are not touched. 409 while notifications refer to it.

    One that FNRUNNER_BUCKETS or --bucket names comes back with the next start.
    """
    await ask.services.catalogue.delete_bucket(ask.path("name"))
    return Response(status_code=204)


async def notifications(ask: Ask) -> Response:
    name = ask.path("name")
    await ask.services.catalogue.get_function(name)
    found = await ask.services.catalogue.list_notifications(function=name)
    return answer({"notifications": [_notification(one) for one in found]})


async def put_notifications(ask: Ask) -> Response:
    """These and no others invoke the function from now on."""
    name = ask.path("name")
    document = await ask.document()
    only(document, "notifications")
    given = field(document, "notifications", list, "an array of notifications")
    if len(given) > MAX_NOTIFICATIONS:
        raise InvalidRequestContent(f"notifications takes at most {MAX_NOTIFICATIONS} notifications")
    wanted = [_read(name, item, index) for index, item in enumerate(given)]
    await ask.services.catalogue.put_notifications(name, wanted)
    return answer({"notifications": [_notification(one) for one in wanted]})


def _read(function: str, item: Any, index: int) -> Notification:
    if not isinstance(item, dict):
        raise InvalidRequestContent(f"notifications[{index}] takes an object")
    only(item, "id", "bucket", "qualifier", "events", "prefix", "suffix")
    events = field(item, "events", list, "an array of events", ["s3:ObjectCreated:*"])
    if not all(isinstance(event, str) for event in events):
        raise InvalidRequestContent(f"notifications[{index}].events takes an array of strings")
    return Notification(
        id=field(item, "id", str, "a string", f"{function}-{index}"),
        bucket=field(item, "bucket", str, "a bucket's name"),
        function=function,
        qualifier=field(item, "qualifier", str, "a string", ""),
        events=tuple(events),
        prefix=field(item, "prefix", str, "a string", ""),
        suffix=field(item, "suffix", str, "a string", ""),
    )


def _bucket(ask: Ask, bucket: Bucket) -> dict[str, Any]:
    return {"name": bucket.name, "arn": ask.services.home.bucket(bucket.name), "directory": bucket.directory}


def _notification(notification: Notification) -> dict[str, Any]:
    return {**asdict(notification), "events": list(notification.events)}


ROUTES = (
    Endpoint("GET", "/buckets", every),
    Endpoint("PUT", "/buckets/{name}", put),
    Endpoint("DELETE", "/buckets/{name}", remove),
    Endpoint("GET", "/functions/{name}/notifications", notifications),
    Endpoint("PUT", "/functions/{name}/notifications", put_notifications),
)
