"""Aliases, layers, roles, permissions, and what belongs to a function and is a resource of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fnrunner.cli.deploy.conversion import implicit_rest_api
from fnrunner.cli.deploy.deployment import implicit_api_of
from fnrunner.cli.deploy.fault import TemplateFault
from fnrunner.cli.deploy.naming import LayerThere, Situation
from fnrunner.cli.deploy.package import Package
from fnrunner.cli.deploy.plan import AliasThere, Current, plan_function
from fnrunner.cli.deploy.role_server import changes
from fnrunner.cli.deploy.rollout import leaving
from fnrunner.cli.deploy.spec import AliasSpec, RoleSpec, Stack
from fnrunner.cli.deploy.stack_record import Owned, Record, Revision, Status, owned_by
from fnrunner.cli.deploy.template import read_template
from fnrunner.cli.deploy.trigger import Kind

FOLDER = Path(__file__).parent
HEAD = """\
Transform: AWS::Serverless-2016-10-31
Resources:
  Jobs: {Type: AWS::SQS::Queue}
  News: {Type: AWS::SNS::Topic}
  F:
    Type: AWS::Serverless::Function
    Properties:
      InlineCode: "def handler(event, context): pass"
      Handler: index.handler
      Runtime: python3.12
"""
ALIAS = """\
      AutoPublishAlias: live
      VersionDescription: now
      ProvisionedConcurrencyConfig: {ProvisionedConcurrentExecutions: 2}
      FunctionUrlConfig: {AuthType: NONE}
      Events:
        Job: {Type: SQS, Properties: {Queue: !GetAtt Jobs.Arn}}
        Told: {Type: SNS, Properties: {Topic: !Ref News}}
        Often: {Type: Schedule, Properties: {Schedule: rate(5 minutes)}}
        Shop: {Type: HttpApi, Properties: {Method: get, Path: /items}}
"""
PACKAGE = Package(b"", "bmV3", frozenset())


def read(text: str, **situation: Any) -> Stack:
    return read_template(text, Situation(FOLDER / "template.yaml", stack="app", **situation))


def faults_of(text: str, **situation: Any) -> str:
    with pytest.raises(TemplateFault) as caught:
        read(text, **situation)
    return "\n".join(caught.value.lines)


def test_events_of_a_function_with_an_alias_go_to_the_alias() -> None:
    (function,) = read(HEAD + ALIAS).functions
    assert function.alias == AliasSpec("live", "now", provisioned=2)
    assert {trigger.kind: trigger.qualifier for trigger in function.triggers or ()} == dict.fromkeys(Kind, "live")
    assert [route.qualifier for route in function.routes] == ["live"]


@pytest.mark.parametrize(
    ("there", "version", "wanted"),
    [
        (None, "", [("Alias.live", None, "a new version")]),
        (AliasThere("3", "old", 2), "", [("Alias.live", "version 3", "a new version")]),
        (AliasThere("3", "bmV3", 2), "", []),
        (AliasThere("3", "bmV3", 2), "3", []),
        (AliasThere("4", "old", 2), "3", [("Alias.live", "version 4", "version 3")]),
    ],
)
def test_a_version_is_published_when_the_alias_names_other_code(
    there: AliasThere | None, version: str, wanted: list[tuple[str, str | None, str]]
) -> None:
    (function,) = read(HEAD + ALIAS).functions
    current = Current({**function.configuration, "CodeSha256": "bmV3"}, alias=there)
    plan = plan_function(function, PACKAGE, current, version=version)
    assert [(change.key, change.old, change.new) for change in plan.alias] == wanted


def test_all_properties_count_where_the_template_says_so() -> None:
    text = HEAD + ALIAS.replace(
        "AutoPublishAlias: live", "AutoPublishAlias: live\n      AutoPublishAliasAllProperties: true"
    )
    (function,) = read(text).functions
    current = Current({**function.configuration, "CodeSha256": "bmV3", "Timeout": 9}, alias=AliasThere("3", "bmV3", 2))
    assert [change.new for change in plan_function(function, PACKAGE, current).alias] == ["a new version"]


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ("      VersionDescription: x\n", "has VersionDescription, which needs AutoPublishAlias"),
        ('      AutoPublishAlias: "3"\n', "it takes an alias"),
        (
            "      AutoPublishAlias: a\n      DeploymentPreference: {Type: Canary10Percent5Minutes}\n",
            "DeploymentPreference.Type is 'Canary10Percent5Minutes', which is not supported: AllAtOnce is",
        ),
        (
            "      AutoPublishAlias: a\n      DeploymentPreference: {Alarms: [x]}\n",
            "DeploymentPreference.Alarms is not supported",
        ),
        ("      Tracing: On\n", "is 'On': it takes Active or PassThrough"),
        ("      Layers: [nonsense]\n", "it takes the ARN of a layer's version"),
    ],
)
def test_what_an_alias_cannot_have_is_refused(extra: str, said: str) -> None:
    assert said in faults_of(HEAD + extra)


LAYER = """\
  Money:
    Type: AWS::Serverless::LayerVersion
    Metadata: {BuildMethod: python3.12}
    Properties: {LayerName: money, ContentUri: ., CompatibleRuntimes: [python3.12], LicenseInfo: MIT}
"""


def test_a_layer_is_named_by_the_version_that_has_its_content() -> None:
    text = HEAD + "      Layers: [!Ref Money]\n" + LAYER
    arn = "arn:aws:lambda:us-east-1:000000000000:layer:money:4"
    stack = read(text, layers={"money": LayerThere("abc", arn)})
    (layer,) = stack.layers
    assert (layer.name, layer.runtime, layer.digest) == ("money", "python3.12", "abc")
    assert layer.parameters == {"CompatibleRuntimes": ["python3.12"], "LicenseInfo": "MIT"}
    assert stack.functions[0].configuration["Layers"] == [arn]
    assert read(text).functions[0].configuration["Layers"] == ["<the version of layer money>"]
    # SAM keeps old versions unless it is told otherwise
    assert stack.retained == {("layer", "money:abc")}
    assert read(text.replace("LicenseInfo", "RetentionPolicy: Delete, LicenseInfo")).retained == frozenset()


def test_a_layer_that_cannot_be_built_here_says_so() -> None:
    text = HEAD + LAYER.replace("python3.12}", "makefile}").replace("ContentUri: .", "ContentUri: nowhere")
    said = faults_of(text)
    assert "template.yaml:13:16: Resources.Money.Metadata.BuildMethod is 'makefile', which is not supported" in said
    assert "template.yaml:14:36: Resources.Money.Properties.ContentUri nowhere is not there" in said


PLAIN = """\
Resources:
  Jobs: {Type: AWS::SQS::Queue}
  News: {Type: AWS::SNS::Topic}
  F:
    Type: AWS::Lambda::Function
    Properties:
      Code: {ZipFile: "def handler(event, context): pass"}
      Handler: index.handler
      Runtime: python3.12
      Role: arn:aws:iam::000000000000:role/r
      DeadLetterConfig: {TargetArn: !GetAtt Jobs.Arn}
      Tags: [{Key: team, Value: a}]
      TracingConfig: {Mode: PassThrough}
  Url: {Type: AWS::Lambda::Url, Properties: {TargetFunctionArn: !GetAtt F.Arn, AuthType: NONE, Cors: {AllowOrigins: ["*"]}}}
  Retries:
    Type: AWS::Lambda::EventInvokeConfig
    Properties:
      FunctionName: !Ref F
      Qualifier: $LATEST
      MaximumRetryAttempts: 0
      DestinationConfig: {OnFailure: {Destination: !GetAtt Jobs.Arn}}
  Told:
    Type: AWS::SNS::Subscription
    Properties: {Protocol: lambda, TopicArn: !Ref News, Endpoint: !GetAtt F.Arn, FilterPolicy: {a: [b]}}
  Nightly:
    Type: AWS::Events::Rule
    Properties:
      Name: nightly
      ScheduleExpression: rate(1 day)
      State: DISABLED
      Targets: [{Arn: !GetAtt F.Arn, Id: f, Input: "1"}]
  Once:
    Type: AWS::Scheduler::Schedule
    Properties:
      ScheduleExpression: at(2035-01-01T00:00:00)
      FlexibleTimeWindow: {Mode: "OFF"}
      Target: {Arn: !GetAtt F.Arn, RoleArn: !GetAtt R.Arn, Input: "2"}
  R: {Type: AWS::IAM::Role, Properties: {AssumeRolePolicyDocument: {Statement: []}}}
  May:
    Type: AWS::Lambda::Permission
    Properties: {FunctionName: !Ref F, Action: lambda:InvokeFunction, Principal: sns.amazonaws.com}
  Logs: {Type: AWS::Logs::LogGroup, Properties: {LogGroupName: !Sub "/aws/lambda/${F}", RetentionInDays: 7}}
Outputs:
  Url: {Value: !GetAtt Url.FunctionUrl}
"""


def test_cloudformation_s_own_resources_are_the_same_things() -> None:
    stack = read(PLAIN, urls={"F": "http://f"})
    (function,) = stack.functions
    queue = "arn:aws:sqs:us-east-1:000000000000:Jobs"
    assert function.code.inline == "def handler(event, context): pass"
    assert function.configuration["DeadLetterConfig"] == {"TargetArn": queue}
    assert function.tags == {"team": "a"}
    assert function.event_invoke == {
        "MaximumRetryAttempts": 0,
        "DestinationConfig": {"OnFailure": {"Destination": queue}},
    }
    triggers = {trigger.kind: trigger for trigger in function.triggers or () if trigger.key != "Once"}
    assert triggers[Kind.URL].body["Cors"] == {"AllowOrigins": ["*"]}
    assert triggers[Kind.SUBSCRIPTION].body["filter_policy"] == '{"a":["b"]}'
    assert (triggers[Kind.SCHEDULE].key, triggers[Kind.SCHEDULE].body["enabled"]) == ("nightly", False)
    (once,) = [trigger for trigger in function.triggers or () if trigger.key == "Once"]
    assert (once.body["expression"], once.body["input"]) == ("at(2035-01-01T00:00:00)", "2")
    assert [one.parameters["Principal"] for one in function.permissions] == ["sns.amazonaws.com"]
    assert stack.outputs == {"Url": "http://f"}
    assert [line.split(": ")[1] for line in stack.warnings] == ["Resources.R has no effect", "Resources.Logs"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("{ZipFile: ", "{S3Bucket: b, Nope: ", "Code is in a bucket, which is not supported"),
        ("Targets: [", "Targets: [{Arn: !GetAtt F.Arn, Id: g}, ", "have more than one target"),
        ("Qualifier: $LATEST", "Qualifier: live", "is about live: here it is about the AutoPublishAlias"),
        ("Endpoint: !GetAtt F.Arn", "Endpoint: other", "names other, which is no function of this template"),
        ("Protocol: lambda", "Protocol: email", "Protocol is 'email': it takes lambda"),
        ("ScheduleExpression: rate(1 day)", "EventPattern: {source: [a]}", "EventPattern is not supported"),
        ("[{Key: team, Value: a}]", "[{Key: team}]", "has no Key and Value, which it needs"),
    ],
)
def test_what_they_cannot_have_is_refused(old: str, new: str, said: str) -> None:
    assert said in faults_of(PLAIN.replace(old, new))


POLICIES = """\
      Policies:
        - AWSLambdaBasicExecutionRole
        - SQSSendMessagePolicy: {QueueName: !GetAtt Jobs.QueueName}
        - Statement: [{Effect: Allow, Action: "sns:Publish", Resource: !Ref News}]
      Events:
        Job: {Type: SQS, Properties: {Queue: !GetAtt Jobs.Arn}}
"""


def test_policies_make_the_execution_role_where_permissions_are_enforced() -> None:
    stack = read(HEAD + POLICIES, enforces=True)
    (role,) = stack.roles
    assert role.name == "app-FRole"
    assert stack.functions[0].configuration["Role"] == "arn:aws:iam::000000000000:role/app-FRole"
    assert role.trust["Statement"][0]["Principal"] == {"Service": ["lambda.amazonaws.com"]}
    managed = "arn:aws:iam::aws:policy/service-role/"
    assert role.managed == (f"{managed}AWSLambdaBasicExecutionRole", f"{managed}AWSLambdaSQSQueueExecutionRole")
    statements = [document["Statement"][0] for document in role.inline.values()]
    assert statements == [
        {"Action": ["sqs:SendMessage*"], "Effect": "Allow", "Resource": "arn:aws:sqs:us-east-1:000000000000:Jobs"},
        {"Effect": "Allow", "Action": "sns:Publish", "Resource": "arn:aws:sns:us-east-1:000000000000:News"},
    ]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("SQSSendMessagePolicy: {QueueName: !GetAtt Jobs.QueueName}", "NoSuchPolicy: {}", "Policy at index 1 in the"),
        ("{QueueName: !GetAtt Jobs.QueueName}", "{}", "don't have values: ['QueueName']"),
        ("AWSLambdaBasicExecutionRole", "AmazonNeptuneFullAccess", "names AmazonNeptuneFullAccess, which is no policy"),
    ],
)  # fmt: skip
def test_policies_that_there_are_not_are_refused_with_their_line(old: str, new: str, said: str) -> None:
    (line,) = faults_of(HEAD + POLICIES.replace(old, new), enforces=True).splitlines()
    assert line.startswith("template.yaml:11:7: Resources.F.Properties.Policies")
    assert said in line


def test_a_role_s_changes_are_told_by_policy() -> None:
    old = RoleSpec("r", {"a": 1}, ("arn:x",), {"p": {"s": 1}})
    new = RoleSpec("r", {"a": 1}, (), {"p": {"s": 2}, "q": {}})
    assert [str(change) for change in changes(new, old)] == [
        'Policy.p: {"s": 1} -> {"s": 2}', "Policy.q: - -> {}", "ManagedPolicy.arn:x: attached -> -"
    ]  # fmt: skip


def test_what_a_stack_owns_and_does_not_want_leaves_unless_it_is_retained() -> None:
    stack = read(HEAD)
    owned = (*owned_by(stack), Owned("queue", "Old"), Owned("bucket", "kept"))
    assert leaving(owned, stack, frozenset({Owned("bucket", "kept")})) == [Owned("queue", "Old")]


def test_a_record_comes_back_from_the_server_as_it_was_sent() -> None:
    revision = Revision("text", "t.yaml", {"A": "b"}, {"F": "ab"}, {"F": "live:3"}, "h:/p", "api", {"money": "cd"})
    record = Record(
        "app", Status.DEPLOYING, revision, revision, None, (Owned("function", "F"),), (Owned("queue", "Q"),),
        {"functions": {}}, {"O": "v"}, 7, "me", 3.0, 9,
    )  # fmt: skip
    answer = {
        "name": "app", "revision": 7, "holder": "me", "held_for_s": 3.0, "updated_ms": 9, "document": record.document()
    }  # fmt: skip
    assert Record.of(answer) == record
    assert "s3cret" not in repr(Revision("s3cret", "t", {"A": "s3cret"}))


@pytest.mark.parametrize("taken", ["serverlesshttpapi", "serverlessrestapi"])
def test_apis_that_no_template_names_have_a_stacks_own_names_when_another_has_the_usual_ones(taken: str) -> None:
    mine, other = Record("My.Shop"), {Owned("http_api", taken): "other"}
    assert (
        implicit_api_of(mine, {}) == implicit_api_of(mine, {Owned("http_api", taken): "My.Shop"}) == "serverlesshttpapi"
    )
    name = implicit_api_of(mine, other)
    assert (name, implicit_rest_api(name)) == ("my-shop-serverlesshttpapi", "my-shop-serverlessrestapi")
    long = implicit_api_of(Record("x" * 128), other)
    assert (len(long), implicit_rest_api(long)[-17:]) == (63, "serverlessrestapi")


def test_parameters_that_the_server_cannot_open_go_back_as_they_were_and_are_other_ones() -> None:
    document = {**Revision("text", "t.yaml").document(), "parameters": "sealed:abc"}
    revision = Revision.of(document)
    assert revision is not None
    assert revision.document() == document
    assert not Revision("text", "t.yaml").same_as(revision)
    assert "abc" not in repr(revision)
