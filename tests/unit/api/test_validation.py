"""What is wrong with a request is said in Lambda's words, and secrets are never repeated."""

from __future__ import annotations

from typing import Any

import pytest

from fnrunner.api import shape
from fnrunner.api.errors import InvalidRequestContent, ValidationFailed
from fnrunner.api.validation import validate

INPUTS = {operation.name: operation.input for operation in shape.load()}
ROLE = "arn:aws:iam::000000000000:role/r"
GOOD: dict[str, Any] = {"FunctionName": "f", "Role": ROLE, "Code": {"ZipFile": b"zip"}}


def refused(**changes: Any) -> str:
    with pytest.raises(ValidationFailed) as caught:
        validate(INPUTS["CreateFunction"], {**GOOD, **changes})
    return str(caught.value)


def test_a_good_request_passes() -> None:
    validate(INPUTS["CreateFunction"], {**GOOD, "Timeout": 900, "Architectures": ["arm64"], "Tags": {"clé": "é ü"}})


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"Timeout": 1200},
            "Value '1200' at 'timeout' failed to satisfy constraint: Member must have value less than or equal to 900",
        ),
        (
            {"MemorySize": 1},
            "Value '1' at 'memorySize' failed to satisfy constraint: Member must have value greater than or equal to 128",
        ),
        (
            {"EphemeralStorage": {"Size": 1}},
            "Value '1' at 'ephemeralStorage.size' failed to satisfy constraint: "
            "Member must have value greater than or equal to 512",
        ),
        (
            {"EphemeralStorage": {}},
            "Value null at 'ephemeralStorage.size' failed to satisfy constraint: Member must not be null",
        ),
        (
            {"Role": "admin"},
            "Value 'admin' at 'role' failed to satisfy constraint: Member must satisfy regular expression pattern: "
            r"arn:(aws[a-zA-Z-]*)?:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+",
        ),
        (
            {"Architectures": ["X86_64"]},
            "Value '[X86_64]' at 'architectures' failed to satisfy constraint: Member must satisfy constraint: "
            "[Member must satisfy enum value set: [x86_64, arm64], Member must not be null]",
        ),
        (
            {"LoggingConfig": {"LogFormat": "XML"}},
            "Value 'XML' at 'loggingConfig.logFormat' failed to satisfy constraint: "
            "Member must satisfy enum value set: [JSON, Text]",
        ),
    ],
)
def test_one_mistake_has_lambdas_sentence(changes: dict[str, Any], problem: str) -> None:
    assert refused(**changes) == f"1 validation error detected: {problem}"


def test_several_mistakes_are_all_named() -> None:
    message = refused(Timeout=0, Description="d" * 257)
    assert message.startswith("2 validation errors detected: ")
    assert "'timeout'" in message
    assert "'description'" in message


def test_what_is_missing_is_null() -> None:
    with pytest.raises(
        ValidationFailed, match="Value null at 'role' failed to satisfy constraint: Member must not be null"
    ):
        validate(INPUTS["CreateFunction"], {"FunctionName": "f", "Code": {}})


@pytest.mark.parametrize("variables", [{"1BAD": "s3cret"}, {"": "s3cret"}])
def test_values_of_variables_are_never_repeated(variables: dict[str, str]) -> None:
    message = refused(Environment={"Variables": variables})
    assert "s3cret" not in message
    assert "'***' at 'environment.variables'" in message


@pytest.mark.parametrize(
    "changes",
    [
        {"Timeout": "3"}, {"Timeout": True}, {"Timeout": 1.5}, {"Code": []}, {"Code": {"ZipFile": "text"}},
        {"Architectures": "arm64"}, {"Architectures": [1]}, {"Tags": {"a": 1}}, {"Publish": "true"},
        {"Environment": {"Variables": []}}, {"Description": "a\0b"},
    ],
)  # fmt: skip
def test_a_wrong_json_type_is_a_content_error(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestContent, match="Could not parse request body into json: '"):
        validate(INPUTS["CreateFunction"], {**GOOD, **changes})


def test_a_long_value_is_cut_in_the_message() -> None:
    assert len(refused(Role="x" * 100_000)) < 3_000


def test_structures_in_a_list_are_named_by_their_place() -> None:
    filters = {"Filters": [{"Pattern": "{}"}, {"Pattern": "x" * 4097}]}
    with pytest.raises(ValidationFailed) as caught:
        validate(INPUTS["CreateEventSourceMapping"], {"FunctionName": "f", "FilterCriteria": filters})
    assert "at 'filterCriteria.filters.2.member.pattern' failed to satisfy constraint: Member must have length" in str(
        caught.value
    )


def test_rules_of_a_list_in_a_map_are_all_named() -> None:
    source = {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": ["no port"]}}
    with pytest.raises(ValidationFailed) as caught:
        validate(INPUTS["CreateEventSourceMapping"], {"FunctionName": "f", "SelfManagedEventSource": source})
    assert "Map value must satisfy constraint: [Member must have length less than or equal to 10, " in str(caught.value)
    assert "Member must satisfy constraint: [Member must have length less than or equal to 300, " in str(caught.value)


def test_a_layer_s_runtime_is_judged_by_the_model_and_a_function_s_by_the_catalogue() -> None:
    validate(INPUTS["CreateFunction"], {**GOOD, "Runtime": "cobol"})
    with pytest.raises(
        ValidationFailed, match="at 'compatibleRuntime' failed to satisfy constraint: Member must satisfy"
    ):
        validate(INPUTS["ListLayers"], {"CompatibleRuntime": "cobol"})
