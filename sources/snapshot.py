"""Compare what is there with what was announced: pure decisions about objects and about the directory they are in.

>>> old, new = Identity(3, 1_000, 7), Identity(4, 2_000, 7)
>>> change_of(None, new), change_of(old, new), change_of(old, None), change_of(new, new)
(<Kind.CREATED: 'ObjectCreated:Put'>, <Kind.CREATED: 'ObjectCreated:Put'>, <Kind.REMOVED: 'ObjectRemoved:Delete'>, None)
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from enum import Enum


class Kind(Enum):
    """What happened to an object; the value is S3's ``eventName``."""

    CREATED = "ObjectCreated:Put"
    REMOVED = "ObjectRemoved:Delete"


@dataclass(frozen=True, slots=True)
class Identity:
    """What tells one completed write of a file from the next. ``inode`` is 0 where the file system does not keep them."""

    size_bytes: int
    mtime_ns: int
    inode: int


@dataclass(frozen=True, slots=True)
class Root:
    """Which directory a bucket is: another one mounted or made in the same place differs."""

    device: int
    inode: int


@dataclass(frozen=True, slots=True)
class Change:
    """What is now announced of a key; ``identity`` None: that it was removed."""

    key: str
    identity: Identity | None
    etag: str = ""


_PACKED = struct.Struct("<qqQ")


class Objects(MutableMapping[str, Identity]):
    """Identities by key, packed into bytes: the garbage collector would stop the world to look at as many objects.

    One thread may change it while others look.

    >>> objects = Objects({"a": Identity(1, 2, 3)})
    >>> objects["a"], objects.get("b"), objects.keys_now()
    (Identity(size_bytes=1, mtime_ns=2, inode=3), None, ['a'])
    """

    __slots__ = ("_packed",)

    def __init__(self, objects: Mapping[str, Identity] | None = None) -> None:
        self._packed: dict[str, bytes] = {}
        self.update(objects or {})

    def __getitem__(self, key: str) -> Identity:
        return Identity(*_PACKED.unpack(self._packed[key]))

    def __setitem__(self, key: str, identity: Identity) -> None:
        self._packed[key] = _PACKED.pack(identity.size_bytes, identity.mtime_ns, identity.inode)

    def __delitem__(self, key: str) -> None:
        del self._packed[key]

    def __contains__(self, key: object) -> bool:
        return key in self._packed

    def __iter__(self) -> Iterator[str]:
        return iter(self._packed)

    def __len__(self) -> int:
        return len(self._packed)

    def keys_now(self) -> list[str]:
        """A copy of the keys, made in one step."""
        return list(self._packed)


@dataclass(frozen=True, slots=True)
class Remembered:
    """The checkpoint of a bucket. ``root`` None: this bucket has never been compared completely."""

    root: Root | None = None
    objects: Objects = field(default_factory=Objects)


def change_of(before: Identity | None, now: Identity | None) -> Kind | None:
    """What to announce, if anything. An overwritten object is a created one, as in S3."""
    if now is None:
        return Kind.REMOVED if before is not None else None
    return Kind.CREATED if now != before else None


def removals_credible(before: Root | None, now: Root, *, survivors: int, empty: bool) -> bool:
    """Whether what is missing was removed, rather than its file system not being mounted.

    ``survivors`` is how many remembered objects are still there, ``empty`` that the directory has no object at all.
    Another device without one survivor is a mount point whose file system is away. Another directory on the same
    device that is empty has been made again and not been filled yet.
    """
    if before is None or before == now or survivors:
        return True
    return before.device == now.device and not empty


def within(key: str, directories: Collection[str]) -> bool:
    """Whether the key is below one of the directories; ``""`` is the bucket itself.

    >>> within("a/b/c", {"a/b"}), within("a/bc", {"a/b"}), within("x", {""})
    (True, False, True)
    """
    if "" in directories:
        return True
    end = key.rfind("/")
    while end > 0:
        if key[:end] in directories:
            return True
        end = key.rfind("/", 0, end)
    return False
