"""Make and change the file of the master key. It is there as a whole or not at all, whoever is killed meanwhile."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fnrunner.auth import master_key
from fnrunner.auth.master_key import BYTES, MOST, MasterKey, MasterKeyError, MasterKeys


def load_or_create(path: Path) -> MasterKeys:
    """The key of this host, made when there is none; of two processes that make it, one wins. Raises MasterKeyError."""
    if not path.exists():
        _create(path)
    return master_key.load(path)


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Nobody else on this host changes the file meanwhile. Raises MasterKeyError when somebody does."""
    try:
        lock = os.open(_real(path).with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise MasterKeyError(
            f"The master key {path} cannot be changed: {error}. Make its directory writable"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise MasterKeyError(f"Somebody else is changing the master key {path}. Wait until that has ended") from error
    finally:
        os.close(lock)


def add(path: Path) -> MasterKeys:
    """A new key after those that there are. Raises MasterKeyError."""
    present = master_key.load(path)
    if len(present.keys) >= MOST:
        raise MasterKeyError(f"{path} has {MOST} keys already. Remove the lines of those that nothing needs")
    _replace(path, (*present.keys, MasterKey(secrets.token_bytes(BYTES), str(path))))
    return master_key.load(path)


def retire(path: Path, fingerprint: str) -> list[Path]:
    """Leave only this key in the file, and put each other into one of its own beside it: backups of the store may need it.

    The other files, which are there before a key leaves the first. Raises MasterKeyError.
    """
    present = master_key.load(path)
    kept = tuple(key for key in present.keys if key.fingerprint == fingerprint)
    if not kept:
        raise MasterKeyError(f"{path} has no key {fingerprint}. Nothing was changed: put that key there")
    retired = []
    for key in present.keys:
        if key not in kept:
            aside = _real(path).with_name(f"{path.name}.retired-{key.fingerprint}")
            _replace(aside, (key,), like=path)
            retired.append(aside)
    _replace(path, kept)
    return retired


def _create(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = _written_aside(path, (MasterKey(secrets.token_bytes(BYTES)),))
        try:
            # a link fails where a rename would replace the key that another process has just made and used
            os.link(aside, path)
        except FileExistsError:
            pass
        finally:
            aside.unlink(missing_ok=True)
        _sync(path.parent)
    except OSError as error:
        raise MasterKeyError(f"The master key {path} cannot be made: {error}. Make the directory writable") from error


def _replace(path: Path, keys: tuple[MasterKey, ...], like: Path | None = None) -> None:
    """With the owner that the file has, or the one that it is to be ``like``: the server must still be able to read it."""
    real = _real(path)
    try:
        owner = os.stat(like or real)
        aside = _written_aside(real, keys)
        try:
            if (owner.st_uid, owner.st_gid) != (os.geteuid(), os.getegid()):
                os.chown(aside, owner.st_uid, owner.st_gid)
            aside.rename(real)
        finally:
            aside.unlink(missing_ok=True)
        _sync(real.parent)
    except OSError as error:
        raise MasterKeyError(
            f"The master key {path} cannot be written: {error}. Let this user write it and its directory"
        ) from error


def _written_aside(path: Path, keys: tuple[MasterKey, ...]) -> Path:
    aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(b"".join(key.line for key in keys))
        file.flush()
        os.fsync(file.fileno())
    return aside


def _real(path: Path) -> Path:
    """The file itself, where the path is a link to it."""
    return Path(os.path.realpath(path))


def _sync(directory: Path) -> None:
    """The new name itself must survive a power cut before anything is wrapped by the key."""
    listing = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(listing)
    finally:
        os.close(listing)
