"""How often an event has been through a function: counted in Lambda's trace header, which SDKs pass on with every call.

>>> first = counted("Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=0", "f")
>>> first
'252f10c8:1'
>>> times(counted(f"Root=1;Lineage={first}", "f"), "f"), times(f"{first},ffffffff:9", "g")
(2, 0)
>>> total("00000000:5,252f10c8:1")
6
>>> joined("Root=1;Parent=2;Sampled=0", first)
'Root=1;Parent=2;Sampled=0;Lineage=252f10c8:1'

Source: Lambda, recursive loop detection.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache

MOST = 16
"""So often a function may come up in one chain of invocations."""

LONGEST = 256
"""So many invocations one chain may have: a ring of more functions than a lineage remembers counts none of them often."""

_KEY = "Lineage="
_ENTRIES = 16
_FORGOTTEN = "00000000"
"""Stands for every function that is no longer named."""
_HIGHEST = 99999
_ENTRY = re.compile(r"([0-9a-f]{8}):(\d{1,5})")


def of(xray: str) -> str:
    """What the header says of it: ``HASH:COUNT``, separated by commas; empty where it says nothing."""
    return next((part.removeprefix(_KEY) for part in xray.split(";") if part.startswith(_KEY)), "")


def times(lineage: str, function: str) -> int:
    """How often the function has come up."""
    return dict(_entries(lineage)).get(_hash(function), 0)


def total(lineage: str) -> int:
    """How many invocations the chain has, those of functions that it no longer names included."""
    return sum(count for _, count in _entries(lineage))


def counted(xray: str, function: str) -> str:
    """The lineage of an invocation of this function by whoever sent this header. The oldest of too many loses its name."""
    found = dict(_entries(of(xray)))
    name, nameless = _hash(function), found.pop(_FORGOTTEN, 0)
    found[name] = found.pop(name, 0) + 1
    named = list(found.items())
    nameless += sum(count for _, count in named[:-_ENTRIES])
    kept = [(_FORGOTTEN, nameless), *named[-_ENTRIES:]] if nameless else named
    return ",".join(f"{one}:{min(count, _HIGHEST)}" for one, count in kept)


def joined(xray: str, lineage: str) -> str:
    """The header with this lineage instead of its own; empty: with none."""
    kept = [part for part in xray.split(";") if not part.startswith(_KEY)]
    return ";".join([*kept, f"{_KEY}{lineage}"] if lineage else kept)


def _entries(lineage: str) -> list[tuple[str, int]]:
    """What somebody else made of it is passed over."""
    matches = (_ENTRY.fullmatch(entry) for entry in lineage.split(",")[:64])
    return [(match[1], int(match[2])) for match in matches if match]


@lru_cache(maxsize=4096)
def _hash(function: str) -> str:
    return hashlib.sha256(function.encode()).hexdigest()[:8]
