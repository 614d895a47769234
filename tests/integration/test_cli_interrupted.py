"""Ctrl-C in a deployment says what was done, that it was put back, or that nothing was changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fnrunner.cli.deploy.rollout import Rollout
from fnrunner.cli.deploy.server import Server
from fnrunner.cli.main import run
from tests.api_server import ApiServer

TEMPLATE = """\
Transform: AWS::Serverless-2016-10-31
Resources:
  Jobs: {Type: AWS::SQS::Queue, Properties: {QueueName: jobs}}
  Hello:
    Type: AWS::Serverless::Function
    Properties: {FunctionName: hello, CodeUri: code, Handler: app.handler, Runtime: python3.11}
"""
Deploy = Callable[[str], tuple[int, str]]


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with ApiServer(tmp_path_factory.mktemp("interrupted")) as found:
        yield found


@pytest.fixture
def deploy(
    server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Deploy:
    monkeypatch.setenv("FNRUNNER_ENDPOINT_URL", server.url)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "app.py").write_text("def handler(event, context): return event\n")
    (tmp_path / "template.yaml").write_text(TEMPLATE)

    def call(name: str) -> tuple[int, str]:
        more = ("--stack-name", "app") if name == "template.yaml" else ()
        status = run(("deploy", str(tmp_path / name), *more))
        return status, capsys.readouterr().err

    return call


@pytest.mark.parametrize("name", ["code", "template.yaml"])
def test_before_anything_was_changed_it_says_so(deploy: Deploy, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(Server, "workers", interrupt)
    assert deploy(name) == (130, "fnrunner: Interrupted: nothing was changed\n")


def test_a_function_says_in_which_step_it_was(deploy: Deploy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Server, "create", interrupt)
    status, err = deploy("code")
    assert status == 130
    assert "code: interrupted\nfnrunner: Done before that: nothing\n" in err
    assert "Run it again" in err


def test_a_stack_goes_back(deploy: Deploy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(Server, "create", interrupt)
    status, err = deploy("template.yaml")
    assert status == 130
    assert "hello: interrupted\nfnrunner: Done before that: queue jobs\n" in err
    assert "Everything was put back as it was before." in err
    assert run(("queue", "ls")) == 0
    assert "jobs" not in capsys.readouterr().out


def test_a_stack_that_was_interrupted_between_two_steps_says_how_it_is_brought_to_an_end(
    deploy: Deploy, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Rollout, "deploy", interrupt)
        status, err = deploy("template.yaml")
    assert status == 130
    assert "Interrupted while the stack" in err
    assert "fnrunner stack recover" in err
    assert deploy("template.yaml")[0] == 0
    assert run(("stack", "rm", "app", "--yes")) == 0
