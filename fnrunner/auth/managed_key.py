"""Managed keys as the store has them: a row for each, with its versions, each wrapped by a master key.

Functions that take a connection are for within a transaction.
"""

from __future__ import annotations

import base64
import json
import logging
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, Select, select, update

from fnrunner.auth import sealed
from fnrunner.auth.master_key import BYTES, MasterKey
from fnrunner.auth.sealed import Label
from fnrunner.model.arn import Home
from fnrunner.store.schema import encryption_key as table

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class KeyVersion:
    """``wrapped``: by the master key that has this ``fingerprint``."""

    number: int
    wrapped: str = field(repr=False)
    fingerprint: str
    created: datetime


@dataclass(frozen=True, slots=True)
class ManagedKey:
    """``alias`` is its name for people, ``id`` a UUID that never changes."""

    id: str
    alias: str
    enabled: bool
    versions: tuple[KeyVersion, ...]

    def arn(self, home: Home) -> str:
        return f"arn:aws:kms:{home.region}:{home.account}:key/{self.id}"


def new_key(alias: str, master: MasterKey) -> ManagedKey:
    """With its first version."""
    key_id = str(uuid4())
    return ManagedKey(key_id, alias, enabled=True, versions=(new_version(key_id, 1, master),))


def every(connection: Connection, *, lock: bool = False) -> list[ManagedKey]:
    """In no order. One that cannot be read is passed over, and logged. ``lock``: for a change of them."""
    return _readable(connection, select(table).with_for_update() if lock else select(table))


def wrapped_by(keys: Iterable[ManagedKey]) -> set[str]:
    """Fingerprints of the master keys that wrap these."""
    return {version.fingerprint for key in keys for version in key.versions}


def aliases(connection: Connection) -> set[str]:
    """Of all, also of those that cannot be read."""
    return set(connection.execute(select(table.c.alias)).scalars())


def version_of(keys: Mapping[str, ManagedKey], by: Label) -> KeyVersion | None:
    """None: it is not among these keys."""
    key = keys.get(by.key)
    return next((one for one in key.versions if one.number == by.version), None) if key is not None else None


def new_version(key_id: str, number: int, master: MasterKey) -> KeyVersion:
    """Of new random material."""
    blank = KeyVersion(number, "", "", datetime.now(UTC))
    return wrapped_anew(key_id, blank, secrets.token_bytes(BYTES), master)


def wrapped_anew(key_id: str, version: KeyVersion, secret: bytes, master: MasterKey) -> KeyVersion:
    """The version with this ``secret``, wrapped by this master key."""
    wrapped = sealed.wrap_key(secret, master.secret, name_of(key_id, version.number))
    return replace(version, wrapped=base64.b64encode(wrapped).decode(), fingerprint=master.fingerprint)


def name_of(key_id: str, number: int) -> str:
    """What a version is wrapped for."""
    return f"{key_id}/{number}"


def fetch(connection: Connection, key_id: str) -> ManagedKey | None:
    """For a change, which no other may overtake: of two rotations the second adds to the first."""
    row = connection.execute(select(table).where(table.c.id == key_id).with_for_update()).first()
    return _read(row.id, row.alias, row.document) if row is not None else None


def fetch_by_alias(connection: Connection, alias: str) -> ManagedKey | None:
    """As ``fetch``; None too for one that cannot be read."""
    found = _readable(connection, select(table).where(table.c.alias == alias).with_for_update())
    return found[0] if found else None


def save(connection: Connection, key: ManagedKey) -> None:
    """Its versions, and whether it is enabled."""
    connection.execute(update(table).where(table.c.id == key.id).values(document=row_of(key)["document"]))


def row_of(key: ManagedKey) -> dict[str, str]:
    """The whole row."""
    versions = [
        {"number": one.number, "wrapped": one.wrapped, "master": one.fingerprint, "created": one.created.isoformat()}
        for one in key.versions
    ]
    return {"id": key.id, "alias": key.alias, "document": json.dumps({"enabled": key.enabled, "versions": versions})}


def _readable(connection: Connection, query: Select[Any]) -> list[ManagedKey]:
    found = []
    for row in connection.execute(query):
        try:
            found.append(_read(row.id, row.alias, row.document))
        except (ValueError, KeyError, TypeError):
            log.exception(
                "the encryption key %s is damaged in the store: what it encrypts cannot be read. Restore it from a backup",
                row.alias,
            )
    return found


def _read(key_id: str, alias: str, text: str) -> ManagedKey:
    document = json.loads(text)
    versions = tuple(
        KeyVersion(one["number"], one["wrapped"], one["master"], datetime.fromisoformat(one["created"]))
        for one in document["versions"]
    )
    return ManagedKey(key_id, alias, document["enabled"], versions)
