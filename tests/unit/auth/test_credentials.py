"""The credentials file: read, re-read, refused where it is wrong, and appended to."""

from __future__ import annotations

import fcntl
import logging
import os
import stat
import threading
from pathlib import Path

import boto3.session
import pytest

from fnrunner.auth.credentials import CredentialsError, CredentialsFile, UserExists, create, parse

ALICE = "[alice]\naws_access_key_id = AKIAALICE\naws_secret_access_key = s3cret\n"


def write(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o600)


def test_a_file_that_is_not_there_has_nobody_in_it(tmp_path: Path) -> None:
    assert CredentialsFile(tmp_path / "none").find("AKIAALICE") is None


def test_a_change_of_the_file_is_seen_at_once(tmp_path: Path) -> None:
    path = tmp_path / "credentials"
    file = CredentialsFile(path)
    write(path, ALICE)
    found = file.find("AKIAALICE")
    assert found is not None
    assert (found.user, found.secret, found.token) == ("alice", "s3cret", "")
    write(path, ALICE.replace("AKIAALICE", "AKIAANEW0"))
    os.utime(path, ns=(1, 1))
    assert file.find("AKIAALICE") is None
    assert file.find("AKIAANEW0") is not None
    path.unlink()
    assert file.find("AKIAANEW0") is None


def test_secrets_are_in_no_repr() -> None:
    found, _ = parse(ALICE + "aws_session_token = t0ken\n")
    assert "s3cret" not in repr(found)
    assert "t0ken" not in repr(found)
    assert found["AKIAALICE"].token == "t0ken"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("aws_access_key_id = x\n", "line 1: a profile begins with its name in brackets"),
        (ALICE + ALICE, "line 4: the profile alice is there twice"),
        (
            ALICE + "aws_secret_access_key = other\n",
            "line 4: aws_secret_access_key is there twice in the profile alice",
        ),
        ("[alice]\ns3cret\n", "line 2: it has the form name = value"),
    ],
)
def test_a_file_that_cannot_be_read_lets_nobody_in_and_shows_no_secret(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str, says: str
) -> None:
    path = tmp_path / "credentials"
    write(path, ALICE)
    file = CredentialsFile(path)
    assert file.find("AKIAALICE") is not None
    write(path, text)
    os.utime(path, ns=(1, 1))
    with caplog.at_level(logging.ERROR):
        assert file.find("AKIAALICE") is None
        assert file.find("AKIAALICE") is None
    assert caplog.text.count(says) == 1
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[bob]\naws_access_key_id = AKIABOB\n", "profile bob: it has no aws_secret_access_key"),
        ("[bob]\naws_access_key_id =\naws_secret_access_key = s\n", "profile bob: it has no aws_access_key_id"),
        ("[bob]\ncredential_process = /bin/x\n", "profile bob: credential_process is not supported"),
        ("[bob]\naws_access_key_id = A/B\naws_secret_access_key = s\n", "not 4 to 128 letters"),
        ("[bob]\naws_access_key_id = AKIAALICE\naws_secret_access_key = s\n", "it has the aws_access_key_id of alice"),
        ("[b ob]\naws_access_key_id = AKIABOB\naws_secret_access_key = s\n", "it is no name for a user"),
    ],
)
def test_a_profile_that_is_wrong_is_left_out_and_the_others_stay(text: str, says: str) -> None:
    found, problems = parse(ALICE + text)
    assert list(found) == ["AKIAALICE"]
    assert len(problems) == 1
    assert says in problems[0]


def test_a_file_that_others_can_read_is_said_to_be(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "credentials"
    path.write_text(ALICE)
    path.chmod(0o644)
    assert CredentialsFile(path).find("AKIAALICE") is not None
    assert "chmod 600" in caplog.text


def test_a_new_user_is_appended_to_a_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "credentials"
    alice = create(path, "alice")
    path.chmod(0o644)
    path.write_text(path.read_text().rstrip("\n"))
    bob = create(path, "bob@example.com")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    file = CredentialsFile(path)
    assert file.find(alice.access_key) == alice
    assert file.find(bob.access_key) == bob
    assert alice.access_key.startswith("AKIA")
    assert len({alice.secret, bob.secret, alice.access_key, bob.access_key}) == 4


def test_boto3_reads_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = create(tmp_path / "credentials", "alice")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID"):
        monkeypatch.delenv(name, raising=False)
    found = boto3.session.Session(profile_name="alice").get_credentials()
    assert found is not None
    assert (found.access_key, found.secret_key) == (made.access_key, made.secret)


def test_nobody_is_made_twice_or_in_a_broken_file(tmp_path: Path) -> None:
    path = tmp_path / "credentials"
    create(path, "alice")
    before = path.read_text()
    with pytest.raises(UserExists, match=r"Remove the profile \[alice\]"):
        create(path, "alice")
    for name in ("", "a b", "[x]", "a\nb", "ä", "x" * 65):
        with pytest.raises(CredentialsError, match="no name for a user"):
            create(path, name)
    assert path.read_text() == before
    write(path, "nonsense\n")
    with pytest.raises(CredentialsError, match="line 1"):
        create(path, "bob")
    assert path.read_text() == "nonsense\n"
    with pytest.raises(CredentialsError, match="cannot be written"):
        create(tmp_path, "bob")


def test_a_user_is_made_after_whoever_is_at_the_file(tmp_path: Path) -> None:
    path = tmp_path / "credentials"
    create(path, "alice")
    with path.open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        late = threading.Thread(target=create, args=(path, "bob"))
        late.start()
        late.join(0.2)
        assert late.is_alive()
        other.write("# a remark\n")
    late.join(30)
    found, problems = parse(path.read_text())
    assert (sorted(credential.user for credential in found.values()), problems) == (["alice", "bob"], [])


def test_a_change_that_keeps_size_and_time_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "credentials"
    file = CredentialsFile(path)
    write(path, ALICE)
    before = path.stat()
    assert file.find("AKIAALICE") is not None
    path.write_text(ALICE.replace("AKIAALICE", "AKIAANEW0"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert file.find("AKIAALICE") is None
    assert file.find("AKIAANEW0") is not None
