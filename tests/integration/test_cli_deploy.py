"""Deploying folders, files and templates to the real API and catalogue: what is made, what is left alone, what is said."""

from __future__ import annotations

import io
import json
import os
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fnrunner.cli.client import Client
from fnrunner.cli.error import ServerRefused
from tests.api_server import ApiServer

HANDLER = "def handler(event, context): return event\n"
RUNTIME = f"python{sys.version_info.major}.{sys.version_info.minor}"
TEMPLATE = f"""\
Transform: AWS::Serverless-2016-10-31
Resources:
  Photos:
    Type: AWS::S3::Bucket
  Failures:
    Type: AWS::SQS::Queue
  Thumb:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: src
      Handler: app.handler
      Runtime: {RUNTIME}
      ReservedConcurrentExecutions: 2
      Environment: {{Variables: {{PHOTOS: !GetAtt Photos.Directory}}}}
      EventInvokeConfig:
        MaximumRetryAttempts: 1
        DestinationConfig:
          OnFailure: {{Type: SQS, Destination: !GetAtt Failures.Arn}}
      Tags: {{team: a}}
      Events:
        Jpg:
          Type: S3
          Properties:
            Bucket: !Ref Photos
            Events: s3:ObjectCreated:*
            Filter: {{S3Key: {{Rules: [{{Name: suffix, Value: .jpg}}]}}}}
Outputs:
  DropInto: {{Value: !GetAtt Photos.Directory}}
"""
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ApiServer]:
    with ApiServer(tmp_path / "data") as found:
        yield found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "hello"
    found.mkdir()
    (found / "app.py").write_text(HANDLER)
    return found


@pytest.fixture
def template(tmp_path: Path) -> Path:
    (tmp_path / "stack" / "src").mkdir(parents=True)
    (tmp_path / "stack" / "src" / "app.py").write_text(HANDLER)
    file = tmp_path / "stack" / "template.yaml"
    file.write_text(TEMPLATE)
    return file


def report(found: tuple[int, str, str]) -> dict[str, Any]:
    assert found[0] == 0, found
    document: dict[str, Any] = json.loads(found[1])
    return document


def function(found: tuple[int, str, str]) -> tuple[str, list[str]]:
    """The action on the only function, and the keys that changed."""
    (only,) = report(found)["functions"]
    return only["action"], [change["key"] for change in only["changes"]]


def code_of(server: ApiServer, name: str) -> dict[str, zipfile.ZipInfo]:
    """The entries of the zip that the server keeps."""
    digest = server.services.catalogue.lookup(name).code.digest  # type: ignore[union-attr]
    data = server.run(server.services.catalogue.artifacts.read(digest))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {info.filename: info for info in archive.infolist()}


def test_a_folder_is_created_then_unchanged_then_updated(cli: Command, folder: Path) -> None:
    assert function(cli("deploy", str(folder), "--json")) == ("created", [])
    assert function(cli("deploy", str(folder), "--json")) == ("unchanged", [])
    assert cli("deploy", str(folder), "--memory", "256", "--env", "KEY=v")[1].splitlines() == [
        "function hello: updated",
        "  MemorySize: 128 -> 256",
        "  Environment.Variables.KEY: - -> (not shown)",
    ]
    (folder / "app.py").write_text(HANDLER + "x = 1\n")
    assert function(cli("deploy", str(folder), "--json")) == ("updated", ["CodeSha256"])


def test_options_that_are_not_given_stay_as_they_are(cli: Command, server: ApiServer, folder: Path) -> None:
    options = (
        "--memory",
        "512",
        "--timeout",
        "9",
        "--description",
        "d",
        "--reserved-concurrency",
        "0",
        "--env",
        "KEY=v",
    )
    cli("deploy", str(folder), *options)
    assert function(cli("deploy", str(folder), "--json")) == ("unchanged", [])
    kept = server.services.catalogue.lookup("hello")
    assert kept is not None
    assert (kept.memory_mb, kept.timeout.total_seconds(), kept.description) == (512, 9, "d")
    assert (kept.reserved_concurrency, dict(kept.environment)) == (0, {"KEY": "v"})


def test_a_handler_that_was_named_once_need_not_be_named_again(cli: Command, folder: Path) -> None:
    (folder / "main.py").write_text("def main(e, c): ...\n")
    status, _, err = cli("deploy", str(folder))
    assert status == 2
    assert "More than one handler could be meant: app.handler, main.main" in err
    assert function(cli("deploy", str(folder), "--handler", "main.main", "--json"))[0] == "created"
    assert function(cli("deploy", str(folder), "--json")) == ("unchanged", [])


def test_a_single_file_is_packaged_alone_under_its_name(cli: Command, server: ApiServer, folder: Path) -> None:
    (folder / "greet.py").write_text(HANDLER)
    assert function(cli("deploy", str(folder / "greet.py"), "--json"))[0] == "created"
    assert list(code_of(server, "greet")) == ["greet.py"]


def test_modes_and_links_arrive_and_what_is_ignored_stays(cli: Command, server: ApiServer, folder: Path) -> None:
    for name in ("__pycache__/a.pyc", ".git/config", ".venv/x", "docs/a.md", "big/data.bin", "sub/keep.txt"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("x")
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o700)
    (folder / "link").symlink_to("sub/keep.txt")
    (folder / ".fnrunnerignore").write_text("*.md\n/big/\n")
    cli("deploy", str(folder))
    entries = code_of(server, "hello")
    assert sorted(entries) == ["app.py", "link", "run.sh", "sub/keep.txt"]
    assert entries["run.sh"].external_attr >> 16 & 0o777 == 0o755
    assert entries["link"].external_attr >> 28 == 0o12


def test_times_and_places_do_not_change_the_package(cli: Command, folder: Path, tmp_path: Path) -> None:
    first = report(cli("deploy", str(folder), "--json"))["functions"][0]["code_sha256"]
    elsewhere = tmp_path / "elsewhere"
    folder.rename(elsewhere)
    os.utime(elsewhere / "app.py", (1, 1))
    found = cli("deploy", str(elsewhere), "--name", "hello", "--json")
    assert function(found) == ("unchanged", [])
    assert report(found)["functions"][0]["code_sha256"] == first


def test_a_link_out_of_the_folder_is_refused(cli: Command, folder: Path) -> None:
    (folder / "passwd").symlink_to("/etc/passwd")
    status, _, err = cli("deploy", str(folder))
    assert status == 2
    assert "this link leads out of the package, to /etc/passwd" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--handler", "nothere.handler"), "the handler nothere.handler is in no file of the package"),
        (("--name", "no name"), "'no name' is no function name"),
        (("--env", "X"), "--env: 'X' has no ="),
        (("--parameter-overrides", "A=1"), "there is no template here"),
    ],
)
def test_wrong_options_are_refused_before_anything_changes(
    cli: Command, server: ApiServer, folder: Path, arguments: tuple[str, ...], said: str
) -> None:
    status, _, err = cli("deploy", str(folder), *arguments)
    assert (status, said in err) == (2, True), err
    assert server.services.catalogue.lookup("hello") is None


def test_a_path_that_is_not_there_is_named(cli: Command) -> None:
    status, _, err = cli("deploy", "nowhere")
    assert (status, err.splitlines()[0]) == (2, "fnrunner: nowhere is not there")


def wheel(folder: Path, version: str) -> None:
    """A wheel of one module ``greeting``, as pip takes it."""
    info = f"greeting-{version}.dist-info"
    with zipfile.ZipFile(folder / f"greeting-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr("greeting.py", f"VERSION = '{version}'\n")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: greeting\nVersion: {version}\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")


@pytest.mark.parametrize("named", ["absolutely", "from above"])
def test_requirements_are_installed_into_the_package_and_cached(
    cli: Command, server: ApiServer, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    if named == "from above":
        monkeypatch.chdir(folder.parent)
        folder = Path(folder.name)
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    wheel(wheels, "1.0")
    (folder / "requirements.txt").write_text(f"--no-index\n--find-links {wheels}\ngreeting\n")
    first = report(cli("deploy", str(folder), "--json"))["functions"][0]["code_sha256"]
    assert {"greeting.py", "app.py"} <= set(code_of(server, "hello"))
    wheel(wheels, "2.0")
    assert report(cli("deploy", str(folder), "--json"))["functions"][0]["code_sha256"] == first
    assert function(cli("deploy", str(folder), "--no-cache", "--json")) == ("updated", ["CodeSha256"])


def test_a_requirement_that_cannot_be_installed_is_named(cli: Command, folder: Path) -> None:
    (folder / "requirements.txt").write_text("--no-index\nno-such-package\n")
    status, _, err = cli("deploy", str(folder))
    assert status == 2
    assert "no-such-package" in err


def test_a_template_makes_everything_and_says_where_to_drop_files(
    cli: Command, server: ApiServer, template: Path, tmp_path: Path
) -> None:
    found = report(cli("deploy", str(template.parent), "--json"))
    directory = str(tmp_path / "data" / "buckets" / "photos")
    assert found["buckets"] == [{"name": "photos", "action": "created", "directory": directory}]
    assert found["queues"] == [{"name": "Failures", "action": "created", "changes": []}]
    assert found["outputs"] == {"DropInto": directory}
    assert [(one["name"], one["action"]) for one in found["functions"]] == [("Thumb", "created")]
    assert Path(directory).is_dir()
    made = server.services.catalogue.lookup("Thumb")
    assert made is not None
    assert (made.reserved_concurrency, dict(made.environment), dict(made.tags)) == (
        2,
        {"PHOTOS": directory},
        {"team": "a"},
    )
    client = Client(server.url)
    config = client.get("/2019-09-25/functions/Thumb/event-invoke-config")
    assert config["MaximumRetryAttempts"] == 1
    assert config["DestinationConfig"]["OnFailure"]["Destination"].endswith(":Failures")
    (one,) = client.get("/fnrunner/v1/functions/Thumb/notifications")["notifications"]
    assert (one["bucket"], one["suffix"], one["events"]) == ("photos", ".jpg", ["s3:ObjectCreated:*"])


def test_a_template_again_changes_nothing_and_prints_so(cli: Command, template: Path) -> None:
    cli("deploy", str(template))
    out = cli("deploy", str(template))[1].splitlines()
    assert out[0] == "queue Failures: unchanged"
    assert out[1].startswith("bucket photos: unchanged  drop files into ")
    assert out[2] == "function Thumb: unchanged"
    assert len(out) == 4


def test_what_a_template_no_longer_says_is_taken_away(cli: Command, template: Path) -> None:
    cli("deploy", str(template))
    text = template.read_text()
    start, end = text.index("      ReservedConcurrentExecutions"), text.index("Outputs:")
    template.write_text(text[:start] + text[end:])
    action, keys = function(cli("deploy", str(template), "--json"))
    assert action == "updated"
    assert keys == [
        "Environment.Variables.PHOTOS", "Tags.team", "EventInvokeConfig.DestinationConfig.OnFailure.Destination",
        "EventInvokeConfig.MaximumRetryAttempts", "ReservedConcurrentExecutions", "Events.Thumb-Jpg",
    ]  # fmt: skip
    assert function(cli("deploy", str(template), "--json")) == ("unchanged", [])


def test_faults_of_a_template_are_all_listed_and_nothing_is_changed(
    cli: Command, server: ApiServer, template: Path
) -> None:
    template.write_text(
        TEMPLATE.replace("      Tags:", "      VpcConfig: {}\n      FileSystemConfigs: []\n      Tags:")
    )
    status, _, err = cli("deploy", str(template))
    assert status == 2
    assert err.splitlines()[:2] == [
        "fnrunner: template.yaml:19:7: Resources.Thumb.Properties.VpcConfig is not supported",
        "fnrunner: template.yaml:20:7: Resources.Thumb.Properties.FileSystemConfigs is not supported",
    ]
    assert (Client(server.url).get("/fnrunner/v1/queues")["queues"], server.services.catalogue.lookup("Thumb")) == (
        [],
        None,
    )


def test_a_bucket_that_is_nowhere_is_refused_before_anything_changes(
    cli: Command, server: ApiServer, template: Path
) -> None:
    template.write_text(TEMPLATE.replace("Bucket: !Ref Photos", "Bucket: elsewhere"))
    status, _, err = cli("deploy", str(template))
    assert (status, "buckets that are not there: elsewhere" in err) == (2, True)
    assert Client(server.url).get("/fnrunner/v1/queues")["queues"] == []


def test_options_of_a_function_are_refused_beside_a_template(cli: Command, template: Path) -> None:
    status, _, err = cli("deploy", str(template), "--memory", "256", "--name", "x")
    assert (status, err.splitlines()[0]) == (2, "fnrunner: --name, --memory: a template says that itself")


def test_parameters_choose_names(cli: Command, template: Path) -> None:
    text = TEMPLATE.replace("Resources:", "Parameters:\n  Stage: {Type: String, Default: dev}\nResources:", 1)
    template.write_text(text.replace("      CodeUri:", "      FunctionName: !Sub thumb-${Stage}\n      CodeUri:"))
    found = report(cli("deploy", str(template), "--parameter-overrides", "Stage=prod", "--json"))
    assert found["functions"][0]["name"] == "thumb-prod"


def test_a_deployment_that_fails_says_how_far_it_came_and_leaves_nothing_behind(
    cli: Command, server: ApiServer, template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = Client.send

    def broken(self: Client, method: str, path: str, *rest: Any, **more: Any) -> Any:
        if path.endswith("/event-invoke-config"):
            raise ServerRefused("ServiceException: the store is away", "Try again.", http_status=503)
        return send(self, method, path, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Client, "send", broken)
        status, _, err = cli("deploy", str(template))
    assert status == 4
    assert [line for line in err.splitlines() if "warning" not in line] == [
        "fnrunner: asynchronous configuration of Thumb: ServiceException: the store is away",
        "fnrunner: Done before that: queue Failures, bucket photos, function Thumb",
        "fnrunner: Everything was put back as it was before.",
        "Try again.",
    ]
    client = Client(server.url)
    assert client.get("/fnrunner/v1/queues")["queues"] == []
    assert client.get("/fnrunner/v1/buckets")["buckets"] == []
    assert client.get("/fnrunner/v1/stacks")["stacks"] == []
    assert server.services.catalogue.lookup("Thumb") is None
    assert function(cli("deploy", str(template), "--json"))[0] == "created"
    assert function(cli("deploy", str(template), "--json")) == ("unchanged", [])
