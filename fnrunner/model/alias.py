"""An alias: a name for a version of a function, which may share its invocations with a second version.

>>> blue = Alias("f", "live", "1", additional=Additional("2", 0.25))
>>> blue.version_for("8d14…/0") == blue.version_for("8d14…/0")
True
>>> sum(blue.version_for(ticket(str(n), 0)) == "2" for n in range(1000)) / 1000
0.262
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

_TICKETS = 2**64


@dataclass(frozen=True, slots=True)
class Additional:
    """The second version of an alias, and its share of the invocations: ``weight`` is between 0 and 1."""

    version: str
    weight: float


@dataclass(frozen=True, slots=True)
class Alias:
    """``version`` is a published version's number, or ``$LATEST``. ``revision_id`` guards concurrent updates."""

    function: str
    name: str
    version: str
    description: str = ""
    additional: Additional | None = None
    revision_id: str = ""

    @property
    def versions(self) -> tuple[str, ...]:
        """Those it points at."""
        return (self.version, self.additional.version) if self.additional else (self.version,)

    def version_for(self, ticket: str) -> str:
        """Which version the invocation with this ticket runs: always the same one, and over many tickets by weight.

        Without a ticket it is the first version, which tells about the alias as a whole.
        """
        if self.additional is None or not ticket:
            return self.version
        drawn = int.from_bytes(hashlib.blake2b(ticket.encode(), digest_size=8).digest())
        return self.additional.version if drawn < self.additional.weight * _TICKETS else self.version


def ticket(event_id: str, attempt: int) -> str:
    """What decides by weight: each attempt of an event draws anew, a redelivery of the same attempt does not."""
    return f"{event_id}/{attempt}"
