"""The same files give the same zip, modes and links are kept, and what is too large is named."""

from __future__ import annotations

import io
import random
import stat
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fnrunner.cli.deploy.ignore import Rules
from fnrunner.cli.deploy.package import Entry, Package, pack
from fnrunner.cli.error import UsageFault
from fnrunner.model import limits

NAMES = st.text("abc/", min_size=1, max_size=8).map(lambda name: f"x{name.replace('//', '/')}y")
ENTRIES = st.dictionaries(NAMES, st.builds(Entry, st.binary(max_size=64), st.booleans()), min_size=1, max_size=6)


@given(ENTRIES, st.randoms())
def test_the_order_of_the_files_does_not_matter(entries: dict[str, Entry], rng: random.Random) -> None:
    shuffled = list(entries.items())
    rng.shuffle(shuffled)
    assert pack(entries).data == pack(dict(shuffled)).data


@given(ENTRIES)
def test_every_file_comes_out_as_it_went_in(entries: dict[str, Entry]) -> None:
    with zipfile.ZipFile(io.BytesIO(pack(entries).data)) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {n: e.data for n, e in entries.items()}


def test_modes_links_and_times_are_fixed() -> None:
    package = pack({"run": Entry(b"#!", executable=True), "app.py": Entry(b""), "ln": Entry(b"app.py", is_link=True)})
    with zipfile.ZipFile(io.BytesIO(package.data)) as archive:
        modes = {info.filename: info.external_attr >> 16 for info in archive.infolist()}
        times = {info.date_time for info in archive.infolist()}
    assert stat.S_IMODE(modes["run"]) == 0o755
    assert stat.S_IMODE(modes["app.py"]) == 0o644
    assert stat.S_ISLNK(modes["ln"])
    assert times == {(1980, 1, 1, 0, 0, 0)}


def test_a_package_that_is_too_large_names_its_largest_top_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ZIP_BYTES", 64 * 1024)
    noise = random.Random(1).randbytes(20 * 1024)
    entries = {f"model/{i}.bin": Entry(noise + bytes([i])) for i in range(4)} | {"app.py": Entry(b"x")}
    with pytest.raises(
        UsageFault, match=r"The package has 8\d\.\d KB; the limit is 64\.0 KB\. Largest: model 80\.\d KB"
    ) as e:
        pack(entries)
    assert ".fnrunnerignore" in e.value.remedy


def test_a_package_that_is_too_large_unzipped_is_refused_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "UNZIPPED_BYTES", 1024)
    with pytest.raises(UsageFault, match=r"The unzipped package has 2\.0 KB; the limit is 1\.0 KB"):
        pack({"zeros": Entry(bytes(2048))})


def test_nothing_at_all_is_refused() -> None:
    with pytest.raises(UsageFault, match="no file to deploy"):
        pack({})


def test_what_is_no_zip_is_refused() -> None:
    with pytest.raises(UsageFault, match="no zip"):
        Package.of(b"nonsense")


@pytest.mark.parametrize(
    ("pattern", "path", "is_folder", "left_out"),
    [
        ("", "src/__pycache__", True, True),
        ("", ".git", True, True),
        ("", "a.pyc", False, True),
        ("", ".fnrunnerignore", False, True),
        ("", "app.py", False, False),
        ("*.md", "docs/a.md", False, True),
        ("/a.md", "docs/a.md", False, False),
        ("docs/*.md", "docs/a.md", False, True),
        ("docs/*.md", "docs/deep/a.md", False, False),
        ("docs/**/a.md", "docs/deep/er/a.md", False, True),
        ("docs/**", "docs/x/y", False, True),
        ("build/", "build", False, False),
        ("build/", "build", True, True),
        ("*.md\n!README.md", "README.md", False, False),
        ("# comment\n?.txt", "b.txt", False, True),
        ("[ab].txt", "c.txt", False, False),
        ("[!ab].txt", "c.txt", False, True),
    ],
)
def test_ignore_patterns_mean_what_they_mean_in_git(pattern: str, path: str, is_folder: bool, left_out: bool) -> None:
    assert Rules.read(pattern).leaves_out(path, is_folder) is left_out
