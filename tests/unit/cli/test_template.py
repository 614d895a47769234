"""A template is read as what it wants, and everything that is not supported is refused by name and line, all at once."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from fnrunner.cli.deploy.fault import TemplateFault
from fnrunner.cli.deploy.naming import Situation
from fnrunner.cli.deploy.spec import NotificationSpec, QueueSpec, Stack
from fnrunner.cli.deploy.template import read_template
from fnrunner.cli.error import UsageFault

FOLDER = Path(__file__).parent
HEAD = """\
Transform: AWS::Serverless-2016-10-31
Resources:
  Thumb:
    Type: AWS::Serverless::Function
    Properties:
      InlineCode: "def handler(event, context): pass"
      Handler: index.handler
      Runtime: python3.12
"""


def read(text: str, **parameters: str) -> Stack:
    return read_template(dedent(text), Situation(FOLDER / "template.yaml", parameters=parameters))


def faults_of(text: str, **parameters: str) -> list[str]:
    with pytest.raises(TemplateFault) as caught:
        read(text, **parameters)
    return caught.value.lines


def test_an_unsupported_property_is_refused_with_its_line_and_path() -> None:
    assert faults_of(HEAD + "      VpcConfig: {}\n") == [
        "template.yaml:9:7: Resources.Thumb.Properties.VpcConfig is not supported"
    ]


def test_all_faults_are_listed_at_once_in_the_order_of_their_lines() -> None:
    text = HEAD + "      MemorySize: 64\n      Timeout: soon\n      FileSystemConfigs: [a]\nRules: {}\n"
    assert faults_of(text) == [
        "template.yaml:9:7: Resources.Thumb.Properties.MemorySize is '64': it takes a whole number from 128 to 10240",
        "template.yaml:10:7: Resources.Thumb.Properties.Timeout is 'soon': it takes a whole number from 1 to 900",
        "template.yaml:11:7: Resources.Thumb.Properties.FileSystemConfigs is not supported",
        "template.yaml:12:1: Rules is not supported: an AllowedValues or AllowedPattern of the parameter checks its value",
    ]


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ("  T:\n    Type: AWS::DynamoDB::Table\n", "Resources.T Type AWS::DynamoDB::Table is not supported"),
        (
            "  Q:\n    Type: AWS::SQS::Queue\n    DeletionPolicy: Snapshot\n",
            "Resources.Q.DeletionPolicy is 'Snapshot': it takes Delete or Retain",
        ),
        ("  Q:\n    Type: AWS::SQS::Queue\n    Properties: {DelaySeconds: 5}\n", "DelaySeconds is not supported"),
        ("  Q:\n    Type: AWS::SQS::Queue\n    DependsOn: Nobody\n", "names Nobody, which is no resource"),
        ("Globals:\n  SimpleTable: {}\n", "Globals.SimpleTable is not supported (Function, HttpApi, Api are)"),
        ("Globals:\n  Function: {VpcConfig: {}}\n", "Globals.Function.VpcConfig is not supported"),
        ("      Events: {E: {Type: Cognito}}\n", "Events.E.Type Cognito is not supported (S3, SQS, Kinesis,"),
        ("      Description: !If [a, b, c]\n", "uses If with a, which is no condition"),
        ("      Description: !ImportValue a\n", "uses ImportValue with a, which no other stack exports"),
        ("      Description: !Cidr [a, 1, 2]\n", "uses Fn::Cidr, which is not supported: there are no networks here"),
        (
            "      Description: !Length [a]\n",
            "uses Fn::Length, which is not supported: Ref, GetAtt, Sub, Base64, FindInMap",
        ),
        (
            "  Fn::ForEach::Loop: [A, [b], {}]\n",
            "uses Fn::ForEach::Loop, which is not supported: AWS::LanguageExtensions",
        ),
        ("      Description: !Ref Nobody\n", "refers to Nobody, which is no parameter or resource"),
        ("      Description: !GetAtt Thumb.Name\n", "refers to Thumb.Name, which is not supported: Thumb has Arn"),
        ("      DeadLetterQueue: {Type: SQS, TargetArn: nonsense}\n", "is 'nonsense': it takes an ARN of sqs"),
        ("      DeadLetterQueue: {Type: Kafka, TargetArn: x}\n", "is 'Kafka': it takes SQS or SNS"),
        ("      EventInvokeConfig: {MaximumRetryAttempts: 3}\n", "it takes a whole number from 0 to 2"),
        ("      Environment: {Variables: {OK_KEY: [1]}}\n", "Variables.OK_KEY is a list: it takes a text"),
        ("      CodeUri: .\n", "stands beside InlineCode"),
        (
            "  F:\n    Type: AWS::Serverless::Function\n    Properties: {Runtime: nodejs18.x}\n",
            "is 'nodejs18.x': it takes python3.9 or",
        ),
        ("      PackageType: Image\n", "has no ImageUri, which it needs"),
        ("      PackageType: Image\n      ImageUri: a/b\n", "Runtime has no effect with PackageType Image"),
        ("      ImageUri: a/b\n", "ImageUri has no effect with PackageType Zip"),
        ("      PackageType: Jar\n", "is 'Jar': it takes Zip or Image"),
        ("      Tags: [a]\n", "it takes a mapping of names to texts"),
        ("Outputs:\n  O: {Value: x, Export: {Nam: y}}\n", "Outputs.O.Export.Nam is not supported"),
    ],
)
def test_what_would_have_no_effect_is_refused(extra: str, said: str) -> None:
    assert [line for line in faults_of(HEAD + extra) if said in line], extra


def test_a_text_that_is_no_yaml_is_named_with_its_line() -> None:
    assert faults_of("Resources:\n  A: [\n") == [
        "template.yaml:3:1: this is not YAML: expected the node content, but found '<stream end>'"
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the template is empty"),
        ("- a\n", "the template is a list: it takes a mapping"),
        ("Resources: {}\n", "Resources are missing"),
        ("Resources: &r\n  A: *r\n", "contains itself through an alias"),
        (HEAD + "  Thumb:\n    Type: AWS::SQS::Queue\n", "Resources.Thumb is there twice"),
    ],
)
def test_a_template_of_the_wrong_shape_is_refused(text: str, said: str) -> None:
    assert any(said in line for line in faults_of(text))


def test_defaults_are_lambdas_and_names_are_the_logical_ids() -> None:
    (function,) = read(HEAD).functions
    assert function.name == "Thumb"
    assert function.whole
    assert function.configuration == {
        "Runtime": "python3.12",
        "Handler": "index.handler",
        "Role": "arn:aws:iam::000000000000:role/fnrunner",
        "Description": "",
        "Timeout": 3,
        "MemorySize": 128,
        "EphemeralStorage": {"Size": 512},
        "Environment": {"Variables": {}},
        "Layers": [],
        "DeadLetterConfig": {"TargetArn": ""},
        "LoggingConfig": {"LogFormat": "Text", "LogGroup": "/aws/lambda/Thumb"},
        "TracingConfig": {"Mode": "PassThrough"},
    }
    assert (function.event_invoke, function.reserved_concurrency, function.notifications) == (None, None, ())


FULL = """\
Transform: AWS::Serverless-2016-10-31
Globals:
  Function:
    Timeout: 30
    Runtime: python3.12
    Tags: {team: a}
    Environment:
      Variables: {FROM_GLOBALS: g, BOTH: g}
Parameters:
  Stage: {Type: String, Default: dev, AllowedValues: [dev, prod]}
  Memory: {Type: Number, Default: 256, MinValue: 128}
  Secret: {Type: String, Default: s3cret, NoEcho: true}
Resources:
  Photos:
    Type: AWS::S3::Bucket
    Properties: {BucketName: !Sub "${Stage}-photos"}
  Failures:
    Type: AWS::SQS::Queue
  Thumb:
    Type: AWS::Serverless::Function
    DependsOn: [Photos, Failures]
    Properties:
      FunctionName: !Join ["-", [thumb, !Ref Stage]]
      InlineCode: "x = 1"
      Handler: index.handler
      MemorySize: !Ref Memory
      ReservedConcurrentExecutions: 0
      Policies: [{S3ReadPolicy: {BucketName: !If [a, b, c]}}]
      Tags: {stage: !Ref Stage}
      LoggingConfig: {LogFormat: JSON}
      Description: !Ref AWS::NoValue
      Environment:
        Variables:
          BOTH: f
          DIR: !GetAtt Photos.Directory
          SELF: !Sub ["${A}:${AWS::Region}:${!literal}", {A: !GetAtt Failures.Arn}]
          SECRET: !Ref Secret
      DeadLetterQueue: {Type: SQS, TargetArn: !GetAtt Failures.Arn}
      EventInvokeConfig:
        MaximumRetryAttempts: 1
        MaximumEventAgeInSeconds: 120
        DestinationConfig:
          OnFailure: {Type: SQS, Destination: {"Fn::GetAtt": [Failures, Arn]}}
      Events:
        Jpg:
          Type: S3
          Properties:
            Bucket: !Ref Photos
            Events: s3:ObjectCreated:*
            Filter: {S3Key: {Rules: [{Name: prefix, Value: in/}, {Name: suffix, Value: .jpg}]}}
Outputs:
  Dir: {Value: !GetAtt Photos.Directory}
  Url: {Value: !Sub "x-${Secret}"}
"""


def test_parameters_globals_and_intrinsics_come_together() -> None:
    situation = Situation(FOLDER / "template.yaml", parameters={"Stage": "prod"}, directories={"prod-photos": "/srv/p"})
    stack = read_template(FULL, situation)
    (function,) = stack.functions
    queue = "arn:aws:sqs:us-east-1:000000000000:Failures"
    assert (stack.buckets, stack.queues, function.name) == (("prod-photos",), (QueueSpec("Failures"),), "thumb-prod")
    assert function.configuration["MemorySize"] == 256
    assert function.configuration["Timeout"] == 30
    assert function.configuration["Description"] == ""
    assert function.configuration["Environment"]["Variables"] == {
        "FROM_GLOBALS": "g", "BOTH": "f", "DIR": "/srv/p", "SELF": f"{queue}:us-east-1:${{literal}}", "SECRET": "s3cret",
    }  # fmt: skip
    assert function.configuration["LoggingConfig"] == {
        "LogFormat": "JSON", "LogGroup": "/aws/lambda/thumb-prod", "ApplicationLogLevel": "INFO", "SystemLogLevel": "INFO",
    }  # fmt: skip
    assert function.configuration["DeadLetterConfig"] == {"TargetArn": queue}
    assert function.tags == {"team": "a", "stage": "prod"}
    assert function.reserved_concurrency == 0
    assert function.event_invoke == {
        "MaximumRetryAttempts": 1,
        "MaximumEventAgeInSeconds": 120,
        "DestinationConfig": {"OnFailure": {"Destination": queue}},
    }
    assert function.notifications == (NotificationSpec("Jpg", "prod-photos", ("s3:ObjectCreated:*",), "in/", ".jpg"),)


def test_policies_are_a_warning_and_what_is_secret_is_masked_in_outputs() -> None:
    stack = read(FULL)
    assert [line for line in stack.warnings if "Resources.Thumb: Policies have no effect" in line]
    assert stack.outputs == {"Dir": "<the directory of bucket dev-photos>", "Url": "x-****"}


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"Stage": "test"}, "Parameters.Stage 'test' is not one of dev, prod"),
        ({"Memory": "64"}, "Parameters.Memory '64' is below MinValue 128"),
        ({"Memory": "much"}, "Parameters.Memory 'much' is no number"),
    ],
)
def test_a_parameters_value_must_satisfy_its_constraints(parameters: dict[str, str], said: str) -> None:
    assert any(said in line for line in faults_of(FULL, **parameters))


def test_a_parameter_without_default_must_be_given() -> None:
    text = HEAD + "Parameters:\n  P: {Type: String}\n"
    assert faults_of(text) == [
        "template.yaml:10:3: Parameters.P has no Default: give it with --parameter-overrides P=VALUE"
    ]
    assert read(text, P="x").functions


def test_a_value_for_a_parameter_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageFault, match="no parameter Nope"):
        read(FULL, Nope="1")


def test_two_resources_cannot_share_a_name() -> None:
    extra = "  A:\n    Type: AWS::SQS::Queue\n    Properties: {QueueName: q}\n"
    again = "  B:\n    Type: AWS::SQS::Queue\n    Properties: {QueueName: q}\n"
    assert faults_of(HEAD + extra + again) == ["template.yaml:12:3: Resources.B has the name q, as A has"]


def test_scalars_keep_the_text_that_was_written() -> None:
    (function,) = read(HEAD + "      Environment: {Variables: {VERSION: 1.10, FLAG: true, ID: 007}}\n").functions
    assert function.configuration["Environment"]["Variables"] == {"VERSION": "1.10", "FLAG": "true", "ID": "007"}


def test_a_json_template_reads_the_same() -> None:
    text = (
        '{"Resources": {"F": {"Type": "AWS::Serverless::Function", "Properties":\n{"InlineCode": "", "Handler": "a.b",'
    )
    assert read(text + '"Runtime": "python3.12"}}}}').functions[0].name == "F"
    assert faults_of(text + '\n"Runtime": "python3.12", "VpcConfig": {}}}}}') == [
        "template.yaml:3:26: Resources.F.Properties.VpcConfig is not supported"
    ]
