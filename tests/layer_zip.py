"""Zips for tests, with modes and links."""

from __future__ import annotations

import io
import stat
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class LinkTo:
    target: str


Files = Mapping[str, str | bytes | LinkTo | tuple[str | bytes, int]]


def zip_of(files: Files) -> bytes:
    """``files`` maps names to contents, to contents with a mode, or to where a link points."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, given in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3
            kind, mode, content = stat.S_IFREG, 0o644, b""
            if isinstance(given, LinkTo):
                kind, mode, content = stat.S_IFLNK, 0o777, given.target.encode()
            elif isinstance(given, tuple):
                content, mode = _bytes(given[0]), given[1]
            else:
                content = _bytes(given)
            info.external_attr = (kind | mode) << 16
            archive.writestr(info, content)
    return buffer.getvalue()


def _bytes(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content
