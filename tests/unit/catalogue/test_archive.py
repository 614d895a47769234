from __future__ import annotations

import io
import stat
import struct
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fnrunner.catalogue import archive
from fnrunner.catalogue.archive import Archive, Kind, check
from fnrunner.catalogue.errors import BadArchive, EmptyArchive, InvalidParameterValue, UnzippedTooLarge, ZipTooLarge
from fnrunner.model import limits
from tests.examples import EXAMPLES


@dataclass(frozen=True)
class Put:
    """One entry to write: ``mode`` as Unix has it, with its file type."""

    name: str
    data: bytes = b"x"
    mode: int = stat.S_IFREG | 0o644
    system: int = 3


def link(name: str, target: str) -> Put:
    return Put(name, target.encode(), stat.S_IFLNK | 0o777)


def zipped(*puts: Put, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for put in puts:
            info = zipfile.ZipInfo(put.name)
            info.filename = put.name
            info.external_attr = put.mode << 16
            info.create_system = put.system
            info.compress_type = compression
            file.writestr(info, put.data)
    return buffer.getvalue()


def contents(data: bytes) -> dict[str, bytes]:
    opened = Archive(data)
    return {entry.name: b"".join(opened.contents(entry)) for entry in opened.entries if entry.kind is Kind.FILE}


def test_an_ordinary_zip_is_read_with_its_modes_and_links() -> None:
    data = zipped(
        Put("app.py", b"code"),
        Put("bin/tool", b"#!", stat.S_IFREG | 0o4700),
        Put("lib/", b"", stat.S_IFDIR | 0o700),
        Put("private", b"", stat.S_IFREG | 0o600),
        link("lib/current", "../app.py"),
    )
    entries = {entry.name: (entry.kind, entry.mode, entry.target) for entry in Archive(data).entries}
    assert entries == {
        "app.py": (Kind.FILE, 0o644, ""),
        "bin/tool": (Kind.FILE, 0o755, ""),
        "lib": (Kind.DIRECTORY, 0o755, ""),
        "private": (Kind.FILE, 0o644, ""),
        "lib/current": (Kind.LINK, 0o755, "../app.py"),
    }
    assert contents(data) == {"app.py": b"code", "bin/tool": b"#!", "private": b""}
    assert check(data) == 6


def test_a_zip_made_on_windows_has_no_modes_and_is_read() -> None:
    data = zipped(Put("app.py", b"code", stat.S_IFLNK | 0o777, system=0))
    assert [(entry.kind, entry.mode) for entry in Archive(data).entries] == [(Kind.FILE, 0o644)]


def test_names_in_utf_8_are_read_whether_marked_or_not() -> None:
    marked = zipped(Put("grüße.py"))
    unmarked = bytearray(marked)
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = unmarked.index(signature) + offset
        (flags,) = struct.unpack_from("<H", unmarked, at)
        struct.pack_into("<H", unmarked, at, flags & ~0x800)
    assert bytes(unmarked) != marked
    assert list(contents(marked)) == list(contents(bytes(unmarked))) == ["grüße.py"]


@pytest.mark.parametrize(
    ("puts", "entry", "fault"),
    [
        ([Put("../evil")], "../evil", "climbs"),
        ([Put("a/../../evil")], "a/../../evil", "climbs"),
        ([Put("a/..")], "a/..", "climbs"),
        ([Put("/etc/passwd")], "/etc/passwd", "absolute"),
        ([Put("C:/evil")], "C:/evil", "absolute"),
        ([Put("a\\b")], "a\\b", "backslash"),
        ([Put("n" * 256)], "n" * 80 + "…", "too long"),
        ([Put("/".join(["n" * 200] * 11))], None, "too long"),
        ([Put("a"), Put("./a")], "a", "twice"),
        ([Put("a"), Put("a/")], "a/", "contents"),
        ([Put("a"), Put("a/", b"")], "a", "twice"),
        ([Put("a"), Put("a/b")], "a/b", "below"),
        ([Put("a/b"), link("a", "lib")], "a/b", "below"),
        ([Put("pipe", b"", stat.S_IFIFO | 0o644)], "pipe", "neither"),
        ([Put("null", b"", stat.S_IFCHR | 0o666)], "null", "neither"),
        ([Put("disk", b"", stat.S_IFBLK | 0o666)], "disk", "neither"),
        ([Put("socket", b"", stat.S_IFSOCK | 0o666)], "socket", "neither"),
        ([Put("f"), link("l", "/etc/passwd")], "l", "absolute"),
        ([Put("f"), link("l", "../up")], "l", "leaves"),
        ([Put("f"), link("a/l", "../../up")], "a/l", "leaves"),
        ([Put("f"), link("a/up", ".."), link("l", "a/up/../..")], "l", "leaves"),
        ([Put("f"), link("l", "missing/../../up")], "l", "leaves"),
        ([Put("f"), link("l", "m"), link("m", "l")], "l", "circles"),
        ([Put("f"), link("l", "l")], "l", "circles"),
        ([Put("f"), link("l", "")], "l", "without a target"),
        ([Put("f"), link("l", "t" * 5000)], "l", "too long"),
        ([Put("f"), Put("l", b"\xff", stat.S_IFLNK | 0o777)], "l", "not UTF-8"),
    ],
)  # fmt: skip
def test_what_must_not_be_unpacked_is_refused_by_name_and_fault(puts: list[Put], entry: str | None, fault: str) -> None:
    with pytest.raises(BadArchive, match=fault) as caught:
        Archive(zipped(*puts))
    assert entry is None or caught.value.entry == entry
    assert str(caught.value).startswith(
        "Could not unzip uploaded file. Please check your file, then try to upload again."
    )
    assert (caught.value.code, caught.value.status) == ("InvalidParameterValueException", 400)


def patched(data: bytes, signature: bytes, offset: int, value: bytes) -> bytes:
    """``data`` with ``value`` at ``offset`` behind the first ``signature``."""
    at = data.index(signature) + offset
    return data[:at] + value + data[at + len(value) :]


LOCAL, CENTRAL = b"PK\x03\x04", b"PK\x01\x02"


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (lambda data: data[:-30], "no zip"),
        (lambda data: data[: len(data) // 2], "no zip"),
        (lambda data: b"plain text" * 10, "no zip"),
        (lambda data: patched(data, CENTRAL, 8, b"\x01\x00"), "encrypted"),
        (lambda data: patched(data, CENTRAL, 8, b"\x40\x00"), "encrypted"),
        (lambda data: patched(data, CENTRAL, 10, b"\x0c\x00"), "method 12"),
        (lambda data: patched(data, CENTRAL, 10, b"\x63\x00"), "method 99"),
        (lambda data: patched(data, CENTRAL, 16, b"\xde\xad\xbe\xef"), "CRC"),
        (lambda data: patched(data, LOCAL, 30, b"other!"), "differ"),
        (lambda data: patched(data, CENTRAL, 46, b"a\x00.py!"), "NUL"),
        (lambda data: patched(data, CENTRAL, 46, b"\xff\xfe.py!"), "UTF-8"),
    ],
)  # fmt: skip
def test_damage_is_refused(damage: Callable[[bytes], bytes], fault: str) -> None:
    with pytest.raises(BadArchive, match=fault):
        check(damage(zipped(Put("app.py", b"code" * 100))))


@pytest.mark.parametrize("data", [b"", zipped(), zipped(Put("folder/", b"", stat.S_IFDIR | 0o755))])
def test_a_zip_without_files_is_empty(data: bytes) -> None:
    with pytest.raises(EmptyArchive, match="Uploaded file must be a non-empty zip"):
        Archive(data)


def test_a_zip_that_is_too_large_is_refused_before_it_is_read() -> None:
    with pytest.raises(ZipTooLarge, match="Zipped size must be smaller than 52428800 bytes") as caught:
        Archive(bytes(limits.ZIP_BYTES + 1))
    assert (caught.value.code, caught.value.status) == ("RequestEntityTooLargeException", 413)


def test_sizes_that_add_up_to_too_much_are_refused_without_inflating() -> None:
    data = zipped(Put("a"), Put("b"))
    size = struct.pack("<I", limits.UNZIPPED_BYTES)
    with pytest.raises(UnzippedTooLarge, match="Unzipped size must be smaller than 262144000 bytes"):
        Archive(patched(data, CENTRAL, 24, size))


def test_what_is_inflated_is_counted_over_all_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    data = zipped(Put("a", bytes(700)), Put("b", bytes(700)))
    opened = Archive(data)
    monkeypatch.setattr(opened, "_left", 1000)
    first, second = opened.entries
    assert len(b"".join(opened.contents(first))) == 700
    with pytest.raises(UnzippedTooLarge):
        list(opened.contents(second))


def test_too_many_entries_are_refused_before_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    data = zipped(*(Put(str(number)) for number in range(11)))
    monkeypatch.setattr(archive, "MAX_ENTRIES", 11)
    assert len(Archive(data).entries) == 11
    monkeypatch.setattr(archive, "MAX_ENTRIES", 10)
    with pytest.raises(BadArchive, match="more than 10 entries"):
        Archive(data)


part = st.text(st.characters(exclude_characters="/\\\0:", exclude_categories=["Cs"]), min_size=1, max_size=8).filter(
    lambda text: text not in (".", "..")
)
tree = st.dictionaries(st.tuples(part, part), st.binary(max_size=300), min_size=1, max_size=6)


@given(files=tree, compression=st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
def test_every_tree_comes_back_as_it_was_zipped(files: dict[tuple[str, str], bytes], compression: int) -> None:
    # Names are told apart from folders: a first part is always a folder.
    named = {f"{folder}/{name}": data for (folder, name), data in files.items()}
    puts = [Put(name, data) for name, data in named.items()]
    assert contents(zipped(*puts, compression=compression)) == named


@settings(max_examples=3 * EXAMPLES)
@given(
    edits=st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), max_size=6),
    cut=st.integers(0, 600),
)
def test_damaged_bytes_are_either_read_or_refused_never_anything_else(edits: list[tuple[int, int]], cut: int) -> None:
    data = bytearray(zipped(Put("app.py", b"code" * 50), Put("lib/", b"", stat.S_IFDIR), link("lib/l", "../app.py")))
    for position, value in edits:
        data[position % len(data)] = value
    if cut < len(data) // 2:
        del data[len(data) - cut :]
    with suppress(InvalidParameterValue, ZipTooLarge):
        check(bytes(data))


@given(st.binary(max_size=400))
def test_noise_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidParameterValue):
        check(data)
