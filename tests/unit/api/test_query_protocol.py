"""AWS's query protocol: what botocore sends is read as it was meant, and what is answered is read by botocore."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.parsers import QueryParser
from botocore.serialize import QuerySerializer
from hypothesis import given
from hypothesis import strategies as st

from fnrunner.api.iam.protocol import read_params, render, render_error, validate
from fnrunner.auth.iam_error import ValidationError

IAM = ServiceModel(Loader().load_service_model("iam", "service-2"), "iam")
STS = ServiceModel(Loader().load_service_model("sts", "service-2"), "sts")


@pytest.mark.parametrize(
    ("service", "name", "params"),
    [
        (IAM, "CreateUser", {"UserName": "a", "Path": "/x/", "Tags": [{"Key": "k", "Value": "v w&="}]}),
        (IAM, "ListUsers", {"MaxItems": 7}),
        (IAM, "CreatePolicyVersion", {"PolicyArn": "arn:x", "PolicyDocument": "{ü}", "SetAsDefault": True}),
        (STS, "AssumeRole", {"RoleArn": "r", "RoleSessionName": "s", "PolicyArns": [{"arn": "1"}, {"arn": "2"}]}),
        (IAM, "SimulatePrincipalPolicy", {"PolicySourceArn": "x", "ActionNames": [f"a:{n}" for n in range(11)]}),
        (IAM, "GetUser", {}),
    ],
)
def test_parameters_come_as_they_were_given(service: ServiceModel, name: str, params: dict[str, Any]) -> None:
    operation = service.operation_model(name)
    body = QuerySerializer().serialize_to_request(params, operation)["body"]
    assert read_params(operation.input_shape, {key: str(value) for key, value in body.items()}) == params


def test_results_are_read_by_botocore() -> None:
    operation = IAM.operation_model("GetUser")
    user = {"UserName": "a<&>\"'", "UserId": "i", "Arn": "x", "Path": "/", "CreateDate": datetime(2024, 1, 2, tzinfo=UTC),
            "Tags": [{"Key": "k", "Value": "ü"}]}  # fmt: skip
    body = render(operation, {"User": user}, "request", "https://iam.amazonaws.com/doc/2010-05-08/")
    parsed = QueryParser().parse({"status_code": 200, "headers": {}, "body": body}, operation.output_shape)
    assert parsed["User"] == user
    assert parsed["ResponseMetadata"]["RequestId"] == "request"


def test_errors_are_read_by_botocore_whatever_they_say() -> None:
    body = render_error("NoSuchEntity", "not \0 <there>", 404, "request", "https://iam.amazonaws.com/doc/2010-05-08/")
    shape = IAM.operation_model("GetUser").output_shape
    parsed = QueryParser().parse({"status_code": 404, "headers": {}, "body": body}, shape)
    assert parsed["Error"] == {"Type": "Sender", "Code": "NoSuchEntity", "Message": "not \ufffd <there>"}


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({}, "Value null at 'userName' failed to satisfy constraint: Member must not be null"),
        ({"UserName": "a b"}, "Member must satisfy regular expression pattern"),
        ({"UserName": "a" * 65}, "Member must have length less than or equal to 64"),
        ({"UserName": ""}, "Member must have length greater than or equal to 1"),
        ({"UserName": "a", "Tags": [{"Key": "k"}]}, "at 'tags.1.member.value'"),
        ({"UserName": "a", "Path": "x"}, "at 'path'"),
    ],
)
def test_parameters_are_validated_by_the_model(params: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError) as error:
        validate(IAM.operation_model("CreateUser").input_shape, params)
    assert says in str(error.value)


def test_every_pattern_of_both_models_can_be_used() -> None:
    for service in (IAM, STS):
        for name in service.shape_names:
            shape = service.shape_for(name)
            if shape.type_name == "string":
                with contextlib.suppress(ValidationError):
                    validate(shape, "text")


KEYS = st.from_regex(r"(UserName|Tags|MaxItems|Path)(\.member\.[0-9]{1,5})?(\.(Key|Value|x))?", fullmatch=True)


@given(st.dictionaries(KEYS, st.text(max_size=12), max_size=6), st.sampled_from(["CreateUser", "ListUsers", "TagUser"]))
def test_any_form_is_read_or_refused(form: dict[str, str], name: str) -> None:
    shape = IAM.operation_model(name).input_shape
    try:
        validate(shape, read_params(shape, form))
    except ValidationError:
        return


@pytest.mark.parametrize("name", ["\u00fcser", "\u0663", "a\u00a0b"])
def test_names_have_only_letters_that_aws_takes(name: str) -> None:
    shape = IAM.operation_model("CreateUser").input_shape
    with pytest.raises(ValidationError, match="regular expression"):
        validate(shape, {"UserName": name})


def test_tags_have_the_letters_of_every_language() -> None:
    shape = IAM.operation_model("CreateUser").input_shape
    validate(shape, {"UserName": "a", "Tags": [{"Key": "gr\u00f6\u00dfe", "Value": "\u5927"}]})
