"""Find the adapters: every module in ``sources/adapters`` declares one, so that a source is one file."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import TypeVar

from sources import adapters as package
from sources.errors import AdapterInvalid, Misconfigured
from sources.inbox import InboxAdapter
from sources.mapping import EventSourceMapping
from sources.source import Adapter, Services
from sources.stream import StreamAdapter

Declared = Adapter | StreamAdapter | InboxAdapter
A = TypeVar("A", Adapter, StreamAdapter, InboxAdapter)


def declared(package: ModuleType = package) -> Mapping[str, Declared]:
    """Every adapter of the package by its name, in the order of names. Raises AdapterInvalid."""
    found: dict[str, Declared] = {}
    for module in sorted(m.name for m in pkgutil.iter_modules(package.__path__)):
        adapter = getattr(importlib.import_module(f"{package.__name__}.{module}"), "ADAPTER", None)
        if not isinstance(adapter, Declared):
            raise AdapterInvalid(f"{package.__name__}.{module} declares no ADAPTER")
        if adapter.name in found:
            raise AdapterInvalid(f"two modules of {package.__name__} declare an adapter called {adapter.name!r}")
        found[adapter.name] = adapter
    return dict(sorted(found.items()))


def adapters(kind: type[A], package: ModuleType = package) -> Mapping[str, A]:
    """Those of one kind: watchers and the like (Adapter), streams, queues. Raises AdapterInvalid."""
    return {name: adapter for name, adapter in declared(package).items() if isinstance(adapter, kind)}


def adapter_of(mapping: EventSourceMapping, services: Services) -> StreamAdapter | InboxAdapter:
    """The one that serves the mapping. Raises Misconfigured where there is none, or a library is missing."""
    for adapter in declared().values():
        if isinstance(adapter, StreamAdapter | InboxAdapter) and adapter.serves(mapping, services):
            if missing := [name for name in adapter.requires if not _installed(name)]:
                raise Misconfigured(
                    f"{mapping.label} needs {', '.join(missing)}: pip install 'fnrunner[{adapter.name}]'"
                )
            return adapter
    raise Misconfigured(
        f"nothing here reads {mapping.source_arn or mapping.label}: its account is not this installation's, and no "
        "endpoint for it is in FNRUNNER_AWS_ENDPOINTS"
    )


def _installed(distribution: str) -> bool:
    try:
        version(distribution)
    except PackageNotFoundError:
        return False
    return True
