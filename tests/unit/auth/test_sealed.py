"""What is sealed can be opened with its key, at its place, as it was; and not otherwise."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fnrunner.auth import master_key, master_key_file, sealed
from fnrunner.auth.master_key import MasterKey, MasterKeyError
from fnrunner.auth.sealed import Damaged, Label

KEY, OTHER = b"k" * 32, b"o" * 32
BY = Label(str(UUID(int=7)), 3)


@given(st.binary(max_size=200), st.binary(max_size=20))
def test_what_was_sealed_comes_back(data: bytes, context: bytes) -> None:
    found = sealed.seal(data, BY, KEY, context)
    assert sealed.label(found) == BY
    assert sealed.unseal(found, KEY, context) == data


@given(st.data())
def test_a_changed_byte_is_found(data: st.DataObject) -> None:
    whole = bytearray(sealed.seal(b"secret", BY, KEY, b"here"))
    position = data.draw(st.integers(0, len(whole) - 1))
    whole[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Damaged):
        sealed.unseal(bytes(whole), KEY, b"here")


def test_another_place_or_key_does_not_open_it() -> None:
    found = sealed.seal(b"secret", BY, KEY, b"here")
    for key, context in ((KEY, b"there"), (OTHER, b"here")):
        with pytest.raises(Damaged):
            sealed.unseal(found, key, context)


def test_nothing_is_sealed_the_same_twice_and_nothing_shows() -> None:
    first, second = (sealed.seal(b"secret" * 9, BY, KEY, b"") for _ in range(2))
    assert first != second
    assert b"secret" not in first


def test_rewrapping_changes_the_key_and_not_the_data() -> None:
    found = sealed.seal(b"secret", BY, KEY, b"here")
    newer = sealed.rewrap(found, KEY, Label(BY.key, 4), OTHER)
    assert sealed.label(newer).version == 4
    assert sealed.unseal(newer, OTHER, b"here") == b"secret"
    with pytest.raises(Damaged):
        sealed.unseal(newer, KEY, b"here")
    with pytest.raises(Damaged):
        sealed.rewrap(found, OTHER, BY, KEY)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"FNE1", b"FNE1" + b"x" * 60])
def test_what_is_not_sealed_is_told_apart(data: bytes) -> None:
    assert not sealed.is_sealed(data)
    with pytest.raises(Damaged):
        sealed.label(data)


def test_a_key_is_wrapped_for_its_name() -> None:
    wrapped = sealed.wrap_key(KEY, OTHER, "a/1")
    assert sealed.unwrap_key(wrapped, OTHER, "a/1") == KEY
    for master, name in ((OTHER, "a/2"), (KEY, "a/1")):
        with pytest.raises(Damaged):
            sealed.unwrap_key(wrapped, master, name)


def test_a_master_key_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "master.key"
    first = master_key_file.load_or_create(file)
    assert master_key_file.load_or_create(file) == first
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["master.key"]
    assert base64.b64encode(first.newest.secret).decode() not in repr(first)


@pytest.mark.parametrize(
    ("content", "mode", "says"),
    [
        (b"short", 0o600, "is no master key"),
        (base64.b64encode(b"x" * 31), 0o600, "is no master key"),
        (b"\xff\xfe", 0o600, "cannot be read"),
        (base64.b64encode(KEY), 0o644, "chmod 600"),
        (None, 0o600, "There is no master key"),
    ],
)
def test_a_file_that_is_no_master_key_is_refused_with_the_remedy(
    tmp_path: Path, content: bytes | None, mode: int, says: str
) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
        os.chmod(file, mode)
    with pytest.raises(MasterKeyError, match=says):
        master_key.load(file)


def test_fingerprints_tell_master_keys_apart() -> None:
    assert MasterKey(KEY).fingerprint != MasterKey(OTHER).fingerprint
