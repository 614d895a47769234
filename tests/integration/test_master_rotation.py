"""The master key is replaced: whatever is interrupted, everything opens with the file as it is, and going on ends it."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from fnrunner.auth import keyring as keyring_module
from fnrunner.auth import master_key, master_key_file
from fnrunner.auth.keyring import KeyLost, Keyring, KeyringError
from fnrunner.auth.managed_key import every
from fnrunner.auth.master_key import MasterKeyError
from fnrunner.auth.master_rotation import rotate
from fnrunner.store.engine import Store
from fnrunner.store.schema import encryption_key


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "keys" / "master.key"
    master_key_file.load_or_create(path)
    return path


async def keyring_of(store: Store, file: Path) -> Keyring:
    keyring = Keyring(store, master_key.load(file))
    await keyring.load()
    return keyring


async def wrapped_by(store: Store) -> set[str]:
    return {version.fingerprint for key in await store.read(every) for version in key.versions}


async def test_everything_is_under_the_new_key_and_opens_before_and_after(store: Store, file: Path) -> None:
    running = await keyring_of(store, file)
    await running.create("other")
    await running.rotate("fnrunner")
    data = [running.seal(b"x", "here", key) for key in ("fnrunner", "other")]
    old, before = master_key.load(file).newest, file.read_bytes()
    done = await rotate(store, file)
    assert (done.wrapped, done.failed) == (3, ())
    assert [key.fingerprint for key in master_key.load(file).keys] == [done.fingerprint]
    assert await wrapped_by(store) == {done.fingerprint} != {old.fingerprint}
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.read_bytes() for path in done.retired] == [before]
    assert [path.stat().st_mode & 0o777 for path in done.retired] == [0o600]
    later = await keyring_of(store, file)
    await running.load()
    for ring in (running, later):
        assert [ring.open(one, "here") for one in data] == [b"x", b"x"]
        assert later.open(ring.seal(b"y", "here"), "here") == b"y"
    # what is made now is under the new key, also by who began with the old
    await running.rotate("other")
    await running.create("third")
    assert await wrapped_by(store) == {done.fingerprint}


async def test_whoever_has_the_old_key_alone_is_told_which_one_to_get(store: Store, file: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.key"
    shutil.copy(file, elsewhere)
    there = await keyring_of(store, elsewhere)
    data = there.seal(b"x", "here")
    done = await rotate(store, file)
    await there.load()
    with pytest.raises(KeyLost, match=f"Put the master key {done.fingerprint} back there"):
        there.open(data, "here")
    shutil.copy(file, elsewhere)
    there._reread -= 60
    assert there.open(data, "here") == b"x"


async def test_with_several_hosts_the_file_is_copied_before_the_store_changes(
    store: Store, file: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere.key"
    here = await keyring_of(store, file)
    old = await wrapped_by(store)
    added = await rotate(store, file, add_only=True)
    assert (await rotate(store, file, add_only=True)).fingerprint == added.fingerprint
    shutil.copy(file, elsewhere)
    there = await keyring_of(store, elsewhere)
    # until the store changes nothing is wrapped by what others may not have yet
    await there.create("meanwhile")
    assert await wrapped_by(store) == old
    await here.load()
    data = here.seal(b"x", "here", "meanwhile")
    done = await rotate(store, file)
    assert (done.fingerprint, await wrapped_by(store)) == (added.fingerprint, {added.fingerprint})
    await there.load()
    assert there.open(data, "here") == b"x"


class Interrupted(BaseException):
    """As if the process had been killed there."""


async def test_wherever_it_is_interrupted_nothing_is_lost_and_it_goes_on(
    store: Store, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = await keyring_of(store, file)
    await ring.create("other")
    data = {key: ring.seal(b"x", "here", key) for key in ("fnrunner", "other")}
    count, ended = 0, False
    while not ended:
        with monkeypatch.context() as patched:
            interruption_of(patched, count)
            try:
                await rotate(store, file)
                ended = True
            except Interrupted:
                count += 1
        fresh = await keyring_of(store, file)
        assert {key: fresh.open(one, "here") for key, one in data.items()} == {"fnrunner": b"x", "other": b"x"}
        assert fresh.open(fresh.seal(b"y", "here"), "here") == b"y"
        if not ended:
            done = await rotate(store, file)
            assert not done.failed
            assert await wrapped_by(store) == {done.fingerprint}
            assert [key.fingerprint for key in master_key.load(file).keys] == [done.fingerprint]
    assert count > 8


def interruption_of(patched: pytest.MonkeyPatch, count: int) -> None:
    """The process ends before the step of this number, of all that change something."""
    left = count

    def watch(where: Any, name: str) -> None:
        original = getattr(where, name)

        def step(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            if left == 0:
                raise Interrupted
            left -= 1
            return original(*args, **kwargs)

        patched.setattr(where, name, step)

    for where, name in ((os, "fsync"), (os, "open"), (Path, "rename"), (Path, "unlink"), (Store, "write")):
        watch(where, name)


async def test_a_rotation_that_wrapped_everything_is_ended_and_not_turned_back(
    store: Store, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await keyring_of(store, file)

    def killed(*_: object) -> list[Path]:
        raise Interrupted

    with monkeypatch.context() as patched:
        patched.setattr(master_key_file, "retire", killed)
        with pytest.raises(Interrupted):
            await rotate(store, file)
    assert len(master_key.load(file).keys) == 2
    there = await wrapped_by(store)
    done = await rotate(store, file)
    assert (done.wrapped, {done.fingerprint}, len(done.retired)) == (0, there, 1)


async def damage(store: Store, alias: str, change: Callable[[Any], Any]) -> None:
    key = next(key for key in await store.read(every) if key.alias == alias)
    versions = [
        {"number": one.number, "wrapped": one.wrapped, "master": one.fingerprint, "created": one.created.isoformat()}
        for one in key.versions
    ]
    text = change({"enabled": key.enabled, "versions": versions})
    statement = update(encryption_key).where(encryption_key.c.alias == alias).values(document=text)
    await store.write(lambda connection: connection.execute(statement))


def flipped(document: Any) -> str:
    first = document["versions"][0]
    wrapped = bytearray(base64.b64decode(first["wrapped"]))
    wrapped[-1] ^= 1
    first["wrapped"] = base64.b64encode(wrapped).decode()
    return json.dumps(document)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (flipped, "key bad, version 1: it is damaged. Restore it"),
        (lambda document: json.dumps(document)[:-9], "key bad: it is damaged. Restore it"),
        (lambda document: json.dumps(document).replace(document["versions"][0]["master"], "0123456789abcdef"),
         "key bad, version 1: it is wrapped by the master key 0123456789abcdef, which"),
    ],
)  # fmt: skip
async def test_one_damaged_key_is_named_and_the_others_are_wrapped(
    store: Store, file: Path, change: Callable[[Any], str], says: str
) -> None:
    ring = await keyring_of(store, file)
    await ring.create("bad")
    data, bad = ring.seal(b"x", "here"), ring.seal(b"x", "here", "bad")
    await damage(store, "bad", change)
    done = await rotate(store, file)
    assert (done.wrapped, done.retired) == (1, ())
    assert len(done.failed) == 1
    assert done.failed[0].startswith(says)
    assert len(master_key.load(file).keys) == 2, "what is restored may need the old key"
    fresh = await keyring_of(store, file)
    assert fresh.open(data, "here") == b"x"
    with pytest.raises(KeyringError):
        fresh.open(bad, "here")
    again = await rotate(store, file)
    assert (again.fingerprint, again.wrapped, len(again.failed)) == (done.fingerprint, 0, 1)


async def test_a_key_whose_newest_version_is_damaged_can_be_rotated(store: Store, file: Path) -> None:
    ring = await keyring_of(store, file)
    await ring.create("bad")
    await damage(store, "bad", flipped)
    assert len((await ring.rotate("bad")).versions) == 2
    assert ring.open(ring.seal(b"x", "here", "bad"), "here") == b"x"


async def test_two_at_once_are_one(store: Store, file: Path) -> None:
    await keyring_of(store, file)
    with master_key_file.held(file), pytest.raises(MasterKeyError, match="Somebody else is changing"):
        await rotate(store, file)
    ends = await asyncio.gather(rotate(store, file), rotate(store, file), return_exceptions=True)
    assert sum(isinstance(end, MasterKeyError) for end in ends) == 1
    assert len(master_key.load(file).keys) == 1


async def test_a_file_that_is_a_link_stays_one(store: Store, file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.key"
    link.symlink_to(file)
    await keyring_of(store, link)
    done = await rotate(store, link)
    assert link.is_symlink()
    assert master_key.load(file).newest.fingerprint == done.fingerprint


async def test_a_directory_that_cannot_be_written_is_said_and_nothing_changes(
    store: Store, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await keyring_of(store, file)
    before, there = file.read_bytes(), await wrapped_by(store)

    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", refused)
    with pytest.raises(MasterKeyError, match=r"cannot be written: .* Let this user write it"):
        await rotate(store, file)
    assert (file.read_bytes(), await wrapped_by(store)) == (before, there)
    assert [path.name for path in file.parent.iterdir() if not path.name.endswith(".lock")] == ["master.key"]


async def test_a_key_that_another_process_is_making_meanwhile_is_not_passed_over(
    store: Store, store_url: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await keyring_of(store, file)
    begun, go, row_of = threading.Event(), threading.Event(), keyring_module.row_of

    def slowly(key: Any) -> Any:
        begun.set()
        assert go.wait(30)
        return row_of(key)

    other = Store(store_url)
    await other.start()
    try:
        there = await keyring_of(other, file)
        monkeypatch.setattr(keyring_module, "row_of", slowly)
        making = asyncio.create_task(there.create("other"))
        assert await asyncio.to_thread(begun.wait, 30)
        turning = asyncio.create_task(rotate(store, file))
        # it has come to where it waits for the other, or would have passed it
        await asyncio.sleep(0.3)
        go.set()
        await making
        done = await turning
    finally:
        go.set()
        await other.close()
    assert (done.wrapped, await wrapped_by(store)) == (2, {done.fingerprint})
