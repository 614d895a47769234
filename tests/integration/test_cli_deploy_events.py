"""Deploying templates with event sources to the real API and catalogue: made, unchanged, updated, taken away.

The pollers are played by the test: it writes the documents that they write.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fnrunner.catalogue import positions
from fnrunner.model.trigger import FunctionUrl, HttpRoute, Schedule, TopicSubscription
from sources.mapping import EventSourceMapping
from tests.api_server import ApiServer

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
HEAD = """\
Transform: AWS::Serverless-2016-10-31
Resources:
  Clicks: {Type: AWS::Kinesis::Stream, Properties: {Name: clicks, ShardCount: 2}}
  Dead: {Type: AWS::SQS::Queue}
  Jobs:
    Type: AWS::SQS::Queue
    Properties: {RedrivePolicy: {deadLetterTargetArn: !GetAtt Dead.Arn, maxReceiveCount: 5}}
  News: {Type: AWS::SNS::Topic}
  F:
    Type: AWS::Serverless::Function
    Properties:
      InlineCode: "def handler(event, context): pass"
      Handler: index.handler
      Runtime: python3.12
"""
EVENTS = """\
      FunctionUrlConfig: {AuthType: NONE, Cors: {AllowOrigins: ["*"]}}
      Events:
        Clicked:
          Type: Kinesis
          Properties:
            Stream: !GetAtt Clicks.Arn
            StartingPosition: TRIM_HORIZON
            DestinationConfig: {OnFailure: {Type: SQS, Destination: !GetAtt Dead.Arn}}
        Job: {Type: SQS, Properties: {Queue: !GetAtt Jobs.Arn, FilterCriteria: {Filters: [{Pattern: '{"body":{"a":[1]}}'}]}}}
        Told: {Type: SNS, Properties: {Topic: !Ref News, FilterPolicy: {store: [north]}}}
        Often: {Type: Schedule, Properties: {Schedule: rate(5 minutes)}}
        Shop: {Type: HttpApi, Properties: {Method: get, Path: /items}}
Outputs:
  Url: {Value: !GetAtt FUrl.FunctionUrl}
  Api: {Value: !Sub "https://${ServerlessHttpApi}.execute-api.${AWS::Region}.amazonaws.com/items"}
"""
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ApiServer]:
    with ApiServer(tmp_path / "data") as found:
        yield found


@pytest.fixture
def template(tmp_path: Path) -> Path:
    file = tmp_path / "template.yaml"
    file.write_text(HEAD + EVENTS)
    return file


def report(found: tuple[int, str, str]) -> dict[str, Any]:
    assert found[0] == 0, found
    document: dict[str, Any] = json.loads(found[1])
    return document


def follow(server: ApiServer) -> None:
    """What pollers do: they follow every mapping as it is now."""
    for mapping in server.run(server.services.catalogue.list_triggers(EventSourceMapping)):
        state = "Enabled" if mapping.enabled else "Disabled"
        document = {"revision": mapping.revision, "state": state, "reason": ""}
        name = positions.state_name(mapping.uuid)
        server.run(positions.put(server.services.store, name, document, server.services.now()))


def count(server: ApiServer) -> dict[str, int]:
    kinds = (EventSourceMapping, FunctionUrl, Schedule, TopicSubscription, HttpRoute)
    return {kind.__name__: len(server.run(server.services.catalogue.list_triggers(kind))) for kind in kinds}


def changes(document: dict[str, Any]) -> list[str]:
    (only,) = document["functions"]
    return [f"{change['key']}: {change['old']} -> {change['new']}" for change in only["changes"]]


def test_everything_is_made_and_the_second_time_nothing_changes(
    cli: Command, server: ApiServer, template: Path
) -> None:
    made = report(cli("deploy", str(template), "--json"))
    assert made["streams"] == [{"name": "clicks", "action": "created"}]
    assert [(queue["name"], queue["action"]) for queue in made["queues"]] == [("Dead", "created"), ("Jobs", "created")]
    assert made["topics"] == [{"name": "News", "action": "created"}]
    (api,) = made["http_apis"]
    assert (api["name"], api["action"]) == ("serverlesshttpapi", "created")
    assert count(server) == {
        "EventSourceMapping": 2, "FunctionUrl": 1, "Schedule": 1, "TopicSubscription": 1, "HttpRoute": 1
    }  # fmt: skip
    (url,) = server.run(server.services.catalogue.list_triggers(FunctionUrl))
    assert url.url_id in made["outputs"]["Url"]
    assert made["outputs"]["Api"] == f"{api['url'].rstrip('/')}/items"
    follow(server)
    again = report(cli("deploy", str(template), "--json"))
    assert changes(again) == []
    kinds = ("functions", "streams", "queues", "topics", "http_apis")
    assert {one["action"] for kind in kinds for one in again[kind]} == {"unchanged"}
    (same,) = server.run(server.services.catalogue.list_triggers(FunctionUrl))
    assert same == url


def test_what_can_be_updated_is_updated_in_place(cli: Command, server: ApiServer, template: Path) -> None:
    report(cli("deploy", str(template), "--json"))
    before = {one.uuid for one in server.run(server.services.catalogue.list_triggers(EventSourceMapping))}
    follow(server)
    text = HEAD + EVENTS
    text = text.replace("TRIM_HORIZON", "TRIM_HORIZON\n            BatchSize: 7\n            Enabled: false")
    text = text.replace("rate(5 minutes)", "rate(6 minutes)").replace("[north]", "[south]").replace('["*"]', "[]")
    template.write_text(text.replace("Path: /items", "Path: /things"))
    changed = report(cli("deploy", str(template), "--json"))
    assert sorted(changes(changed)) == [
        "Events.Clicked.BatchSize: 100 -> 7",
        "Events.Clicked.Enabled: true -> false",
        'Events.FunctionUrl.Cors.AllowOrigins: ["*"] -> None',
        "Events.Often.expression: rate(5 minutes) -> rate(6 minutes)",
        'Events.Told.filter_policy: {"store":["north"]} -> {"store":["south"]}',
    ]
    (api,) = changed["http_apis"]
    assert [change["key"] for change in api["changes"]] == ["Routes.GET /things", "Routes.GET /items"]
    after = server.run(server.services.catalogue.list_triggers(EventSourceMapping))
    assert {one.uuid for one in after} == before
    assert sorted((one.batch_size, one.enabled) for one in after) == [(7, False), (10, True)]


def test_what_left_the_template_goes(cli: Command, server: ApiServer, template: Path) -> None:
    report(cli("deploy", str(template), "--json"))
    follow(server)
    template.write_text(HEAD)
    gone = report(cli("deploy", str(template), "--json"))
    assert len(changes(gone)) == 5
    assert [(api["name"], api["action"]) for api in gone["http_apis"]] == [("serverlesshttpapi", "removed")]
    mappings = server.run(server.services.catalogue.list_triggers(EventSourceMapping))
    assert all(mapping.deleting for mapping in mappings)
    assert {kind: n for kind, n in count(server).items() if kind != "EventSourceMapping"} == {
        "FunctionUrl": 0, "Schedule": 0, "TopicSubscription": 0, "HttpRoute": 0
    }  # fmt: skip
    assert report(cli("deploy", str(template), "--json"))["functions"][0]["action"] == "unchanged"


def test_another_starting_position_is_refused_before_anything_changes(
    cli: Command, server: ApiServer, template: Path
) -> None:
    report(cli("deploy", str(template), "--json"))
    follow(server)
    text = (HEAD + EVENTS).replace("TRIM_HORIZON", "LATEST") + ""
    template.write_text(text.replace("rate(5 minutes)", "rate(6 minutes)"))
    status, _, err = cli("deploy", str(template))
    assert status == 2
    assert "StartingPosition of the event source mapping" in err
    assert "fnrunner mapping rm" in err
    (schedule,) = server.run(server.services.catalogue.list_triggers(Schedule))
    assert schedule.expression == "rate(5 minutes)"


def test_a_queue_s_attributes_follow_the_template_and_go_back_to_their_defaults(cli: Command, template: Path) -> None:
    report(cli("deploy", str(template), "--json"))
    redrive = "RedrivePolicy: {deadLetterTargetArn: !GetAtt Dead.Arn, maxReceiveCount: 5}"
    template.write_text((HEAD + EVENTS).replace(redrive, "VisibilityTimeout: 60"))
    queues = {queue["name"]: queue for queue in report(cli("deploy", str(template), "--json"))["queues"]}
    assert queues["Dead"]["action"] == "unchanged"
    assert [(change["key"], change["old"], change["new"]) for change in queues["Jobs"]["changes"]] == [
        ("visibility_timeout_s", "30", "60"), ("max_receive_count", "5", None), ("dead_letter_queue", "Dead", None)
    ]  # fmt: skip
    assert report(cli("deploy", str(template), "--json"))["queues"][1]["action"] == "unchanged"


def test_another_number_of_shards_is_refused(cli: Command, template: Path) -> None:
    report(cli("deploy", str(template), "--json"))
    template.write_text((HEAD + EVENTS).replace("ShardCount: 2", "ShardCount: 3"))
    status, _, err = cli("deploy", str(template))
    assert status == 2
    assert "The stream clicks has 2 partitions and the template wants ShardCount 3" in err


def test_a_function_may_be_told_its_url_in_a_variable(cli: Command, server: ApiServer, template: Path) -> None:
    text = (HEAD + EVENTS).replace(
        "      FunctionUrlConfig",
        "      Environment: {Variables: {MY_URL: !GetAtt FUrl.FunctionUrl}}\n      FunctionUrlConfig",
    )
    template.write_text(text)
    url = report(cli("deploy", str(template), "--json"))["outputs"]["Url"]
    function = server.services.catalogue.lookup("F")
    assert function is not None
    assert dict(function.environment) == {"MY_URL": url}
    follow(server)
    assert report(cli("deploy", str(template), "--json"))["functions"][0]["action"] == "unchanged"


SCHEDULED = "      Events: {E: {Type: Schedule, Properties: {Name: n, Schedule: rate(1 day)}}}\n"


def only_function(name: str) -> str:
    return HEAD[: HEAD.index("  Clicks:")] + HEAD[HEAD.index("  F:") :].replace("  F:\n", f"  {name}:\n") + SCHEDULED


def test_a_schedule_of_another_stack_s_function_is_not_taken_over(
    cli: Command, server: ApiServer, template: Path
) -> None:
    template.write_text(only_function("G"))
    report(cli("deploy", str(template), "--stack-name", "first", "--json"))
    template.write_text(only_function("F"))
    status, _, err = cli("deploy", str(template), "--stack-name", "second")
    assert status == 1
    assert "The schedule n is there and invokes G" in err
    (schedule,) = server.run(server.services.catalogue.list_triggers(Schedule))
    assert schedule.function == "G"
    assert server.services.catalogue.lookup("F") is None


def test_a_schedule_moves_between_the_functions_of_a_stack(cli: Command, server: ApiServer, template: Path) -> None:
    template.write_text(only_function("G"))
    report(cli("deploy", str(template), "--json"))
    template.write_text(only_function("F"))
    moved = report(cli("deploy", str(template), "--json"))
    assert [(one["name"], one["action"]) for one in moved["functions"]] == [("F", "created"), ("G", "removed")]
    (schedule,) = server.run(server.services.catalogue.list_triggers(Schedule))
    assert schedule.function == "F"
    assert server.services.catalogue.lookup("G") is None


def test_what_a_template_cannot_say_of_a_schedule_stays(cli: Command, server: ApiServer, template: Path) -> None:
    events = "      Events: {E: {Type: Schedule, Properties: {Name: n, Schedule: rate(1 day)}}}\n"
    template.write_text(HEAD + events)
    report(cli("deploy", str(template), "--json"))
    status, _, err = cli("schedule", "create", "m", "F", "rate(1 day)", "--catch-up", "all")
    assert status == 0, err
    template.write_text(HEAD + events.replace("Name: n", "Name: m").replace("1 day", "2 days"))
    report(cli("deploy", str(template), "--json"))
    (schedule,) = server.run(server.services.catalogue.list_triggers(Schedule))
    assert (schedule.name, schedule.expression, schedule.catch_up.value) == ("m", "rate(2 days)", "all")


def test_rules_and_times_that_the_server_writes_otherwise_are_no_changes(cli: Command, template: Path) -> None:
    text = (
        HEAD
        + """\
      FunctionUrlConfig: {AuthType: NONE, Cors: {AllowOrigins: ["*"], AllowCredentials: false, MaxAge: 0}}
      Events:
        E:
          Type: ScheduleV2
          Properties: {ScheduleExpression: rate(1 day), StartDate: "2030-01-31T12:00:00+02:00", EndDate: 2031-01-31}
"""
    )
    template.write_text(text)
    report(cli("deploy", str(template), "--json"))
    again = report(cli("deploy", str(template), "--json"))["functions"][0]
    assert (again["action"], again["changes"]) == ("unchanged", [])


@pytest.mark.parametrize("name", ["sensors", "nightly"])
def test_the_examples_with_event_sources_deploy_twice(cli: Command, server: ApiServer, name: str) -> None:
    overrides = ("--parameter-overrides", "Runtime=python3.12", "--json")
    report(cli("deploy", str(EXAMPLES / name), *overrides))
    follow(server)
    assert report(cli("deploy", str(EXAMPLES / name), *overrides))["functions"][0]["action"] == "unchanged"
