"""Which installed version may run functions whose own is missing, where the settings let one stand in."""

from __future__ import annotations

import logging
from collections.abc import Iterable

log = logging.getLogger(__name__)

SETTING = "FNRUNNER_STAND_IN"


def by_nearness(asked: int, versions: Iterable[int], most: int | None = None) -> list[int]:
    """The other versions, the nearest first and the newer of two as near; none that is further than ``most`` away.

    >>> by_nearness(22, (20, 22, 24)), by_nearness(12, range(9, 16), most=2)
    ([24, 20], [13, 11, 14, 10])
    """
    others = [version for version in versions if version != asked and (most is None or abs(version - asked) <= most)]
    return sorted(others, key=lambda version: (abs(version - asked), -version))


def else_remedy(allowed: bool) -> str:
    """The end of a list of remedies for a version that is missing, by whether another one may stand in.

    >>> else_remedy(True)
    ': no version that is near enough to stand in is here either'
    """
    if allowed:
        return ": no version that is near enough to stand in is here either"
    return f", or set {SETTING}=on, so that the nearest version stands in"


class StandIns:
    """What stands in for what, each said once in the log when something is first run so."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def say(self, name: str, other: str) -> None:
        """``name`` is what functions ask for, ``other`` what they run on."""
        if name not in self._said:
            self._said.add(name)
            log.warning(
                "%s is not on this host: %s stands in. Install %s, and start this process again", name, other, name
            )
