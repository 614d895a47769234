"""An installation is opened with the key that it was sealed with, and with signatures once it has users; or not at all."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fnrunner.app.parts import started_iam
from fnrunner.app.secrecy import AuthForgotten, started_keyring
from fnrunner.auth import master_key
from fnrunner.auth.bootstrap import administrator
from fnrunner.auth.master_key import MasterKeyError
from fnrunner.auth.master_rotation import rotate
from fnrunner.settings import Settings
from fnrunner.store.engine import Store


@pytest.fixture
def iam(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", auth="iam")


@pytest.fixture
async def fingerprint(store: Store, iam: Settings) -> str:
    """Of the master key of an installation that has been started before."""
    assert await started_keyring(iam, store)
    return master_key.load(iam.master_key).newest.fingerprint


async def bootstrapped(store: Store, iam: Settings) -> None:
    made = await started_iam(iam, store, await started_keyring(iam, store))
    assert made is not None
    await administrator(made, "admin", datetime.now(UTC))


async def test_a_lost_master_key_is_named_and_never_replaced(store: Store, iam: Settings, fingerprint: str) -> None:
    kept = iam.master_key.rename(iam.data_dir / "backup")
    for auth in ("iam", "off", "open"):
        with pytest.raises(MasterKeyError) as refused:
            await started_keyring(replace(iam, auth=auth), store)
        assert fingerprint in str(refused.value)
        assert str(iam.master_key) in str(refused.value)
        assert "Put the backup of that key back" in str(refused.value)
        assert not iam.master_key.exists()
    kept.rename(iam.master_key)
    ring = await started_keyring(iam, store)
    assert ring is not None
    assert ring.open(ring.seal(b"x", "here"), "here") == b"x"


async def test_another_hosts_key_is_refused_and_named(store: Store, iam: Settings, fingerprint: str) -> None:
    iam.master_key.unlink()
    other = replace(iam, data_dir=iam.data_dir / "other")
    with pytest.raises(MasterKeyError, match=f"master key {fingerprint}"):
        await started_keyring(other, store)
    # one that was made before the store had any
    file = other.data_dir / "own"
    file.parent.mkdir()
    file.write_bytes(master_key.MasterKey(b"k" * 32).line)
    file.chmod(0o600)
    with pytest.raises(MasterKeyError, match=f"opens nothing.*{fingerprint}"):
        await started_keyring(replace(other, master_key_file=file), store)


async def test_either_key_of_a_rotation_that_is_under_way_opens_the_installation(
    store: Store, iam: Settings, fingerprint: str
) -> None:
    old = iam.master_key.read_bytes()
    await rotate(store, iam.master_key, add_only=True)
    assert await started_keyring(iam, store)
    done = await rotate(store, iam.master_key)
    assert await started_keyring(iam, store)
    iam.master_key.write_bytes(old)
    with pytest.raises(MasterKeyError, match=done.fingerprint):
        await started_keyring(iam, store)


async def test_processes_that_start_at_once_on_a_fresh_installation_share_one_key(
    store_url: str, iam: Settings
) -> None:
    stores = [Store(store_url, readers=1) for _ in range(4)]
    try:
        for one in stores:
            await one.start()
        rings = [ring for ring in await asyncio.gather(*(started_keyring(iam, one) for one in stores)) if ring]
        assert len(rings) == len(stores)
        data = rings[0].seal(b"x", "here")
        assert [ring.open(data, "here") for ring in rings] == [b"x"] * len(rings)
    finally:
        for one in stores:
            await one.close()


async def test_users_are_not_forgotten_with_the_setting(store: Store, iam: Settings) -> None:
    await bootstrapped(store, iam)
    with pytest.raises(AuthForgotten, match=r"Set FNRUNNER_AUTH=iam, or FNRUNNER_AUTH=open"):
        await started_keyring(replace(iam, auth="off"), store)
    # also where a master key is named, which alone would do for what is sealed
    with pytest.raises(AuthForgotten):
        await started_keyring(replace(iam, auth="off", master_key_file=iam.master_key), store)
    assert await started_keyring(iam, store)


async def test_an_installation_that_is_opened_again_goes_on_sealing(store: Store, iam: Settings) -> None:
    await bootstrapped(store, iam)
    opened = replace(iam, auth="open")
    ring = await started_keyring(opened, store)
    assert ring is not None
    assert ring.seal_text("x", "here").startswith("sealed:")
    assert await started_iam(opened, store, ring) is None


async def test_without_users_and_keys_nothing_is_sealed_and_no_key_is_made(store: Store, iam: Settings) -> None:
    for auth in ("off", "open"):
        assert await started_keyring(replace(iam, auth=auth), store) is None
    assert not iam.master_key.exists()
