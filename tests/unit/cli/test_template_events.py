"""Events and event sources of a template: every property is carried out with its default, or refused with its line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from fnrunner.cli.deploy.fault import TemplateFault
from fnrunner.cli.deploy.naming import Situation
from fnrunner.cli.deploy.spec import ApiSpec, QueueSpec, RouteSpec, Stack, StreamSpec
from fnrunner.cli.deploy.template import read_template
from fnrunner.cli.deploy.trigger import Kind, TriggerSpec

FOLDER = Path(__file__).parent
HEAD = """\
Transform: AWS::Serverless-2016-10-31
Resources:
  Clicks:
    Type: AWS::Kinesis::Stream
    Properties: {ShardCount: 3}
  Failures:
    Type: AWS::SQS::Queue
  Jobs:
    Type: AWS::SQS::Queue
    Properties:
      VisibilityTimeout: 60
      RedrivePolicy: {deadLetterTargetArn: !GetAtt Dead.Arn, maxReceiveCount: 5}
  Dead:
    Type: AWS::SQS::Queue
  News:
    Type: AWS::SNS::Topic
    Properties: {TopicName: news}
  F:
    Type: AWS::Serverless::Function
    Properties:
      InlineCode: "def handler(event, context): pass"
      Handler: index.handler
      Runtime: python3.12
"""
STREAM = "arn:aws:kinesis:us-east-1:000000000000:stream/Clicks"


def read(text: str, **situation: Mapping[str, str]) -> Stack:
    return read_template(text, Situation(FOLDER / "template.yaml", **situation))


def with_events(text: str) -> str:
    """The template with these events; indented from 0."""
    return HEAD + "      Events:\n" + "".join(f"        {line}\n" for line in dedent(text).strip().splitlines())


def only(text: str) -> TriggerSpec:
    (function,) = read(with_events(text)).functions
    assert function.triggers is not None
    (trigger,) = function.triggers
    return trigger


def faults_of(text: str) -> list[str]:
    with pytest.raises(TemplateFault) as caught:
        read(text)
    return caught.value.lines


STREAM_DEFAULTS: dict[str, Any] = {
    "Enabled": True, "BatchSize": 100, "FilterCriteria": {"Filters": []}, "DestinationConfig": {"OnFailure": {}},
    "MaximumRecordAgeInSeconds": -1, "MaximumRetryAttempts": -1, "BisectBatchOnFunctionError": False,
    "MaximumBatchingWindowInSeconds": 0, "ParallelizationFactor": 1, "TumblingWindowInSeconds": 0,
    "FunctionResponseTypes": [],
}  # fmt: skip


def test_a_stream_s_event_has_every_default_said() -> None:
    found = only("E: {Type: Kinesis, Properties: {Stream: !GetAtt Clicks.Arn, StartingPosition: LATEST}}")
    assert found == TriggerSpec(Kind.MAPPING, "E", STREAM, STREAM_DEFAULTS, {"StartingPosition": "LATEST"})


def test_every_property_of_a_stream_s_event_is_carried_out() -> None:
    found = only("""
        E:
          Type: Kinesis
          Properties:
            Stream: !GetAtt Clicks.Arn
            StartingPosition: AT_TIMESTAMP
            StartingPositionTimestamp: 1700000000
            BatchSize: 5
            Enabled: false
            MaximumBatchingWindowInSeconds: 7
            ParallelizationFactor: 2
            MaximumRecordAgeInSeconds: 60
            MaximumRetryAttempts: -1
            BisectBatchOnFunctionError: true
            TumblingWindowInSeconds: 30
            FunctionResponseTypes: [ReportBatchItemFailures]
            FilterCriteria: {Filters: [{Pattern: '{"data": {"a": [1]}}'}]}
            DestinationConfig: {OnFailure: {Type: SQS, Destination: !GetAtt Failures.Arn}}
    """)
    assert found.fixed == {"StartingPosition": "AT_TIMESTAMP", "StartingPositionTimestamp": 1.7e9}
    assert found.body == {
        "BatchSize": 5, "Enabled": False, "MaximumBatchingWindowInSeconds": 7, "ParallelizationFactor": 2,
        "MaximumRecordAgeInSeconds": 60, "MaximumRetryAttempts": -1, "BisectBatchOnFunctionError": True,
        "TumblingWindowInSeconds": 30, "FunctionResponseTypes": ["ReportBatchItemFailures"],
        "FilterCriteria": {"Filters": [{"Pattern": '{"data": {"a": [1]}}'}]},
        "DestinationConfig": {"OnFailure": {"Destination": "arn:aws:sqs:us-east-1:000000000000:Failures"}},
    }  # fmt: skip


def test_queues_brokers_and_kafka_are_mappings_of_their_kind() -> None:
    queue = only("E: {Type: SQS, Properties: {Queue: !GetAtt Jobs.Arn, ScalingConfig: {MaximumConcurrency: 2}}}")
    assert queue.body["BatchSize"] == 10
    assert queue.body["ScalingConfig"] == {"MaximumConcurrency": 2}
    broker = only("""
        E:
          Type: MQ
          Properties:
            Broker: arn:aws:mq:us-east-1:000000000000:broker:fnrunner:b-1
            Queues: [todo]
            SourceAccessConfigurations: [{Type: VIRTUAL_HOST, URI: /}]
    """)
    assert broker.key == "arn:aws:mq:us-east-1:000000000000:broker:fnrunner:b-1 todo"
    assert broker.body["SourceAccessConfigurations"] == [{"Type": "VIRTUAL_HOST", "URI": "/"}]
    kafka = only("""
        E:
          Type: SelfManagedKafka
          Properties:
            KafkaBootstrapServers: ["b:9092", "a:9092"]
            Topics: [orders]
            StartingPosition: TRIM_HORIZON
            ConsumerGroupId: mine
    """)
    assert kafka.key == "a:9092,b:9092 orders"
    assert kafka.fixed == {
        "StartingPosition": "TRIM_HORIZON", "SelfManagedKafkaEventSourceConfig": {"ConsumerGroupId": "mine"}
    }  # fmt: skip


def test_schedules_are_named_after_the_function_and_the_event() -> None:
    rule = only("""E: {Type: Schedule, Properties: {Schedule: rate(5 minutes), Enabled: false, Input: '{"a": 1}'}}""")
    assert (rule.kind, rule.key) == (Kind.SCHEDULE, "F-E")
    assert rule.body == {
        "expression": "rate(5 minutes)", "timezone": "UTC", "enabled": False, "input": '{"a": 1}', "description": "",
        "start": None, "end": None, "flexible_window_s": 0.0,
    }  # fmt: skip
    schedule = only("""
        E:
          Type: ScheduleV2
          Properties:
            Name: nightly
            ScheduleExpression: cron(0 2 * * ? *)
            ScheduleExpressionTimezone: Europe/Berlin
            FlexibleTimeWindow: {Mode: FLEXIBLE, MaximumWindowInMinutes: 15}
            StartDate: 2030-01-01T00:00:00Z
            State: DISABLED
    """)
    assert schedule.key == "nightly"
    assert schedule.body["timezone"] == "Europe/Berlin"
    assert (schedule.body["flexible_window_s"], schedule.body["enabled"]) == (900.0, False)
    assert schedule.body["start"] == "2030-01-01T00:00:00+00:00"


def test_a_topic_s_event_has_its_policy_as_one_text() -> None:
    found = only(
        "E: {Type: SNS, Properties: {Topic: !Ref News, FilterPolicy: {store: [north], price: [{numeric: ['>', 5]}]}}}"
    )
    assert (found.kind, found.key) == (Kind.SUBSCRIPTION, "news")
    assert found.body == {
        "filter_policy": '{"price":[{"numeric":[">",5]}],"store":["north"]}', "filter_scope": "MessageAttributes"
    }  # fmt: skip


def test_a_function_url_is_a_trigger_and_answers_to_getatt() -> None:
    text = HEAD + "      FunctionUrlConfig: {AuthType: NONE, Cors: {AllowOrigins: ['*'], MaxAge: 5}}\n"
    text += "Outputs: {Url: {Value: !GetAtt FUrl.FunctionUrl}}\n"
    (function,) = read(text).functions
    assert function.triggers == (
        TriggerSpec(
            Kind.URL, "FunctionUrl", "",
            {"AuthType": "NONE", "InvokeMode": "BUFFERED", "Cors": {"AllowOrigins": ["*"], "MaxAge": 5}},
        ),
    )  # fmt: skip
    assert read(text).outputs == {"Url": "<the URL of function F>"}
    assert read(text, urls={"F": "http://u/"}).outputs == {"Url": "http://u/"}


API = """
  Shop:
    Type: AWS::Serverless::HttpApi
    Properties: {StageName: prod, CorsConfiguration: {AllowOrigins: [https://a.example], AllowCredentials: true}}
"""


def test_routes_are_gathered_under_their_apis() -> None:
    events = """
        One: {Type: HttpApi, Properties: {ApiId: !Ref Shop, Method: get, Path: "/items/{id}", TimeoutInMillis: 500}}
        Rest: {Type: HttpApi}
    """
    outputs = """
Outputs:
  Shop: {Value: !GetAtt Shop.ApiEndpoint}
  Aws: {Value: !Sub "https://${ServerlessHttpApi}.execute-api.${AWS::Region}.${AWS::URLSuffix}/x"}
"""
    stack = read(with_events(events) + API + outputs, apis={"serverlesshttpapi": "http://s/", "shop": "http://shop/"})
    assert stack.apis == (
        ApiSpec(
            "shop", "prod", {"allow_origins": ["https://a.example"], "allow_credentials": True},
            (RouteSpec("One", "shop", "F", "GET", "/items/{id}", 500),),
        ),
        ApiSpec("serverlesshttpapi", routes=(RouteSpec("Rest", "serverlesshttpapi", "F"),)),
    )  # fmt: skip
    assert stack.outputs == {"Shop": "http://shop", "Aws": "http://s/x"}


REST = """
  Shop:
    Type: AWS::Serverless::Api
    Properties:
      StageName: !Sub "v${AWS::Region}"
      Name: the shop
      EndpointConfiguration: {Type: REGIONAL}
      Cors: {AllowOrigin: "'https://a.example'", AllowMethods: "'GET, POST'", MaxAge: "'600'"}
"""


def test_routes_of_rest_apis_are_gathered_under_theirs() -> None:
    events = """
        One: {Type: Api, Properties: {RestApiId: !Ref Shop, Method: get, Path: "/items/{id}", TimeoutInMillis: 500}}
        Two: {Type: Api, Properties: {Path: /hello, Method: any}}
        Three: {Type: HttpApi, Properties: {Path: /hello, PayloadFormatVersion: '1.0'}}
    """
    rest = """
Globals: {Api: {Cors: "'*'", OpenApiVersion: 3.0.1, TracingEnabled: true}}
Outputs:
  Hello: {Value: !Sub "https://${ServerlessRestApi}.execute-api.${AWS::Region}.amazonaws.com/Prod/hello/"}
  Shop: {Value: !Sub "https://${Shop}.execute-api.${AWS::Region}.amazonaws.com/${Shop.Stage}/items"}
  Stages: {Value: !Join [",", [!Ref Shop.Stage, !Ref ServerlessRestApiProdStage, !Ref ServerlessRestApi.Stage]]}
"""
    stack = read(with_events(events) + REST + rest, apis={"serverlessrestapi": "http://r/", "shop": "http://shop/"})
    rules = {"allow_origins": ["https://a.example"], "allow_methods": ["GET", "POST"], "max_age_s": 600}
    first = RouteSpec("One", "shop", "F", "GET", "/items/{id}", 500, type="rest", payload="1.0")
    second = RouteSpec("Two", "serverlessrestapi", "F", "ANY", "/hello", type="rest", payload="1.0")
    third = RouteSpec("Three", "serverlesshttpapi", "F", "ANY", "/hello", payload="1.0")
    everybody = {"allow_origins": ["*"], "allow_methods": ["*"]}
    assert stack.apis == (
        ApiSpec("shop", "vus-east-1", rules, (first,), "rest"),
        ApiSpec("serverlessrestapi", "Prod", everybody, (second,), "rest"),
        ApiSpec("serverlesshttpapi", routes=(third,)),
    )
    assert stack.outputs == {
        "Hello": "http://r/Prod/hello/",
        "Shop": "http://shop/vus-east-1/items",
        "Stages": "vus-east-1,Prod,Prod",
    }
    assert [warning for warning in stack.warnings if "Shop" in warning] == [
        "template.yaml: Resources.Shop: Name has no effect: the API is called shop"
    ]


def test_globals_are_of_the_http_api_that_nobody_names_too() -> None:
    events = "E: {Type: HttpApi}"
    stack = read(with_events(events) + "Globals: {HttpApi: {CorsConfiguration: {AllowOrigins: ['*']}}}")
    assert [api.cors for api in stack.apis] == [{"allow_origins": ["*"]}]


def test_streams_queues_and_topics_are_read_with_what_they_are() -> None:
    stack = read(
        HEAD + "Outputs: {T: {Value: !Ref News}, N: {Value: !GetAtt News.TopicName}, S: {Value: !Ref Clicks}}\n"
    )
    assert stack.streams == (StreamSpec("Clicks", 3),)
    assert stack.topics == ("news",)
    redrive = {"visibility_timeout_s": 60, "max_receive_count": 5, "dead_letter_queue": "Dead"}
    assert stack.queues == (QueueSpec("Failures"), QueueSpec("Dead"), QueueSpec("Jobs", redrive))
    assert stack.outputs == {"T": "arn:aws:sns:us-east-1:000000000000:news", "N": "news", "S": "Clicks"}


def test_a_mapping_may_be_a_resource_of_its_own() -> None:
    text = """
  M:
    Type: AWS::Lambda::EventSourceMapping
    Properties:
      FunctionName: !GetAtt F.Arn
      EventSourceArn: !GetAtt Clicks.Arn
      StartingPosition: TRIM_HORIZON
      BatchSize: 9
"""
    (function,) = read(HEAD + text).functions
    assert function.triggers == (
        TriggerSpec(
            Kind.MAPPING, "M", STREAM, {**STREAM_DEFAULTS, "BatchSize": 9}, {"StartingPosition": "TRIM_HORIZON"}
        ),
    )


def refused(text: str) -> str:
    return "\n".join(faults_of(text))


def kinesis(more: str) -> str:
    return "E: {Type: Kinesis, Properties: {Stream: !GetAtt Clicks.Arn, StartingPosition: LATEST, " + more + "}}"


def sqs(more: str) -> str:
    return "E: {Type: SQS, Properties: {Queue: !GetAtt Jobs.Arn, " + more + "}}"


def scheduled(more: str) -> str:
    return "E: {Type: ScheduleV2, Properties: {ScheduleExpression: rate(1 day), " + more + "}}"


@pytest.mark.parametrize(
    ("event", "said"),
    [
        ("E: {Type: Api, Properties: {Path: /}}", "has no Method"),
        ("E: {Type: Api}", "has no Properties"),
        (
            "E: {Type: Api, Properties: {Path: /, Method: get, RequestModel: {}}}",
            "Properties.RequestModel is not supported",
        ),
        (
            "E: {Type: Api, Properties: {Path: /, Method: get, Auth: {ApiKeyRequired: true}}}",
            "ApiKeyRequired is not supported",
        ),
        (
            "E: {Type: Api, Properties: {Path: /, Method: get, RestApiId: x}}",
            "the API x, which is no AWS::Serverless::Api",
        ),
        (
            "E: {Type: Api, Properties: {Path: /, Method: get, RestApiId: serverlesshttpapi}}",
            "is no AWS::Serverless::Api",
        ),
        ("E: {Type: HttpApi, Properties: {ApiId: !Ref ServerlessRestApi}}", "which is no AWS::Serverless::HttpApi"),
        ("E: {Type: DocumentDB}", "nothing here reads Amazon DocumentDB"),
        ("E: {Type: MSK}", "use SelfManagedKafka"),
        ("E: {Type: Kinesis, Properties: {Stream: !GetAtt Clicks.Arn}}", "has no StartingPosition, which it needs"),
        ("E: {Type: Kinesis, Properties: {Stream: Clicks, StartingPosition: LATEST}}", "it takes an ARN of kinesis"),
        (kinesis("MaximumRecordAgeInSeconds: 5"), "it takes a whole number from 60"),
        (kinesis("DestinationConfig: {OnFailure: {Type: S3, Destination: x}}"), "it takes SQS or SNS"),
        (sqs("ParallelizationFactor: 2"), "ParallelizationFactor is not supported"),
        (sqs("KmsKeyArn: k"), "KmsKeyArn is not supported"),
        (sqs("ProvisionedPollerConfig: {}"), "ProvisionedPollerConfig is not supported"),
        (sqs("FilterCriteria: {Filters: [{Pattern: '{'}]}"), "Pattern is no filter pattern"),
        ("E: {Type: SNS, Properties: {Topic: !Ref News, SqsSubscription: true}}", "SqsSubscription is not supported"),
        ("E: {Type: SNS, Properties: {Topic: !Ref News, RedrivePolicy: {}}}", "RedrivePolicy is not supported"),
        ("E: {Type: Schedule, Properties: {Schedule: cron(* * * * *)}}", "Schedule is no schedule: cron has 5 fields"),
        ("E: {Type: Schedule, Properties: {Schedule: rate(1 day), Input: '{'}}", "Input is no JSON"),
        ("E: {Type: Schedule, Properties: {Schedule: rate(1 day), RetryPolicy: {}}}", "RetryPolicy is not supported"),
        (scheduled("GroupName: g"), "GroupName is 'g': it takes default"),
        (
            "E: {Type: S3, Properties: {Bucket: b, Events: 's3:ObjectCreated:*', "
            "Filter: {S3Key: {Rules: [{Name: prefix, Value: a}, {Name: prefix, Value: b}]}}}}",
            "Rules have more than one prefix",
        ),
        (scheduled("StartDate: soon"), "it takes a time such as"),
        (scheduled("EndDate: [2030-01-01T00:00:00Z]"), "EndDate is a list: it takes a time such as"),
        (
            scheduled("FlexibleTimeWindow: {Mode: FLEXIBLE}"),
            "has no MaximumWindowInMinutes, which the Mode FLEXIBLE needs",
        ),
        (scheduled("FlexibleTimeWindow: {Mode: 'OFF', MaximumWindowInMinutes: 5}"), "has no effect with the Mode OFF"),
        ("E: {Type: HttpApi, Properties: {Method: get}}", "Method is GET, but the route has no Path of its own"),
        ("E: {Type: HttpApi, Properties: {Method: get, Path: $default}}", "Method is GET, but the route has no Path"),
        ("E: {Type: HttpApi, Properties: {Auth: {}}}", "Auth is not supported"),
        ("E: {Type: HttpApi, Properties: {PayloadFormatVersion: '3.0'}}", "it takes 2.0 or 1.0"),
        ("E: {Type: HttpApi, Properties: {ApiId: other}}", "names the API other, which is no AWS::Serverless::HttpApi"),
        ("E: {Type: HttpApi}\nG: {Type: HttpApi}", "has the route $default, as F.E has"),
        (
            "\n".join((sqs("BatchSize: 1"), sqs("BatchSize: 2").replace("E:", "G:", 1))),
            "has more than one event source mapping of arn:aws:sqs",
        ),
    ],
)
def test_what_an_event_cannot_have_is_refused_with_its_line(event: str, said: str) -> None:
    lines = faults_of(with_events(event))
    assert any(said in line for line in lines), lines
    assert all(line.startswith("template.yaml:") and ":0:" not in line for line in lines)


@pytest.mark.parametrize(
    ("resource", "said"),
    [
        ("T: {Type: AWS::DynamoDB::Table}", "T Type AWS::DynamoDB::Table is not supported: there are no tables here"),
        ("T: {Type: AWS::Serverless::SimpleTable}", "there are no tables here"),
        ("S: {Type: AWS::Scheduler::Schedule}", "has no Target, which it needs"),
        ("A: {Type: AWS::Serverless::Api}", "has no StageName"),
        ("A: {Type: AWS::Serverless::Api, Properties: {StageName: x}}", "an event of the type Api with its RestApiId"),
        ("A: {Type: AWS::Serverless::Api, Properties: {StageName: x, Auth: {}}}", "Properties.Auth is not supported"),
        ("A: {Type: AWS::Serverless::Api, Properties: {StageName: x, Cors: {AllowHeaders: a}}}", "has no AllowOrigin"),
        ("A: {Type: AWS::Serverless::HttpApi}", "has no routes"),
        ("A: {Type: AWS::Serverless::HttpApi, Properties: {Domain: {}}}", "Domain is not supported"),
        ("Q: {Type: AWS::SQS::Queue, Properties: {QueueName: a.fifo}}", "the name of a FIFO queue ends with .fifo"),
        ("Q: {Type: AWS::SQS::Queue, Properties: {MessageRetentionPeriod: 5}}", "MessageRetentionPeriod is not supported"),
        ("S: {Type: AWS::Kinesis::Stream, Properties: {RetentionPeriodHours: 24}}", "RetentionPeriodHours is not supported"),
        ("S: {Type: AWS::Kinesis::Stream, Properties: {StreamModeDetails: {StreamMode: ON_DEMAND}}}", "it takes PROVISIONED"),
        ("S: {Type: AWS::SNS::Topic, Properties: {KmsMasterKeyId: a}}", "KmsMasterKeyId is not supported"),
        (
            "M: {Type: AWS::Lambda::EventSourceMapping, Properties: {FunctionName: other, EventSourceArn: !GetAtt Jobs.Arn}}",
            "names other, which is no function of this template",
        ),
        ("M: {Type: AWS::Lambda::EventSourceMapping, Properties: {FunctionName: !Ref F}}", "has neither EventSourceArn nor"),
        (
            "M: {Type: AWS::Lambda::EventSourceMapping, Properties: {FunctionName: !Ref F, KmsKeyArn: k}}",
            "KmsKeyArn is not supported",
        ),
    ],
)  # fmt: skip
def test_what_a_resource_cannot_be_is_refused_with_what_to_use_instead(resource: str, said: str) -> None:
    assert said in refused(HEAD + "  " + resource + "\n")


EXAMPLES = sorted((FOLDER.parents[2] / "examples").glob("*/template.yaml"))


@pytest.mark.parametrize("file", EXAMPLES, ids=[file.parent.name for file in EXAMPLES])
def test_the_templates_of_the_examples_can_be_read(file: Path) -> None:
    assert read_template(file.read_text(), Situation(file)).functions


@pytest.mark.parametrize("written", ["2030-01-31T12:00:00", "2030-01-31T14:00:00+02:00", "2030-01-31T12:00:00Z"])
def test_times_are_compared_as_the_server_tells_them(written: str) -> None:
    assert only(scheduled(f"StartDate: '{written}'")).body["start"] == "2030-01-31T12:00:00+00:00"


def test_cross_origin_rules_that_are_off_are_as_good_as_absent() -> None:
    cors = "{AllowOrigins: [https://a.example], AllowCredentials: false, MaxAge: 0}"
    (function,) = read(HEAD + f"      FunctionUrlConfig: {{AuthType: NONE, Cors: {cors}}}\n").functions
    assert function.triggers is not None
    assert function.triggers[0].body["Cors"] == {"AllowOrigins": ["https://a.example"]}
