"""Artifacts on a real file system: whole or absent, verified, unzipped once, and collected late."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import stat
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from fnrunner.auth.keyring import KeyNotFound, Keyring
from fnrunner.auth.master_key import MasterKey, MasterKeys
from fnrunner.auth.sealed import Label, seal
from fnrunner.catalogue import unpacking
from fnrunner.catalogue.artifacts import KEEP, Artifacts
from fnrunner.catalogue.errors import ArtifactDamaged, ArtifactError, ArtifactMissing
from fnrunner.store.engine import Store

ROOT = Path(__file__).parents[2]


def zipped(text: str = "code") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(zipfile.ZipInfo("app.py", (2020, 2, 2, 2, 2, 2)), text)
        tool = zipfile.ZipInfo("bin/tool")
        tool.external_attr = (stat.S_IFREG | 0o4755) << 16
        file.writestr(tool, "#!/bin/sh\n")
        link = zipfile.ZipInfo("bin/app")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        file.writestr(link, "../app.py")
    return buffer.getvalue()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "artifacts"


@pytest.fixture
def artifacts(directory: Path) -> Artifacts:
    return Artifacts(directory)


def digests(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir() if not path.name.startswith(".")}


def grow_old(path: Path) -> None:
    before = time.time() - KEEP.total_seconds() - 60
    os.utime(path, (before, before))


async def test_a_zip_is_kept_under_its_digest_and_comes_back(artifacts: Artifacts, directory: Path) -> None:
    data = zipped()
    code = await artifacts.put(data)
    assert (code.digest, code.size_bytes) == (hashlib.sha256(data).hexdigest(), len(data))
    assert await artifacts.read(code.digest) == data
    assert await artifacts.put(data) == code
    assert digests(directory) == {code.digest}
    assert stat.S_IMODE((directory / code.digest).stat().st_mode) == 0o600


async def test_many_may_put_the_same_zip_at_once(artifacts: Artifacts, directory: Path) -> None:
    data = zipped("x" * 100_000)
    codes = await asyncio.gather(*(Artifacts(directory).put(data) for _ in range(16)))
    assert len(set(codes)) == 1
    assert await artifacts.read(codes[0].digest) == data
    assert [path.name for path in directory.iterdir() if path.name.startswith(".aside")] == []


async def test_what_is_not_there_is_missing(artifacts: Artifacts, tmp_path: Path) -> None:
    for digest in ("0" * 64, "../secret", ""):
        with pytest.raises(ArtifactMissing):
            await artifacts.read(digest)
    with pytest.raises(ArtifactMissing):
        await artifacts.unpacked("0" * 64, tmp_path / "cache")


async def test_damage_is_found_and_repaired_by_another_upload(
    artifacts: Artifacts, directory: Path, tmp_path: Path
) -> None:
    data = zipped()
    code = await artifacts.put(data)
    (directory / code.digest).write_bytes(data[:-1] + b"!")
    with pytest.raises(ArtifactDamaged, match=code.digest):
        await artifacts.read(code.digest)
    with pytest.raises(ArtifactDamaged):
        await artifacts.unpacked(code.digest, tmp_path / "cache")
    await artifacts.put(data)
    assert await artifacts.read(code.digest) == data


async def test_a_directory_that_cannot_be_used_is_an_artifact_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ArtifactError, match="Look at its directory"):
        await Artifacts(tmp_path / "file").put(zipped())


async def test_code_is_unzipped_read_only_with_its_links_modes_and_times(artifacts: Artifacts, tmp_path: Path) -> None:
    code = await artifacts.put(zipped())
    tree = await artifacts.unpacked(code.digest, tmp_path / "cache")
    assert (tree / "app.py").read_text() == "code"
    assert (tree / "app.py").stat().st_mtime == 1580608922
    assert os.readlink(tree / "bin/app") == "../app.py"
    modes = {str(path.relative_to(tree)): stat.S_IMODE(path.lstat().st_mode) for path in (tree, *tree.rglob("*"))}
    modes.pop("bin/app")
    assert modes == {".": 0o555, "app.py": 0o444, "bin": 0o555, "bin/tool": 0o555}


async def test_code_is_unzipped_once_however_many_ask(artifacts: Artifacts, directory: Path, tmp_path: Path) -> None:
    code = await artifacts.put(zipped())
    trees = await asyncio.gather(*(artifacts.unpacked(code.digest, tmp_path / "cache") for _ in range(12)))
    assert len(set(trees)) == 1
    inode = (trees[0] / "app.py").stat().st_ino
    (directory / code.digest).unlink()
    again = await artifacts.unpacked(code.digest, tmp_path / "cache")
    assert (again / "app.py").stat().st_ino == inode
    assert [path.name for path in again.parent.iterdir() if path.name.startswith(".aside")] == []


async def test_processes_that_unzip_at_once_agree(artifacts: Artifacts, directory: Path, tmp_path: Path) -> None:
    code = await artifacts.put(zipped("x" * 1_000_000))
    program = (
        "import asyncio, sys\nfrom pathlib import Path\nfrom fnrunner.catalogue.artifacts import Artifacts\n"
        "tree = asyncio.run(Artifacts(Path(sys.argv[1])).unpacked(sys.argv[2], Path(sys.argv[3])))\n"
        "print((tree / 'app.py').stat().st_ino, (tree / 'app.py').stat().st_size)\n"
    )
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, str(directory), code.digest, str(tmp_path / "cache"),
            cwd=ROOT, stdout=subprocess.PIPE,
        )
        for _ in range(4)
    ]  # fmt: skip
    async with asyncio.timeout(90):
        outputs = {(await process.communicate())[0] for process in processes}
    assert len(outputs) == 1
    assert outputs.pop().split()[1] == b"1000000"


async def test_the_collector_spares_what_is_referred_to_and_what_is_young(
    artifacts: Artifacts, directory: Path
) -> None:
    kept, old, young = [(await artifacts.put(zipped(text))).digest for text in ("kept", "old", "young")]
    (directory / "README").write_text("not ours")
    for name in (kept, old, "README"):
        grow_old(directory / name)
    assert await artifacts.collect({kept}) == 1
    assert digests(directory) == {kept, young, "README"}


async def test_an_old_artifact_that_is_put_or_kept_again_is_young_again(artifacts: Artifacts, directory: Path) -> None:
    data = zipped()
    code = await artifacts.put(data)
    grow_old(directory / code.digest)
    await artifacts.put(data)
    assert await artifacts.collect(()) == 0
    grow_old(directory / code.digest)
    await artifacts.keep(code.digest)
    assert await artifacts.collect(()) == 0
    grow_old(directory / code.digest)
    assert await artifacts.collect(()) == 1
    await artifacts.keep(code.digest)


async def test_sweeping_removes_other_boots_and_old_trees_that_are_not_in_use(
    artifacts: Artifacts, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    assert await artifacts.sweep(cache, ()) == 0
    used, old, young = [
        await artifacts.unpacked((await artifacts.put(zipped(text))).digest, cache) for text in ("used", "old", "young")
    ]
    other_boot = cache / "00000000" / "tree"
    other_boot.mkdir(parents=True)
    for tree in (used, old):
        grow_old(tree)
    assert await artifacts.sweep(cache, {used.name}) == 1
    assert (used.is_dir(), old.exists(), young.is_dir(), other_boot.exists()) == (True, False, True, False)
    assert await artifacts.unpacked(old.name, cache) == old
    assert unpacking.boot() == old.parent.name


async def test_the_age_of_unzipped_code_counts_from_when_it_was_asked_for_last(
    artifacts: Artifacts, tmp_path: Path
) -> None:
    cache, code = tmp_path / "cache", await artifacts.put(zipped())
    tree = await artifacts.unpacked(code.digest, cache)
    for ask in (artifacts.unpacked(code.digest, cache), asyncio.to_thread(unpacking.unpack, cache, code.digest, bytes)):
        grow_old(tree)
        assert await ask == tree
        assert await artifacts.sweep(cache, ()) == 0
    grow_old(tree)
    assert await artifacts.sweep(cache, ()) == 1


async def keyring_in(directory: Path) -> Keyring:
    store = Store(f"sqlite:///{directory / 'store.sqlite'}")
    await store.start()
    try:
        keyring = Keyring(store, MasterKeys((MasterKey(b"k" * 32, "master.key"),)))
        await keyring.load()
        await keyring.rotate("fnrunner")
        return keyring
    finally:
        await store.close()


async def test_a_process_without_keys_does_not_put_in_the_clear_what_is_encrypted(
    directory: Path, tmp_path: Path
) -> None:
    sealing = Artifacts(directory, await keyring_in(tmp_path))
    code = await sealing.put(zipped())
    stored = (directory / code.digest).read_bytes()
    with pytest.raises(KeyNotFound, match="FNRUNNER_MASTER_KEY_FILE"):
        await Artifacts(directory).put(zipped())
    assert (directory / code.digest).read_bytes() == stored
    assert await sealing.put(zipped()) == code


async def test_one_damaged_zip_stops_no_other_from_being_sealed(directory: Path, tmp_path: Path) -> None:
    keyring = await keyring_in(tmp_path)
    plain = Artifacts(directory)
    codes = [await plain.put(zipped(str(number))) for number in range(5)]
    sealing = Artifacts(directory, keyring)
    damaged, cut = codes[1].digest, codes[3].digest
    (directory / damaged).write_bytes(b"damaged")
    assert len((await sealing.reseal()).failed) == 1
    key = keyring.find()
    other = Label(key.id, 77)
    (directory / cut).write_bytes(seal(b"x", other, b"w" * 32, b""))
    done = await sealing.reseal()
    assert (done.changed, len(done.failed)) == (0, 2)
    assert {reason.partition(":")[0] for reason in done.failed} == {damaged, cut}
    assert all("Upload the code again" in reason or "no version 77" in reason for reason in done.failed)
    assert await sealing.read(codes[4].digest) == zipped("4")
    with pytest.raises(KeyNotFound):
        await plain.read(codes[0].digest)
