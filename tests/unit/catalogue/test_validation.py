from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fnrunner.catalogue import event_invoke, functions
from fnrunner.catalogue.errors import CatalogueError, InvalidParameterValue, ValidationFailed
from fnrunner.catalogue.validation import check_function, check_name
from fnrunner.model.arn import Home
from fnrunner.model.function import Code, EventInvokeConfig, Function

HOME = Home()
NOW = datetime(2026, 1, 2, tzinfo=UTC)
GOOD = Function(
    name="f", runtime="python3.12", handler="app.handler", role=HOME.role(), code=Code("d", 1),
    log_group="/aws/lambda/f",
)  # fmt: skip
UNABLE = (
    "Lambda was unable to configure your environment variables because the environment variables you have provided "
)


def broken(path: str, value: object, rule: str) -> str:
    return f"1 validation error detected: Value '{value}' at '{path}' failed to satisfy constraint: {rule}"


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        ({"timeout": timedelta(seconds=1200)}, "ValidationException",
         broken("timeout", 1200, "Member must have value less than or equal to 900")),
        ({"timeout": timedelta(0)}, "ValidationException",
         broken("timeout", 0, "Member must have value greater than or equal to 1")),
        ({"memory_mb": 64}, "ValidationException",
         broken("memorySize", 64, "Member must have value greater than or equal to 128")),
        ({"memory_mb": 20_000}, "ValidationException",
         broken("memorySize", 20000, "Member must have value less than or equal to 10240")),
        ({"ephemeral_storage_mb": 511}, "ValidationException",
         broken("ephemeralStorage.size", 511, "Member must have value greater than or equal to 512")),
        ({"description": "d" * 257}, "ValidationException",
         broken("description", "d" * 257, "Member must have length less than or equal to 256")),
        ({"handler": "a b"}, "ValidationException",
         broken("handler", "a b", "Member must satisfy regular expression pattern: [^\\s]+")),
        ({"handler": "h" * 129}, "ValidationException",
         broken("handler", "h" * 129, "Member must have length less than or equal to 128")),
        ({"role": "admin"}, "ValidationException",
         broken("role", "admin", "Member must satisfy regular expression pattern: "
                "arn:(aws[a-zA-Z-]*)?:iam::\\d{12}:role/?[a-zA-Z_0-9+=,.@\\-_/]+")),
        ({"role": ""}, "ValidationException",
         "1 validation error detected: Value null at 'role' failed to satisfy constraint: Member must not be null"),
        ({"architecture": "X86_64"}, "ValidationException",
         broken("architectures", "[X86_64]", "Member must satisfy constraint: [Member must satisfy enum value set: "
                "[x86_64, arm64], Member must not be null]")),
        ({"tracing_mode": "On"}, "ValidationException",
         broken("tracingConfig.mode", "On", "Member must satisfy enum value set: [Active, PassThrough]")),
        ({"log_format": "XML"}, "ValidationException",
         broken("loggingConfig.logFormat", "XML", "Member must satisfy enum value set: [JSON, Text]")),
        ({"timeout": timedelta(0), "memory_mb": 1}, "ValidationException",
         "2 validation errors detected: Value '0' at 'timeout' failed to satisfy constraint: Member must have value "
         "greater than or equal to 1; Value '1' at 'memorySize' failed to satisfy constraint: Member must have value "
         "greater than or equal to 128"),
        ({"handler": ""}, "InvalidParameterValueException",
         "Runtime and Handler are mandatory parameters for functions created with deployment packages."),
        ({"runtime": "python2.7"}, "InvalidParameterValueException",
         "The runtime parameter of python2.7 is no longer supported for creating or updating AWS Lambda functions. We "
         "recommend you use a supported runtime while creating or updating functions."),
        ({"environment": {"AWS_REGION": "x"}}, "InvalidParameterValueException",
         f"{UNABLE}contains reserved keys that are currently not supported for modification. Reserved keys used in this "
         "request: AWS_REGION"),
        ({"environment": {"K": "v" * 4096}}, "ValidationException", None),
        ({"environment": {"KEY": "v" * 4087}}, "InvalidParameterValueException",
         f'{UNABLE}exceeded the 4KB limit. String measured: {{"KEY":"{"v" * 4087}"}}'),
        ({"environment": {"KEY": "a\0b"}}, "InvalidParameterValueException", None),
        ({"environment": {"KEY": "\ud800"}}, "InvalidParameterValueException", None),
        ({"environment": {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/w"}, "runtime": "provided.al2023"},
         "InvalidParameterValueException", None),
        ({"tags": {str(number): "" for number in range(51)}}, "InvalidParameterValueException",
         "Number of tags exceeds resource tag limit."),
        ({"tags": {"aws:own": ""}}, "InvalidParameterValueException", None),
        ({"application_log_level": "INFO"}, "InvalidParameterValueException",
         'LogLevel is not supported when LogFormat is set to "Text". Remove LogLevel from your request or change the '
         'LogFormat to "JSON" and try again.'),
        ({"dead_letter_arn": "arn:aws:s3:::b"}, "InvalidParameterValueException", None),
    ],
)  # fmt: skip
def test_each_mistake_has_lambdas_code_and_words(changes: dict[str, Any], code: str, message: str | None) -> None:
    with pytest.raises(CatalogueError) as caught:
        check_function(replace(GOOD, **changes))
    assert (caught.value.code, caught.value.status, caught.value.message_key) == (code, 400, "message")
    assert message is None or str(caught.value) == message
    assert caught.value.type == ("" if code == "ValidationException" else "User")


@pytest.mark.parametrize(
    "changes",
    [
        {"timeout": timedelta(seconds=900)},
        {"memory_mb": 10_240},
        {"environment": {"KEY": "v" * 4086}},
        {"description": "d" * 256},
        {"dead_letter_arn": "arn:aws:sqs:us-east-1:000000000000:q"},
        {"log_format": "JSON", "application_log_level": "TRACE", "system_log_level": "WARN"},
        *({"runtime": f"python3.{minor}"} for minor in range(11, 15)),
        *({"runtime": name} for name in ("nodejs20.x", "nodejs24.x", "provided.al2", "provided.al2023")),
    ],
)
def test_what_is_just_within_the_limits_is_taken(changes: dict[str, Any]) -> None:
    check_function(replace(GOOD, **changes))


@pytest.mark.parametrize("runtime", ["nodejs18.x", "java21", "custom", "ruby3.4", "dotnet8"])
def test_another_runtime_is_refused_by_name(runtime: str) -> None:
    with pytest.raises(InvalidParameterValue, match=rf"{runtime} is not supported: .* runs Python, Node"):
        check_function(replace(GOOD, runtime=runtime))


def test_a_runtime_that_does_not_exist_gets_the_list_of_those_that_do() -> None:
    with pytest.raises(InvalidParameterValue, match=r"^Value cobol at 'runtime' failed .* or be a valid ARN$"):
        check_function(replace(GOOD, runtime="cobol"))


def test_a_variables_value_is_not_repeated_when_its_key_is_wrong() -> None:
    with pytest.raises(ValidationFailed) as caught:
        check_function(replace(GOOD, environment={"1KEY": "hunter2"}))
    assert "1KEY=***" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_name_that_is_too_long_and_one_with_wrong_characters_differ_as_on_lambda() -> None:
    with pytest.raises(InvalidParameterValue) as caught:
        check_name("n" * 65)
    rule = "Member must have length less than or equal to 64"
    assert str(caught.value) == broken("functionName", "n" * 65, rule)
    for name in ("", "with space", "f/g", "f:1"):
        with pytest.raises(ValidationFailed, match="at 'functionName' failed to satisfy constraint"):
            check_name(name)


def test_json_logging_takes_default_levels_and_loses_them_with_text() -> None:
    json = functions.changed(GOOD, {"log_format": "JSON"}, NOW)
    assert (json.application_log_level, json.system_log_level) == ("INFO", "INFO")
    text = functions.changed(json, {"log_format": "Text"}, NOW)
    assert (text.application_log_level, text.system_log_level) == ("", "")


def test_every_change_has_a_revision_of_its_own_even_one_that_changes_nothing() -> None:
    first = functions.changed(GOOD, {}, NOW)
    second = functions.changed(first, {}, NOW)
    assert len({GOOD.revision_id, first.revision_id, second.revision_id}) == 3
    assert second.last_modified == NOW


def test_what_is_no_configuration_cannot_be_changed() -> None:
    with pytest.raises(TypeError, match="revision_id"):
        functions.changed(GOOD, {"revision_id": "x"}, NOW)


def test_a_draft_does_not_keep_the_callers_mapping() -> None:
    variables = {"KEY": "old"}
    made = functions.drafted(replace(GOOD, environment=variables), GOOD.code, NOW)
    variables["KEY"] = "new"
    assert made.environment["KEY"] == "old"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "You must specify at least one of error handling or destination setting."),
        ({"max_retries": 3}, broken("maximumRetryAttempts", 3, "Member must have value less than or equal to 2")),
        ({"max_age": timedelta(seconds=59)},
         broken("maximumEventAgeInSeconds", 59, "Member must have value greater than or equal to 60")),
        ({"on_success": HOME.function("f")}, "You can't specify the function as a destination for itself."),
        ({"on_failure": HOME.function("f", "$LATEST")}, "You can't specify the function as a destination for itself."),
        ({"on_success": "arn:aws:lambda:us-east-1:000000000000:layer:l"},
         "The destination ARN arn:aws:lambda:us-east-1:000000000000:layer:l is invalid."),
        ({"on_success": "arn:aws:lambda:eu-west-1:000000000000:function:g"},
         "The destination ARN arn:aws:lambda:eu-west-1:000000000000:function:g is invalid."),
        ({"on_success": "arn:aws:s3:::b"},
         "The provided destination config DestinationConfig(onSuccess=OnSuccess(destination=arn:aws:s3:::b), "
         "onFailure=null) is invalid. Destinations are Lambda functions, SQS queues and SNS topics."),
    ],
)  # fmt: skip
def test_each_mistake_about_events_has_lambdas_words(values: dict[str, Any], message: str) -> None:
    with pytest.raises(CatalogueError) as caught:
        event_invoke.check(EventInvokeConfig("f", **values), HOME)
    assert str(caught.value) == message


def test_a_destination_that_is_no_arn_breaks_the_pattern() -> None:
    with pytest.raises(ValidationFailed, match=r"at 'destinationConfig\.onFailure\.destination'"):
        event_invoke.check(EventInvokeConfig("f", on_failure="queue"), HOME)


@pytest.mark.parametrize("target", [HOME.function("g"), HOME.queue("q"), "arn:aws:sns:us-east-1:000000000000:t"])
def test_functions_queues_and_topics_are_destinations(target: str) -> None:
    event_invoke.check(EventInvokeConfig("f", on_success=target, on_failure=target), HOME)
