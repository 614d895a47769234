"""`fnrunner url` and `fnrunner credentials`: what they print, and how they fail."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api_server import ApiServer

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ApiServer]:
    with ApiServer(tmp_path / "data") as found:
        yield found


def document(found: tuple[int, str, str]) -> Any:
    assert found[0] == 0, found
    return json.loads(found[1])


@pytest.fixture
def deployed(cli: Command, tmp_path: Path) -> str:
    (tmp_path / "hello.py").write_text("def handler(event, context): return event\n")
    assert cli("deploy", str(tmp_path / "hello.py"))[0] == 0
    return "hello"


def test_a_url_is_made_listed_shown_and_removed(cli: Command, deployed: str) -> None:
    assert "no function URLs yet" in cli("url", "ls")[1]
    made = document(
        cli("url", "create", deployed, "--auth", "AWS_IAM", "--stream", "--cors-origin", "https://a.example",
            "--cors-origin", "https://b.example", "--cors-header", "x-a", "--json")
    )  # fmt: skip
    assert (made["AuthType"], made["InvokeMode"]) == ("AWS_IAM", "RESPONSE_STREAM")
    assert made["Cors"] == {"AllowOrigins": ["https://a.example", "https://b.example"], "AllowHeaders": ["x-a"]}
    assert document(cli("url", "ls", "--json")) == {
        "urls": [
            {"function": "hello", "url": made["FunctionUrl"], "auth_type": "AWS_IAM", "invoke_mode": "RESPONSE_STREAM"}
        ]
    }
    shown = cli("url", "show", deployed)[1]
    assert shown.splitlines()[:3] == [f"URL:     {made['FunctionUrl']}", "Auth:    AWS_IAM", "Mode:    RESPONSE_STREAM"]
    assert "AllowOrigins: https://a.example, https://b.example" in shown
    assert document(cli("url", "show", deployed, "--json"))["FunctionUrl"] == made["FunctionUrl"]
    status, _, err = cli("url", "create", deployed)
    assert (status, "FunctionUrlConfig exists" in err) == (4, True)
    assert document(cli("url", "rm", deployed, "--yes", "--json")) == {"removed": "hello"}
    status, _, err = cli("url", "rm", deployed, "--yes")
    assert (status, "The resource you requested does not exist." in err) == (4, True)


def test_what_is_typed_wrongly_is_told(cli: Command, deployed: str) -> None:
    assert cli("url", "create", deployed, "--auth", "SOME")[0] == 2
    assert cli("url", "create")[0] == 2
    assert cli("url", "create", "nobody")[0] == 4
    status, _, err = cli("url", "create", deployed, "--cors-origin", "example.com")
    assert (status, "an origin such as https://example.com" in err) == (4, True)


def test_a_key_is_shown_once_and_written_where_the_server_looks(
    cli: Command, server: ApiServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    directory = server.services.settings.data_dir
    made = document(cli("credentials", "create", "alice", "--data-dir", str(directory), "--json"))
    path = server.services.settings.credentials
    assert made == {
        "user": "alice", "access_key_id": made["access_key_id"], "secret_access_key": made["secret_access_key"],
        "file": str(path),
    }  # fmt: skip
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    status, out, err = cli("credentials", "create", "bob", "--file", str(path))
    assert (status, out.count("\n"), "not shown again" in err) == (0, 2, True)
    assert all(line in path.read_text() for line in out.splitlines())
    monkeypatch.setenv("FNRUNNER_CREDENTIALS_FILE", str(tmp_path / "elsewhere"))
    assert document(cli("credentials", "create", "carol", "--json"))["file"] == str(tmp_path / "elsewhere")
    status, _, err = cli("credentials", "create", "carol")
    assert (status, err.splitlines()[0]) == (1, "fnrunner: There is a user carol already")
    assert (
        f"reads {path}: it needs FNRUNNER_CREDENTIALS_FILE={tmp_path}/elsewhere"
        in cli("credentials", "create", "dave")[2]
    )
    assert cli("credentials", "create", "a b")[0] == 1


def test_a_key_that_the_server_would_not_see_is_not_written(
    cli: Command, server: ApiServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("FNRUNNER_CREDENTIALS_FILE", "FNRUNNER_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    status, out, err = cli("credentials", "create", "alice")
    assert (status, out) == (2, "")
    assert f"--file {server.services.settings.credentials}" in err
    assert not (tmp_path / ".fnrunner").exists()
    monkeypatch.setenv("FNRUNNER_ENDPOINT_URL", "http://127.0.0.1:1")
    status, _, err = cli("credentials", "create", "alice")
    assert (status, "no server answers" in err) == (0, True)
    assert (tmp_path / ".fnrunner" / "credentials").exists()
