"""Stacks: a deployment is all or nothing, wherever it breaks off, and whoever goes on from there.

FNRUNNER_TEST_EVERY_STEP=1 kills deployments at each of their steps, instead of at every few.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fnrunner.catalogue import positions, triggers
from fnrunner.cli.client import Client, Reply
from fnrunner.cli.deploy import stack_server
from fnrunner.cli.deploy.stack_server import Hold
from fnrunner.cli.error import ServerRefused
from sources.mapping import EventSourceMapping
from tests.api_server import ApiServer

RUNTIME = f"python{sys.version_info.major}.{sys.version_info.minor}"
OLD = f"""\
Transform: AWS::Serverless-2016-10-31
Globals: {{Function: {{Handler: index.handler, Runtime: {RUNTIME}}}}}
Resources:
  Jobs: {{Type: AWS::SQS::Queue, Properties: {{VisibilityTimeout: 40}}}}
  News: {{Type: AWS::SNS::Topic}}
  Photos: {{Type: AWS::S3::Bucket}}
  Gone:
    Type: AWS::Serverless::Function
    Properties:
      InlineCode: "def handler(event, context): return 1"
      Events: {{Often: {{Type: Schedule, Properties: {{Schedule: rate(5 minutes)}}}}}}
  Stays:
    Type: AWS::Serverless::Function
    Properties:
      InlineCode: "def handler(event, context): return 1"
      AutoPublishAlias: live
      ReservedConcurrentExecutions: 2
      EventInvokeConfig: {{MaximumRetryAttempts: 1}}
      Events:
        Told: {{Type: SNS, Properties: {{Topic: !Ref News}}}}
        Job: {{Type: SQS, Properties: {{Queue: !GetAtt Jobs.Arn}}}}
        Dropped: {{Type: S3, Properties: {{Bucket: !Ref Photos, Events: "s3:ObjectCreated:*"}}}}
        Shop: {{Type: HttpApi, Properties: {{Method: get, Path: /old}}}}
  Slow:
    Type: AWS::Serverless::Function
    Properties: {{InlineCode: "def handler(event, context): return 1"}}
  One: {{Type: AWS::Lambda::Version, Properties: {{FunctionName: !Ref Slow}}}}
  Blue: {{Type: AWS::Lambda::Alias, Properties: {{FunctionName: !Ref Slow, Name: blue, FunctionVersion: !GetAtt One.Version}}}}
  Left: {{Type: AWS::Lambda::Alias, Properties: {{FunctionName: !Ref Slow, Name: left, FunctionVersion: $LATEST}}}}
Outputs:
  Which: {{Value: old}}
"""
NEW = f"""\
Transform: AWS::Serverless-2016-10-31
Globals: {{Function: {{Handler: index.handler, Runtime: {RUNTIME}}}}}
Resources:
  Jobs: {{Type: AWS::SQS::Queue, Properties: {{VisibilityTimeout: 50}}}}
  More: {{Type: AWS::SQS::Queue}}
  Clicks: {{Type: AWS::Kinesis::Stream}}
  News: {{Type: AWS::SNS::Topic}}
  Stays:
    Type: AWS::Serverless::Function
    Properties:
      InlineCode: "def handler(event, context): return 2"
      Timeout: 9
      Tags: {{team: a}}
      AutoPublishAlias: live
      FunctionUrlConfig: {{AuthType: NONE}}
      Events:
        Told: {{Type: SNS, Properties: {{Topic: !Ref News, FilterPolicy: {{store: [north]}}}}}}
        Job: {{Type: SQS, Properties: {{Queue: !GetAtt Jobs.Arn}}}}
        Shop: {{Type: HttpApi, Properties: {{Method: get, Path: /new}}}}
  Slow:
    Type: AWS::Serverless::Function
    Properties: {{InlineCode: "def handler(event, context): return 2"}}
  One: {{Type: AWS::Lambda::Version, Properties: {{FunctionName: !Ref Slow}}}}
  Two: {{Type: AWS::Lambda::Version, Properties: {{FunctionName: !Ref Slow, Description: second}}}}
  Blue:
    Type: AWS::Lambda::Alias
    Properties:
      FunctionName: !Ref Slow
      Name: blue
      Description: two of them
      FunctionVersion: !GetAtt One.Version
      RoutingConfig: {{AdditionalVersionWeights: [{{FunctionVersion: !GetAtt Two.Version, FunctionWeight: 0.25}}]}}
  Asked:
    Type: AWS::Lambda::Permission
    Properties: {{FunctionName: !Ref Blue, Action: lambda:InvokeFunction, Principal: events.amazonaws.com}}
  Added:
    Type: AWS::Serverless::Function
    Properties:
      InlineCode: "def handler(event, context): return 3"
      Events:
        Often: {{Type: Schedule, Properties: {{Schedule: rate(7 minutes)}}}}
        Clicked: {{Type: Kinesis, Properties: {{Stream: !GetAtt Clicks.Arn, StartingPosition: LATEST}}}}
Outputs:
  Which: {{Value: new}}
"""
STRIDE = 1 if os.environ.get("FNRUNNER_TEST_EVERY_STEP") else 20
WAYS = [(False, "recover"), (True, "deploy"), (True, "recover"), (False, "deploy")]
"""Killed before a request or after its answer, and how it goes on."""
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ApiServer]:
    with ApiServer(tmp_path / "data") as found:
        yield found


@pytest.fixture
def template(tmp_path: Path) -> Path:
    (tmp_path / "app").mkdir()
    file = tmp_path / "app" / "template.yaml"
    file.write_text(OLD)
    return file


def report(found: tuple[int, str, str]) -> dict[str, Any]:
    assert found[0] == 0, found
    document: dict[str, Any] = json.loads(found[1])
    return document


_FUNCTION = ("FunctionName", "CodeSha256", "Timeout", "Handler", "Description", "MemorySize")


def everything(url: str) -> dict[str, Any]:
    """All that a deployment can change, as the server tells it; without what names a moment or a revision."""
    client, admin = Client(url), "/fnrunner/v1"
    functions = client.get("/2015-03-31/functions/")["Functions"]
    found: dict[str, Any] = {
        kind: client.get(f"{admin}/{path}")[key]
        for kind, path, key in (
            ("queues", "queues", "queues"), ("streams", "streams", "streams"), ("buckets", "buckets", "buckets"),
            ("schedules", "schedules", "schedules"), ("subscriptions", "subscriptions", "subscriptions"),
            ("apis", "http-apis", "http_apis"),
        )
    }  # fmt: skip
    found["topics"] = [one["name"] for one in client.get(f"{admin}/topics")["topics"]]
    found["urls"] = [one["function"] for one in client.get(f"{admin}/urls")["urls"]]
    mappings = [one["mapping"] for one in client.get(f"{admin}/mappings")["mappings"]]
    found["mappings"] = sorted(
        (one["EventSourceArn"], one["FunctionArn"]) for one in mappings if one["State"] != "Deleting"
    )
    found["schedules"] = [(one["name"], one["function"], one["expression"]) for one in found["schedules"]]
    found["functions"] = [_function(client, function) for function in functions]
    return found


def _function(client: Client, function: dict[str, Any]) -> dict[str, Any]:
    name = function["FunctionName"]
    whole = client.get(f"/2015-03-31/functions/{name}")
    aliases = client.get(f"/2015-03-31/functions/{name}/aliases")["Aliases"]
    versions = {
        one["Version"]: one["CodeSha256"] for one in client.pages(f"/2015-03-31/functions/{name}/versions", "Versions")
    }
    code = {
        one["Name"]: (
            versions[one["FunctionVersion"]],
            one["Description"],
            [
                (versions[other], share)
                for other, share in one.get("RoutingConfig", {}).get("AdditionalVersionWeights", {}).items()
            ],
        )
        for one in aliases
    }
    invoke = client.get(f"/2019-09-25/functions/{name}/event-invoke-config/list")["FunctionEventInvokeConfigs"]
    return {
        **{key: function.get(key) for key in _FUNCTION},
        "variables": function.get("Environment", {}).get("Variables", {}),
        "tags": whole.get("Tags", {}),
        "reserved": whole.get("Concurrency"),
        "aliases": code,
        # those that AutoPublishAlias has published stay
        "versions": sorted(versions.values()) if name == "Slow" else [],
        "invoke": [(one["FunctionArn"], one.get("MaximumRetryAttempts")) for one in invoke],
        "notifications": client.get(f"/fnrunner/v1/functions/{name}/notifications")["notifications"],
    }


class Killed(BaseException):
    """Stands for a SIGKILL: nothing catches it, and nothing is told to the server after it."""


class Killing:
    """Kills the deployer at its ``at``-th request that changes something: before it is sent, or after it was answered."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int, *, answered: bool) -> None:
        self.count, self.last = 0, ""
        self._deployer = threading.current_thread()
        call = Client.call

        def counted(client: Client, method: str, path: str, **rest: Any) -> Reply:
            # the renewal of the hold is no step
            if method == "GET" or threading.current_thread() is not self._deployer:
                return call(client, method, path, **rest)
            self.count += 1
            self.last = f"{method} {path}"
            if self.count == at and not answered:
                raise Killed
            reply = call(client, method, path, **rest)
            if self.count == at:
                raise Killed
            return reply

        monkeypatch.setattr(Client, "call", counted)
        # a dead process releases nothing, and its name is known to be of a dead one
        monkeypatch.setattr(Hold, "stop", lambda hold: hold._stopped.set())


@pytest.fixture(autouse=True)
def pollers(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Play the pollers: before each change of a mapping, every mapping is followed as it is, and what is to go is gone."""
    call = Client.call

    def followed(client: Client, method: str, path: str, **rest: Any) -> Reply:
        if method != "GET" and "/event-source-mappings/" in path:
            server.run(follow(server))
        return call(client, method, path, **rest)

    monkeypatch.setattr(Client, "call", followed)


async def follow(server: ApiServer) -> None:
    services = server.services
    for mapping in await services.catalogue.list_triggers(EventSourceMapping):
        if mapping.deleting:
            await services.catalogue.change(lambda c, uuid=mapping.uuid: triggers.remove(c, EventSourceMapping, uuid))
            continue
        document = {"revision": mapping.revision, "state": "Enabled" if mapping.enabled else "Disabled", "reason": ""}
        await positions.put(services.store, positions.state_name(mapping.uuid), document, services.now())


def dead_forever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each deployment of this process counts as a process of its own, and all before it as dead."""
    count = iter(range(10**6))
    monkeypatch.setattr(stack_server, "this_process", lambda: f"host boot {next(count)} 1")
    monkeypatch.setattr(stack_server, "is_dead", lambda holder: True)


@pytest.mark.parametrize(("answered", "goes_on"), WAYS if STRIDE == 1 else WAYS[:2])
def test_a_deployment_that_is_killed_at_any_step_leaves_the_old_or_the_new(
    cli: Command, server: ApiServer, template: Path, monkeypatch: pytest.MonkeyPatch, answered: bool, goes_on: str
) -> None:
    dead_forever(monkeypatch)
    report(cli("deploy", str(template), "--json"))
    old = everything(server.url)
    template.write_text(NEW)
    report(cli("deploy", str(template), "--yes", "--json"))
    new = everything(server.url)
    assert old != new
    ends: list[str] = []
    # which steps it is killed at is another matter for each of the four
    at = 1 if STRIDE == 1 else 1 + 4 * answered
    while True:
        template.write_text(OLD)
        report(cli("deploy", str(template), "--yes", "--json"))
        assert everything(server.url) == old
        template.write_text(NEW)
        with monkeypatch.context() as patch:
            killing = Killing(patch, at, answered=answered)
            try:
                report(cli("deploy", str(template), "--yes", "--json"))
                break
            except Killed:
                pass
        if goes_on == "recover":
            status, _, err = cli("stack", "recover", "app")
            assert status == 0, (at, killing.last, err)
            found = everything(server.url)
            assert found in (old, new), (at, killing.last)
            ends.append("old" if found == old else "new")
        else:
            report(cli("deploy", str(template), "--yes", "--json"))
            assert everything(server.url) == new, (at, killing.last)
        at += STRIDE
    assert everything(server.url) == new
    assert at > 20
    if goes_on == "recover":
        # first all go back, and from one step on all go forward
        assert ends == sorted(ends, reverse=True)
        assert ends[0] == "old"
        assert STRIDE > 1 or ends[-1] == "new"


@pytest.mark.parametrize("answered", [False, True] if STRIDE == 1 else [True])
def test_a_first_deployment_that_is_killed_leaves_nothing_or_all(
    cli: Command, server: ApiServer, template: Path, monkeypatch: pytest.MonkeyPatch, answered: bool
) -> None:
    dead_forever(monkeypatch)
    nothing = everything(server.url)
    report(cli("deploy", str(template), "--json"))
    whole = everything(server.url)
    at, ends = 1, []
    while True:
        report(cli("stack", "rm", "app", "--yes", "--json"))
        assert everything(server.url) == nothing
        with monkeypatch.context() as patch:
            killing = Killing(patch, at, answered=answered)
            try:
                report(cli("deploy", str(template), "--json"))
                break
            except Killed:
                pass
        if Client(server.url).find("/fnrunner/v1/stacks/app") is not None:
            assert cli("stack", "recover", "app", "--json")[0] in (0, 2)
        found = everything(server.url)
        assert found in (nothing, whole), (at, killing.last)
        ends.append("nothing" if found == nothing else "whole")
        report(cli("deploy", str(template), "--json"))
        assert everything(server.url) == whole
        at += STRIDE
    assert ends == sorted(ends)
    assert "nothing" in ends


def test_a_process_that_is_killed_holds_a_stack_no_longer(cli: Command, server: ApiServer, template: Path) -> None:
    """A real process and a real SIGKILL, in the middle of the change."""
    report(cli("deploy", str(template), "--json"))
    old = everything(server.url)
    template.write_text(NEW)
    program = (
        "import os, signal\n"
        "from fnrunner.cli.client import Client\n"
        "from fnrunner.cli.main import run\n"
        "call = Client.call\n"
        "def deadly(client, method, path, **rest):\n"
        "    reply = call(client, method, path, **rest)\n"
        "    if method == 'PUT' and path.endswith('/functions/Stays/code'):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return reply\n"
        "Client.call = deadly\n"
        f"run(['deploy', {str(template)!r}, '--yes', '--endpoint-url', {server.url!r}])\n"
    )
    killed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert killed.returncode == -9, killed.stderr
    assert everything(server.url) != old
    assert Client(server.url).get("/fnrunner/v1/stacks/app")["document"]["status"] == "deploying"
    status, out, _ = cli("stack", "recover", "app")
    assert (status, out) == (0, "stack app: complete\n")
    assert everything(server.url) == old


def test_a_stack_that_is_being_deployed_is_refused_to_others(cli: Command, server: ApiServer, template: Path) -> None:
    client = Client(server.url)
    client.send("POST", "/fnrunner/v1/stacks/app/hold", {"holder": "elsewhere boot 1 1", "seconds": 60})
    status, _, err = cli("deploy", str(template))
    assert status == 4
    assert "The stack app is being deployed by elsewhere boot 1 1" in err
    assert server.services.catalogue.lookup("Stays") is None
    client.send("POST", "/fnrunner/v1/stacks/app/release", {"holder": "elsewhere boot 1 1"})
    assert report(cli("deploy", str(template), "--json"))["changed"]


def test_only_its_holder_writes_a_stack(server: ApiServer) -> None:
    client = Client(server.url)
    path = "/fnrunner/v1/stacks/app"
    client.send("POST", f"{path}/hold", {"holder": "a", "seconds": 60})
    client.send("PUT", path, {"holder": "a", "document": {"x": 1}})
    for method, target, body in (
        ("PUT", path, {"holder": "b", "document": {}}), ("POST", f"{path}/hold", {"holder": "b", "seconds": 1}),
        ("DELETE", f"{path}?holder=b", None),
    ):  # fmt: skip
        with pytest.raises(ServerRefused) as refused:
            client.send(method, target, body)
        assert refused.value.http_status == 409, (method, target)
    client.send("POST", f"{path}/release", {"holder": "b"})
    assert client.get(path)["holder"] == "a"
    client.send("POST", f"{path}/hold", {"holder": "b", "seconds": 1, "instead_of": "a"})
    assert (client.get(path)["holder"], client.get(path)["document"]) == ("b", {"x": 1})
