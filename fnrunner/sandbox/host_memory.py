"""How much memory this host has left."""

from __future__ import annotations

from pathlib import Path

SCARCE = 0.1
"""Of the host's memory: with less left, nothing is kept only to be quick."""


def is_scarce(meminfo: Path = Path("/proc/meminfo")) -> bool:
    """Whether less than a tenth is left. Source: proc(5), MemAvailable."""
    found = {}
    for line in meminfo.read_text().splitlines():
        name, _, value = line.partition(":")
        found[name] = int(value.split()[0])
    return found.get("MemAvailable", found["MemTotal"]) < SCARCE * found["MemTotal"]
