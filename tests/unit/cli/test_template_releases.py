"""Versions and aliases that are resources: read, compared and remembered; and deployments that are all at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fnrunner.cli.deploy.fault import TemplateFault
from fnrunner.cli.deploy.naming import Entry, Situation
from fnrunner.cli.deploy.package import Package
from fnrunner.cli.deploy.plan import Current, plan_function
from fnrunner.cli.deploy.release import AliasState, entries
from fnrunner.cli.deploy.rollout import leaving
from fnrunner.cli.deploy.spec import RoutedAliasSpec, Stack, VersionSpec
from fnrunner.cli.deploy.stack_record import Owned, owned_by
from fnrunner.cli.deploy.template import read_template

HEAD = """\
Transform: AWS::Serverless-2016-10-31
Resources:
  Jobs: {Type: AWS::SQS::Queue}
  F:
    Type: AWS::Serverless::Function
    Properties:
      InlineCode: "def handler(event, context): pass"
      Handler: index.handler
      Runtime: python3.12
"""
ONE = "  One: {Type: AWS::Lambda::Version, Properties: {FunctionName: !Ref F, Description: first}}\n"
TWO = "  Two: {Type: AWS::Lambda::Version, Properties: {FunctionName: !GetAtt F.Arn}, UpdateReplacePolicy: Retain}\n"
LIVE = """\
  Live:
    Type: AWS::Lambda::Alias
    Properties:
      FunctionName: !Ref F
      Name: live
      Description: mostly one
      FunctionVersion: !GetAtt One.Version
      RoutingConfig: {AdditionalVersionWeights: [{FunctionVersion: !GetAtt Two.Version, FunctionWeight: 0.1}]}
      ProvisionedConcurrencyConfig: {ProvisionedConcurrentExecutions: 2}
"""
USED = """\
  Mapping:
    Type: AWS::Lambda::EventSourceMapping
    Properties: {FunctionName: !Ref Live, EventSourceArn: !GetAtt Jobs.Arn}
  Asked:
    Type: AWS::Lambda::Permission
    Properties: {FunctionName: !Ref One, Action: lambda:InvokeFunction, Principal: events.amazonaws.com}
Outputs:
  Alias: {Value: !Ref Live}
  Version: {Value: !Ref One}
  Number: {Value: !Sub "${One.Version}"}
"""
ARN = "arn:aws:lambda:us-east-1:000000000000:function:F"
PACKAGE = Package(b"", "bmV3", frozenset())


def read(text: str, **situation: Any) -> Stack:
    return read_template(text, Situation(Path(__file__).parent / "template.yaml", stack="app", **situation))


def published(text: str, **numbers: str) -> dict[str, Entry]:
    """What is remembered once the versions of a template have these numbers."""
    (function,) = read(text).functions
    said = {version.name: version.said for version in function.versions}
    return {name: Entry("F", number, said[name]) for name, number in numbers.items()}


def test_a_version_that_was_published_keeps_its_number_and_whatever_names_it_has_it() -> None:
    known = {**published(HEAD + ONE, One="3"), **published(HEAD + TWO, Two="4")}
    stack = read(HEAD + ONE + TWO + LIVE + USED, versions=known)
    (function,) = stack.functions
    assert [(version.name, version.number, version.description) for version in function.versions] == [
        ("One", "3", "first"), ("Two", "4", ""),
    ]  # fmt: skip
    assert function.aliases == (RoutedAliasSpec("live", "3", "mostly one", {"4": 0.1}, 2),)
    assert [trigger.qualifier for trigger in function.triggers or ()] == ["live"]
    assert [permission.qualifier for permission in function.permissions] == ["3"]
    assert stack.outputs == {"Alias": f"{ARN}:live", "Version": f"{ARN}:3", "Number": "3"}
    owned = {one for one in owned_by(stack) if one.kind in ("alias", "version")}
    assert owned == {Owned("alias", "F:live"), Owned("version", "F:3"), Owned("version", "F:4")}
    assert stack.retained == {("version", "F:4")}
    assert entries(stack.functions) == {name: str(entry) for name, entry in known.items()}


def test_a_version_of_which_something_else_is_said_is_another_version() -> None:
    known = published(HEAD + ONE, One="3")
    (function,) = read(HEAD + ONE.replace("first", "second"), versions=known).functions
    assert [version.number for version in function.versions] == [""]
    assert entries((function,)) == {}


def test_what_changes_of_versions_and_aliases_is_shown() -> None:
    known = published(HEAD + ONE, One="3")
    (function,) = read(HEAD + ONE + TWO + LIVE, versions=known).functions
    current = Current({**function.configuration, "CodeSha256": "bmV3"}, aliases={"live": AliasState("2", "mostly one")})
    plan = plan_function(function, PACKAGE, current)
    assert [str(change) for change in plan.changes] == [
        "Version.Two: - -> a new version",
        "Alias.live: version 2 -> version 3, and Two (new) with 0.1",
        "Alias.live.ProvisionedConcurrentExecutions: - -> 2",
    ]
    (step,) = plan.aliases
    assert (step.creates, step.routed, step.held) == (False, True, True)
    as_it_is = Current(current.configuration, aliases={"live": AliasState("3", "mostly one", {"pending-Two": 0.1}, 2)})
    assert plan_function(function, PACKAGE, as_it_is).aliases == ()


def test_a_name_that_moves_between_automatic_and_own_aliases_stays_there() -> None:
    automatic = read(HEAD + "      AutoPublishAlias: live\n")
    owned = (Owned("function", "F"), Owned("alias", "F:live"), Owned("alias", "F:other"), Owned("version", "F:3"))
    assert leaving(owned, automatic, frozenset()) == [Owned("alias", "F:other"), Owned("version", "F:3")]


def test_sams_names_for_the_alias_that_it_makes_are_its_arn() -> None:
    text = HEAD + "      AutoPublishAlias: live\nOutputs: {A: {Value: !Ref F.Alias}, B: {Value: !Ref FAliaslive}}\n"
    assert set(read(text).outputs.values()) == {f"{ARN}:live"}


@pytest.mark.parametrize(
    "preference", ["{Type: AllAtOnce}", "{Type: Canary10Percent5Minutes, Enabled: false, Role: x}"]
)
def test_deployments_that_are_all_at_once_are_what_an_alias_does(preference: str) -> None:
    text = HEAD + f"      AutoPublishAlias: live\n      DeploymentPreference: {preference}\n"
    assert read(text).functions[0].qualifier == "live"


def test_tracing_is_what_the_template_says() -> None:
    assert read(HEAD + "      Tracing: Active\n").functions[0].configuration["TracingConfig"] == {"Mode": "Active"}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "0.1}",
            "1.5}",
            ": Resources.Live.Properties.RoutingConfig.AdditionalVersionWeights[0].FunctionWeight is '1.5'",
        ),
        ("0.1}", "0.1}, {FunctionVersion: 7, FunctionWeight: 0.1}", "have more than one version"),
        ("!GetAtt Two.Version", "!GetAtt One.Version", "shares its events between version One (new) and itself"),
        ("!GetAtt Two.Version", "$LATEST", "shares events with $LATEST, which no alias can"),
        ("!GetAtt Two.Version", "!GetAtt F.Version", "F.Version, which is not supported"),
        ("Name: live", "Name: '3'", "it takes an alias"),
        ("FunctionName: !Ref F\n", "FunctionName: G\n", "names G, which is no function of this template"),
        ("Description: mostly one", "Nonsense: 1", "Nonsense is not supported"),
        (
            "Runtime: python3.12",
            "Runtime: python3.12\n      AutoPublishAlias: live",
            "as the AutoPublishAlias of F has",
        ),
        ("UpdateReplacePolicy: Retain", "UpdateReplacePolicy: Never", "it takes Delete or Retain"),
        ("", "", "would be the same version as One"),
    ],
)
def test_what_versions_and_aliases_cannot_be_is_refused_with_its_line(old: str, new: str, said: str) -> None:
    with pytest.raises(TemplateFault) as caught:
        read((HEAD + ONE + TWO + LIVE).replace(old, new))
    assert said in "\n".join(caught.value.lines)


def test_two_aliases_of_one_name_are_refused_where_they_are_of_one_function() -> None:
    twice = LIVE.replace("Live:", "Again:")
    with pytest.raises(TemplateFault, match="has the name F:live, as Live has"):
        read(HEAD + ONE + TWO + LIVE + twice, versions=published(HEAD + ONE, One="3"))


def test_a_new_version_has_no_number_yet() -> None:
    (function,) = read(HEAD + ONE).functions
    assert function.versions == (VersionSpec("One", "", "first", "", function.versions[0].said),)
