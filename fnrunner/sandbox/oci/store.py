"""Images of this host: fetched once, unpacked once, named by their digest. What is there never changes.

An image is unpacked aside and renamed: it is there as a whole or not at all, also where several workers share the
directory. umoci applies whiteouts and hard links and follows no link out of the directory; without privileges it makes no
device and changes no owner.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import re
import shutil
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from fnrunner.model.image import Image, ImageCode
from fnrunner.sandbox.oci import process, reference
from fnrunner.sandbox.oci.errors import ContainersUnavailable, ImageChanged, ImageError, ImageRefused
from fnrunner.sandbox.started import delete_tree

FETCHING = timedelta(minutes=10)
"""Of each step: an image of ten gigabytes takes minutes."""
TAG = "image"
OURS = ".fnrunner"
"""Where fnrunner shows what it needs inside; no image has it."""
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})\s*")
_MESSAGE = re.compile(r'msg="((?:[^"\\]|\\.)*)"')
_ASIDE = ".aside-"


@dataclass(frozen=True, slots=True)
class Tools:
    """Paths of the programs."""

    skopeo: str
    umoci: str

    @classmethod
    def on_this_host(cls) -> Tools:
        """Raises ContainersUnavailable, naming what is missing."""
        found = {name: shutil.which(name) for name in ("skopeo", "umoci")}
        if missing := [name for name, path in found.items() if path is None]:
            raise ContainersUnavailable(
                f"container images need {' and '.join(missing)}, which this host does not have: "
                f"apt-get install {' '.join(missing)}"
            )
        return cls(found["skopeo"] or "", found["umoci"] or "")


class ImageStore:
    """``directory`` is made when first needed. The tools are looked for when they are needed."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._fetching: dict[str, asyncio.Lock] = {}

    async def resolve(self, uri: str) -> str:
        """The digest, in hex, of the image that is named so now. Raises ImageError, ContainersUnavailable."""
        return await self._digest(Tools.on_this_host(), reference.source(uri))

    async def ready(self, code: ImageCode) -> Image:
        """The image on this host; fetched at first use.

        Raises ImageError, ImageRefused, ImageChanged, ContainersUnavailable.
        """
        place = self._directory / code.digest
        async with self._fetching.setdefault(code.digest, asyncio.Lock()):
            if not place.is_dir():
                await self._fetch(code, place)
        with contextlib.suppress(OSError):
            os.utime(place)
        config = json.loads((place / "config.json").read_text())
        return process.image(config, code.config, str(place / "rootfs"))

    async def sweep(self, in_use: Collection[str], older_than: timedelta) -> int:
        """Delete images that are not ``in_use`` and were not asked for lately; how many."""
        return await asyncio.to_thread(self._sweep, frozenset(in_use), older_than)

    async def _fetch(self, code: ImageCode, place: Path) -> None:
        tools = Tools.on_this_host()
        source = reference.pinned(code.uri, code.digest)
        self._directory.mkdir(parents=True, exist_ok=True)
        aside = self._directory / f"{_ASIDE}{uuid4().hex}"
        aside.mkdir(mode=0o700)
        try:
            layout = aside / "layout"
            await _run(tools.skopeo, "copy", "--quiet", "--insecure-policy", source, f"oci:{layout}:{TAG}")
            if await self._digest(tools, source) != code.digest:
                raise ImageChanged(f"{ImageChanged()} ({code.uri})")
            config = await asyncio.to_thread(_config, layout)
            rootfs = aside / "rootfs"
            await _run(tools.umoci, "raw", "unpack", "--rootless", "--image", f"{layout}:{TAG}", str(rootfs))
            await asyncio.to_thread(_prepare, rootfs)
            (aside / "config.json").write_text(json.dumps(config))
            await asyncio.to_thread(delete_tree, layout)
            _move(aside, place)
        except OSError as error:
            raise ImageError(f"the image {code.uri} could not be unpacked: {error}") from error
        finally:
            await asyncio.to_thread(delete_tree, aside)

    @staticmethod
    async def _digest(tools: Tools, source: str) -> str:
        said = await _run(tools.skopeo, "inspect", "--format", "{{.Digest}}", source)
        if (match := _DIGEST.fullmatch(said)) is None:
            raise ImageError(f"skopeo said no digest of {source}: {said[:200]!r}")
        return match[1]

    def _sweep(self, in_use: frozenset[str], older_than: timedelta) -> int:
        removed = 0
        oldest = time.time() - older_than.total_seconds()
        for place in self._directory.iterdir() if self._directory.is_dir() else ():
            if place.name not in in_use and place.stat().st_mtime < oldest:
                delete_tree(place)
                removed += 1
        return removed


def _move(aside: Path, place: Path) -> None:
    """Raises OSError."""
    try:
        aside.rename(place)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
        # somebody else's is as good


async def _run(program: str, *arguments: str) -> str:
    """What it said. Raises ImageError with its last line."""
    started = await asyncio.create_subprocess_exec(
        program, *arguments, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(FETCHING.total_seconds()):
            said, complained = await started.communicate()
    except BaseException as error:
        with contextlib.suppress(ProcessLookupError):
            started.kill()
        await started.wait()
        if isinstance(error, TimeoutError):
            raise ImageError(f"{Path(program).name} took longer than {FETCHING}") from error
        raise
    if started.returncode:
        lines = complained.decode("utf-8", "replace").strip().splitlines() or ["it said nothing"]
        raise ImageError(f"{ImageError()} ({Path(program).name}: {complaint(lines[-1])[:500]})")
    return said.decode("utf-8", "replace")


def complaint(line: str) -> str:
    r"""What a tool's log line says.

    >>> complaint('time="2026-01-01T00:00:00Z" level=fatal msg="no such \\"image\\""')
    'no such "image"'
    """
    found = _MESSAGE.search(line)
    return re.sub(r"\\(.)", r"\1", found[1]) if found else line


def _config(layout: Path) -> Mapping[str, Any]:
    """The ``config`` of the image in a layout. Raises ImageRefused, OSError."""

    def blob(digest: str) -> Any:
        algorithm, _, digits = digest.partition(":")
        if algorithm != "sha256" or not digits.isalnum():
            raise ImageRefused(f"the image names the blob {digest[:80]!r}")
        return json.loads((layout / "blobs" / algorithm / digits).read_text())

    try:
        manifest = blob(json.loads((layout / "index.json").read_text())["manifests"][0]["digest"])
        document = blob(manifest["config"]["digest"])
        config = document.get("config") or {}
        if document.get("os", "linux") != "linux" or not isinstance(config, dict):
            raise ImageRefused(f"the image is for {document.get('os')}, not for linux")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise ImageRefused(f"the image has no configuration that can be read: {error!r}") from error
    return config


def _prepare(rootfs: Path) -> None:
    """Where fnrunner's own things are shown. Raises ImageRefused, OSError."""
    ours = rootfs / OURS
    try:
        ours.mkdir()
    except FileExistsError as error:
        raise ImageRefused(f"the image has a /{OURS}, which fnrunner needs for itself") from error
    rootfs.chmod(0o755)
