"""Who may open an installation: the master key for what it has sealed, and signatures once it has users.

======================  =============================  ==============================================
The store has           FNRUNNER_AUTH                  The process
======================  =============================  ==============================================
nothing sealed          ``iam``, no key file named     makes the master key where there is none
sealed data             any                            needs the key that sealed it, and makes no other
users                   ``off``, which is the default  does not start
users                   ``open``                       starts: everybody may do everything
======================  =============================  ==============================================
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from sqlalchemy import Connection, select

from fnrunner.auth import managed_key, master_key, master_key_file
from fnrunner.auth.keyring import Keyring, KeyringError
from fnrunner.auth.managed_key import ManagedKey
from fnrunner.auth.master_key import MasterKeyError, MasterKeyMissing, MasterKeys
from fnrunner.settings import Settings
from fnrunner.store.engine import Store
from fnrunner.store.schema import iam_access_key, iam_identity

log = logging.getLogger(__name__)


class AuthForgotten(Exception):
    """The store has users, and FNRUNNER_AUTH is off: nobody would have to sign. Set FNRUNNER_AUTH=iam, or FNRUNNER_AUTH=open
    to let everybody do everything again."""

    def __init__(self) -> None:
        super().__init__(" ".join((type(self).__doc__ or "").split()))


async def started_keyring(settings: Settings, store: Store) -> Keyring | None:
    """The keys that encrypt what is stored, where something is or is to be: from now on the store's functions have sealed
    environments. Raises AuthForgotten, MasterKeyError, StoreError.
    """
    if settings.auth == "off" and await store.read(_has_users):
        raise AuthForgotten
    aliases, found = await store.read(
        lambda connection: (managed_key.aliases(connection), managed_key.every(connection))
    )
    if settings.auth != "iam" and settings.master_key_file is None and not aliases:
        return None
    if aliases or settings.master_key_file:
        masters = _present(settings, found)
    else:
        masters = master_key_file.load_or_create(settings.master_key)
    _check(masters, found)
    keyring = Keyring(store, masters)
    await keyring.load()
    # another host may have been first, with a key of its own
    _check(masters, keyring.listed())
    try:
        keyring.check("")
    except KeyringError as error:
        # it starts all the same: what needs no key works, and a disabled key can be enabled
        log.error("what is stored cannot be encrypted or read: %s", error)
    store.seal_with(keyring)
    return keyring


def _has_users(connection: Connection) -> bool:
    tables = (iam_identity.c.name, iam_access_key.c.id)
    return any(connection.execute(select(column).limit(1)).first() for column in tables)


def _present(settings: Settings, found: Iterable[ManagedKey]) -> MasterKeys:
    """Those of the file; never new ones, which would open nothing. Raises MasterKeyError."""
    try:
        return master_key.load(settings.master_key)
    except MasterKeyMissing as error:
        if not (wanted := sorted(managed_key.wrapped_by(found))):
            raise
        raise MasterKeyError(
            f"There is no master key at {settings.master_key}, and what is stored was encrypted under the master key "
            f"{' or '.join(wanted)}. Put the backup of that key back there, or name its file with FNRUNNER_MASTER_KEY_FILE"
        ) from error


def _check(masters: MasterKeys, found: Iterable[ManagedKey]) -> None:
    """Whether it is the key of this installation. Raises MasterKeyError for one that opens none of its keys."""
    wanted = sorted(managed_key.wrapped_by(found))
    if wanted and not any(masters.find(fingerprint) for fingerprint in wanted):
        raise MasterKeyError(
            f"The master key {masters.file} ({masters.fingerprints}) opens nothing of what is stored. Put the master key "
            f"{' or '.join(wanted)} back there, or name its file with FNRUNNER_MASTER_KEY_FILE"
        )
