"""Hearing of saved code: editors, checkouts, and what does not belong to a package, on a real disk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fnrunner.cli.live.source import Source
from fnrunner.cli.live.watch import SourceWatch
from sources.directory_watch import DirectoryWatch
from sources.errors import WatchesExhausted

PATIENCE_S = 20.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "src" / "pkg").mkdir(parents=True)
    (tmp_path / "src" / "app.py").write_text("one")
    (tmp_path / "src" / "pkg" / "lib.py").write_text("lib")
    return tmp_path / "src"


@pytest.fixture
async def watch(folder: Path) -> AsyncIterator[SourceWatch]:
    found = SourceWatch(Source.of(folder), warn=lambda text: None)
    await found.start()
    yield found
    await found.close()


async def heard(watch: SourceWatch, wanted: set[str]) -> set[str]:
    """Everything that is heard of until all that is wanted was."""
    changed: set[str] = set()
    async with asyncio.timeout(PATIENCE_S):
        while not wanted <= changed:
            changed |= await watch.changes()
    return changed


async def test_a_file_that_is_written_in_place_is_heard_of(folder: Path, watch: SourceWatch) -> None:
    (folder / "app.py").write_text("two")
    assert await heard(watch, {"app.py"}) == {"app.py"}


async def test_an_editor_that_renames_is_heard_of_by_the_files_own_name(folder: Path, watch: SourceWatch) -> None:
    (folder / "4913").write_text("")
    (folder / "4913").unlink()
    (folder / ".app.py.swp").write_text("two")
    (folder / ".app.py.swp").rename(folder / "app.py")
    assert "app.py" in await heard(watch, {"app.py"})


async def test_deletions_new_folders_and_moved_folders_are_heard_of(folder: Path, watch: SourceWatch) -> None:
    (folder / "pkg" / "lib.py").unlink()
    assert await heard(watch, {"pkg/lib.py"}) == {"pkg/lib.py"}
    (folder / "new" / "deep").mkdir(parents=True)
    (folder / "new" / "deep" / "a.py").write_text("a")
    assert await heard(watch, {"new/deep/a.py"}) == {"new/deep/a.py"}
    (folder / "new").rename(folder / "moved")
    assert await heard(watch, {"new/deep/a.py", "moved/deep/a.py"}) == {"new/deep/a.py", "moved/deep/a.py"}
    (folder / "moved" / "deep" / "b.py").write_text("b")
    assert await heard(watch, {"moved/deep/b.py"}) == {"moved/deep/b.py"}


async def test_a_checkout_of_many_files_is_few_sets_of_changes(folder: Path, watch: SourceWatch) -> None:
    wanted = set()
    for number in range(500):
        path = f"d{number % 10}/f{number}.py"
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(str(number))
        wanted.add(path)
    sets = 0
    changed: set[str] = set()
    async with asyncio.timeout(PATIENCE_S):
        while not wanted <= changed:
            changed |= await watch.changes()
            sets += 1
    assert sets < 50


async def test_what_is_not_in_the_package_is_not_heard_of(folder: Path, watch: SourceWatch) -> None:
    for ignored in (".git/objects/ab", ".venv/lib/x.py", "pkg/__pycache__/lib.cpython-311.pyc", ".mypy_cache/a.json"):
        (folder / ignored).parent.mkdir(parents=True, exist_ok=True)
        (folder / ignored).write_text("x")
    (folder / "app.py").write_text("the only one")
    assert await heard(watch, {"app.py"}) == {"app.py"}


async def test_the_ignore_file_says_what_is_not_heard_of(folder: Path) -> None:
    (folder / ".fnrunnerignore").write_text("data/\n*.log\n")
    (folder / "data").mkdir()
    watch = SourceWatch(Source.of(folder), warn=lambda text: None)
    await watch.start()
    try:
        (folder / "data" / "x.py").write_text("x")
        (folder / "a.log").write_text("x")
        (folder / ".fnrunnerignore").write_text("data/\n")
        assert await heard(watch, {".fnrunnerignore"}) == {".fnrunnerignore"}
    finally:
        await watch.close()


async def test_of_a_single_file_its_neighbours_do_not_count(folder: Path) -> None:
    watch = SourceWatch(Source.of(folder / "app.py"), warn=lambda text: None)
    await watch.start()
    try:
        (folder / "other.py").write_text("x")
        (folder / "pkg" / "lib.py").write_text("x")
        (folder / "app.py").write_text("mine")
        (folder / "requirements.txt").write_text("six\n")
        assert await heard(watch, {"app.py", "requirements.txt"}) == {"app.py", "requirements.txt"}
    finally:
        await watch.close()


async def test_where_the_kernel_gives_no_watch_the_tree_is_compared_and_that_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: DirectoryWatch, directory: str) -> None:
        raise WatchesExhausted("no more watches")

    monkeypatch.setattr(DirectoryWatch, "add", refuse)
    said: list[str] = []
    watch = SourceWatch(Source.of(folder), warn=said.append)
    await watch.start()
    try:
        assert len(said) == 1
        assert "no more watches" in said[0]
        (folder / "app.py").write_text("two")
        (folder / "pkg" / "lib.py").unlink()
        assert await heard(watch, {"app.py", "pkg/lib.py"}) == {"app.py", "pkg/lib.py"}
    finally:
        await watch.close()


async def test_hints_that_the_kernel_lost_are_made_up_for(folder: Path, watch: SourceWatch) -> None:
    from sources.directory_watch import Hint, Signal

    # as if nothing of it had been announced
    listener = watch._listener
    assert listener is not None
    listener.cancel()
    await asyncio.gather(listener, return_exceptions=True)
    (folder / "app.py").write_text("two")
    (folder / "pkg" / "lib.py").unlink()
    (folder / "new.py").write_text("new")
    watch._signals.put_nowait(Signal(Hint.OVERFLOW))
    assert await heard(watch, {"app.py"}) == {"app.py", "pkg/lib.py", "new.py"}


def test_a_source_reads_what_a_package_would_have(folder: Path) -> None:
    source = Source.of(folder)
    (folder / "run.sh").write_text("#!/bin/sh")
    (folder / "run.sh").chmod(0o755)
    (folder / "inside").symlink_to("app.py")
    (folder / "outside").symlink_to("/etc/passwd")
    assert (read := source.read("run.sh")) is not None
    assert read.executable
    assert (link := source.read("inside")) is not None
    assert link.is_link
    assert link.data == b"app.py"
    assert source.read("outside") is None
    assert source.read("pkg") is None
    assert source.read("pkg/__pycache__/x.pyc") is None
    assert source.read("gone.py") is None
