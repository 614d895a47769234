"""Whether the links of a tree stay inside it. Pure: decided on names, before anything is written.

>>> check_links({("a",): "lib/b", ("lib", "b"): "../c"})
>>> check_links({("a",): "lib/x", ("lib",): "sub/..", ("b",): "lib/../etc"})
Traceback (most recent call last):
    ...
fnrunner.catalogue.errors.BadArchive: Could not unzip uploaded file. Please check your file, then try to upload again. \
('b' is a link that leaves the archive)
"""

from __future__ import annotations

from collections.abc import Mapping

from fnrunner.catalogue.errors import BadArchive

MAX_HOPS = 40
"""Source: path_resolution(7), the number of links that Linux follows."""

Path = tuple[str, ...]


def check_links(links: Mapping[Path, str]) -> None:
    """``links`` has each link's path and target as written. Targets need not exist. Raises BadArchive."""
    for path, target in links.items():
        if fault := _fault(links, path, target):
            raise BadArchive(fault, "/".join(path))


def _fault(links: Mapping[Path, str], path: Path, target: str) -> str:
    if not target or "\0" in target:
        return "is a link without a target"
    if target.startswith("/") or "\\" in target:
        return "is a link with an absolute target"
    # Walk as the kernel does: components that are links are replaced by their targets; missing ones count as folders.
    here = list(path[:-1])
    ahead = target.split("/")[::-1]
    hops = 1
    while ahead:
        part = ahead.pop()
        if part in ("", "."):
            continue
        if part == "..":
            if not here:
                return "is a link that leaves the archive"
            here.pop()
            continue
        here.append(part)
        if (onward := links.get(tuple(here))) is not None:
            hops += 1
            if hops > MAX_HOPS:
                return "is a link that goes in circles"
            if onward.startswith("/"):
                return "is a link that leaves the archive"
            here.pop()
            ahead.extend(onward.split("/")[::-1])
    return ""
