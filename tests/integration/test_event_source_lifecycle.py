"""An event source from its creation to its removal, in a whole installation: states, rewinding, deploying again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.installation import RUNTIME, Installation, eventually

HANDLER = """\
def handler(event, context):
    return {"n": len(event["Records"])}
"""
TEMPLATE = f"""\
Transform: AWS::Serverless-2016-10-31
Resources:
  Orders: {{Type: AWS::SQS::Queue, Properties: {{VisibilityTimeout: 60}}}}
  Taker:
    Type: AWS::Serverless::Function
    Properties:
      InlineCode: "def handler(event, context): return None"
      Handler: index.handler
      Runtime: {RUNTIME}
"""
EVENTS = """\
      Events:
        Order: {Type: SQS, Properties: {Queue: !GetAtt Orders.Arn}}
"""


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with Installation(tmp_path_factory.mktemp("installation")) as running:
        running.start("dev")
        running.deploy("f", HANDLER)
        yield running


def state(installation: Installation, uuid: str) -> str:
    found: str = installation.client().get_event_source_mapping(UUID=uuid)["State"]
    return found


def test_a_mapping_is_enabled_paused_resumed_rewound_and_gone(installation: Installation) -> None:
    client = installation.client()
    installation.command("stream", "create", "clicks", "--partitions", "2")
    made = json.loads(installation.command("mapping", "create", "f", "stream:clicks", "--json").stdout)
    uuid = made["UUID"]
    assert made["State"] == "Creating"
    eventually(lambda: state(installation, uuid) == "Enabled")
    installation.command("stream", "put", "clicks", '{"a": 1}', "--key", "k")

    def shards() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = installation.admin(f"mappings/{uuid}")["shards"]
        return found

    eventually(lambda: [shard for shard in shards() if shard.get("position") == "0"])
    assert client.get_event_source_mapping(UUID=uuid)["LastProcessingResult"] == "OK"
    client.update_event_source_mapping(UUID=uuid, Enabled=False)
    eventually(lambda: state(installation, uuid) == "Disabled")
    client.update_event_source_mapping(UUID=uuid, Enabled=True)
    eventually(lambda: state(installation, uuid) == "Enabled")
    done = json.loads(installation.command("stream", "rewind", "clicks", "--to", "start", "--yes", "--json").stdout)
    wish = done["rewound"][0]["id"]
    eventually(lambda: all(shard.get("rewound") == wish for shard in shards()))
    assert client.delete_event_source_mapping(UUID=uuid)["State"] == "Deleting"

    def gone() -> bool:
        try:
            state(installation, uuid)
        except ClientError as error:
            return error.response["Error"]["Code"] == "ResourceNotFoundException"
        return False

    eventually(gone)


def test_a_mapping_that_left_a_template_comes_back_with_it(installation: Installation, tmp_path: Path) -> None:
    file = tmp_path / "template.yaml"

    def deploy(text: str) -> dict[str, Any]:
        file.write_text(text)
        report: dict[str, Any] = json.loads(installation.command("deploy", str(file), "--json").stdout)
        return report["functions"][0]

    assert deploy(TEMPLATE + EVENTS)["action"] == "created"
    first = installation.client().list_event_source_mappings(FunctionName="Taker")["EventSourceMappings"][0]["UUID"]
    eventually(lambda: state(installation, first) == "Enabled")
    assert deploy(TEMPLATE + EVENTS)["action"] == "unchanged"
    assert deploy(TEMPLATE)["action"] == "updated"
    assert deploy(TEMPLATE + EVENTS)["action"] == "updated"
    (again,) = installation.client().list_event_source_mappings(FunctionName="Taker")["EventSourceMappings"]
    assert again["UUID"] != first
    eventually(lambda: state(installation, again["UUID"]) == "Enabled")
