"""Stacks that share values, and the judgement of SAM's translator: what is refused changes nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fnrunner.cli.client import Client
from fnrunner.cli.deploy import judge, translator
from fnrunner.cli.deploy.stack_record import Record
from fnrunner.cli.deploy.stack_server import StackServer
from fnrunner.cli.main import run
from tests.api_server import ApiServer

RUNTIME = f"python{sys.version_info.major}.{sys.version_info.minor}"
HEAD = f"""\
Transform: AWS::Serverless-2016-10-31
Resources:
  F:
    Type: AWS::Serverless::Function
    Properties:
      FunctionName: !Sub "${{AWS::StackName}}-f"
      InlineCode: "def handler(event, context): return 1"
      Handler: index.handler
      Runtime: {RUNTIME}
"""
EXPORTING = HEAD + "Outputs: {Arn: {Value: !GetAtt F.Arn, Export: {Name: giver-arn}}}\n"
IMPORTING = HEAD + "      Environment: {Variables: {PEER: !ImportValue giver-arn}}\n"
BOTH_STATES = (
    HEAD
    + "      Events: {Often: {Type: Schedule, Properties: {Schedule: rate(1 hour), Enabled: true, State: ENABLED}}}\n"
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ApiServer]:
    with ApiServer(tmp_path / "data") as found:
        yield found


class Stacks:
    """Folders with a template each, deployed under their names."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._folder = folder
        self._capsys = capsys

    def call(self, *words: str, status: int = 0) -> str:
        """What is printed, or what is said on standard error when that is what is expected."""
        found = run(words)
        out, err = self._capsys.readouterr()
        assert found == status, (words, out, err)
        return err if status else out

    def deploy(self, name: str, text: str, *words: str, status: int = 0) -> str:
        (self._folder / name).mkdir(exist_ok=True)
        (self._folder / name / "template.yaml").write_text(text)
        return self.call("deploy", str(self._folder / name), *words, status=status)

    def report(self, name: str, text: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.deploy(name, text, "--json"))
        return found


@pytest.fixture
def stacks(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Stacks:
    monkeypatch.setenv("FNRUNNER_ENDPOINT_URL", server.url)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Stacks(tmp_path, capsys)


def document(server: ApiServer, name: str) -> dict[str, Any]:
    found: dict[str, Any] = Client(server.url).get(f"/fnrunner/v1/stacks/{name}")["document"]
    return found


def test_what_one_stack_exports_another_imports_and_it_stays_as_long_as_that(stacks: Stacks, server: ApiServer) -> None:
    early = stacks.deploy("taker", IMPORTING, status=2)
    assert (
        "template.yaml:10:39: Resources.F.Properties.Environment.Variables.PEER uses ImportValue with giver-arn"
        in early
    )
    assert stacks.report("giver", EXPORTING)["changed"]
    assert stacks.report("taker", IMPORTING)["changed"]
    assert not stacks.report("taker", IMPORTING)["changed"]
    configuration = Client(server.url).get("/2015-03-31/functions/taker-f/configuration")
    assert configuration["Environment"]["Variables"] == {
        "PEER": "arn:aws:lambda:us-east-1:000000000000:function:giver-f"
    }
    assert "export giver-arn = arn:aws:lambda" in stacks.call("stack", "show", "giver")

    in_use = "The stack taker imports giver-arn"
    assert in_use in stacks.call("stack", "rm", "giver", "--yes", status=2)
    assert in_use in stacks.deploy("giver", HEAD, status=2)
    assert in_use in stacks.deploy("giver", EXPORTING.replace("!GetAtt F.Arn", "other"), status=2)
    assert "The stack giver exports giver-arn already" in stacks.deploy("third", EXPORTING, status=2)
    assert Client(server.url).find("/2015-03-31/functions/third-f") is None
    assert document(server, "giver")["exports"] == {
        "giver-arn": "arn:aws:lambda:us-east-1:000000000000:function:giver-f"
    }

    assert stacks.report("taker", HEAD)["changed"]
    stacks.call("stack", "rm", "giver", "--yes")
    assert stacks.report("third", EXPORTING)["changed"]


def test_whoever_begins_to_import_while_the_stack_goes_keeps_it(
    stacks: Stacks, server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    stacks.deploy("giver", EXPORTING)
    stacks.deploy("taker", IMPORTING)
    others, asked = StackServer.others, list[str]()

    def late(self: StackServer, name: str) -> list[Record]:
        """The first look was before anybody imported."""
        asked.append(name)
        return [] if len(asked) == 1 else others(self, name)

    monkeypatch.setattr(StackServer, "others", late)
    assert "The stack taker imports giver-arn" in stacks.call("stack", "rm", "giver", "--yes", status=2)
    assert asked == ["giver", "giver"]
    assert document(server, "giver")["status"] == "complete"
    assert Client(server.url).find("/2015-03-31/functions/giver-f") is not None


def test_a_name_that_is_exported_meanwhile_is_found_before_anything_is_made(
    stacks: Stacks, server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    stacks.deploy("giver", EXPORTING)
    others, asked = StackServer.others, list[str]()

    def late(self: StackServer, name: str) -> list[Record]:
        asked.append(name)
        return [] if len(asked) == 1 else others(self, name)

    monkeypatch.setattr(StackServer, "others", late)
    said = stacks.deploy("third", EXPORTING, status=2)
    assert "The stack giver exports giver-arn already" in said
    assert "Everything was put back as it was before." in said
    client = Client(server.url)
    assert (client.find("/2015-03-31/functions/third-f"), client.find("/fnrunner/v1/stacks/third")) == (None, None)


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The judge is asked in a process of its own, as it is by a command; the processes that were started."""
    started: list[list[str]] = []
    popen = subprocess.Popen

    def counted(words: Any, *rest: Any, **more: Any) -> Any:
        if translator.__name__ in words:
            started.append(words)
        return popen(words, *rest, **more)

    monkeypatch.setattr(judge, "_is_imported", lambda: False)
    monkeypatch.setattr(subprocess, "Popen", counted)
    return started


def test_what_sams_translator_refuses_is_refused_with_its_line_and_nothing_is_changed(
    stacks: Stacks, server: ApiServer, elsewhere: list[list[str]]
) -> None:
    stacks.deploy("app", HEAD)
    for words in ((), ("--dry-run",)):
        said = stacks.deploy("app", BOTH_STATES, *words, status=2)
        assert (
            "template.yaml:3:3: Resources.F is refused by aws-sam-translator: Event with id [Often] is invalid" in said
        )
    assert Client(server.url).get("/fnrunner/v1/schedules")["schedules"] == []
    assert len(elsewhere) == 3


def test_what_was_judged_once_is_not_judged_again(stacks: Stacks, elsewhere: list[list[str]]) -> None:
    for _ in range(2):
        stacks.deploy("app", HEAD)
    stacks.deploy("app", HEAD.replace("return 1", "return 2"))
    stacks.deploy("app", HEAD, "--no-cache")
    assert len(elsewhere) == 3
    # another text of the same template is prepared for once, and not judged
    for _ in range(2):
        stacks.deploy("app", HEAD + "# seen\n")
    assert len(elsewhere) == 4


def test_nothing_is_deployed_that_could_not_be_judged(
    stacks: Stacks, server: ApiServer, elsewhere: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(translator, "__name__", "fnrunner.nowhere")
    said = stacks.deploy("app", HEAD, status=1)
    assert "aws-sam-translator could not judge the template" in said
    assert "No module named fnrunner.nowhere" in said
    assert Client(server.url).find("/2015-03-31/functions/app-f") is None
