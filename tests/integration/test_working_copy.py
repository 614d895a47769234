"""Copies of code that follow saved files, on a real disk."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fnrunner.worker.working_copy import File, WorkingCopies


class Bench:
    """A source of files in memory, what was deployed of it, and the directories that somebody lives in."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "copies"
        self.origin = directory / "deployed"
        self.files: dict[str, File] = {"app.py": File(b"one"), "pkg/__init__.py": File(b""), "pkg/lib.py": File(b"lib")}
        self.used: set[str] = set()
        for path, file in self.files.items():
            place = self.origin / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(file.data)
            place.chmod(0o444)
        for folder in ("pkg", "."):
            (self.origin / folder).chmod(0o555)
        self.copies = WorkingCopies(self.directory, self.origin, self.files.get, lambda: self.used)

    async def save(self, path: str, text: str | None) -> list[str]:
        if text is None:
            self.files.pop(path, None)
        else:
            self.files[path] = File(text.encode())
        return await self.copies.update({path})

    def shown(self) -> dict[str, bytes]:
        root = self.copies.shown
        return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}

    def expected(self) -> dict[str, bytes]:
        return {path: file.data for path, file in sorted(self.files.items())}


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    found = Bench(tmp_path)
    yield found
    for folder in (found.origin, found.origin / "pkg"):
        folder.chmod(0o755)


async def test_a_saved_file_is_shown_beside_what_did_not_change(bench: Bench) -> None:
    assert bench.copies.shown == bench.origin
    assert await bench.save("app.py", "two") == ["app.py"]
    assert bench.shown() == bench.expected()
    assert bench.copies.shown != bench.origin
    assert (bench.origin / "app.py").read_bytes() == b"one"
    # what did not change is not copied
    assert os.stat(bench.copies.shown / "pkg/lib.py").st_ino == os.stat(bench.origin / "pkg/lib.py").st_ino
    await bench.copies.close()


async def test_saving_what_is_there_already_changes_nothing(bench: Bench) -> None:
    assert await bench.save("app.py", "one") == []
    assert bench.copies.shown == bench.origin
    assert bench.copies.generation == 0
    await bench.copies.close()


async def test_what_an_environment_lives_in_never_changes(bench: Bench) -> None:
    lived_in: dict[Path, dict[str, bytes]] = {}
    for number in range(6):
        await bench.save("app.py", f"version {number}")
        bench.used.add(str(bench.copies.shown))
        lived_in[bench.copies.shown] = bench.shown()
    assert len(lived_in) == 6
    for directory, files in lived_in.items():
        assert (directory / "app.py").read_bytes() == files["app.py"]
    await bench.copies.close()


async def test_copies_that_nobody_lives_in_are_used_again_and_lack_nothing(bench: Bench) -> None:
    for number in range(20):
        await bench.save(f"pkg/m{number % 3}.py", f"{number}")
        await bench.save("app.py", f"{number}")
        assert bench.shown() == bench.expected()
    await bench.copies.close()
    assert len(list(bench.directory.iterdir())) == 1


async def test_a_directory_never_shows_two_states(bench: Bench) -> None:
    seen = set()
    for number in range(8):
        await bench.save("app.py", f"{number}")
        seen.add(bench.copies.shown)
    assert len(seen) == 8
    await bench.copies.close()
    await bench.copies.close()


async def test_a_deleted_file_is_gone_with_its_compiled_form_and_its_empty_folder(bench: Bench) -> None:
    (bench.origin / "pkg").chmod(0o755)
    (bench.origin / "pkg/__pycache__").mkdir()
    (bench.origin / "pkg/__pycache__/lib.cpython-311.pyc").write_bytes(b"compiled")
    assert await bench.save("pkg/lib.py", None) == ["pkg/lib.py"]
    assert bench.shown() == bench.expected()
    await bench.save("pkg/__init__.py", None)
    assert not (bench.copies.shown / "pkg").exists()
    await bench.copies.close()


async def test_a_folder_that_became_a_file_and_one_that_became_a_folder_are_taken_over(bench: Bench) -> None:
    for path in ("pkg/__init__.py", "pkg/lib.py"):
        del bench.files[path]
    bench.files["pkg"] = File(b"a file now")
    bench.files["app.py/deep/er.py"] = bench.files.pop("app.py")
    await bench.copies.update({"pkg/__init__.py", "pkg/lib.py", "pkg", "app.py", "app.py/deep/er.py"})
    assert bench.shown() == bench.expected()
    await bench.copies.close()


async def test_links_and_modes_are_taken_over(bench: Bench) -> None:
    bench.files["run.sh"] = File(b"#!/bin/sh\n", executable=True)
    bench.files["again.py"] = File(b"app.py", is_link=True)
    assert await bench.copies.update({"run.sh", "again.py"}) == ["again.py", "run.sh"]
    assert (bench.copies.shown / "run.sh").stat().st_mode & 0o777 == 0o555
    assert os.readlink(bench.copies.shown / "again.py") == "app.py"
    bench.files["run.sh"] = File(b"#!/bin/sh\n")
    assert await bench.copies.update({"run.sh"}) == ["run.sh"]
    assert (bench.copies.shown / "run.sh").stat().st_mode & 0o777 == 0o444
    await bench.copies.close()


async def test_a_disk_that_refuses_keeps_what_is_shown_and_the_next_save_makes_up_for_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.save("pkg/lib.py", "new lib")
    before = bench.copies.shown

    def refuse(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", refuse)
        with pytest.raises(OSError, match="No space"):
            await bench.save("app.py", "lost?")
    assert bench.copies.shown == before
    bench.files["pkg/more.py"] = File(b"more")
    await bench.copies.update({"pkg/more.py"})
    assert bench.shown() == bench.expected()
    await bench.copies.close()


async def test_what_is_saved_while_a_copy_is_made_is_in_it_when_it_is_shown(bench: Bench) -> None:
    bench.copies.prepare()
    await bench.save("app.py", "while it is made")
    await bench.save("app.py", "again")
    assert bench.shown() == bench.expected()
    bench.used.add(str(bench.copies.shown))
    await bench.save("pkg/lib.py", "and now")
    assert bench.shown() == bench.expected()
    await bench.copies.close()


async def test_without_links_the_files_are_copied(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(source: str, target: str, *, follow_symlinks: bool) -> None:
        raise OSError(18, "Invalid cross-device link")

    async def no_process(*command: str, **more: object) -> None:
        raise FileNotFoundError(command[0])

    monkeypatch.setattr(os, "link", no_links)
    monkeypatch.setattr(asyncio, "create_subprocess_exec", no_process)
    await bench.save("app.py", "copied")
    assert bench.shown() == bench.expected()
    await bench.copies.close()


async def test_what_was_added_to_the_origin_is_in_later_copies_and_not_beside_changed_files(bench: Bench) -> None:
    bench.copies.prepare()
    await bench.save("app.py", "two")
    for folder in (bench.origin, bench.origin / "pkg"):
        folder.chmod(0o755)
        (folder / "__pycache__").mkdir()
    (bench.origin / "__pycache__" / "app.cpython-311.pyc").write_bytes(b"of the former source")
    (bench.origin / "pkg" / "__pycache__" / "lib.cpython-311.pyc").write_bytes(b"compiled")
    await bench.copies.make_anew()
    assert "pkg/__pycache__/lib.cpython-311.pyc" not in bench.shown()
    await bench.save("app.py", "three")
    shown = bench.shown()
    assert shown.pop("pkg/__pycache__/lib.cpython-311.pyc") == b"compiled"
    assert shown == bench.expected()
    await bench.save("app.py", "four")
    assert "pkg/__pycache__/lib.cpython-311.pyc" in bench.shown()
    await bench.copies.close()


async def test_saves_while_copies_are_made_anew_are_taken_over(bench: Bench) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(bench.copies.make_anew())
        for number in range(10):
            await bench.save("app.py", f"{number}")
            assert bench.shown()["app.py"] == b"%d" % number
    await bench.save("pkg/lib.py", "after")
    assert bench.shown() == bench.expected()
    await bench.copies.close()
