"""A function's code as a zip: the same files give the same bytes, whenever and wherever it is made.

Entries are sorted, times are fixed, permissions are 0755 or 0644 by the owner's execute bit, links stay links.
"""

from __future__ import annotations

import io
import os
import stat
import zipfile
from base64 import b64decode, b64encode
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from fnrunner.cli.deploy import ignore
from fnrunner.cli.error import UsageFault
from fnrunner.cli.output import size
from fnrunner.model import limits

_TIME = (1980, 1, 1, 0, 0, 0)
_UNIX = 3
Entries = Mapping[str, "Entry"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One file: its bytes and whether it can be executed; or a link: its target."""

    data: bytes
    executable: bool = False
    is_link: bool = False


@dataclass(frozen=True, slots=True)
class Package:
    """A zip and its CodeSha256 (base64 of the SHA-256, as Lambda gives it)."""

    data: bytes
    code_sha256: str
    names: frozenset[str]

    @property
    def digest(self) -> str:
        """The SHA-256 in hex."""
        return b64decode(self.code_sha256).hex()

    @classmethod
    def of(cls, data: bytes) -> Package:
        """Raises UsageFault when it is no zip, or too large."""
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                names = frozenset(archive.namelist())
                _check_size(data, {info.filename: info.compress_size for info in archive.infolist()}, limits.ZIP_BYTES)
        except zipfile.BadZipFile as error:
            raise UsageFault(
                f"The code is no zip file: {error}", "Make it anew, or name the folder instead."
            ) from error
        return cls(data, b64encode(sha256(data).digest()).decode(), names)


def of_folder(folder: Path) -> dict[str, Entry]:
    """Every file of a folder that belongs into its package. Raises UsageFault for a link that leads out of it."""
    ignore_file = folder / ignore.FILE
    rules = ignore.Rules.read(ignore_file.read_text() if ignore_file.is_file() else "")
    return {path: entry(folder, folder / path) for path in sorted(_walk(folder, rules))}


def of_installed(folder: Path) -> dict[str, Entry]:
    """Every file of a folder that pip filled."""
    return {path: entry(folder, folder / path) for path in sorted(_walk(folder, ignore.INSTALLED))}


def of_file(file: Path) -> dict[str, Entry]:
    """One source file by its name."""
    return {file.name: Entry(file.read_bytes())}


def _walk(folder: Path, rules: ignore.Rules) -> Iterator[str]:
    for root, folders, files in os.walk(folder):
        here = Path(root).relative_to(folder)
        links = [name for name in folders if (Path(root) / name).is_symlink()]
        folders[:] = [n for n in folders if n not in links and not rules.leaves_out((here / n).as_posix(), True)]
        for name in (*files, *links):
            mode = (Path(root) / name).lstat().st_mode
            path = (here / name).as_posix()
            if (stat.S_ISREG(mode) or stat.S_ISLNK(mode)) and not rules.leaves_out(path):
                yield path


def entry(folder: Path, path: Path) -> Entry:
    """One file of a folder. Raises UsageFault for a link that leads out of it, OSError."""
    if path.is_symlink():
        target = os.readlink(path)
        inside = Path(os.path.normpath(path.parent / target))
        if os.path.isabs(target) or not inside.is_relative_to(folder):
            raise UsageFault(
                f"{path}: this link leads out of the package, to {target}",
                f"Copy the file instead, or leave it out with {ignore.FILE}.",
            )
        return Entry(target.encode(), is_link=True)
    return Entry(path.read_bytes(), executable=bool(path.stat().st_mode & stat.S_IXUSR))


def pack(entries: Entries) -> Package:
    """The zip of the entries. Raises UsageFault over 50 MB zipped or 250 MB unzipped, and for nothing at all."""
    if not entries:
        raise UsageFault("There is no file to deploy", f"Check the path and what {ignore.FILE} leaves out.")
    _check_size(b"", {name: len(entry.data) for name, entry in entries.items()}, limits.UNZIPPED_BYTES, "unzipped ")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name in sorted(entries):
            archive.writestr(_info(name, entries[name]), entries[name].data)
    return Package.of(buffer.getvalue())


def _info(name: str, entry: Entry) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _TIME)
    info.create_system = _UNIX
    info.compress_type = zipfile.ZIP_DEFLATED
    kind, mode = (stat.S_IFLNK, 0o777) if entry.is_link else (stat.S_IFREG, 0o755 if entry.executable else 0o644)
    info.external_attr = (kind | mode) << 16
    return info


def _check_size(data: bytes, sizes: Mapping[str, int], limit: int, what: str = "") -> None:
    total = len(data) or sum(sizes.values())
    if total <= limit:
        return
    tops: dict[str, int] = defaultdict(int)
    for name, count in sizes.items():
        tops[name.split("/")[0]] += count
    largest = sorted(tops.items(), key=lambda item: -item[1])[:8]
    listed = ", ".join(f"{name} {size(count)}" for name, count in largest)
    raise UsageFault(
        f"The {what}package has {size(total)}; the limit is {size(limit)}. Largest: {listed}",
        f"Leave out with {ignore.FILE} what the function does not need.",
    )
