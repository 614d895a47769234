"""The managed keys: those that encrypt what is secret in the store and in the artifacts, wrapped by the master key.

::

    master key (a file) ─► wraps each version of a managed key (the store) ─► wraps each datum's own key ─► the datum

A key has versions: rotating adds one, which seals from then on; older ones still open. A disabled key does neither. Keys are
held unwrapped in memory. Whoever meets a key or a version that is not known yet reloads: threads within ``seal`` and
``open``; an event loop never waits there, and awaits :meth:`Keyring.fresh` before.
"""

from __future__ import annotations

import asyncio
import base64
import inspect
import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType

from sqlalchemy import Connection, insert, select

from fnrunner.auth import master_key, sealed
from fnrunner.auth.managed_key import (
    KeyVersion,
    ManagedKey,
    every,
    fetch,
    fetch_by_alias,
    name_of,
    new_key,
    new_version,
    row_of,
    save,
    version_of,
)
from fnrunner.auth.master_key import MasterKey, MasterKeyError, MasterKeys
from fnrunner.auth.sealed import Damaged, Label
from fnrunner.store.engine import Store
from fnrunner.store.errors import StoreError
from fnrunner.store.schema import encryption_key as table
from fnrunner.store.sealing import CannotOpen

log = logging.getLogger(__name__)

FRESH = timedelta(seconds=1)
"""How old what is known of keys may be when one is used."""

DEFAULT = "fnrunner"
"""The alias of the key that is used when nobody names one."""

TEXT = "sealed:"
"""How sealed data in text columns begins."""


class KeyringError(CannotOpen):
    """What is encrypted cannot be used."""

    code = "KMSInvalidStateException"
    status = 502
    message_key = "Message"
    type = "Service"

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or inspect.cleandoc(type(self).__doc__ or "").split("\n\n", 1)[0].replace("\n", " "))


class KeyNotFound(KeyringError):
    """There is no such encryption key. `fnrunner key ls` shows those there are."""

    code = "KMSNotFoundException"


class KeyDisabled(KeyringError):
    """The encryption key is disabled. Enable it with `fnrunner key enable`."""

    code = "KMSDisabledException"


class KeyLost(KeyringError):
    """The master key does not open this encryption key. Put the master key back that it was made with."""


class DataDamaged(KeyringError):
    """What was encrypted has been changed, or belongs somewhere else. Restore it from a backup."""


class KeyExists(KeyringError):
    """There is an encryption key of this name already. Choose another name."""

    code, status, type = "AlreadyExistsException", 400, "User"


class Keyring:
    """The keys of one installation. ``seal`` and ``open`` are for any thread; on an event loop's they go by what is known.

    Call ``load`` first.
    """

    def __init__(self, store: Store, masters: MasterKeys) -> None:
        self._store = store
        self._masters = masters
        self._reread = float("-inf")
        self._keys: Mapping[str, ManagedKey] = MappingProxyType({})
        self._looked = 0.0
        self._open: dict[str, bytes] = {}
        self._missed: set[Label] = set()

    async def load(self) -> None:
        """Read every key, and make the default one where there is none. Raises StoreError."""
        found = await self._store.read(every)
        if not any(key.alias == DEFAULT for key in found):
            made = new_key(DEFAULT, self._masters.newest)
            statement = self._store.insert_or_ignore(table).values(**row_of(made))
            # of two processes that start at once, one makes it
            await self._store.write(lambda connection: connection.execute(statement))
            found = await self._store.read(every)
        self._take(found)

    async def fresh(self, text: str = "") -> None:
        """Know what others did to keys until a second ago, and the version that sealed this text, unless the store fails."""
        if self._is_old() or (text.startswith(TEXT) and self._misses(_label_of(text))):
            self._looked = time.monotonic()
            try:
                async with asyncio.timeout(FRESH.total_seconds()):
                    self._take(await self._store.read(every))
            except (StoreError, TimeoutError):
                log.warning("encryption keys may be out of date: the store does not answer", exc_info=True)

    async def _reload(self) -> None:
        """After a commit: what fails from here on does not undo it."""
        try:
            await self.load()
        except StoreError:
            log.warning("an encryption key was changed but could not be read back", exc_info=True)

    def read_keys(self, connection: Connection) -> None:
        """Know the keys as this transaction sees them."""
        self._take(every(connection))

    def _take(self, found: list[ManagedKey]) -> None:
        self._keys = MappingProxyType({key.id: key for key in found})
        self._looked = time.monotonic()

    def _look_again(self, by: Label | None = None) -> None:
        """Other processes make, rotate and disable keys too. Blocks a thread for an instant, and an event loop never."""
        if _on_event_loop() or not (self._is_old() or (by is not None and self._misses(by))):
            return
        self._looked = time.monotonic()
        try:
            self._take(self._store.read_blocking(every))
        except StoreError:
            log.warning("encryption keys may be out of date: the store does not answer", exc_info=True)

    def _is_old(self) -> bool:
        return time.monotonic() - self._looked > FRESH.total_seconds()

    def _misses(self, by: Label) -> bool:
        """Whether the version is not known: once for each, or data whose key is gone would cost a query each time."""
        if version_of(self._keys, by) is not None or by in self._missed:
            return False
        self._missed.add(by)
        return True

    def listed(self) -> tuple[ManagedKey, ...]:
        """By alias."""
        return tuple(sorted(self._keys.values(), key=lambda key: key.alias))

    def find(self, name: str = "") -> ManagedKey:
        """By id, alias, or the ARN of either; empty is the default key. Raises KeyNotFound."""
        wanted = name.rpartition(":")[2] if name.startswith("arn:") else name
        wanted = wanted.removeprefix("key/").removeprefix("alias/") or DEFAULT
        for key in self._keys.values():
            if wanted in (key.id, key.alias):
                return key
        raise KeyNotFound(f"There is no encryption key {name}. `fnrunner key ls` shows those there are.")

    def check(self, name: str) -> None:
        """Whether it can seal now. Raises KeyNotFound, KeyDisabled, KeyLost."""
        self._look_again()
        found = self.find(name)
        self._wrapping(Label(found.id, found.versions[-1].number))

    def seal(self, data: bytes, context: str, key: str = "") -> bytes:
        """Encrypted for this ``context`` (such as ``iam_access_key/AKIA…``), which opening it needs too.

        Raises KeyNotFound, KeyDisabled, KeyLost.
        """
        self._look_again()
        found = self.find(key)
        by = Label(found.id, found.versions[-1].number)
        return sealed.seal(data, by, self._wrapping(by), context.encode())

    def open(self, data: bytes, context: str) -> bytes:
        """Raises KeyNotFound, KeyDisabled, KeyLost, DataDamaged."""
        try:
            return sealed.unseal(data, self._wrapping(sealed.label(data)), context.encode())
        except Damaged as error:
            raise DataDamaged(f"{DataDamaged()} ({context}: {error})") from error

    def seal_text(self, text: str, context: str, key: str = "") -> str:
        """As ``seal``, for a text column."""
        return TEXT + base64.b64encode(self.seal(text.encode(), context, key)).decode()

    def open_text(self, text: str, context: str) -> str:
        """As ``open``; text that was never sealed is itself."""
        if not text.startswith(TEXT):
            return text
        return self.open(_data(text, context), context).decode()

    def renewed(self, data: bytes, context: str, key: str = "") -> bytes:
        """The same data under the newest version of its key, or of the one that is named; itself where it is already.

        It is opened first: what is damaged is found, and stays as it is. Raises KeyNotFound, KeyDisabled, KeyLost, DataDamaged.
        """
        self.open(data, context)
        old = sealed.label(data)
        self._look_again()
        found = self.find(key or old.key)
        by = Label(found.id, found.versions[-1].number)
        if by == old:
            return data
        return sealed.rewrap(data, self._wrapping(old), by, self._wrapping(by))

    def renewed_text(self, text: str, context: str, key: str = "") -> str:
        """As ``renewed``, of a text column."""
        return TEXT + base64.b64encode(self.renewed(_data(text, context), context, key)).decode()

    async def create(self, alias: str) -> ManagedKey:
        """Raises KeyExists."""

        def work(connection: Connection) -> ManagedKey:
            # locked: a rotation of the master key meanwhile would pass over the new one
            default = fetch_by_alias(connection, DEFAULT)
            if connection.execute(select(table.c.id).where(table.c.alias == alias)).first():
                raise KeyExists(f"There is an encryption key {alias} already. Choose another name.")
            made = new_key(alias, self._wrapping_now(default) if default else self._masters.newest)
            connection.execute(insert(table).values(**row_of(made)))
            return made

        made = await self._store.write(work)
        await self._reload()
        return made

    async def rotate(self, name: str) -> ManagedKey:
        """A new version, which seals from now on. Raises KeyNotFound, KeyLost."""
        await self.load()
        key = self.find(name)

        def work(connection: Connection) -> ManagedKey:
            current = _current(connection, key.id)
            number, master = current.versions[-1].number + 1, self._wrapping_now(current)
            rotated = replace(current, versions=(*current.versions, new_version(key.id, number, master)))
            save(connection, rotated)
            return rotated

        rotated = await self._store.write(work)
        await self._reload()
        return rotated

    async def enable(self, name: str, enabled: bool) -> ManagedKey:
        """Or disable it: then nothing can be sealed or opened with it. Raises KeyNotFound."""
        await self.load()
        key = self.find(name)

        def work(connection: Connection) -> ManagedKey:
            changed = replace(_current(connection, key.id), enabled=enabled)
            save(connection, changed)
            return changed

        changed = await self._store.write(work)
        await self._reload()
        return changed

    def _wrapping(self, by: Label, *, even_disabled: bool = False) -> bytes:
        self._look_again(by)
        key = self._keys.get(by.key)
        if key is None:
            raise KeyNotFound(f"There is no encryption key {by.key}. `fnrunner key ls` shows those there are.")
        if not key.enabled and not even_disabled:
            raise KeyDisabled(f"The encryption key {key.alias} is disabled. Enable it: fnrunner key enable {key.alias}")
        version = version_of(self._keys, by)
        if version is None:
            raise KeyNotFound(
                f"The encryption key {key.alias} has no version {by.version}. Restore the store's backup."
            )
        # by what the store has: a version that was never committed may not seal
        if (ready := self._open.get(version.wrapped)) is not None:
            return ready
        master = self._master_of(key, version)
        try:
            opened = sealed.unwrap_key(base64.b64decode(version.wrapped), master.secret, name_of(key.id, by.version))
        except ValueError as error:
            raise DataDamaged(
                f"The encryption key {key.alias}, version {by.version}, is damaged. Restore it from a backup of the store."
            ) from error
        self._open[version.wrapped] = opened
        return opened

    def _wrapping_now(self, key: ManagedKey) -> MasterKey:
        """What wraps the next version of a key: as its newest one. Raises KeyLost."""
        return self._master_of(key, key.versions[-1])

    def _master_of(self, key: ManagedKey, version: KeyVersion) -> MasterKey:
        """From the file again, where it is not known: the master key may have been replaced. Raises KeyLost."""
        found = self._masters.find(version.fingerprint)
        if found is None and self._masters.file and time.monotonic() - self._reread > FRESH.total_seconds():
            self._reread = time.monotonic()
            try:
                self._masters = master_key.load(Path(self._masters.file))
            except MasterKeyError as error:
                log.warning("the master key cannot be read again: %s", error)
            found = self._masters.find(version.fingerprint)
        if found is None:
            raise KeyLost(
                f"The master key {self._masters.file} ({self._masters.fingerprints}) does not open the encryption key "
                f"{key.alias}, version {version.number}. Put the master key {version.fingerprint} back there."
            )
        return found


def _current(connection: Connection, key_id: str) -> ManagedKey:
    if (found := fetch(connection, key_id)) is None:
        raise KeyNotFound
    return found


def _data(text: str, context: str) -> bytes:
    """Raises DataDamaged."""
    try:
        return base64.b64decode(text.removeprefix(TEXT), validate=True)
    except ValueError as error:
        raise DataDamaged(f"{DataDamaged()} ({context})") from error


def _label_of(text: str) -> Label:
    """Of sealed text; of what is damaged a label that no key has."""
    try:
        return sealed.label(base64.b64decode(text.removeprefix(TEXT), validate=True))
    except (ValueError, Damaged):
        return Label("", 0)


def _on_event_loop() -> bool:
    """Whether this thread runs one, which must not wait for the store."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
