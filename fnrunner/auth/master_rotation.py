"""Replace the master key: every managed key is wrapped by a new one, whatever dies meanwhile.

::

    1  the file gets the new key beside the old     the store has the old      both can be opened
    2  the store's keys are wrapped anew, as one    the store has the new      both can be opened
    3  the old key leaves the file                  the store has the new

Each step is carried out as a whole or not at all, and doing it again goes on where it was interrupted. Processes that run
read the file again when they meet a key that is wrapped by one they do not know. Before the second step every host needs the
file of the first: with several of them ``add_only`` is the first step alone, so that the file can be copied.
"""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy import Connection

from fnrunner.auth import master_key, master_key_file, sealed
from fnrunner.auth.keyring import DEFAULT
from fnrunner.auth.managed_key import (
    KeyVersion,
    ManagedKey,
    aliases,
    every,
    fetch_by_alias,
    name_of,
    save,
    wrapped_anew,
    wrapped_by,
)
from fnrunner.auth.master_key import MasterKey, MasterKeys
from fnrunner.auth.sealed import Damaged
from fnrunner.store.engine import Store

_RESTORE = "it is damaged. Restore it from a backup of the store"


@dataclass(frozen=True, slots=True)
class Rotated:
    """``fingerprint`` is the new key's. ``wrapped``: how many versions of keys it wraps since now. ``failed`` names each that
    stayed as it was, with the reason; then no key has left the file. ``retired`` are the files of keys that have.
    """

    fingerprint: str
    wrapped: int = 0
    failed: tuple[str, ...] = ()
    retired: tuple[Path, ...] = ()


async def rotate(store: Store, path: Path, *, add_only: bool = False) -> Rotated:
    """Go on with the rotation that was begun, or begin one. Raises MasterKeyError, StoreError."""
    with master_key_file.held(path):
        masters = await asyncio.to_thread(master_key.load, path)
        found = await store.read(every)
        if len(masters.keys) == 1 and (not found or masters.newest.fingerprint in wrapped_by(found)):
            masters = await asyncio.to_thread(master_key_file.add, path)
        newest = masters.newest
        if add_only:
            return Rotated(newest.fingerprint)
        wrapped, failed = await store.write(lambda connection: _wrap(connection, masters, newest))
        if failed:
            return Rotated(newest.fingerprint, wrapped, failed)
        retired = await asyncio.to_thread(master_key_file.retire, path, newest.fingerprint)
        return Rotated(newest.fingerprint, wrapped, retired=tuple(retired))


def _wrap(connection: Connection, masters: MasterKeys, newest: MasterKey) -> tuple[int, tuple[str, ...]]:
    """Every version, by the newest key; how many were not, and which could not be."""
    # whoever makes a key or a version meanwhile waits for this row, and then takes the new master key
    fetch_by_alias(connection, DEFAULT)
    found = every(connection, lock=True)
    lost = sorted(aliases(connection) - {key.alias for key in found})
    count, failed = 0, [f"key {alias}: {_RESTORE}" for alias in lost]
    for key in found:
        versions = []
        for version in key.versions:
            try:
                versions.append(_anew(key, version, masters, newest))
            except Damaged as error:
                failed.append(f"key {key.alias}, version {version.number}: {error}")
                versions.append(version)
        changed = sum(one is not other for one, other in zip(versions, key.versions, strict=True))
        if changed:
            save(connection, replace(key, versions=tuple(versions)))
            count += changed
    return count, tuple(failed)


def _anew(key: ManagedKey, version: KeyVersion, masters: MasterKeys, newest: MasterKey) -> KeyVersion:
    """Itself where it is already, and can be opened. Raises Damaged."""
    if (master := masters.find(version.fingerprint)) is None:
        raise Damaged(f"it is wrapped by the master key {version.fingerprint}, which {masters.file} does not have")
    try:
        secret = sealed.unwrap_key(base64.b64decode(version.wrapped), master.secret, name_of(key.id, version.number))
    except ValueError as error:
        raise Damaged(_RESTORE) from error
    return version if master is newest else wrapped_anew(key.id, version, secret, newest)
