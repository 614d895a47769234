"""The one key that is kept outside of the store: it wraps the keys that the store has.

A file with 32 random bytes in base64, which only its owner may read. Every host of an installation needs the same one; whoever
has the store and not this file has nothing of what is encrypted in it. While it is being replaced
(:mod:`fnrunner.auth.master_rotation`) the file has a line for each key, the newest last.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass, field
from pathlib import Path

BYTES = 32
MOST = 8
"""Keys of a file."""


class MasterKeyError(Exception):
    """The master key cannot be used. The message names its file and the remedy."""


class MasterKeyMissing(MasterKeyError):
    """There is no such file. The message names it and the remedy."""


@dataclass(frozen=True, slots=True)
class MasterKey:
    """``file`` is where it came from, for messages. ``fingerprint`` tells keys apart and gives nothing away."""

    secret: bytes = field(repr=False)
    file: str = ""

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(b"fnrunner master key\0" + self.secret).hexdigest()[:16]

    @property
    def line(self) -> bytes:
        """As it stands in its file."""
        return base64.b64encode(self.secret) + b"\n"


@dataclass(frozen=True, slots=True)
class MasterKeys:
    """Those of one file, at least one. Which of them wraps is the store's to say; a store without keys takes the newest."""

    keys: tuple[MasterKey, ...]
    file: str = ""

    @property
    def newest(self) -> MasterKey:
        return self.keys[-1]

    @property
    def fingerprints(self) -> str:
        """For messages."""
        return ", ".join(key.fingerprint for key in self.keys)

    def find(self, fingerprint: str) -> MasterKey | None:
        return next((key for key in self.keys if key.fingerprint == fingerprint), None)


def load(path: Path) -> MasterKeys:
    """Raises MasterKeyError, and MasterKeyMissing where there is no file."""
    try:
        mode = path.stat().st_mode
        lines = path.read_text(encoding="ascii").split()
    except FileNotFoundError as error:
        raise MasterKeyMissing(
            f"There is no master key at {path}. Put the installation's key there (FNRUNNER_MASTER_KEY_FILE names the file)"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise MasterKeyError(f"The master key {path} cannot be read: {error}. Let this user read it") from error
    if mode & 0o077:
        raise MasterKeyError(f"Others can read the master key {path}. Run chmod 600 {path}")
    if not 1 <= len(lines) <= MOST:
        raise MasterKeyError(f"{path} is no master key: it has {BYTES} bytes in base64. Restore it")
    return MasterKeys(tuple(MasterKey(_secret(line, path), str(path)) for line in lines), str(path))


def _secret(line: str, path: Path) -> bytes:
    try:
        secret = base64.b64decode(line, validate=True)
    except binascii.Error as error:
        raise MasterKeyError(f"{path} is no master key: it has {BYTES} bytes in base64. Restore it") from error
    if len(secret) != BYTES:
        raise MasterKeyError(f"{path} is no master key: it has {BYTES} bytes in base64. Restore it")
    return secret
