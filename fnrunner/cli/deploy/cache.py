"""Where a deployer keeps what can be made again, by the XDG Base Directory Specification."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def folder(environ: Mapping[str, str], kind: str) -> Path:
    """
    >>> str(folder({"HOME": "/home/me"}, "packages")), str(folder({"XDG_CACHE_HOME": "/cache"}, "verdicts"))
    ('/home/me/.cache/fnrunner/packages', '/cache/fnrunner/verdicts')
    """
    root = environ.get("XDG_CACHE_HOME") or str(Path(environ.get("HOME", "/tmp")) / ".cache")  # noqa: S108
    return Path(root) / "fnrunner" / kind
