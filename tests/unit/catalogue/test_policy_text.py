"""Statements as Lambda writes them, and whole policies as they are taken."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fnrunner.catalogue.errors import InvalidParameterValue
from fnrunner.catalogue.policy_text import (
    InvalidPrincipal,
    PolicyMalformed,
    function_statement,
    layer_statement,
    principal,
    whole,
)

ALLOW = {"Effect": "Allow", "Principal": "*", "Action": "lambda:*", "Resource": "*"}


@pytest.mark.parametrize(
    "wrong",
    [
        "nobody", "12345678901", "1234567890123", "s3", "amazonaws.com", "arn:aws:s3:::b", "arn:aws:iam::1:root", "* ",
        "s3.Amazonaws.com",
    ],
)  # fmt: skip
def test_who_can_be_nobody_is_refused(wrong: str) -> None:
    with pytest.raises(InvalidPrincipal, match="The provided principal was invalid"):
        principal(wrong)


@pytest.mark.parametrize(
    "arn",
    [
        "arn:aws:iam::123456789012:root",
        "arn:aws:iam::123456789012:user/a/b",
        "arn:aws:sts::123456789012:assumed-role/r/s",
        "arn:aws-cn:iam::123456789012:role/r",
    ],
)
def test_people_and_roles_are_taken_by_arn(arn: str) -> None:
    assert principal(arn) == {"AWS": arn}


def test_a_statement_without_conditions_has_none() -> None:
    params = {"StatementId": "s", "Action": "lambda:InvokeFunction", "Principal": "*"}
    assert list(function_statement(params, "arn")) == ["Sid", "Effect", "Principal", "Action", "Resource"]


def test_only_everybody_is_narrowed_to_an_organisation() -> None:
    params = {"StatementId": "s", "Action": "lambda:GetLayerVersion", "OrganizationId": "o-abcdefghij"}
    assert layer_statement({**params, "Principal": "*"}, "arn")["Condition"] == {
        "StringEquals": {"aws:PrincipalOrgID": "o-abcdefghij"}
    }
    with pytest.raises(InvalidParameterValue):
        layer_statement({**params, "Principal": "123456789012"}, "arn")


@pytest.mark.parametrize(
    "wrong",
    [
        "", "no json", "[]", "{}", '{"Version": "2012-10-17"}', '{"Version": "2012-10-17", "Statement": []}',
        json.dumps({"Version": "1999-01-01", "Statement": [ALLOW]}),
        json.dumps({"Version": "2012-10-17", "Statement": [{**ALLOW, "Effect": "Maybe"}]}),
        json.dumps({"Version": "2012-10-17", "Statement": [{k: v for k, v in ALLOW.items() if k != "Principal"}]}),
        json.dumps({"Version": "2012-10-17", "Statement": [{**ALLOW, "Sid": "a"}, {**ALLOW, "Sid": "a"}]}),
        "[" * 100_000,
    ],
)  # fmt: skip
def test_what_is_no_policy_is_refused(wrong: str) -> None:
    with pytest.raises(PolicyMalformed, match="The policy is malformed"):
        whole(wrong)


@pytest.mark.parametrize("statements", [ALLOW, [ALLOW]])
def test_a_policy_is_kept_compact_and_its_statements_as_a_list(statements: Any) -> None:
    text = whole(json.dumps({"Version": "2012-10-17", "Statement": statements}, indent=4))
    assert " " not in text
    assert json.loads(text)["Statement"] == [ALLOW]
