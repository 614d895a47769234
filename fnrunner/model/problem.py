"""What can be wrong with a process: a code for programs, a sentence and a remedy for people.

The codes are stable: alerts and orchestrators may be built on them.

===============================  ======================================================================================
code                             what it means
===============================  ======================================================================================
``broker-blocked``               an alarm of the broker: it takes no messages; work that is here goes on
``broker-disconnected``          no connection to the broker, or a login that it refuses
``connected-but-not-consuming``  the connection lives, and messages that are there do not come
``lagging``                      behind: the event loop, the store's answers, or a source's records
``store-unavailable``            the store takes no records or no heartbeats
``catalogue-stale``              changes of functions and triggers cannot be followed
``dead-letters-not-filed``       dead letters stay in their queues for now
``source-refused``               a bucket, mapping, schedule or subscription that cannot work as it is
``source-away``                  what a source reads cannot be reached
``source-degraded``              a source works in a slower way, or has lost something
``source-not-removed``           a source was removed, and what it has stored is still there
``draining``                     it takes nothing new, and ends when what runs has ended
``giving-up``                    it could not work for too long, and ends so that it is started again
===============================  ======================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum


class Code(StrEnum):
    """See the module's table."""

    BROKER_BLOCKED = "broker-blocked"
    BROKER_DISCONNECTED = "broker-disconnected"
    NOT_CONSUMING = "connected-but-not-consuming"
    LAGGING = "lagging"
    STORE_UNAVAILABLE = "store-unavailable"
    CATALOGUE_STALE = "catalogue-stale"
    DEAD_LETTERS_NOT_FILED = "dead-letters-not-filed"
    SOURCE_REFUSED = "source-refused"
    SOURCE_AWAY = "source-away"
    SOURCE_DEGRADED = "source-degraded"
    SOURCE_NOT_REMOVED = "source-not-removed"
    DRAINING = "draining"
    GIVING_UP = "giving-up"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong: which part, what, and what to do about it. ``remedy`` may be empty.

    ``disabling``: while it lasts a worker or a sources process cannot do its work, and after a while gives up.
    """

    part: str
    message: str
    remedy: str = ""
    code: Code | None = None
    disabling: bool = False


Check = Callable[[], Iterable[Problem]]
"""Asks one part, quickly."""
