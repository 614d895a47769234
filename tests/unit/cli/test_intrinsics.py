"""Every intrinsic function, condition and kind of parameter gives what CloudFormation would, or a fault with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from fnrunner.cli.deploy import samconfig
from fnrunner.cli.deploy.fault import TemplateFault
from fnrunner.cli.deploy.naming import Situation
from fnrunner.cli.deploy.spec import Stack
from fnrunner.cli.deploy.template import read_template
from fnrunner.cli.error import UsageFault

FOLDER = Path(__file__).parent
HEAD = """\
AWSTemplateFormatVersion: "2010-09-09"
Transform: AWS::Serverless-2016-10-31
Metadata: {Anything: [1, {goes: here}]}
Parameters:
  Stage: {Type: String, Default: dev}
  Zones: {Type: CommaDelimitedList, Default: "a, b,c"}
  Sizes: {Type: List<Number>, Default: "1,2"}
Mappings:
  Words:
    dev: {Text: small, Many: [x, y]}
    prod: {Text: large, Many: [z]}
Conditions:
  IsProd: !Equals [!Ref Stage, prod]
  IsDev: !Not [!Condition IsProd]
  Both: !And [!Condition IsProd, !Condition IsDev]
  Either: {"Fn::Or": [{Condition: IsProd}, {"Condition": IsDev}]}
  HasB: !Equals [!Select [1, !Ref Zones], b]
Resources:
  F:
    Type: AWS::Serverless::Function
    Properties: {InlineCode: "x = 1", Handler: index.handler, Runtime: python3.12}
  Q: {Type: AWS::SQS::Queue, Condition: IsProd, DeletionPolicy: Retain, UpdateReplacePolicy: Retain}
Outputs:
"""


def read(outputs: str, **parameters: str) -> Stack:
    return read_template(HEAD + outputs, Situation(FOLDER / "template.yaml", parameters=parameters, stack="app"))


def output(value: str, **parameters: str) -> str:
    return read(f"  O: {{Value: {value}}}\n", **parameters).outputs["O"]


def faults_of(value: str) -> list[str]:
    with pytest.raises(TemplateFault) as caught:
        output(value)
    return caught.value.lines


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("!Ref Stage", "dev"),
        ("!Ref AWS::StackName", "app"),
        ('!Sub "${AWS::Partition} ${AWS::Region} ${AWS::AccountId}"', "aws us-east-1 000000000000"),
        ("!Ref AWS::URLSuffix", "amazonaws.com"),
        ("!Ref Zones", "a,b,c"),
        ("!Select [2, !Ref Zones]", "c"),
        ('!Select ["0", [!Ref Stage, x]]', "dev"),
        ('!Join ["-", !Ref Zones]', "a-b-c"),
        ('!Join ["/", [!Ref Stage, !Ref "AWS::NoValue", !Join ["+", !Ref Sizes]]]', "dev/1+2"),
        ('!Split [",", "p,q"]', "p,q"),
        ('!Select [1, !Split ["-", !Sub "one-${Stage}"]]', "dev"),
        ("!FindInMap [Words, !Ref Stage, Text]", "small"),
        ('!Join ["", !FindInMap [Words, dev, Many]]', "xy"),
        ("!If [IsProd, big, little]", "little"),
        ("!If [Either, !If [HasB, yes, no], never]", "yes"),
        ("{'Fn::If': [Both, a, {'Fn::Sub': '${Stage}!'}]}", "dev!"),
        ("!Base64 hello", "aGVsbG8="),
        ("!Base64 {'Fn::Sub': '${Stage}'}", "ZGV2"),
        ('!Select [0, !GetAZs ""]', "us-east-1a"),
        ("!GetAtt F.Arn", "arn:aws:lambda:us-east-1:000000000000:function:F"),
        ("!GetAtt FRole.Arn", "arn:aws:iam::000000000000:role/fnrunner"),
        ('!Sub ["${Stage}-${X}", {X: !Select [0, !Ref Zones]}]', "dev-a"),
    ],
)  # fmt: skip
def test_a_function_gives_its_value(value: str, expected: str) -> None:
    assert output(value) == expected


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("!Select [3, !Ref Zones]", "uses Select with the index 3 of a list of 3"),
        ("!Select [x, !Ref Zones]", "uses Select with the index x"),
        ("!Select [0]", "uses Select with something else"),
        ('!Split ["", abc]', "uses Split with something else"),
        ("!FindInMap [Words, dev, Nope]", "uses FindInMap with Words.dev.Nope, which no mapping has"),
        ("!FindInMap [Words, dev]", "uses FindInMap with something else"),
        ("!If [Nope, a, b]", "uses If with Nope, which is no condition"),
        ("!If [IsProd, a]", "uses If with something else"),
        ('!Join ["-", text]', "uses Join with something else"),
        ('!Sub "${Zones}"', "uses Sub with Zones, which is a list"),
        ("!Base64 [a]", "uses Base64 with something else"),
        ("!Ref Q", "refers to Q, whose Condition is false"),
        ("!GetAtt Q.Arn", "refers to Q.Arn, whose Condition is false"),
        ("!Transform {Name: AWS::Include}", "uses Fn::Transform, which is not supported: there are no macros here"),
        ("!ToJsonString {a: b}", "uses Fn::ToJsonString, which is not supported"),
    ],
)
def test_a_function_that_cannot_be_is_a_fault_with_its_line(value: str, said: str) -> None:
    (line,) = faults_of(value)
    assert line.startswith("template.yaml:24:14: Outputs.O")
    assert said in line


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("Conditions: {A: !Condition B, B: !Condition A}", "refers to itself"),
        ("Conditions: {A: !Condition B}", "refers to B, which is no condition"),
        ("Conditions: {A: !Sub x}", "uses Fn::Sub in a way that is no condition"),
        ("Conditions: {A: true}", "it takes Equals, And, Or, Not or Condition"),
        ("Conditions: {A: !And [!Equals [a, a]]}", "uses Fn::And in a way that is no condition"),
        ("Conditions: {A: !Equals [a]}", "uses Equals with something else than two values"),
        ("Mappings: {A: text}", "it takes a mapping of mappings"),
        ("Mappings: {A: {b: {c: {d: e}}}}", "it takes a text or a list of texts"),
        ("Parameters: {A: {Type: AWS::SSM::Parameter::Value<String>, Default: a}}", "there is no parameter store here"),
        ("Parameters: {A: {Type: List<AWS::EC2::Subnet::Id>, Default: a}}", "make it a CommaDelimitedList"),
        ("Parameters: {A: {Type: List<Number>, Default: '1,x'}}", "'x' is no number"),
        ("Parameters: {A: {Type: CommaDelimitedList, AllowedValues: [a], Default: 'a,b'}}", "'b' is not one of a"),
        ("Hooks: {}", "Hooks is not supported: there is no CodeDeploy here"),
    ],
)
def test_a_section_that_cannot_be_is_a_fault(section: str, said: str) -> None:
    text = f"{section}\nResources: {{Q: {{Type: AWS::SQS::Queue}}}}\n"
    with pytest.raises(TemplateFault) as caught:
        read_template(text, Situation(FOLDER / "template.yaml"))
    assert said in "\n".join(caught.value.lines)


def test_what_has_a_condition_is_there_only_when_it_is_true() -> None:
    outputs = "  O: {Condition: IsProd, Value: !GetAtt Q.Arn}\n"
    assert (read(outputs).queues, read(outputs).outputs) == ((), {})
    there = read(outputs, Stage="prod")
    assert [queue.name for queue in there.queues] == ["Q"]
    assert list(there.outputs) == ["O"]
    assert there.retained == {("queue", "Q")}


def test_a_condition_that_is_not_there_is_a_fault() -> None:
    with pytest.raises(TemplateFault, match="Condition is 'Nope', which is no condition of the template"):
        read("  O: {Condition: Nope, Value: a}\n")


def test_names_may_be_made_of_other_resources_names_in_any_order() -> None:
    text = """\
Resources:
  A: {Type: AWS::SQS::Queue, Properties: {QueueName: !Sub "${B.TopicName}-a"}}
  B: {Type: AWS::SNS::Topic, Properties: {TopicName: !Sub "${C}-b"}}
  C: {Type: AWS::S3::Bucket}
"""
    stack = read_template(text, Situation(FOLDER / "template.yaml"))
    assert (stack.queues[0].name, stack.topics) == ("c-b-a", ("c-b",))
    circle = text.replace(
        "{Type: AWS::S3::Bucket}", "{Type: AWS::S3::Bucket, Properties: {BucketName: !GetAtt A.QueueName}}"
    )
    with pytest.raises(TemplateFault) as caught:
        read_template(circle, Situation(FOLDER / "template.yaml"))
    assert "Resources.A.Properties.QueueName refers to B.TopicName" in caught.value.lines[0]


def test_samconfig_gives_the_stack_s_name_and_its_parameters(tmp_path: Path) -> None:
    (tmp_path / "samconfig.toml").write_text(
        'version = 0.1\n[default.global.parameters]\nstack_name = "a"\n'
        '[default.deploy.parameters]\ncapabilities = "CAPABILITY_IAM"\nparameter_overrides = "A=1 B=\\"two words\\""\n'
        '[prod.deploy.parameters]\nstack_name = "b"\nparameter_overrides = ["A=\\"2\\"", "ParameterKey=B,ParameterValue=x"]\n'
    )
    assert samconfig.read(tmp_path) == samconfig.SamConfig("a", {"A": "1", "B": "two words"})
    assert samconfig.read(tmp_path, "prod") == samconfig.SamConfig("b", {"A": "2", "B": "x"})
    with pytest.raises(UsageFault, match=r"has no \[nope\]"):
        samconfig.read(tmp_path, "nope")
    (tmp_path / "samconfig.toml").write_text("= x")
    with pytest.raises(UsageFault, match="this is not TOML"):
        samconfig.read(tmp_path)
    (tmp_path / "samconfig.toml").unlink()
    assert samconfig.read(tmp_path) == samconfig.SamConfig()
