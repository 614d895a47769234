"""A function is described key for key as Lambda does."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from fnrunner.api.document import configuration, event_invoke_config, listed
from fnrunner.model.arn import Home
from fnrunner.model.function import Code, EventInvokeConfig, Function, State, UpdateStatus

HOME = Home()
AT = datetime(2025, 1, 2, 3, 4, 5, 678_900, tzinfo=UTC)
FUNCTION = Function(
    name="f", runtime="python3.12", handler="app.handler", code=Code("00" * 32, 276), role=HOME.role("r"),
    architecture="x86_64", last_modified=AT, revision_id="rev",
)  # fmt: skip
EXPECTED = {
    "FunctionName": "f",
    "FunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:f",
    "Runtime": "python3.12",
    "Role": "arn:aws:iam::000000000000:role/r",
    "Handler": "app.handler",
    "CodeSize": 276,
    "Description": "",
    "Timeout": 3,
    "MemorySize": 128,
    "LastModified": "2025-01-02T03:04:05.678+0000",
    "CodeSha256": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    "Version": "$LATEST",
    "TracingConfig": {"Mode": "PassThrough"},
    "RevisionId": "rev",
    "PackageType": "Zip",
    "Architectures": ["x86_64"],
    "EphemeralStorage": {"Size": 512},
    "SnapStart": {"ApplyOn": "None", "OptimizationStatus": "Off"},
    "LoggingConfig": {"LogFormat": "Text", "LogGroup": "/aws/lambda/f"},
}


def test_a_plain_function_has_these_keys_and_no_others() -> None:
    assert listed(FUNCTION, HOME) == EXPECTED
    assert configuration(FUNCTION, HOME) == {**EXPECTED, "State": "Active", "LastUpdateStatus": "Successful"}


def test_what_was_set_is_there() -> None:
    function = replace(
        FUNCTION, has_environment=True, dead_letter_arn=HOME.queue("q"), timeout=timedelta(minutes=15),
        log_format="JSON", application_log_level="WARN", log_group="/mine",
    )  # fmt: skip
    assert configuration(function, HOME, qualifier="$LATEST") == {
        **EXPECTED,
        "FunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:f:$LATEST",
        "Environment": {"Variables": {}},
        "DeadLetterConfig": {"TargetArn": "arn:aws:sqs:us-east-1:000000000000:q"},
        "Timeout": 900,
        "LoggingConfig": {
            "LogFormat": "JSON", "LogGroup": "/mine", "ApplicationLogLevel": "WARN", "SystemLogLevel": "INFO"
        },
        "State": "Active",
        "LastUpdateStatus": "Successful",
    }  # fmt: skip


def test_a_function_that_is_not_ready_says_why() -> None:
    document = configuration(replace(FUNCTION, state=State.PENDING, update_status=UpdateStatus.IN_PROGRESS), HOME)
    assert (document["State"], document["StateReasonCode"]) == ("Pending", "Creating")
    assert (document["LastUpdateStatus"], document["LastUpdateStatusReasonCode"]) == ("InProgress", "Creating")


def test_an_event_invoke_config_leaves_out_numbers_that_were_not_set() -> None:
    config = EventInvokeConfig("f", on_failure=HOME.queue("q"), last_modified=AT)
    assert event_invoke_config(config, HOME) == {
        "FunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:f:$LATEST",
        "LastModified": AT.timestamp(),
        "DestinationConfig": {"OnSuccess": {}, "OnFailure": {"Destination": HOME.queue("q")}},
    }
    full = event_invoke_config(replace(config, max_retries=0, max_age=timedelta(seconds=60)), HOME)
    assert (full["MaximumRetryAttempts"], full["MaximumEventAgeInSeconds"]) == (0, 60)
