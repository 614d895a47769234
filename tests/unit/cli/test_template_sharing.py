"""What stacks export and import, managed policies, and what topics and buckets say themselves of who is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from fnrunner.cli.deploy import export
from fnrunner.cli.deploy.fault import TemplateFault
from fnrunner.cli.deploy.naming import Situation
from fnrunner.cli.deploy.policy_server import DescriptionFixed, PolicyServer, changes
from fnrunner.cli.deploy.spec import NotificationSpec, PolicySpec, Stack
from fnrunner.cli.deploy.stack_record import Record, Revision, Status
from fnrunner.cli.deploy.template import read_template
from fnrunner.cli.deploy.trigger import Kind

HEAD = """\
Transform: AWS::Serverless-2016-10-31
Parameters:
  Secret: {Type: String, Default: s3cret, NoEcho: true}
Resources:
  F:
    Type: AWS::Serverless::Function
    Properties:
      InlineCode: "def handler(event, context): pass"
      Handler: index.handler
      Runtime: python3.12
      Environment: {Variables: {PEER: !ImportValue other-url}}
"""
OUTPUTS = """\
Outputs:
  Arn: {Value: !GetAtt F.Arn, Export: {Name: !Sub "${AWS::StackName}-arn"}}
"""
EXPORTS = {"other-url": "http://x"}


def read(text: str, **situation: Any) -> Stack:
    return read_template(text, Situation(Path(__file__).parent / "template.yaml", stack="app", **situation))


def refused(text: str, **situation: Any) -> str:
    with pytest.raises(TemplateFault) as caught:
        read(text, **situation)
    return "\n".join(caught.value.lines)


def test_a_value_is_exported_by_name_and_another_stacks_is_imported() -> None:
    stack = read(HEAD + OUTPUTS, exports=EXPORTS)
    assert stack.exports == {"app-arn": "arn:aws:lambda:us-east-1:000000000000:function:F"}
    assert stack.imports == {"other-url"}
    assert stack.functions[0].configuration["Environment"]["Variables"] == {"PEER": "http://x"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            HEAD,
            "template.yaml:11:39: Resources.F.Properties.Environment.Variables.PEER uses ImportValue with other-url, which no",
        ),
        (HEAD.replace("other-url", "[a, b]"), "ImportValue with something else than a name"),
        (HEAD + OUTPUTS.replace("!GetAtt F.Arn", "!Ref Secret"), "has a parameter with NoEcho"),
        (
            HEAD + OUTPUTS + OUTPUTS.partition("\n")[2].replace("Arn:", "Two:"),
            "has the name app-arn, as another output has",
        ),
        (HEAD + OUTPUTS.replace("-arn", " arn"), "it takes 1 to 255 of"),
    ],
)
def test_what_cannot_be_exported_or_imported_is_refused_with_its_line(text: str, said: str) -> None:
    assert said in refused(text, exports={} if text == HEAD else EXPORTS)


def record(name: str, *, imports: tuple[str, ...] = (), **rest: Any) -> Record:
    return Record(name, current=Revision("", "t.yaml", imports=imports), **rest)


OTHER = record("other", exports={"a": "1"})
READER = record("reader", imports=("a",))


def test_an_export_belongs_to_one_stack() -> None:
    with pytest.raises(export.ExportTaken, match="The stack other exports a already"):
        export.check(Record("app"), {"a": "2"}, (), [OTHER])
    under_way = replace(Record("third"), target=Revision("", "t.yaml", exports=("b",)), status=Status.DEPLOYING)
    with pytest.raises(export.ExportTaken, match="The stack third exports b already"):
        export.check(Record("app"), {"b": "2"}, (), [under_way])
    export.check(Record("app"), {"c": "2"}, ("a",), [OTHER, under_way])


@pytest.mark.parametrize("wanted", [{}, {"a": "2"}])
def test_what_is_imported_neither_goes_nor_changes(wanted: dict[str, str]) -> None:
    with pytest.raises(export.ExportInUse, match="The stack reader imports a"):
        export.check(OTHER, wanted, (), [READER])
    export.check(OTHER, {"a": "1", "b": "2"}, (), [READER])
    leaving = replace(READER, target=Revision("", "t.yaml"), status=Status.DEPLOYING)
    with pytest.raises(export.ExportInUse):
        export.check_unused(["a"], [leaving])


def test_a_stack_that_goes_exports_nothing_more() -> None:
    going = replace(OTHER, status=Status.DELETING)
    assert export.values([OTHER, record("x", exports={"b": "2"})]) == {"a": "1", "b": "2"}
    assert export.values([going]) == {}
    with pytest.raises(export.NotExported, match="No stack exports a"):
        export.check(Record("app"), {}, ("a",), [going])


POLICY = """\
  Own:
    Type: AWS::IAM::Role
    Properties:
      AssumeRolePolicyDocument:
        Statement: [{Effect: Allow, Principal: {Service: lambda.amazonaws.com}, Action: "sts:AssumeRole"}]
  Reading:
    Type: AWS::IAM::ManagedPolicy
    Properties:
      Description: reads
      PolicyDocument: {Statement: [{Effect: Allow, Action: "lambda:Get*", Resource: "*"}]}
      Roles: [!Ref Own]
Outputs: {Arn: {Value: !Ref Reading}}
"""
READING = "arn:aws:iam::000000000000:policy/Reading"
DOCUMENT = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "lambda:Get*", "Resource": "*"}]}


def test_a_managed_policy_is_attached_to_the_roles_that_it_names_and_those_that_name_it() -> None:
    with_policy = HEAD + "      Policies: [!Ref Reading]\n"
    stack = read(with_policy + POLICY, exports=EXPORTS, enforces=True)
    assert stack.policies == (PolicySpec("Reading", READING, DOCUMENT, "reads"),)
    attached = {role.name: [arn for arn in role.managed if "000" in arn] for role in stack.roles}
    assert attached == {"app-FRole": [READING], "Own": [READING]}
    assert stack.outputs == {"Arn": READING}


def test_where_permissions_are_not_enforced_a_policy_is_a_name() -> None:
    stack = read(HEAD + POLICY, exports=EXPORTS)
    assert (stack.policies, stack.outputs) == ((), {"Arn": READING})
    assert any("Resources.Reading has no effect" in warning for warning in stack.warnings)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("!Ref Own]", "somebody]", "names somebody, which is no role of this template"),
        ("Description: reads", "Users: [me]", "Users is not supported"),
        ("Description: reads", "Path: /a/", "it takes /"),
    ],
)
def test_what_a_managed_policy_cannot_have_is_refused(old: str, new: str, said: str) -> None:
    assert said in refused(HEAD + POLICY.replace(old, new), exports=EXPORTS, enforces=True)


def test_the_document_of_a_policy_can_change_and_its_description_cannot() -> None:
    policy = PolicySpec("p", "arn", {"a": 1}, "reads")
    assert changes(policy, policy) == ()
    (change,) = changes(policy, replace(policy, document={"a": 2}))
    assert str(change) == 'PolicyDocument: {"a": 2} -> {"a": 1}'
    with pytest.raises(DescriptionFixed, match="'writes' and cannot become 'reads'"):
        changes(policy, replace(policy, description="writes"))


class FakeIam:
    """Five versions of one policy, of which the last counts."""

    def __init__(self) -> None:
        self.called: list[tuple[str, str]] = []

    def call(self, operation: str, **params: Any) -> dict[str, Any]:
        self.called.append((operation, params.get("VersionId", "")))
        policy = {"PolicyName": "p", "DefaultVersionId": "v12"}
        return {"Policy": policy, "PolicyVersion": {"Document": {"a": 1}}}

    def every(self, operation: str, key: str, **params: Any) -> list[dict[str, Any]]:
        return [{"VersionId": f"v{number}", "IsDefaultVersion": number == 12} for number in (12, 11, 10, 9, 8)]


def test_the_oldest_version_of_a_policy_makes_room_for_another() -> None:
    iam = FakeIam()
    PolicyServer(cast("Any", lambda: iam)).put(PolicySpec("p", "arn", {"a": 2}))
    assert iam.called[2:] == [("delete_policy_version", "v8"), ("create_policy_version", "")]


def test_a_policy_goes_with_all_of_its_versions() -> None:
    iam = FakeIam()
    PolicyServer(cast("Any", lambda: iam)).remove("arn")
    gone = [("delete_policy_version", f"v{number}") for number in (11, 10, 9, 8)]
    assert iam.called[2:] == [*gone, ("delete_policy", "")]


TOLD = """\
  News: {Type: AWS::SNS::Topic, Properties: {Subscription: [{Protocol: lambda, Endpoint: !GetAtt F.Arn}]}}
  Photos:
    Type: AWS::S3::Bucket
    Properties:
      NotificationConfiguration:
        LambdaConfigurations:
          - Event: s3:ObjectCreated:*
            Function: !Sub "${F.Arn}:live"
            Filter: {S3Key: {Rules: [{Name: suffix, Value: .jpg}]}}
"""


def test_topics_and_buckets_say_themselves_who_is_told() -> None:
    (function,) = read(HEAD + TOLD, exports=EXPORTS).functions
    assert [(one.kind, one.key) for one in function.triggers or ()] == [(Kind.SUBSCRIPTION, "News")]
    assert function.notifications == (
        NotificationSpec("Photos-0", "photos", ("s3:ObjectCreated:*",), suffix=".jpg", qualifier="live"),
    )


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("!GetAtt F.Arn", "g", "Resources.News.Properties.Subscription names g, which is no function of this template"),
        ("Protocol: lambda", "Protocol: email", "it takes lambda"),
        ('!Sub "${F.Arn}:live"', "g", "Resources.Photos.Properties.NotificationConfiguration names g"),
        ("LambdaConfigurations", "QueueConfigurations", "QueueConfigurations is not supported"),
        ("s3:ObjectCreated:*", "s3:Whatever", "it takes s3:ObjectCreated:*"),
    ],
)
def test_who_cannot_be_told_is_refused_with_its_line(old: str, new: str, said: str) -> None:
    assert said in refused(HEAD + TOLD.replace(old, new), exports=EXPORTS)
