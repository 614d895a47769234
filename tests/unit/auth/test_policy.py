"""Policy documents are read as IAM reads them, or refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fnrunner.auth import managed
from fnrunner.auth.policy import Effect, Kind, MalformedPolicy, parse

ALLOW: dict[str, Any] = {"Effect": "Allow", "Action": "lambda:Get*", "Resource": "*"}


def document(*statements: Any, **more: Any) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements), **more})


def test_one_statement_needs_no_list() -> None:
    policy = parse(json.dumps({"Version": "2012-10-17", "Statement": ALLOW}), name="p")
    assert (policy.statements[0].effect, policy.name) == (Effect.ALLOW, "p")


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        (ALLOW | {"Effect": "allow"}, "Effect"),
        (ALLOW | {"Action": "GetFunction"}, "prefaced by a vendor"),
        (ALLOW | {"Action": []}, "Action"),
        (ALLOW | {"Action": [1]}, "Action"),
        (ALLOW | {"NotAction": "lambda:*"}, "either Action or NotAction"),
        (ALLOW | {"Resource": "function:f"}, "ARN format"),
        (ALLOW | {"NotResource": "*"}, "either Resource"),
        ({"Effect": "Allow", "Action": "*"}, "must contain resources"),
        ({"Effect": "Allow", "Resource": "*"}, "must contain actions"),
        (ALLOW | {"Principal": "*"}, "principal"),
        (ALLOW | {"Sid": "not alpha!"}, "alpha-numeric"),
        (ALLOW | {"Surprise": 1}, "Surprise"),
        (ALLOW | {"Condition": {"StringMatches": {"aws:username": "a"}}}, "StringMatches"),
        (ALLOW | {"Condition": {"Some:StringLike": {"aws:username": "a"}}}, "Some:StringLike"),
        (ALLOW | {"Condition": {"NullIfExists": {"aws:username": "true"}}}, "NullIfExists"),
        (ALLOW | {"Condition": {"NumericEquals": {"aws:username": "many"}}}, "many"),
        (ALLOW | {"Condition": {"DateLessThan": {"aws:CurrentTime": "soon"}}}, "soon"),
        (ALLOW | {"Condition": {"IpAddress": {"aws:SourceIp": "here"}}}, "here"),
        (ALLOW | {"Condition": {"Bool": {"aws:SecureTransport": "maybe"}}}, "maybe"),
        (ALLOW | {"Condition": {"StringLike": {"aws:username": {}}}}, "aws:username"),
        (ALLOW | {"Condition": ["StringLike"]}, "Condition"),
        ("Allow", "Statement"),
    ],
)
def test_a_statement_that_is_none_is_refused_with_the_reason(statement: Any, says: str) -> None:
    with pytest.raises(MalformedPolicy, match=says):
        parse(document(statement))


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "{", '{"Version": "2012-10-17"}', '{"Version": "2024-01-01", "Statement": []}', "[" * 100_000,
     '{"Version": "2012-10-17", "Statement": [], "Extra": 1}'],
)  # fmt: skip
def test_a_document_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(MalformedPolicy):
        parse(text)


def test_an_element_that_is_there_twice_is_refused_since_one_would_be_overlooked() -> None:
    text = (
        '{"Version": "2012-10-17", "Statement": {"Effect": "Deny", "Effect": "Allow", "Action": "*", "Resource": "*"}}'
    )
    with pytest.raises(MalformedPolicy, match="twice"):
        parse(text)


def test_two_statements_have_different_ids() -> None:
    with pytest.raises(MalformedPolicy, match="unique"):
        parse(document(ALLOW | {"Sid": "a"}, ALLOW | {"Sid": "a"}))


def test_a_trust_policy_names_principals_and_no_resource() -> None:
    trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": ["lambda.amazonaws.com"]}}
    assert parse(document(trust), Kind.TRUST).statements[0].principals is not None
    with pytest.raises(MalformedPolicy, match="Principal"):
        parse(document({k: v for k, v in trust.items() if k != "Principal"}), Kind.TRUST)
    with pytest.raises(MalformedPolicy, match="Resource"):
        parse(document(trust | {"Resource": "*"}), Kind.TRUST)
    with pytest.raises(MalformedPolicy, match="NotPrincipal"):
        parse(document({"Effect": "Allow", "Action": "*", "NotPrincipal": {"AWS": "*"}}), Kind.TRUST)


def test_numbers_and_booleans_may_stand_without_quotes() -> None:
    policy = parse(
        document(ALLOW | {"Condition": {"Bool": {"aws:SecureTransport": True}, "NumericEquals": {"k": [1, 2]}}})
    )
    assert [condition.values for condition in policy.statements[0].conditions] == [("true",), ("1", "2")]


@pytest.mark.parametrize("arn", sorted(managed.arns()))
def test_the_policies_of_aws_are_policies(arn: str) -> None:
    assert parse(json.dumps(managed.document(arn))).statements


def test_a_policy_that_aws_does_not_have_is_none() -> None:
    assert managed.document("arn:aws:iam::aws:policy/Nothing") is None
    assert managed.document("arn:aws:iam::000000000000:policy/AdministratorAccess") is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = ("Effect", "Action", "NotAction", "Resource", "Principal", "Condition", "Sid")


@given(st.dictionaries(st.sampled_from(MEMBERS), JSON), st.sampled_from(Kind))
def test_whatever_comes_is_read_or_refused(statement: dict[str, Any], kind: Kind) -> None:
    try:
        policy = parse(document(statement), kind)
    except MalformedPolicy:
        return
    assert policy.statements
