"""What the suite needs of each adapter: a world outside that makes events, and sources over it."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Protocol, cast

from sources.source import Services, Source


class Rig(Protocol):
    """A small world. ``happen`` makes one event about the thing called ``name``, a different one each time."""

    def __init__(self, directory: Path) -> None: ...
    def configuration(self) -> Any: ...
    def source(self, services: Services) -> Source: ...
    def happen(self, name: str) -> None: ...
    def lose(self) -> None:
        """Take away what the source watches."""

    def restore(self) -> None:
        """Put it back as it was."""

    def unwanted(self) -> Any:
        """The configuration in which nobody wants events."""

    def foreign(self) -> Any:
        """The configuration of a source with another name."""


def rig_of(adapter: str) -> type[Rig]:
    """The class ``RIG`` of the module in ``rigs`` that is called like the adapter. Raises ModuleNotFoundError."""
    return cast("type[Rig]", importlib.import_module(f"tests.conformance.sources.rigs.{adapter}").RIG)
