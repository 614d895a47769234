"""What exists: functions with their code, what follows their events, buckets and notifications.

What this package owns
    The tables ``function`` (a row for each version), ``publication``, ``alias``, ``event_invoke_config``, ``bucket`` and
    ``notification``, ``layer`` and ``layer_version``, ``policy``, ``code_signing_config``, ``signing_profile``,
    ``function_setting`` and ``resource_tag``, through :class:`~fnrunner.catalogue.catalogue.Catalogue`; the zips of code and
    layers, through
    :class:`~fnrunner.catalogue.artifacts.Artifacts`; Lambda's rules for both, and its words when they are broken.

What it refuses
    It runs nothing and reads no requests. Runtimes other than Python, and whatever is no field of
    :class:`~fnrunner.model.function.Function`, are refused by name instead of being ignored.

::

    api ─► Catalogue ─► validate ─► artifacts.put ─► one transaction ─► snapshot ─► on_change
                                                          │ counter + 1
    other processes:  CatalogueWatcher ◄── broadcast ─────┤
                             ▲───────── looks every 5 s ──┘

What happens when each part dies
    The store: changes are refused, look-ups go on from the snapshot. The broker: others hear of a change by looking.
    The process between artifact and transaction: the zip is left over and collected an hour later.
"""

from fnrunner.catalogue.artifacts import Artifacts
from fnrunner.catalogue.catalogue import NO_CODE, Catalogue
from fnrunner.catalogue.changes import CatalogueWatcher, ChangeNotice
from fnrunner.catalogue.functions import Page
from fnrunner.catalogue.snapshot import Change, Snapshot

__all__ = [
    "NO_CODE",
    "Artifacts",
    "Catalogue",
    "CatalogueWatcher",
    "Change",
    "ChangeNotice",
    "Page",
    "Snapshot",
]
