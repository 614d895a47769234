"""What a queue of the own broker is, beyond its name: attributes as those of SQS, which users give when they create it.

>>> read({"visibility_timeout_s": 60, "max_receive_count": 3, "dead_letter_queue": "dead"}).max_receive_count
3
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sources.errors import Misconfigured

LONGEST_VISIBILITY = timedelta(hours=12)
MOST_RECEIVES = 1000


@dataclass(frozen=True, slots=True)
class QueueAttributes:
    """``visibility_timeout`` is how long a message that failed stays away. After ``max_receive_count`` receives it goes to
    ``dead_letter_queue``; both or neither are given. In a ``fifo`` queue, messages without a message group are one group.
    """

    visibility_timeout: timedelta = timedelta(seconds=30)
    max_receive_count: int | None = None
    dead_letter_queue: str = ""
    fifo: bool = False

    def __post_init__(self) -> None:
        if not timedelta(0) <= self.visibility_timeout <= LONGEST_VISIBILITY:
            raise Misconfigured("visibility_timeout_s takes a number of seconds from 0 to 43200 (12 hours)")
        if self.max_receive_count is not None and not 1 <= self.max_receive_count <= MOST_RECEIVES:
            raise Misconfigured(f"max_receive_count takes a number from 1 to {MOST_RECEIVES}")
        if (self.max_receive_count is None) != (not self.dead_letter_queue):
            raise Misconfigured(
                "max_receive_count and dead_letter_queue belong together: give both, or neither to keep messages for ever"
            )


def read(document: Mapping[str, Any]) -> QueueAttributes:
    """From JSON; what is not there has its default. Raises Misconfigured."""
    if unknown := set(document) - set(document_of(QueueAttributes())):
        raise Misconfigured(f"a queue has no attribute {', '.join(sorted(unknown))}")
    visibility = document.get("visibility_timeout_s", 30)
    most = document.get("max_receive_count")
    dead = document.get("dead_letter_queue") or ""
    fifo = document.get("fifo", False)
    if not _whole(visibility):
        raise Misconfigured("visibility_timeout_s takes a whole number")
    if most is not None and not _whole(most):
        raise Misconfigured("max_receive_count takes a whole number")
    if not isinstance(dead, str) or not isinstance(fifo, bool):
        raise Misconfigured("dead_letter_queue takes a name, and fifo true or false")
    if visibility > LONGEST_VISIBILITY.total_seconds():
        raise Misconfigured("visibility_timeout_s takes a number of seconds from 0 to 43200 (12 hours)")
    return QueueAttributes(timedelta(seconds=visibility), most, dead, fifo)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def document_of(attributes: QueueAttributes) -> dict[str, Any]:
    """As JSON; :func:`read` reads it."""
    return {
        "visibility_timeout_s": int(attributes.visibility_timeout.total_seconds()),
        "max_receive_count": attributes.max_receive_count,
        "dead_letter_queue": attributes.dead_letter_queue,
        "fifo": attributes.fifo,
    }
