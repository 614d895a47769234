"""Read one object of a bucket, which is a directory: never a file outside of it, and never more than a limit.

The file is opened component by component from the bucket's own directory, each without following a link: what is a link, or
becomes one meanwhile, is not opened. Links that stay in the bucket are resolved before. As for the watcher of buckets, names
that begin with a dot are no objects.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fnrunner.catalogue.errors import InvalidParameterValue
from fnrunner.model.function import Bucket

_CHUNK = 1024 * 1024
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# a pipe would wait for its writer
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC


class ObjectUnavailable(InvalidParameterValue):
    """The object of a bucket cannot be read. ``s3_code`` is Amazon S3's."""

    def __init__(self, s3_code: str, message: str) -> None:
        self.s3_code = s3_code
        super().__init__(f"Error occurred while GetObject. S3 Error Code: {s3_code}. S3 Error Message: {message}")


class NoSuchBucket(ObjectUnavailable):
    """The specified bucket does not exist"""

    def __init__(self) -> None:
        super().__init__("NoSuchBucket", "The specified bucket does not exist")


class NoSuchKey(ObjectUnavailable):
    """The specified key does not exist"""

    def __init__(self) -> None:
        super().__init__("NoSuchKey", "The specified key does not exist.")


class NoSuchVersion(ObjectUnavailable):
    """Buckets are directories, and keep no versions."""

    def __init__(self, version: str) -> None:
        super().__init__(
            "NoSuchVersion",
            f"The specified version does not exist. ({version[:64]}: buckets are directories here and keep one version of each "
            "object. Leave S3ObjectVersion out, or say null.)",
        )


class ObjectForbidden(ObjectUnavailable):
    """This process may not read the object, or it is not in the bucket's directory. ``why`` names the fault and the remedy."""

    def __init__(self, why: str) -> None:
        super().__init__("AccessDenied", f"Access Denied ({why})")


class ObjectTooLarge(ObjectUnavailable):
    """The object is larger than a package can be."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            "EntityTooLarge", f"The object is larger than {limit} bytes, which a package must be smaller than"
        )


def read(bucket: Bucket, key: str, limit: int) -> bytes:
    """The object's bytes, at most ``limit``. Blocking.

    Raises NoSuchBucket, NoSuchKey, ObjectForbidden, ObjectTooLarge.
    """
    parts = key.split("/")
    if "\0" in key or any(not part or part.startswith(".") for part in parts):
        raise NoSuchKey
    with _translated(bucket, key):
        root = os.path.realpath(bucket.directory)
        directory = _opened_directory(bucket, root)
        try:
            real = os.path.realpath(f"{root}/{key}")
            if not real.startswith(root.rstrip("/") + "/"):
                raise ObjectForbidden(
                    f"{key} is a link that leads out of the bucket {bucket.name}. Copy the file there"
                )
            return _read(_opened(directory, os.path.relpath(real, root).split("/")), limit)
        finally:
            os.close(directory)


def _opened_directory(bucket: Bucket, root: str) -> int:
    try:
        return os.open(root, _DIRECTORY)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ObjectForbidden(
            f"the directory {bucket.directory} of bucket {bucket.name} is not on the host of this API process. Mount it "
            "there under the same path, or send the package as ZipFile"
        ) from error


def _opened(directory: int, parts: list[str]) -> int:
    """A descriptor of the file. Raises OSError."""
    held = os.dup(directory)
    try:
        for part in parts[:-1]:
            inner = os.open(part, _DIRECTORY | os.O_NOFOLLOW, dir_fd=held)
            os.close(held)
            held = inner
        return os.open(parts[-1], _FILE, dir_fd=held)
    finally:
        os.close(held)


def _read(file: int, limit: int) -> bytes:
    """Closes it. What grows while it is read is bounded too."""
    with os.fdopen(file, "rb", buffering=0) as opened:
        seen = os.fstat(file)
        if not stat.S_ISREG(seen.st_mode):
            raise NoSuchKey
        if seen.st_size > limit:
            raise ObjectTooLarge(limit)
        content = bytearray()
        while chunk := opened.read(min(_CHUNK, limit + 1 - len(content))):
            content += chunk
            if len(content) > limit:
                raise ObjectTooLarge(limit)
        return bytes(content)


@contextmanager
def _translated(bucket: Bucket, key: str) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise ObjectForbidden(
            f"the API process (user id {os.geteuid()}) may not read {Path(bucket.directory) / key}. Let it read the file and "
            "the directories above it, or send the package as ZipFile"
        ) from error
    except (OSError, UnicodeEncodeError) as error:
        # not there, a directory, a name too long for this file system, a link that goes in circles or has just been made
        raise NoSuchKey from error
