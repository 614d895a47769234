"""`fnrunner layer` and `fnrunner signing`: what they do, what they print, and how they fail."""

from __future__ import annotations

import io
import json
import stat
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fnrunner.catalogue.package import inspect
from tests.api_server import HOME, ApiServer

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ApiServer]:
    with ApiServer(tmp_path / "data") as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "layer/python").mkdir(parents=True)
    (tmp_path / "layer/bin").mkdir()
    (tmp_path / "layer/python/lib.py").write_text("x = 1\n")
    (tmp_path / "layer/bin/run").write_text("#!/bin/sh\n")
    (tmp_path / "layer/bin/run").chmod(0o755)
    return tmp_path / "layer"


def document(found: tuple[int, str, str]) -> Any:
    assert found[0] == 0, found
    return json.loads(found[1])


def test_a_folder_is_published_shown_listed_and_removed(cli: Command, folder: Path) -> None:
    assert "There are no layers yet" in cli("layer", "ls")[1]
    made = document(
        cli("layer", "publish", "tools", str(folder), "--description", "d", "--license", "MIT", "--runtime", "python3.12",
            "--architecture", "x86_64", "--json")
    )  # fmt: skip
    assert made["LayerVersionArn"] == HOME.layer("tools", 1)
    assert "tools:2" in cli("layer", "publish", "tools", str(folder))[1]
    shown = cli("layer", "show", "tools:1")[1]
    assert HOME.layer("tools", 1) in shown
    assert made["Content"]["CodeSha256"] in shown
    assert document(cli("layer", "show", made["LayerVersionArn"], "--json"))["LicenseInfo"] == "MIT"
    assert [one["Version"] for one in document(cli("layer", "ls", "tools", "--json"))["LayerVersions"]] == [2, 1]
    assert "tools" in cli("layer", "ls", "--runtime", "python3.12")[1]
    assert "There are no layers" in cli("layer", "ls", "--runtime", "nodejs22.x")[1]
    assert cli("layer", "rm", "tools:2", "--yes")[0] == 0
    assert document(cli("layer", "rm", "tools:1", "--yes", "--json")) == {"removed": "tools:1"}
    status, _, said = cli("layer", "rm", "tools:1", "--yes")
    assert (status, "does not exist" in said) == (4, True)


@pytest.mark.parametrize("wrong", ["tools", "tools:", "tools:live"])
def test_what_names_no_version_is_told_with_the_form_of_one(cli: Command, wrong: str) -> None:
    status, _, said = cli("layer", "show", wrong)
    assert (status, "It has the form NAME:VERSION" in said) == (2, True)


def test_a_path_that_is_not_there_is_told(cli: Command, tmp_path: Path) -> None:
    status, _, said = cli("layer", "publish", "tools", str(tmp_path / "missing"))
    assert (status, "Name a zip or a folder" in said) == (2, True)


def test_a_profile_is_made_signs_and_is_revoked(cli: Command, folder: Path, tmp_path: Path) -> None:
    key, target = tmp_path / "key.pem", tmp_path / "signed.zip"
    assert "There are no signing profiles yet" in cli("signing", "ls")[1]
    made = document(cli("signing", "create", "team", "--key", str(key), "--json"))
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    arn = made["arn"]
    signing = ("signing", "sign", str(folder), "--profile", arn, "--key", str(key), "--output", str(target))
    assert cli(*signing, "--days", "30")[0] == 0
    signed = inspect(target.read_bytes()).signed
    assert signed is not None
    assert (signed.profile, signed.fault, signed.expires is not None) == (arn, "", True)
    with zipfile.ZipFile(io.BytesIO(target.read_bytes())) as archive:
        assert archive.getinfo("bin/run").external_attr >> 16 & 0o111
    published = document(cli("layer", "publish", "signed", str(target), "--json"))
    assert published["Content"]["SigningProfileVersionArn"] == arn
    again = document(cli("signing", "create", "team", "--key", str(key), "--json"))
    assert (again["public_key"], again["arn"] != arn) == (made["public_key"], True)
    assert cli("signing", "revoke", arn)[0] == 0
    states = {one["arn"]: one["revoked"] for one in document(cli("signing", "ls", "--json"))["signing_profiles"]}
    assert states == {arn: True, again["arn"]: False}
    assert cli("signing", "revoke", arn + "x")[0] == 4


def test_what_cannot_sign_is_told_and_writes_nothing(cli: Command, folder: Path, tmp_path: Path) -> None:
    key, target, arn = tmp_path / "key.pem", tmp_path / "signed.zip", HOME.signing_profile("team", "abcdef1234")

    def sign(path: Path, profile: str) -> int:
        return cli("signing", "sign", str(path), "--profile", profile, "--key", str(key), "--output", str(target))[0]

    assert sign(folder, arn) == 2, "there is no key"
    key.write_text("no key")
    assert sign(folder, arn) == 2
    key.unlink()
    assert cli("signing", "create", "team", "--key", str(key))[0] == 0
    assert sign(folder, "team") == 2
    (tmp_path / "no.zip").write_text("no zip")
    assert sign(tmp_path / "no.zip", arn) == 2
    assert not target.exists()
