"""What a worker's environments are connected to: an uplink, nothing, or the host's network as it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fnrunner.sandbox.destination import NetworkWish
from fnrunner.sandbox.uplink import Uplink


class Attachment(Protocol):
    """``descriptors`` are those of which ``argument`` tells the spawners. ``resolver`` is a file that environments have for
    /etc/resolv.conf, None for the host's."""

    @property
    def name(self) -> str: ...

    @property
    def argument(self) -> str: ...

    @property
    def descriptors(self) -> tuple[int, ...]: ...

    @property
    def resolver(self) -> Path | None: ...

    def close(self) -> None:
        """When no spawner is left. Idempotent."""


@dataclass(frozen=True, slots=True)
class Unconnected:
    """Implements Attachment, where nothing has to be kept for it."""

    name: str
    argument: str
    descriptors: tuple[int, ...] = ()
    resolver: Path | None = None

    def close(self) -> None:
        """Nothing is open."""


HOST = Unconnected("the host's", "")
LOOPBACK_ONLY = Unconnected("loopback only", "-1,-1")


def attach(wish: NetworkWish, directory: Path, python: str) -> Attachment:
    """As the wish's mode says, which is not ``auto``. A file may be put into ``directory``.

    Raises NetworkUnavailable.
    """
    if wish.mode == "host":
        return HOST
    if wish.mode == "none":
        return LOOPBACK_ONLY
    return Uplink.start(directory, wish, python)
