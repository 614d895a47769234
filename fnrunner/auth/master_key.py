"""The one key that is kept outside of the store: it wraps the keys that the store has.

A file with 32 random bytes in base64, which only its owner may read. Every host of an installation needs the same one; whoever
has the store and not this file has nothing of what is encrypted in it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

BYTES = 32


class MasterKeyError(Exception):
    """The master key cannot be used. The message names its file and the remedy."""


@dataclass(frozen=True, slots=True)
class MasterKey:
    """``file`` is where it came from, for messages. ``fingerprint`` tells keys apart and gives nothing away."""

    secret: bytes = field(repr=False)
    file: str = ""

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(b"fnrunner master key\0" + self.secret).hexdigest()[:16]


def load(path: Path) -> MasterKey:
    """Raises MasterKeyError."""
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="ascii").strip()
    except FileNotFoundError as error:
        raise MasterKeyError(
            f"There is no master key at {path}. Put the installation's key there (FNRUNNER_MASTER_KEY_FILE names the file)"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise MasterKeyError(f"The master key {path} cannot be read: {error}. Let this user read it") from error
    if mode & 0o077:
        raise MasterKeyError(f"Others can read the master key {path}. Run chmod 600 {path}")
    try:
        secret = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise MasterKeyError(f"{path} is no master key: it has {BYTES} bytes in base64. Restore it") from error
    if len(secret) != BYTES:
        raise MasterKeyError(f"{path} is no master key: it has {BYTES} bytes in base64. Restore it")
    return MasterKey(secret, str(path))


def load_or_create(path: Path) -> MasterKey:
    """The key of this host, made when there is none; of two processes that make it, one wins. Raises MasterKeyError."""
    if not path.exists():
        _create(path)
    return load(path)


def _create(path: Path) -> None:
    aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(base64.b64encode(secrets.token_bytes(BYTES)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            # a link fails where a rename would replace the key that another process has just made and used
            os.link(aside, path)
        except FileExistsError:
            pass
        finally:
            aside.unlink(missing_ok=True)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise MasterKeyError(f"The master key {path} cannot be made: {error}. Make the directory writable") from error
