"""Who may do what: IAM's evaluation, by examples and by its laws."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fnrunner.auth.condition import holds
from fnrunner.auth.condition import read as condition
from fnrunner.auth.evaluation import Action, Policies, Reason, applies, decide, explain
from fnrunner.auth.pattern import Context, expand, matches, matches_arn
from fnrunner.auth.policy import Kind, Policy, read
from fnrunner.auth.principal import Anonymous, Principal, Service, Session, User

ACCOUNT, OTHER = "000000000000", "111111111111"
ALICE = User(ACCOUNT, "alice", "AIDAALICE")
STRANGER = User(OTHER, "mallory", "AIDAMALLORY")
WORKER = Session(ACCOUNT, "worker", "f", "AROAWORKER")
FUNCTION = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:f"


def policy(effect: str = "Allow", action: Any = "lambda:*", resource: Any = "*", **more: Any) -> Policy:
    kind = Kind.RESOURCE if "Principal" in more or "NotPrincipal" in more else Kind.IDENTITY
    resource = {} if "NotResource" in more else {"Resource": resource}
    action = {} if "NotAction" in more else {"Action": action}
    statement = {"Effect": effect, **action, **resource, **more}
    return read({"Version": "2012-10-17", "Statement": statement}, kind)


def ask(
    *identity: Policy,
    who: Principal = ALICE,
    action: str = "lambda:InvokeFunction",
    resource: Sequence[Policy] = (),
    session: Sequence[Policy] | None = None,
    on: str = FUNCTION,
    context: Context | None = None,
) -> Reason:
    return decide(Action(who, action, on, ACCOUNT, context or {}), Policies(identity, resource, session)).reason


def test_nothing_is_allowed_until_something_allows_it() -> None:
    assert ask() is Reason.NO_IDENTITY


def test_an_explicit_deny_wins_over_everything() -> None:
    everybody = policy(Principal="*")
    assert ask(policy(), policy("Deny", "lambda:Invoke*"), resource=[everybody]) is Reason.DENIED_BY_IDENTITY
    assert ask(policy(), resource=[policy("Deny", Principal="*")]) is Reason.DENIED_BY_RESOURCE
    assert ask(policy(), session=[policy(), policy("Deny")], who=WORKER) is Reason.DENIED_BY_SESSION


def test_in_the_own_account_one_kind_of_policy_suffices() -> None:
    assert ask(policy()) is Reason.ALLOWED
    assert ask(resource=[policy(Principal={"AWS": ALICE.arn})]) is Reason.ALLOWED
    assert ask(resource=[policy(Principal={"AWS": "*"})]) is Reason.ALLOWED


def test_the_account_as_principal_only_delegates() -> None:
    for named in (ACCOUNT, f"arn:aws:iam::{ACCOUNT}:root"):
        assert ask(resource=[policy(Principal={"AWS": named})]) is Reason.NO_IDENTITY
        assert ask(policy(), resource=[policy(Principal={"AWS": named})]) is Reason.ALLOWED
        assert ask(policy(), resource=[policy("Deny", Principal={"AWS": named})]) is Reason.DENIED_BY_RESOURCE


def test_another_account_needs_both() -> None:
    shared = policy(Principal={"AWS": OTHER})
    assert ask(policy(), who=STRANGER) is Reason.NO_RESOURCE
    assert ask(who=STRANGER, resource=[shared]) is Reason.NO_IDENTITY
    assert ask(policy(), who=STRANGER, resource=[shared]) is Reason.ALLOWED


def test_services_and_nobody_have_resource_policies_alone() -> None:
    s3 = Service("s3.amazonaws.com")
    assert ask(policy(), who=s3) is Reason.NO_RESOURCE
    assert ask(who=s3, resource=[policy(Principal={"Service": "s3.amazonaws.com"})]) is Reason.ALLOWED
    assert ask(who=s3, resource=[policy(Principal={"Service": "sns.amazonaws.com"})]) is Reason.NO_RESOURCE
    assert ask(policy(), who=Anonymous()) is Reason.NO_RESOURCE
    assert ask(who=Anonymous(), resource=[policy(Principal="*")]) is Reason.ALLOWED
    assert ask(who=Anonymous(), resource=[policy(Principal={"AWS": ACCOUNT})]) is Reason.NO_RESOURCE


def test_a_session_policy_limits_what_the_role_may() -> None:
    assert ask(policy(), who=WORKER, session=[policy(action="lambda:Get*")]) is Reason.NO_SESSION
    assert ask(policy(), who=WORKER, session=[policy(action="lambda:Invoke*")]) is Reason.ALLOWED
    assert ask(who=WORKER, session=[policy()]) is Reason.NO_IDENTITY
    by_role = [policy(Principal={"AWS": WORKER.role_arn})]
    by_session = [policy(Principal={"AWS": WORKER.arn})]
    assert ask(who=WORKER, resource=by_role, session=[policy(action="lambda:Get*")]) is Reason.NO_SESSION
    assert ask(who=WORKER, resource=by_session, session=[policy(action="lambda:Get*")]) is Reason.ALLOWED


def test_not_principal_means_everybody_else() -> None:
    but_alice = policy("Deny", NotPrincipal={"AWS": ALICE.arn})
    assert ask(policy(), resource=[but_alice]) is Reason.ALLOWED
    assert ask(policy(), resource=[but_alice], who=WORKER) is Reason.DENIED_BY_RESOURCE


def test_not_action_and_not_resource_mean_all_others() -> None:
    assert ask(policy(NotAction="iam:*")) is Reason.ALLOWED
    assert ask(policy(NotAction="lambda:*")) is Reason.NO_IDENTITY
    assert ask(policy(NotResource=FUNCTION)) is Reason.NO_IDENTITY
    assert ask(policy(NotResource=FUNCTION), on=FUNCTION + "2") is Reason.ALLOWED


@pytest.mark.parametrize(
    ("pattern", "covers"),
    [
        (FUNCTION, True),
        (FUNCTION.replace("us-east-1", "*"), True),
        (FUNCTION.replace(ACCOUNT, "00000000000?"), True),
        (FUNCTION.replace("function:f", "function:*"), True),
        (FUNCTION + ":*", False),
        (FUNCTION + "?", False),
        ("arn:aws:lambda:*", True),
        ("arn:aws:lambda:u*1:000000000000:function:f", True),
        ("arn:aws:lambda:u*:function:f", True),
        ("arn:aws:lambda:u*x:function:f", False),
        (FUNCTION.removesuffix("f") + "F", False),
    ],
)
def test_resources_are_matched_by_pattern(pattern: str, covers: bool) -> None:
    assert (ask(policy(resource=pattern)) is Reason.ALLOWED) is covers


def test_actions_do_not_mind_their_case() -> None:
    assert ask(policy(action="LAMBDA:invokefunction")) is Reason.ALLOWED


def test_a_variable_stands_for_a_value_and_never_for_a_wildcard() -> None:
    own = policy(resource=f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:${{aws:username}}")
    assert ask(own, context={"aws:username": ("f",)}) is Reason.ALLOWED
    assert ask(own, context={"aws:username": ("*",)}) is Reason.NO_IDENTITY
    assert ask(own) is Reason.NO_IDENTITY
    old = replace(own, statements=tuple(replace(s, variables=False) for s in own.statements))
    assert ask(old, context={"aws:username": ("f",)}) is Reason.NO_IDENTITY


def test_the_sentences_are_iams() -> None:
    action = Action(ALICE, "lambda:GetFunction", FUNCTION, ACCOUNT)
    begin = f"User: {ALICE.arn} is not authorized to perform: lambda:GetFunction on resource: {FUNCTION} "
    implicit = decide(action, Policies())
    assert explain(action, implicit) == begin + "because no identity-based policy allows the lambda:GetFunction action"
    explicit = decide(action, Policies([policy("Deny")]))
    assert explain(action, explicit) == begin + "with an explicit deny in an identity-based policy"
    resource = decide(action, Policies([policy()], [policy("Deny", Principal="*")]))
    assert explain(action, resource) == begin + "with an explicit deny in a resource-based policy"


NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("operator", "values", "given_values", "result"),
    [
        ("StringEquals", ["a", "b"], ("b",), True),
        ("StringEquals", ["a"], ("A",), False),
        ("StringEquals", ["a*"], ("ab",), False),
        ("StringNotEquals", ["a", "b"], ("b",), False),
        ("StringNotEquals", ["a", "b"], ("c",), True),
        ("StringEqualsIgnoreCase", ["a"], ("A",), True),
        ("StringNotEqualsIgnoreCase", ["a"], ("A",), False),
        ("StringLike", ["a*d?"], ("abcde",), True),
        ("StringNotLike", ["a*"], ("abc",), False),
        ("ArnLike", ["arn:aws:s3:::b*"], ("arn:aws:s3:::bucket",), True),
        ("ArnLike", ["arn:aws:s3*"], ("arn:aws:s3:::bucket",), False),
        ("ArnEquals", ["arn:aws:sns:*:*:t"], ("arn:aws:sns:r:1:t",), True),
        ("ArnNotLike", ["arn:aws:s3:::b*"], ("arn:aws:s3:::bucket",), False),
        ("NumericEquals", ["10"], ("10.0",), True),
        ("NumericNotEquals", ["10"], ("11",), True),
        ("NumericLessThan", ["10"], ("9",), True),
        ("NumericLessThan", ["10"], ("10",), False),
        ("NumericLessThanEquals", ["10"], ("10",), True),
        ("NumericGreaterThan", ["10"], ("10",), False),
        ("NumericGreaterThanEquals", ["10"], ("10",), True),
        ("NumericLessThan", ["10"], ("few",), False),
        ("DateEquals", ["2024-05-01T12:00:00Z"], (str(int(NOON.timestamp())),), True),
        ("DateNotEquals", ["2024-05-01"], ("2024-05-02",), True),
        ("DateLessThan", ["2024-05-02"], ("2024-05-01T23:59:59Z",), True),
        ("DateLessThanEquals", ["2024-05-02"], ("2024-05-02",), True),
        ("DateGreaterThan", ["2024-05-02"], ("2024-05-02",), False),
        ("DateGreaterThanEquals", ["2024-05-02"], ("2024-05-02",), True),
        ("Bool", ["true"], ("true",), True),
        ("Bool", ["true"], ("false",), False),
        ("BinaryEquals", ["QQ=="], ("QQ==",), True),
        ("IpAddress", ["10.0.0.0/8", "::1"], ("10.2.3.4",), True),
        ("IpAddress", ["10.0.0.0/8"], ("::ffff:10.2.3.4",), True),
        ("IpAddress", ["10.0.0.0/8"], ("11.2.3.4",), False),
        ("NotIpAddress", ["10.0.0.0/8"], ("11.2.3.4",), True),
        ("Null", ["true"], (), True),
        ("Null", ["true"], ("x",), False),
        ("Null", ["false"], ("x",), True),
        ("StringEquals", ["a"], (), False),
        ("StringNotEquals", ["a"], (), True),
        ("StringEqualsIfExists", ["a"], (), True),
        ("StringEqualsIfExists", ["a"], ("b",), False),
        ("ForAllValues:StringEquals", ["a", "b"], ("a", "b"), True),
        ("ForAllValues:StringEquals", ["a", "b"], ("a", "c"), False),
        ("ForAllValues:StringEquals", ["a"], (), True),
        ("ForAnyValue:StringEquals", ["a"], ("c", "a"), True),
        ("ForAnyValue:StringEquals", ["a"], (), False),
        ("ForAnyValue:StringNotEquals", ["a"], (), False),
        ("ForAnyValue:StringNotEquals", ["a"], ("a", "b"), True),
        ("ForAllValues:StringNotEquals", ["a"], ("a", "b"), False),
        ("ForAllValues:StringLike", ["arn:*:layer:x:*"], ("arn:1:layer:x:1",), True),
        ("stringequals", ["a"], ("a",), True),
    ],
)
def test_conditions(operator: str, values: list[str], given_values: tuple[str, ...], result: bool) -> None:
    context = {"key": given_values} if given_values else {}
    assert holds(condition(operator, "Key", values), context) is result


def test_all_conditions_of_a_statement_are_needed() -> None:
    both = policy(Condition={"StringEquals": {"a": "1", "b": "2"}})
    assert ask(both, context={"a": ("1",), "b": ("2",)}) is Reason.ALLOWED
    assert ask(both, context={"a": ("1",), "b": ("3",)}) is Reason.NO_IDENTITY


def test_a_condition_may_name_a_variable() -> None:
    own = policy(Condition={"StringLike": {"lambda:Layer": "arn:*:${aws:username}-*"}})
    assert ask(own, context={"aws:username": ("al",), "lambda:layer": ("arn:x:al-1",)}) is Reason.ALLOWED
    assert ask(own, context={"aws:username": ("*",), "lambda:layer": ("arn:x:al-1",)}) is Reason.NO_IDENTITY


# Laws.

ACTIONS = st.sampled_from(["lambda:InvokeFunction", "lambda:GetFunction", "iam:PassRole"])
PATTERNS = st.sampled_from(["*", "lambda:*", "lambda:Get*", "lambda:InvokeFunction", "iam:*", "lambda:?nvoke*"])
RESOURCES = st.sampled_from(["*", FUNCTION, FUNCTION + "*", f"arn:aws:iam::{ACCOUNT}:role/*"])
WHERE = st.sampled_from([FUNCTION, f"{FUNCTION}:1", f"arn:aws:iam::{ACCOUNT}:role/r"])
PEOPLE = st.sampled_from([ALICE, WORKER, STRANGER, Service("s3.amazonaws.com"), Anonymous()])
EFFECTS = st.sampled_from(["Allow", "Deny"])
IDENTITY = st.builds(policy, EFFECTS, PATTERNS, RESOURCES)
RESOURCE = st.builds(
    lambda e, a, r, p: policy(e, a, r, Principal=p), EFFECTS, PATTERNS, RESOURCES,
    st.sampled_from(["*", {"AWS": ALICE.arn}, {"AWS": ACCOUNT}, {"AWS": OTHER}, {"Service": "s3.amazonaws.com"}]),
)  # fmt: skip


def some(policies: st.SearchStrategy[Policy]) -> st.SearchStrategy[list[Policy]]:
    return st.lists(policies, max_size=4)


EVERYTHING = st.builds(Policies, some(IDENTITY), some(RESOURCE), st.none() | some(IDENTITY))
ASKED = st.builds(lambda who, name, where: Action(who, name, where, ACCOUNT), PEOPLE, ACTIONS, WHERE)


@given(ASKED, EVERYTHING)
def test_a_further_deny_never_lets_anybody_in(action: Action, policies: Policies) -> None:
    with_deny = replace(policies, identity=[*policies.identity, policy("Deny", "*", "*")])
    assert decide(action, with_deny).reason.explicit


@given(ASKED, EVERYTHING, IDENTITY)
def test_a_further_allow_never_keeps_anybody_out(action: Action, policies: Policies, more: Policy) -> None:
    if more.statements[0].effect.value == "Allow" and decide(action, policies).allowed:
        assert decide(action, replace(policies, identity=[*policies.identity, more])).allowed


@given(ASKED, EVERYTHING, st.randoms())
def test_order_makes_no_difference(action: Action, policies: Policies, random: Any) -> None:
    shuffled = [list(found or ()) for found in (policies.identity, policies.resource, policies.session)]
    for found in shuffled:
        random.shuffle(found)
    again = Policies(shuffled[0], shuffled[1], None if policies.session is None else shuffled[2])
    assert decide(action, again).allowed is decide(action, policies).allowed


@given(ASKED, EVERYTHING)
def test_a_session_policy_allows_nothing_by_itself(action: Action, policies: Policies) -> None:
    if decide(action, policies).allowed:
        assert decide(action, replace(policies, session=None)).allowed


@given(ASKED, EVERYTHING)
def test_whoever_is_let_in_is_named_by_an_allow_that_applies(action: Action, policies: Policies) -> None:
    if decide(action, policies).allowed:
        found = [
            s for one in (*policies.identity, *policies.resource) for s in one.statements if s.effect.value == "Allow"
        ]
        assert any(applies(statement, action) for statement in found)


TEXT = st.text(alphabet="ab:*?", max_size=8)


@given(TEXT, TEXT)
def test_wildcards_match_as_the_plain_definition_says(pattern: str, text: str) -> None:
    def defined(p: str, t: str) -> bool:
        if not p:
            return not t
        if p[0] == "*":
            return defined(p[1:], t) or (bool(t) and defined(p, t[1:]))
        return bool(t) and (p[0] in ("?", t[0])) and defined(p[1:], t[1:])

    assert matches(pattern, text) is defined(pattern, text)


@given(st.text(max_size=12))
def test_a_value_of_a_variable_matches_only_itself(value: str) -> None:
    clean = value.replace("\0", "")
    expanded = expand("${k}", {"k": (clean,)})
    assert expanded is not None
    assert matches(expanded, clean)
    assert matches(expanded, clean + "x") is False


@given(st.text(alphabet="a:*?", max_size=12), st.text(alphabet="a:", max_size=12))
def test_a_wildcard_in_an_arn_stays_in_its_part_unless_it_ends_it(pattern: str, text: str) -> None:
    def defined(p: str, t: str, parts: int) -> bool:
        if not p:
            return not t
        if p[0] == "*":
            while p.startswith("**"):
                p = p[1:]
            over = parts >= 5 or p[1:2] in ("", ":")
            return defined(p[1:], t, parts) or (bool(t) and (over or t[0] != ":") and defined(p, t[1:], parts))
        return bool(t) and p[0] in ("?", t[0]) and defined(p[1:], t[1:], parts + (p[0] == ":"))

    assert matches_arn(pattern, text) is defined(pattern, text, 0)


@pytest.mark.parametrize("start", ["", "arn:aws:lambda:us-east-1:1:", "arn:aws:"])
@pytest.mark.parametrize("piece", ["*?", "*a", "*", "*a?", "?*:"])
def test_no_pattern_takes_long(start: str, piece: str) -> None:
    pattern, text = f"{start}{piece * 1000}Q", start + "aa:" * 700
    begun = time.process_time()
    assert not matches(pattern, text)
    assert not matches(pattern, text, ignore_case=True)
    assert not matches_arn(pattern, text)
    assert time.process_time() - begun < 5
