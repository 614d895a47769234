"""The code of functions as uploaded: a directory of zips, each named by its SHA-256. What is there never changes.

A zip is written aside, synced and renamed: it is there as a whole or not at all, whoever writes the same one at the
same time. A reader checks the digest, so that damage is an error and never runs.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import re
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

from fnrunner.auth.keyring import DataDamaged, KeyNotFound, Keyring, KeyringError
from fnrunner.auth.sealed import is_sealed
from fnrunner.catalogue import merging, unpacking
from fnrunner.catalogue.errors import ArtifactDamaged, ArtifactError, ArtifactMissing
from fnrunner.model.function import Code

KEEP = timedelta(hours=1)
"""How long an artifact that nothing refers to stays: an upload may not be in the catalogue yet, and workers may not
have heard of the latest one."""

_DIGEST = re.compile(r"[0-9a-f]{64}")
_ASIDE = ".aside-"
_NO_MASTER_KEY = "The code is encrypted, and this process has no master key. Set FNRUNNER_MASTER_KEY_FILE."


@dataclass(frozen=True, slots=True)
class Resealed:
    """How many were ``changed``; ``failed`` has ``DIGEST: reason`` for each that stayed as it was."""

    changed: int = 0
    failed: tuple[str, ...] = ()


class Artifacts:
    """``directory`` is made when first needed. Several processes, and hosts over a shared disk, may use it at once.

    With a ``keyring`` what is put is encrypted. What is there in the clear stays so, until it is sealed with ``reseal``.
    """

    def __init__(self, directory: Path, keyring: Keyring | None = None) -> None:
        self._directory = directory
        self._keyring = keyring

    async def put(self, data: bytes) -> Code:
        """Keep the zip; harmless when it is there. Raises ArtifactError, KeyringError."""
        return await asyncio.to_thread(self._put, data)

    async def read(self, digest: str) -> bytes:
        """The zip. Raises ArtifactMissing, ArtifactDamaged, ArtifactError."""
        return await asyncio.to_thread(self._read, digest)

    async def unpacked(self, digest: str, cache_directory: Path) -> Path:
        """The directory of this host that holds the unzipped code, read-only; unzipped at first use.

        Raises ArtifactMissing, ArtifactDamaged, ArtifactError, BadArchive.
        """
        ready = unpacking.place(cache_directory, digest)
        with _translated():
            if unpacking.keep(ready):
                return ready
        return await asyncio.to_thread(self._unpack, digest, cache_directory)

    async def merged(self, digests: Sequence[str], cache_directory: Path) -> Path:
        """The directory of this host that holds several zips unzipped over each other, the last on top; read-only.

        Raises as ``unpacked`` does.
        """
        if len(digests) == 1:
            return await self.unpacked(digests[0], cache_directory)
        with _translated():
            if unpacking.keep(ready := unpacking.place(cache_directory, merging.name_of(digests))):
                return ready
        trees = [await self.unpacked(digest, cache_directory) for digest in digests]
        with _translated():
            return await asyncio.to_thread(merging.merge, cache_directory, digests, trees)

    async def sweep(self, cache_directory: Path, in_use: Collection[str]) -> int:
        """Delete unzipped code that is not ``in_use`` and was not asked for during :data:`KEEP`; how many trees went.

        Only for the one process of a host that owns the cache.
        """
        with _translated():
            return await asyncio.to_thread(unpacking.sweep, cache_directory, frozenset(in_use), KEEP)

    async def keep(self, digest: str) -> None:
        """Count its hour of grace from now: it is about to be referred to no longer."""
        await asyncio.to_thread(self._touch, digest)

    async def reseal(self, key: str = "") -> Resealed:
        """Encrypt what is in the clear, and put the rest under the newest version of its key.

        What cannot be opened or written stays as it was, and stops nothing. Raises ArtifactError.
        """
        return await asyncio.to_thread(self._reseal, key)

    async def collect(self, referenced: Collection[str]) -> int:
        """Delete what is older than :data:`KEEP` and not among the digests; how many were deleted.

        Read ``referenced`` before calling: whatever is put later is young.
        """
        return await asyncio.to_thread(self._collect, frozenset(referenced))

    def _put(self, data: bytes) -> Code:
        digest = hashlib.sha256(data).hexdigest()
        with _translated(), self._held(fcntl.LOCK_SH):
            if not self._is_whole(digest, len(data)):
                self._write(digest, data if self._keyring is None else self._keyring.seal(data, _place(digest)))
            # An old artifact becomes young again, or the collector could take it before the catalogue names it.
            os.utime(self._directory / digest)
        return Code(digest=digest, size_bytes=len(data))

    def _is_whole(self, digest: str, size_bytes: int) -> bool:
        """Uploading again repairs what was damaged; it never puts in the clear what is encrypted. Raises KeyNotFound."""
        try:
            stored = (self._directory / digest).read_bytes()
        except FileNotFoundError:
            return False
        if self._keyring is None and is_sealed(stored):
            raise KeyNotFound(_NO_MASTER_KEY)
        try:
            data = self._opened(digest, stored)
        except KeyringError:
            return False
        return len(data) == size_bytes and _digest(data) == digest

    def _write(self, digest: str, data: bytes) -> None:
        aside = self._directory / f"{_ASIDE}{uuid4().hex}"
        try:
            # The code may hold secrets: only its owner reads it.
            with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            aside.rename(self._directory / digest)
        finally:
            aside.unlink(missing_ok=True)
        # The new name itself must survive a power cut before anyone is told of it.
        listing = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(listing)
        finally:
            os.close(listing)

    def _read(self, digest: str) -> bytes:
        if not _DIGEST.fullmatch(digest):
            raise ArtifactMissing(f"{digest!r} is no SHA-256 in hex")
        with _translated():
            try:
                data = (self._directory / digest).read_bytes()
            except FileNotFoundError as error:
                raise ArtifactMissing(f"{ArtifactMissing()} ({digest})") from error
        data = self._opened(digest, data)
        if _digest(data) != digest:
            raise ArtifactDamaged(f"{ArtifactDamaged()} ({digest})")
        return data

    def _opened(self, digest: str, data: bytes) -> bytes:
        """Raises KeyringError."""
        if not is_sealed(data):
            return data
        if self._keyring is None:
            raise KeyNotFound(_NO_MASTER_KEY)
        return self._keyring.open(data, _place(digest))

    def _unpack(self, digest: str, cache_directory: Path) -> Path:
        with _translated():
            return unpacking.unpack(cache_directory, digest, lambda: self._read(digest))

    def _touch(self, digest: str) -> None:
        with _translated():
            try:
                os.utime(self._directory / digest)
            except FileNotFoundError:
                return

    def _reseal(self, key: str) -> Resealed:
        if (keyring := self._keyring) is None:
            return Resealed()
        changed, failed = 0, []
        with _translated():
            self._directory.mkdir(parents=True, exist_ok=True)
            names = sorted(path.name for path in self._directory.iterdir() if _DIGEST.fullmatch(path.name))
        for name in names:
            try:
                changed += self._reseal_one(keyring, name, key)
            except (KeyringError, OSError) as error:
                failed.append(f"{name}: {error}")
        return Resealed(changed, tuple(failed))

    def _reseal_one(self, keyring: Keyring, name: str, key: str) -> bool:
        """The lock is for this one: uploads wait for it, and not for all."""
        with self._held(fcntl.LOCK_EX):
            try:
                data = (self._directory / name).read_bytes()
            except FileNotFoundError:
                # collected since they were listed
                return False
            if not is_sealed(data) and _digest(data) != name:
                raise DataDamaged(f"{ArtifactDamaged()} ({name})")
            new = keyring.renewed(data, _place(name), key) if is_sealed(data) else keyring.seal(data, _place(name), key)
            if new != data:
                self._write(name, new)
            return new != data

    def _collect(self, referenced: frozenset[str]) -> int:
        removed = 0
        with _translated(), self._held(fcntl.LOCK_EX):
            for path in self._directory.iterdir():
                ours = _DIGEST.fullmatch(path.name) or path.name.startswith(_ASIDE)
                if ours and path.name not in referenced and _age(path) > KEEP:
                    path.unlink(missing_ok=True)
                    removed += 1
        return removed

    @contextmanager
    def _held(self, kind: int) -> Iterator[None]:
        """Putting and collecting exclude one another: nothing is deleted between being found and being made young."""
        self._directory.mkdir(parents=True, exist_ok=True)
        lock = os.open(self._directory / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, kind)
            yield
        finally:
            os.close(lock)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ArtifactError(f"{ArtifactError()} ({error})") from error


def _place(digest: str) -> str:
    """What an artifact is sealed for."""
    return f"artifact/{digest}"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _age(path: Path) -> timedelta:
    return timedelta(seconds=time.time() - path.stat().st_mtime)
