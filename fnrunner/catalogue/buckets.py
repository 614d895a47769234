"""Buckets (watched directories) and notifications: which of their events invoke which function."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from sqlalchemy import Connection, delete, insert, select

from fnrunner.catalogue import document
from fnrunner.catalogue.errors import BucketInUse, BucketNotFound, InvalidParameterValue
from fnrunner.model.function import Bucket, Notification
from fnrunner.store.schema import bucket as table
from fnrunner.store.schema import notification as notification_table

EVENTS = frozenset(
    f"s3:{event}"
    for event in (
        "ObjectCreated:*", "ObjectCreated:Put", "ObjectCreated:Post", "ObjectCreated:Copy",
        "ObjectCreated:CompleteMultipartUpload", "ObjectRemoved:*", "ObjectRemoved:Delete",
        "ObjectRemoved:DeleteMarkerCreated",
    )
)  # fmt: skip
"""Source: Amazon S3, event types of creation and removal."""

_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


def check_bucket(bucket: Bucket) -> None:
    """Raises InvalidParameterValue."""
    if _NAME.fullmatch(bucket.name) is None:
        raise InvalidParameterValue(f"{bucket.name!r} is no bucket name: 3 to 63 of a-z 0-9 . -")
    if not Path(bucket.directory).is_absolute() or "\0" in bucket.directory:
        raise InvalidParameterValue(f"The directory of bucket {bucket.name} must be absolute, not {bucket.directory!r}")


def check_notifications(function: str, notifications: Sequence[Notification]) -> None:
    """Raises InvalidParameterValue."""
    ids = [notification.id for notification in notifications]
    if len(set(ids)) != len(ids):
        raise InvalidParameterValue("Two notifications of a function have the same id.")
    for notification in notifications:
        if notification.function != function:
            raise InvalidParameterValue(f"Notification {notification.id!r} is for another function than {function}.")
        if not 1 <= len(notification.id) <= 255 or "\0" in notification.id + notification.prefix + notification.suffix:
            raise InvalidParameterValue("A notification has an id of 1 to 255 characters, and NUL nowhere.")
        if unknown := sorted(set(notification.events) - EVENTS):
            raise InvalidParameterValue(f"Notification {notification.id!r} has events that do not exist: {unknown}")
        if not notification.events:
            raise InvalidParameterValue(f"Notification {notification.id!r} has no events.")


def save_bucket(connection: Connection, bucket: Bucket) -> None:
    """Made, or moved to another directory."""
    connection.execute(delete(table).where(table.c.name == bucket.name))
    connection.execute(insert(table).values(name=bucket.name, directory=bucket.directory))


def remove_bucket(connection: Connection, name: str) -> None:
    """The directory stays as it is. Raises BucketNotFound, BucketInUse."""
    if connection.execute(delete(table).where(table.c.name == name)).rowcount == 0:
        raise BucketNotFound(name)
    invoked = select(notification_table.c.function).where(notification_table.c.bucket == name).distinct()
    if functions := sorted(connection.execute(invoked).scalars()):
        raise BucketInUse(name, functions)


def every_bucket(connection: Connection) -> tuple[Bucket, ...]:
    rows = connection.execute(select(table.c.name, table.c.directory))
    return tuple(sorted((Bucket(*row) for row in rows), key=lambda bucket: bucket.name))


def every_notification(connection: Connection) -> tuple[Notification, ...]:
    rows = connection.execute(select(notification_table.c.document)).scalars()
    found = (document.load_bucket_notification(row) for row in rows)
    return tuple(sorted(found, key=lambda notification: (notification.bucket, notification.function, notification.id)))


def replace_notifications(connection: Connection, function: str, notifications: Iterable[Notification]) -> None:
    """Those of one function. Raises BucketNotFound."""
    known = set(connection.execute(select(table.c.name)).scalars())
    connection.execute(delete(notification_table).where(notification_table.c.function == function))
    for notification in notifications:
        if notification.bucket not in known:
            raise BucketNotFound(notification.bucket)
        row = {
            "function": function,
            "id": notification.id,
            "bucket": notification.bucket,
            "document": document.dump_bucket_notification(notification),
        }
        connection.execute(insert(notification_table).values(row))
