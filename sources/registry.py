"""Find the adapters: every module in ``sources/adapters`` declares one, so that a source is one file."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from types import ModuleType

from sources import adapters as package
from sources.errors import AdapterInvalid
from sources.source import Adapter


def adapters(package: ModuleType = package) -> Mapping[str, Adapter]:
    """Every adapter of the package by its name, in the order of names. Raises AdapterInvalid."""
    found: dict[str, Adapter] = {}
    for module in sorted(m.name for m in pkgutil.iter_modules(package.__path__)):
        adapter = getattr(importlib.import_module(f"{package.__name__}.{module}"), "ADAPTER", None)
        if not isinstance(adapter, Adapter):
            raise AdapterInvalid(f"{package.__name__}.{module} declares no ADAPTER")
        if adapter.name in found:
            raise AdapterInvalid(f"two modules of {package.__name__} declare an adapter called {adapter.name!r}")
        found[adapter.name] = adapter
    return dict(sorted(found.items()))
