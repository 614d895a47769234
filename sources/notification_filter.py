"""Which notifications of a bucket want an event. Source: S3 event notifications, filter rules on prefix and suffix.

>>> jpegs = Notification("n", "thumbnails", suffix=".jpg")
>>> [n.function for n in wanting([jpegs], Kind.CREATED, "in/cat.jpg")], wanting([jpegs], Kind.REMOVED, "in/cat.jpg")
(['thumbnails'], [])
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sources.errors import Misconfigured
from sources.snapshot import Kind

EVENTS = tuple(
    f"s3:{name}"
    for name in (
        "ObjectCreated:*",
        "ObjectCreated:Put",
        "ObjectCreated:Post",
        "ObjectCreated:Copy",
        "ObjectCreated:CompleteMultipartUpload",
        "ObjectRemoved:*",
        "ObjectRemoved:Delete",
        "ObjectRemoved:DeleteMarkerCreated",
    )
)
"""What a notification may ask for. A directory has only puts and deletes: the others are taken and never happen."""


@dataclass(frozen=True, slots=True)
class Notification:
    """Which events invoke which function. ``events`` as in S3, with or without ``s3:``; an empty filter means all keys."""

    id: str
    function: str
    qualifier: str = ""
    events: tuple[str, ...] = ("s3:ObjectCreated:*",)
    prefix: str = ""
    suffix: str = ""

    def __post_init__(self) -> None:
        if unknown := [e for e in self.events if "s3:" + e.removeprefix("s3:") not in EVENTS]:
            raise Misconfigured(f"notification {self.id}: no such event {unknown[0]!r}; there are {', '.join(EVENTS)}")
        if not self.events:
            raise Misconfigured(f"notification {self.id} asks for no event")


def wants(notification: Notification, kind: Kind, key: str) -> bool:
    """Prefix and suffix are compared with the key itself, not with its encoding, and are case-sensitive."""
    if not (key.startswith(notification.prefix) and key.endswith(notification.suffix)):
        return False
    group = kind.value.split(":", 1)[0] + ":*"
    return any(e.removeprefix("s3:") in (kind.value, group) for e in notification.events)


def wanting(notifications: Iterable[Notification], kind: Kind, key: str) -> list[Notification]:
    """In the order given."""
    return [n for n in notifications if wants(n, kind, key)]
