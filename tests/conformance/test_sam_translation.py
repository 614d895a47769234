"""What fnrunner reads from a template is what SAM's own translator makes of it: two readings that cannot drift apart."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fnrunner.cli.deploy import translator
from fnrunner.cli.deploy.naming import Entry, Situation
from fnrunner.cli.deploy.spec import RoleSpec, Stack
from fnrunner.cli.deploy.template import read_template
from tests.acceptance.test_sam_roles import TEMPLATE as ROLES
from tests.conformance.sam_facts import Fact, Made, planned
from tests.installation import ROOT
from tests.integration.test_cli_stack import NEW, OLD

EXAMPLES = sorted((ROOT / "examples").rglob("template.yaml"))
EVERY_EVENT = """\
Transform: AWS::Serverless-2016-10-31
Parameters: {Often: {Type: String, Default: rate(5 minutes)}}
Conditions: {Never: !Equals [!Ref Often, never]}
Globals:
  Function: {Handler: index.handler, Runtime: python3.12, Timeout: 20, Environment: {Variables: {COMMON: a}}, Tracing: Active}
Resources:
  Jobs: {Type: AWS::SQS::Queue, Properties: {QueueName: !Sub "${AWS::StackName}-jobs"}}
  News: {Type: AWS::SNS::Topic}
  Clicks: {Type: AWS::Kinesis::Stream}
  Photos: {Type: AWS::S3::Bucket}
  Absent: {Type: AWS::SQS::Queue, Condition: Never}
  Shop: {Type: AWS::Serverless::Api, Properties: {StageName: v1, Cors: "'*'"}}
  Plain:
    Type: AWS::Serverless::Function
    Properties:
      InlineCode: "def handler(event, context): pass"
      MemorySize: 256
      ReservedConcurrentExecutions: 5
      Environment: {Variables: {OWN: !If [Never, b, !Ref News]}}
      EventInvokeConfig: {MaximumRetryAttempts: 0}
      FunctionUrlConfig: {AuthType: NONE}
      Events:
        Job: {Type: SQS, Properties: {Queue: !GetAtt Jobs.Arn, BatchSize: 3, Enabled: false}}
        Click:
          Type: Kinesis
          Properties:
            Stream: !GetAtt Clicks.Arn
            StartingPosition: LATEST
            BatchSize: 7
            FilterCriteria: {Filters: [{Pattern: '{"data": {"kind": ["click"]}}'}]}
        Row:
          Type: DynamoDB
          Properties:
            Stream: !Sub "arn:aws:dynamodb:${AWS::Region}:${AWS::AccountId}:table/T/stream/L"
            StartingPosition: TRIM_HORIZON
            BatchSize: 9
        Mail:
          Type: MQ
          Properties: {Broker: "arn:aws:mq:us-east-1:000000000000:broker:b:1", Queues: [mail], BatchSize: 2}
        Topic:
          Type: SelfManagedKafka
          Properties: {KafkaBootstrapServers: ["k:9092"], Topics: [orders], StartingPosition: LATEST, BatchSize: 4}
        Told: {Type: SNS, Properties: {Topic: !Ref News, FilterPolicy: {store: [north]}}}
        Dropped:
          Type: S3
          Properties:
            Bucket: !Ref Photos
            Events: [s3:ObjectCreated:*, s3:ObjectRemoved:*]
            Filter: {S3Key: {Rules: [{Name: suffix, Value: .jpg}]}}
        Often: {Type: Schedule, Properties: {Schedule: !Ref Often, Enabled: false}}
        Later: {Type: ScheduleV2, Properties: {ScheduleExpression: cron(0 8 * * ? *), State: DISABLED}}
        Read: {Type: HttpApi, Properties: {Method: get, Path: "/items/{id}"}}
        Rest: {Type: HttpApi}
        Old: {Type: Api, Properties: {Method: any, Path: /old}}
        Sell: {Type: Api, Properties: {RestApiId: !Ref Shop, Method: post, Path: /sell}}
  Released:
    Type: AWS::Serverless::Function
    Properties:
      FunctionName: released
      InlineCode: "def handler(event, context): pass"
      AutoPublishAlias: live
      FunctionUrlConfig: {AuthType: AWS_IAM}
      EventInvokeConfig: {MaximumRetryAttempts: 1}
      Events:
        Job: {Type: SQS, Properties: {Queue: !GetAtt Jobs.Arn, BatchSize: 4}}
        Told: {Type: SNS, Properties: {Topic: !Ref News}}
        Dropped: {Type: S3, Properties: {Bucket: !Ref Photos, Events: s3:ObjectCreated:Put}}
        Often: {Type: Schedule, Properties: {Schedule: rate(7 minutes)}}
        Sold: {Type: HttpApi, Properties: {Method: post, Path: /sold}}
"""
TEMPLATES: dict[str, str] = {
    **{str(file.relative_to(ROOT).parent): file.read_text() for file in EXAMPLES},
    "every event": EVERY_EVENT, "a stack before": OLD, "a stack after": NEW, "roles": ROLES,
}  # fmt: skip


def read(name: str, *, enforces: bool = False) -> Stack:
    path = ROOT / name / "template.yaml" if (ROOT / name).is_dir() else Path(__file__).parent / "template.yaml"
    # a version is published of each change of its function, one at a time
    before = read("a stack before").functions if name == "a stack after" else ()
    known = {version.name: Entry(spec.name, "1", version.said) for spec in before for version in spec.versions}
    return read_template(TEMPLATES[name], Situation(path, stack="app", enforces=enforces, versions=known))


def translated(stack: Stack) -> dict[str, Any]:
    assert stack.case is not None
    return dict(translator.translate(json.loads(json.dumps(stack.case.template)), stack.case.region))


def without_defaults(facts: Iterator[Fact]) -> set[Fact]:
    """Where a mapping says no batch size, one reading fills in Lambda's default: what is said is compared."""
    return {
        (*fact[:5], "default", *fact[6:]) if fact[0] == "mapping" and fact[5] in (0, 10, 100) else fact
        for fact in facts
    }


@pytest.mark.parametrize("name", TEMPLATES)
def test_what_is_deployed_is_what_sam_makes_of_a_template(name: str) -> None:
    stack = read(name)
    made, plan = without_defaults(Made(translated(stack)).facts()), without_defaults(planned(stack))
    assert sorted(made - plan, key=repr) == []
    # where a trigger is a resource of its own, its permission may be left out here
    assert sorted((fact for fact in plan - made if fact[0] != "permission"), key=repr) == []
    assert {fact[0] for fact in plan} >= {"function"}


def test_every_kind_of_fact_is_compared() -> None:
    found = {fact[0] for fact in planned(read("every event"))}
    assert found == {"function", "version", "alias", "mapping", "subscription", "schedule", "notification", "url", "route",
                     "permission", "event invoke"}  # fmt: skip


@pytest.mark.parametrize("name", TEMPLATES)
def test_roles_are_those_that_sam_makes_of_the_whole_template(name: str) -> None:
    """Each is made from its function alone; the translator is given the whole template here."""
    stack, known = read(name, enforces=True), {}
    for logical, resource in translated(stack).items():
        if resource["Type"] == "AWS::IAM::Role":
            known[f"app-{logical}"] = resource["Properties"]
    for role in stack.roles:
        if role.name in known:
            assert compared(role) == made(known.pop(role.name)), role.name
    # CodeDeploy and EventBridge need none here
    assert {name for name in known if not name.startswith("app-CodeDeploy")} <= schedulers(stack, known)


def schedulers(stack: Stack, roles: dict[str, Any]) -> set[str]:
    """Roles that EventBridge Scheduler and named roles of the template have."""
    own = {f"app-{role.name}" for role in stack.roles}
    return {name for name, role in roles.items() if "scheduler" in json.dumps(role)} | own | {"app-Own"}


def compared(role: RoleSpec) -> tuple[list[str], list[str], int]:
    return sorted(role.inline), sorted(arn.rpartition("/")[2] for arn in role.managed), len(role.trust["Statement"])


def made(role: dict[str, Any]) -> tuple[list[str], list[str], int]:
    arns = [arn if isinstance(arn, str) else json.dumps(arn) for arn in role.get("ManagedPolicyArns", ())]
    # what reads a broker's secret, where the template names none
    inline = [one["PolicyName"] for one in role.get("Policies", ()) if "secret:local" not in json.dumps(one)]
    return (
        sorted(inline),
        sorted(arn.rpartition("/")[2] for arn in arns),
        len(role["AssumeRolePolicyDocument"]["Statement"]),
    )
