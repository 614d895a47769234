"""With FNRUNNER_AUTH=iam a template's Policies are its functions' execution roles, made, changed and removed with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.installation import RUNTIME, Installation

TEMPLATE = f"""\
Transform: AWS::Serverless-2016-10-31
Resources:
  Jobs: {{Type: AWS::SQS::Queue}}
  F:
    Type: AWS::Serverless::Function
    Properties:
      InlineCode: "def handler(event, context): return 1"
      Handler: index.handler
      Runtime: {RUNTIME}
      Policies:
        - AWSLambdaBasicExecutionRole
        - SQSSendMessagePolicy: {{QueueName: !GetAtt Jobs.QueueName}}
  Reading:
    Type: AWS::IAM::ManagedPolicy
    Properties:
      ManagedPolicyName: reading
      PolicyDocument: {{Statement: [{{Effect: Allow, Action: "lambda:GetFunction", Resource: "*"}}]}}
      Roles: [!Ref Own]
  Own:
    Type: AWS::IAM::Role
    Properties:
      RoleName: own
      AssumeRolePolicyDocument:
        Version: "2012-10-17"
        Statement: [{{Effect: Allow, Principal: {{Service: lambda.amazonaws.com}}, Action: "sts:AssumeRole"}}]
Outputs:
  Role: {{Value: !GetAtt FRole.Arn}}
"""


@pytest.fixture
def secured() -> Iterator[Installation]:
    with TemporaryDirectory() as directory, Installation(Path(directory), FNRUNNER_AUTH="iam") as found:
        key = json.loads(found.command("iam", "bootstrap", "--json").stdout)
        found.environ["AWS_ACCESS_KEY_ID"] = key["access_key_id"]
        found.environ["AWS_SECRET_ACCESS_KEY"] = key["secret_access_key"]
        found.start("dev")
        yield found


def test_policies_are_roles_that_come_and_go_with_the_stack(secured: Installation) -> None:
    file = secured.directory / "app" / "template.yaml"
    file.parent.mkdir()

    def deploy(text: str) -> dict[str, Any]:
        file.write_text(text)
        report: dict[str, Any] = json.loads(secured.command("deploy", str(file), "--json").stdout)
        return report

    made = deploy(TEMPLATE)
    assert [(role["name"], role["action"]) for role in made["roles"]] == [("app-FRole", "created"), ("own", "created")]
    assert [(policy["name"], policy["action"]) for policy in made["policies"]] == [("reading", "created")]
    assert made["outputs"]["Role"].endswith(":role/app-FRole")
    assert secured.command("invoke", "F").stdout.strip() == "1"
    assert not deploy(TEMPLATE)["changed"]
    changed = deploy(TEMPLATE.replace("SQSSendMessagePolicy", "SQSPollerPolicy"))
    (only,) = [role for role in changed["roles"] if role["action"] == "updated"]
    assert [change["key"] for change in only["changes"]] == ["Policy.FRolePolicy1"]
    assert "sqs:ReceiveMessage" in only["changes"][0]["new"]
    (policy,) = deploy(TEMPLATE.replace("lambda:GetFunction", "lambda:GetAlias"))["policies"]
    assert [change["key"] for change in policy["changes"]] == ["PolicyDocument"]
    gone = deploy(TEMPLATE[: TEMPLATE.index("  Reading:")] + TEMPLATE[TEMPLATE.index("  Own:") :])
    assert [(policy["name"], policy["action"]) for policy in gone["policies"]] == [("reading", "removed")]
    secured.command("stack", "rm", "app", "--yes")
    assert "reading" not in secured.command("iam", "policy", "ls").stdout
    assert secured.command("iam", "role", "ls").stdout == "No roles yet.\n"
