"""Read an uploaded zip and refuse what must not be unpacked. Pure: bytes in, entries out; nothing is written.

Refused, with the entry and the fault
    Names that are absolute, climb with ``..``, hold a backslash, a drive or NUL, are not UTF-8, are too long, or occur
    twice; an entry below a file or a link; links that leave the tree, also by way of other links, or go in circles;
    devices, pipes and sockets; encrypted entries; compression other than stored and deflated; sizes and checksums
    that are wrong; more than :data:`MAX_ENTRIES` entries; more than 250 MB unzipped.

There is no limit on the ratio of a single entry, as on Lambda: a file of zeros is no fault, and what is counted while
inflating, not what headers say, bounds the work and the disk.
"""

from __future__ import annotations

import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from io import BytesIO

from fnrunner.catalogue.errors import BadArchive, EmptyArchive, UnzippedTooLarge, ZipTooLarge
from fnrunner.catalogue.links import check_links
from fnrunner.model import limits

MAX_ENTRIES = 50_000
MAX_NAME_BYTES = 255
"""Of one component: what file systems take."""
MAX_PATH_BYTES = 2048
MAX_TARGET_BYTES = 4095

_CHUNK = 256 * 1024
_CENTRAL_RECORD = b"PK\x01\x02"
_UNIX = 3
_UTF8 = 0x800
_ENCRYPTED = 0x1 | 0x40
_MALFORMED = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, RuntimeError, ValueError,
              OverflowError, OSError, IndexError)  # fmt: skip
"""What the zip library raises for bytes that are no zip."""


class Kind(Enum):
    FILE = "file"
    DIRECTORY = "directory"
    LINK = "link"


@dataclass(frozen=True, slots=True)
class Entry:
    """``path`` is its components. ``mode`` is 0644 or 0755. ``target`` is where a link points, as written."""

    path: tuple[str, ...]
    kind: Kind
    mode: int
    info: zipfile.ZipInfo
    target: str = ""

    @property
    def name(self) -> str:
        return "/".join(self.path)


class Archive:
    """A zip whose directory has been checked; contents are checked as they are read. Used by one thread at a time."""

    def __init__(self, data: bytes, largest: int = limits.ZIP_BYTES) -> None:
        """``largest``: how many bytes the zip itself may have.

        Raises ZipTooLarge, EmptyArchive, UnzippedTooLarge, BadArchive.
        """
        if len(data) > largest:
            raise ZipTooLarge
        if not data:
            raise EmptyArchive
        # Counted before parsing, since parsing costs memory for each. Counts at least every entry.
        if data.count(_CENTRAL_RECORD) > MAX_ENTRIES:
            raise BadArchive(f"it has more than {MAX_ENTRIES} entries")
        try:
            self._zip = zipfile.ZipFile(BytesIO(data))
        except UnicodeDecodeError as error:
            raise BadArchive("a name is not UTF-8") from error
        except _MALFORMED as error:
            raise BadArchive(f"it is no zip, or cut off: {error}") from error
        self._left = limits.UNZIPPED_BYTES
        self.entries = self._read_directory()

    def contents(self, entry: Entry) -> Iterator[bytes]:
        """A file's bytes in pieces. Raises BadArchive, UnzippedTooLarge when all that was read is too much."""
        try:
            with self._zip.open(entry.info) as stream:
                while chunk := stream.read(_CHUNK):
                    self._left -= len(chunk)
                    if self._left < 0:
                        raise UnzippedTooLarge
                    yield chunk
        except _MALFORMED as error:
            raise BadArchive(f"cannot be unzipped: {error}", entry.name) from error

    def _read_directory(self) -> tuple[Entry, ...]:
        infos = self._zip.infolist()
        if not infos:
            raise EmptyArchive
        if sum(info.file_size for info in infos) > limits.UNZIPPED_BYTES:
            raise UnzippedTooLarge
        found: dict[tuple[str, ...], Entry] = {}
        for info in infos:
            entry = self._entry(info)
            if not entry.path:
                continue
            if entry.path in found:
                raise BadArchive("occurs twice", entry.name)
            found[entry.path] = entry
        if not any(entry.kind is Kind.FILE for entry in found.values()):
            raise EmptyArchive
        _check_parents(found)
        check_links({path: entry.target for path, entry in found.items() if entry.kind is Kind.LINK})
        return tuple(found.values())

    def _entry(self, info: zipfile.ZipInfo) -> Entry:
        name = _name(info)
        path = _path(name)
        if info.flag_bits & _ENCRYPTED:
            raise BadArchive("is encrypted", name)
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise BadArchive(f"is compressed in a way that is not supported (method {info.compress_type})", name)
        mode = info.external_attr >> 16 if info.create_system == _UNIX else 0
        kind = _kind(name, mode)
        if kind is Kind.DIRECTORY and info.file_size:
            raise BadArchive("is a directory with contents", name)
        entry = Entry(path, kind, 0o755 if kind is Kind.DIRECTORY or mode & 0o111 else 0o644, info)
        return Entry(path, kind, 0o755, info, self._target(entry)) if kind is Kind.LINK else entry

    def _target(self, entry: Entry) -> str:
        if entry.info.file_size > MAX_TARGET_BYTES:
            raise BadArchive("is a link with a target that is too long", entry.name)
        try:
            return b"".join(self.contents(entry)).decode()
        except UnicodeDecodeError as error:
            raise BadArchive("is a link whose target is not UTF-8", entry.name) from error


def check(data: bytes) -> int:
    """Inflate all of it and answer the unzipped size in bytes. Blocking; raises as :class:`Archive` does."""
    archive = Archive(data)
    return sum(len(chunk) for entry in archive.entries if entry.kind is Kind.FILE for chunk in archive.contents(entry))


def _name(info: zipfile.ZipInfo) -> str:
    """As it stands in the zip: the library cuts names at NUL, and reads them as DOS's when they are not marked."""
    if info.flag_bits & _UTF8:
        return info.orig_filename
    try:
        return info.orig_filename.encode("cp437").decode()
    except UnicodeDecodeError as error:
        raise BadArchive("has a name that is not UTF-8", info.orig_filename) from error


def _path(name: str) -> tuple[str, ...]:
    """Its components, without empty ones and ``.``; empty for the root itself."""
    if "\0" in name:
        raise BadArchive("has a name with NUL", name)
    if "\\" in name:
        raise BadArchive("has a name with a backslash: zip it with / between folders", name)
    if name.startswith("/") or re.match(r"[A-Za-z]:", name):
        raise BadArchive("has an absolute name", name)
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if ".." in parts:
        raise BadArchive("climbs out of the archive", name)
    if any(len(part.encode()) > MAX_NAME_BYTES for part in parts) or len(name.encode()) > MAX_PATH_BYTES:
        raise BadArchive("has a name that is too long", name[:80] + "…")
    return parts


def _kind(name: str, mode: int) -> Kind:
    form = stat.S_IFMT(mode)
    if form == stat.S_IFLNK and not name.endswith("/"):
        return Kind.LINK
    if form == stat.S_IFDIR or (name.endswith("/") and form in (0, stat.S_IFREG)):
        return Kind.DIRECTORY
    if form in (0, stat.S_IFREG):
        return Kind.FILE
    raise BadArchive("is neither file nor folder nor link", name)


def _check_parents(found: Mapping[tuple[str, ...], Entry]) -> None:
    """What is above an entry is a directory: to write below a link would write wherever it points."""
    for path, entry in found.items():
        for length in range(1, len(path)):
            above = found.get(path[:length])
            if above is not None and above.kind is not Kind.DIRECTORY:
                raise BadArchive(f"lies below {above.name!r}, which is a {above.kind.value}", entry.name)
