"""IAM and STS over the wire with boto3, and what their policies let callers do on the Lambda API."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError

from fnrunner.auth.credentials import Credential
from tests.api_server import CODE
from tests.iam_kit import ACCOUNT, EVERYTHING, TRUST_LAMBDA, Sent, Site, document, signed, site

ROLE = f"arn:aws:iam::{ACCOUNT}:role/runner"
FUNCTION = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:"
READ_ONLY = "arn:aws:iam::aws:policy/AWSLambda_ReadOnlyAccess"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("iam")) as running:
        running.client("iam").create_role(RoleName="runner", AssumeRolePolicyDocument=document(TRUST_LAMBDA))
        create(running.client("lambda"), "f")
        yield running


def create(client: Any, name: str, **more: Any) -> dict[str, Any]:
    given = {"Role": ROLE, "Runtime": "python3.12", "Handler": "app.handler", "Code": {"ZipFile": CODE}} | more
    made: dict[str, Any] = client.create_function(FunctionName=name, **given)
    return made


def refused(error: pytest.ExceptionInfo[ClientError]) -> tuple[str, int, str]:
    response = error.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Message"]


@pytest.mark.parametrize("kind", ["user", "role"])
def test_a_user_or_role_is_made_shown_listed_and_removed(here: Site, kind: str) -> None:
    iam, title, name = here.client("iam"), kind.title(), f"one-{kind}"
    key = f"{title}Name"
    more = {"AssumeRolePolicyDocument": document(TRUST_LAMBDA)} if kind == "role" else {}
    made = getattr(iam, f"create_{kind}")(**{key: name}, Path="/team/", Tags=[{"Key": "a", "Value": "b"}], **more)[
        title
    ]
    assert made["Arn"] == f"arn:aws:iam::{ACCOUNT}:{kind}/team/{name}"
    shown = getattr(iam, f"get_{kind}")(**{key: name})[title]
    assert (shown[f"{title}Id"], shown["Tags"]) == (made[f"{title}Id"], [{"Key": "a", "Value": "b"}])
    assert name in [one[key] for one in getattr(iam, f"list_{kind}s")(PathPrefix="/team/")[f"{title}s"]]
    with pytest.raises(iam.exceptions.EntityAlreadyExistsException):
        getattr(iam, f"create_{kind}")(**{key: name.upper()}, **more)
    getattr(iam, f"attach_{kind}_policy")(**{key: name}, PolicyArn=READ_ONLY)
    getattr(iam, f"put_{kind}_policy")(**{key: name}, PolicyName="p", PolicyDocument=document(EVERYTHING))
    with pytest.raises(iam.exceptions.DeleteConflictException):
        getattr(iam, f"delete_{kind}")(**{key: name})
    attached = getattr(iam, f"list_attached_{kind}_policies")(**{key: name})["AttachedPolicies"]
    assert attached == [{"PolicyName": "AWSLambda_ReadOnlyAccess", "PolicyArn": READ_ONLY}]
    assert getattr(iam, f"list_{kind}_policies")(**{key: name})["PolicyNames"] == ["p"]
    inline = getattr(iam, f"get_{kind}_policy")(**{key: name}, PolicyName="p")
    assert inline["PolicyDocument"]["Statement"] == [EVERYTHING]
    getattr(iam, f"detach_{kind}_policy")(**{key: name}, PolicyArn=READ_ONLY)
    getattr(iam, f"delete_{kind}_policy")(**{key: name}, PolicyName="p")
    getattr(iam, f"delete_{kind}")(**{key: name})
    with pytest.raises(iam.exceptions.NoSuchEntityException, match=f"The {kind} with name {name} cannot be found."):
        getattr(iam, f"get_{kind}")(**{key: name})


def test_managed_policies_have_versions(here: Site) -> None:
    iam = here.client("iam")
    arn = iam.create_policy(PolicyName="versions", PolicyDocument=document(EVERYTHING))["Policy"]["Arn"]
    second = document(EVERYTHING | {"Action": "lambda:Get*"})
    version = iam.create_policy_version(PolicyArn=arn, PolicyDocument=second, SetAsDefault=True)["PolicyVersion"]
    assert (version["VersionId"], version["IsDefaultVersion"]) == ("v2", True)
    assert iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"] == "v2"
    shown = iam.get_policy_version(PolicyArn=arn, VersionId="v2")["PolicyVersion"]["Document"]
    assert shown["Statement"][0]["Action"] == "lambda:Get*"
    with pytest.raises(iam.exceptions.DeleteConflictException):
        iam.delete_policy(PolicyArn=arn)
    with pytest.raises(iam.exceptions.DeleteConflictException):
        iam.delete_policy_version(PolicyArn=arn, VersionId="v2")
    iam.delete_policy_version(PolicyArn=arn, VersionId="v1")
    iam.delete_policy(PolicyArn=arn)
    with pytest.raises(iam.exceptions.NoSuchEntityException):
        iam.get_policy(PolicyArn=arn)


def test_the_policies_of_aws_are_there_and_stay_as_they_are(here: Site) -> None:
    iam = here.client("iam")
    assert iam.get_policy(PolicyArn=READ_ONLY)["Policy"]["PolicyName"] == "AWSLambda_ReadOnlyAccess"
    assert iam.get_policy_version(PolicyArn=READ_ONLY, VersionId="v1")["PolicyVersion"]["Document"]["Statement"]
    with pytest.raises(ClientError, match="cannot be changed"):
        iam.delete_policy(PolicyArn=READ_ONLY)


@pytest.mark.parametrize(
    ("operation", "params", "code"),
    [
        ("create_user", {"UserName": "no blanks"}, "ValidationError"),
        ("create_role", {"RoleName": "r", "AssumeRolePolicyDocument": "{}"}, "MalformedPolicyDocument"),
        ("create_role", {"RoleName": "r", "AssumeRolePolicyDocument": document(EVERYTHING)}, "MalformedPolicyDocument"),
        ("create_policy", {"PolicyName": "p", "PolicyDocument": "nonsense"}, "MalformedPolicyDocument"),
        (
            "put_role_policy",
            {"RoleName": "no", "PolicyName": "p", "PolicyDocument": document(EVERYTHING)},
            "NoSuchEntity",
        ),
        ("attach_role_policy", {"RoleName": "runner", "PolicyArn": "arn:aws:iam::aws:policy/Nothing"}, "NoSuchEntity"),
        ("list_users", {"Marker": "zzz"}, "InvalidInput"),
        ("create_user", {"UserName": "x", "PermissionsBoundary": READ_ONLY}, "InvalidInput"),
        ("create_group", {"GroupName": "x"}, "InvalidAction"),
        ("delete_access_key", {"UserName": "admin", "AccessKeyId": "AKIAIOSFODNN7EXAMPLE"}, "NoSuchEntity"),
        ("get_policy_version", {"PolicyArn": READ_ONLY, "VersionId": "v9"}, "NoSuchEntity"),
    ],
)
def test_what_iam_does_not_take_is_refused_with_its_code(
    here: Site, operation: str, params: dict[str, Any], code: str
) -> None:
    with pytest.raises(ClientError) as error:
        getattr(here.client("iam"), operation)(**params)
    assert refused(error)[0] == code


def test_lists_come_in_pages(here: Site) -> None:
    iam = here.client("iam")
    for number in range(3):
        iam.create_user(UserName=f"page-{number}", Path="/pages/")
    pages = iam.get_paginator("list_users").paginate(PathPrefix="/pages/", PaginationConfig={"PageSize": 2})
    assert [len(page["Users"]) for page in pages] == [2, 1]


def test_a_key_can_be_disabled_enabled_and_removed(here: Site) -> None:
    who = here.user("keys", EVERYTHING)
    iam, sts = here.client("iam"), here.client("sts", who)
    assert sts.get_caller_identity()["Arn"] == f"arn:aws:iam::{ACCOUNT}:user/keys"
    iam.update_access_key(UserName="keys", AccessKeyId=who.access_key, Status="Inactive")
    with pytest.raises(ClientError) as error:
        sts.get_caller_identity()
    assert refused(error)[:2] == ("InvalidClientTokenId", 403)
    iam.update_access_key(UserName="keys", AccessKeyId=who.access_key, Status="Active")
    assert sts.get_caller_identity()["Account"] == ACCOUNT
    iam.create_access_key(UserName="keys")
    with pytest.raises(iam.exceptions.LimitExceededException):
        iam.create_access_key(UserName="keys")
    assert len(iam.list_access_keys(UserName="keys")["AccessKeyMetadata"]) == 2
    iam.delete_access_key(UserName="keys", AccessKeyId=who.access_key)
    with pytest.raises(ClientError):
        sts.get_caller_identity()


def test_who_may_nothing_can_ask_who_he_is_and_nothing_else(here: Site) -> None:
    who = here.user("nobody")
    assert here.client("sts", who).get_caller_identity()["Arn"].endswith("user/nobody")
    with pytest.raises(ClientError) as error:
        here.client("lambda", who).get_function(FunctionName="f")
    assert refused(error) == (
        "AccessDeniedException",
        403,
        f"User: arn:aws:iam::{ACCOUNT}:user/nobody is not authorized to perform: lambda:GetFunction on resource: "
        f"{FUNCTION}f because no identity-based policy allows the lambda:GetFunction action",
    )
    with pytest.raises(ClientError) as error:
        here.client("iam", who).create_user(UserName="x")
    assert refused(error)[:2] == ("AccessDenied", 403)
    answer = signed(here.url, who, Sent("GET", "/fnrunner/v1/functions/f/logs")).to(here.url)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "AccessDeniedException")
    assert f"fnrunner:GetFunctionsLogs on resource: {FUNCTION}f" in answer.json()["error"]["message"]


def test_an_explicit_deny_says_so(here: Site) -> None:
    who = here.user("denied", EVERYTHING, {"Effect": "Deny", "Action": "lambda:Delete*", "Resource": FUNCTION + "f"})
    with pytest.raises(ClientError) as error:
        here.client("lambda", who).delete_function(FunctionName="f")
    assert refused(error)[2].endswith(f"on resource: {FUNCTION}f with an explicit deny in an identity-based policy")
    assert here.client("lambda", who).get_function(FunctionName="f")


def test_a_policy_of_one_function_lets_do_that_one_by_any_of_its_names(here: Site) -> None:
    who = here.user("one", {"Effect": "Allow", "Action": "lambda:GetFunction", "Resource": FUNCTION + "f"})
    client = here.client("lambda", who)
    for name in ("f", FUNCTION + "f", f"{ACCOUNT}:function:f", "function:f"):
        assert client.get_function(FunctionName=name)
    for name in (
        "g",
        f"arn:aws:lambda:eu-west-1:{ACCOUNT}:function:f",
        "arn:aws:lambda:us-east-1:111111111111:function:f",
    ):
        with pytest.raises(ClientError) as error:
            client.get_function(FunctionName=name)
        assert refused(error)[0] == "AccessDeniedException", name


def test_creating_a_function_needs_to_pass_its_role(here: Site) -> None:
    allow = {"Effect": "Allow", "Action": "lambda:*", "Resource": "*"}
    who = here.user("creator", allow)
    with pytest.raises(ClientError) as error:
        create(here.client("lambda", who), "passed")
    assert f"iam:PassRole on resource: {ROLE}" in refused(error)[2]
    passing = {"Effect": "Allow", "Action": "iam:PassRole", "Resource": ROLE,
               "Condition": {"StringEquals": {"iam:PassedToService": "lambda.amazonaws.com"}}}  # fmt: skip
    here.client("iam").put_user_policy(UserName="creator", PolicyName="pass", PolicyDocument=document(passing))
    assert create(here.client("lambda", who), "passed")["FunctionName"] == "passed"


def test_conditions_see_the_request(here: Site) -> None:
    here_only = {"Effect": "Allow", "Action": "lambda:ListFunctions", "Resource": "*",
                 "Condition": {"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}, "Bool": {"aws:SecureTransport": "false"},
                               "StringEquals": {"aws:username": "conditions"},
                               "DateGreaterThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}}}  # fmt: skip
    who = here.user("conditions", here_only)
    assert here.client("lambda", who).list_functions()
    elsewhere = here_only | {"Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}}
    here.client("iam").put_user_policy(UserName="conditions", PolicyName="own", PolicyDocument=document(elsewhere))
    with pytest.raises(ClientError):
        here.client("lambda", who).list_functions()


def test_invoking_a_qualifier_needs_that_qualifier(here: Site) -> None:
    who = here.user(
        "invoker", {"Effect": "Allow", "Action": "lambda:InvokeFunction", "Resource": FUNCTION + "f:$LATEST"}
    )
    client = here.client("lambda", who)
    assert client.invoke(FunctionName="f", Qualifier="$LATEST", Payload=b"{}")["StatusCode"] == 200
    with pytest.raises(ClientError) as error:
        client.invoke(FunctionName="f", Payload=b"{}")
    assert f"lambda:InvokeFunction on resource: {FUNCTION}f because" in refused(error)[2]


def test_the_functions_own_policy_lets_a_user_in(here: Site) -> None:
    who = here.user("guest")
    owner = here.client("lambda")
    create(owner, "shared")
    client = here.client("lambda", who)
    with pytest.raises(ClientError):
        client.invoke(FunctionName="shared", Payload=b"{}")
    owner.add_permission(
        FunctionName="shared", StatementId="s", Action="lambda:InvokeFunction",
        Principal=f"arn:aws:iam::{ACCOUNT}:user/guest",
    )  # fmt: skip
    assert client.invoke(FunctionName="shared", Payload=b"{}")["StatusCode"] == 200
    owner.remove_permission(FunctionName="shared", StatementId="s")
    with pytest.raises(ClientError):
        client.invoke(FunctionName="shared", Payload=b"{}")


def test_conditions_of_every_request_decide_about_assuming_a_role_too(here: Site) -> None:
    trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": ACCOUNT}}
    here.client("iam").create_role(RoleName="near", AssumeRolePolicyDocument=document(trust))
    elsewhere = {"Effect": "Deny", "Action": "sts:AssumeRole", "Resource": "*"}
    near = {"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}
    denied = here.user("near-denied", EVERYTHING, elsewhere | {"Condition": near})
    with pytest.raises(ClientError) as error:
        here.session("near", denied)
    assert refused(error)[0] == "AccessDenied"
    named = {"StringEquals": {"aws:username": "near-allowed"}}
    assert here.session("near", here.user("near-allowed", EVERYTHING | {"Condition": named}))


def test_a_key_for_oneself_is_refused_to_whom_it_is_denied(here: Site) -> None:
    own = {"Effect": "Deny", "Action": "iam:*AccessKey*", "Resource": f"arn:aws:iam::{ACCOUNT}:user/self-*"}
    iam = here.client("iam", here.user("self-keys", EVERYTHING, own))
    for call in (iam.create_access_key, iam.list_access_keys):
        with pytest.raises(ClientError) as error:
            call()
        assert refused(error)[0] == "AccessDenied"


def test_a_mapping_is_not_taken_from_a_function_that_is_not_open_to_the_caller(here: Site) -> None:
    client = here.client("lambda")
    create(client, "mine")
    queue = Sent("PUT", "/fnrunner/v1/queues/taken", headers={"content-type": "application/json"}, body=b"{}")
    assert signed(here.url, here.admin, queue).to(here.url).status_code == 200
    source = f"arn:aws:sqs:us-east-1:{ACCOUNT}:taken"
    uuid = client.create_event_source_mapping(FunctionName="f", EventSourceArn=source, Enabled=False)["UUID"]
    mine = {
        "Action": "lambda:UpdateEventSourceMapping",
        "Condition": {"StringEquals": {"lambda:FunctionArn": FUNCTION + "mine"}},
    }
    who = here.user("taker", {"Effect": "Allow", "Resource": "*", **mine})
    with pytest.raises(ClientError) as error:
        here.client("lambda", who).update_event_source_mapping(UUID=uuid, FunctionName="mine")
    assert refused(error)[0] == "AccessDeniedException"


def test_invoking_asynchronously_needs_the_qualifier_and_keeps_the_trace(here: Site) -> None:
    only = {"Effect": "Allow", "Action": "lambda:InvokeFunction", "Resource": FUNCTION + "f"}
    who, path = here.user("old-ways", only), "/2014-11-13/functions/{}/invoke-async"
    trace = "Root=1-5759e988-bd862e3fe1be46a994272793;Lineage=252f10c8:3"
    sent = Sent("POST", path.format("f"), headers={"x-amzn-trace-id": trace}, body=b"{}")
    assert signed(here.url, who, sent).to(here.url).status_code == 202
    assert here.server.front.asked[-1]["xray"] == trace
    sent = Sent("POST", path.format("f:1"), body=b"{}")
    assert signed(here.url, who, sent).to(here.url).status_code == 403


def test_a_role_is_assumed_by_whom_it_trusts(here: Site) -> None:
    iam = here.client("iam")
    trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:user/trusted"},
             "Condition": {"StringEquals": {"sts:ExternalId": "42"}}}  # fmt: skip
    iam.create_role(RoleName="reader", AssumeRolePolicyDocument=document(trust))
    iam.attach_role_policy(RoleName="reader", PolicyArn=READ_ONLY)
    trusted, other = here.user("trusted"), here.user("other", EVERYTHING)
    session = here.session("reader", trusted, ExternalId="42")
    assert here.client("sts", session).get_caller_identity()["Arn"] == (
        f"arn:aws:sts::{ACCOUNT}:assumed-role/reader/session"
    )
    assert here.client("lambda", session).get_function(FunctionName="f")
    with pytest.raises(ClientError) as error:
        here.client("lambda", session).delete_function(FunctionName="f")
    assert refused(error)[2].startswith(f"User: arn:aws:sts::{ACCOUNT}:assumed-role/reader/session is not authorized")
    for who, more in ((trusted, {}), (trusted, {"ExternalId": "43"}), (other, {"ExternalId": "42"})):
        with pytest.raises(ClientError) as error:
            here.session("reader", who, **more)
        assert refused(error)[:2] == ("AccessDenied", 403)
    with pytest.raises(ClientError) as error:
        here.session("none", trusted)
    assert refused(error)[0] == "AccessDenied"


def test_a_session_policy_and_a_role_that_is_gone_leave_less(here: Site) -> None:
    iam = here.client("iam")
    trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": ACCOUNT}}
    iam.create_role(RoleName="limited", AssumeRolePolicyDocument=document(trust))
    iam.put_role_policy(RoleName="limited", PolicyName="p", PolicyDocument=document(EVERYTHING))
    small = document({"Effect": "Allow", "Action": "lambda:ListFunctions", "Resource": "*"})
    session = here.session("limited", Policy=small)
    assert here.client("lambda", session).list_functions()
    with pytest.raises(ClientError) as error:
        here.client("lambda", session).get_function(FunctionName="f")
    assert refused(error)[2].endswith("because no session policy allows the lambda:GetFunction action")
    by_arn = here.session("limited", PolicyArns=[{"arn": READ_ONLY}])
    assert here.client("lambda", by_arn).get_function(FunctionName="f")
    iam.delete_role_policy(RoleName="limited", PolicyName="p")
    iam.delete_role(RoleName="limited")
    iam.create_role(RoleName="limited", AssumeRolePolicyDocument=document(trust))
    iam.put_role_policy(RoleName="limited", PolicyName="p", PolicyDocument=document(EVERYTHING))
    with pytest.raises(ClientError):
        here.client("lambda", by_arn).get_function(FunctionName="f")


def test_a_longer_session_than_the_role_lets_is_refused(here: Site) -> None:
    iam = here.client("iam")
    trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": ACCOUNT}}
    iam.create_role(RoleName="short", AssumeRolePolicyDocument=document(trust))
    with pytest.raises(ClientError, match="exceeds the MaxSessionDuration"):
        here.session("short", DurationSeconds=7200)
    iam.update_role(RoleName="short", MaxSessionDuration=7200)
    assert here.session("short", DurationSeconds=7200)


def test_simulating_says_what_would_be_decided(here: Site) -> None:
    here.user("simulated", EVERYTHING | {"Action": "lambda:Get*"}, EVERYTHING | {"Effect": "Deny", "Action": "iam:*"})
    answer = here.client("iam").simulate_principal_policy(
        PolicySourceArn=f"arn:aws:iam::{ACCOUNT}:user/simulated",
        ActionNames=["lambda:GetFunction", "lambda:DeleteFunction", "iam:GetUser"],
    )
    assert [one["EvalDecision"] for one in answer["EvaluationResults"]] == ["allowed", "implicitDeny", "explicitDeny"]


def test_too_many_decisions_at_once_are_refused(here: Site) -> None:
    here.user("asked", EVERYTHING | {"Action": "lambda:Get*"})
    with pytest.raises(ClientError, match="60 actions on 60 resources are more than the 2000 decisions") as refused:
        here.client("iam").simulate_principal_policy(
            PolicySourceArn=f"arn:aws:iam::{ACCOUNT}:user/asked",
            ActionNames=[f"lambda:Get{number}" for number in range(60)],
            ResourceArns=[f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:f{number}" for number in range(60)],
        )
    assert refused.value.response["Error"]["Code"] == "InvalidInput"


def url_of(here: Site, name: str, auth: str) -> str:
    create(here.client("lambda"), name)
    made = here.client("lambda").create_function_url_config(FunctionName=name, AuthType=auth)["FunctionUrl"]
    found = re.search(r"//([a-z0-9]+)\.lambda-url", made)
    assert found is not None
    return f"/function-url/{found[1]}/"


def test_a_url_for_everybody_needs_the_functions_policy(here: Site) -> None:
    path = url_of(here, "public", "NONE")
    assert httpx.get(here.url + path).status_code == 403
    here.client("lambda").add_permission(
        FunctionName="public",
        StatementId="s",
        Action="lambda:InvokeFunctionUrl",
        Principal="*",
        FunctionUrlAuthType="NONE",
    )
    assert httpx.get(here.url + path).status_code == 200


def test_a_url_for_users_needs_their_policy_or_the_functions(here: Site) -> None:
    path = url_of(here, "private", "AWS_IAM")
    guest = here.user("url-guest")
    allowed = here.user(
        "url-user", {"Effect": "Allow", "Action": "lambda:InvokeFunctionUrl", "Resource": FUNCTION + "private"}
    )
    request = Sent("GET", path)
    assert httpx.get(here.url + path).status_code == 403
    assert signed(here.url, guest, request).to(here.url).status_code == 403
    answer = signed(here.url, allowed, request).to(here.url)
    assert answer.status_code == 200
    asked = json.loads(answer.text) if answer.text.startswith("{") else {}
    caller = asked.get("requestContext", {}).get("authorizer", {}).get("iam", {})
    assert caller.get("userArn", f"arn:aws:iam::{ACCOUNT}:user/url-user") == f"arn:aws:iam::{ACCOUNT}:user/url-user"


def calls(here: Site, who: Credential | None = None, **query: str) -> list[dict[str, Any]]:
    request = Sent("GET", "/fnrunner/v1/calls", tuple(query.items()))
    answer = signed(here.url, who or here.admin, request).to(here.url)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["calls"]
    return found


def test_the_log_of_calls_has_who_did_what_from_where_and_what_came_of_it(here: Site) -> None:
    who = here.user("logged", EVERYTHING)
    secret = {"Variables": {"PASSWORD": "hunter2-hunter2"}}
    create(here.client("lambda", who), "logged", Environment=secret)
    found = calls(here, operation="CreateFunction", access_key=who.access_key)
    assert len(found) == 1
    one = found[0]
    assert one["principal"] == f"arn:aws:iam::{ACCOUNT}:user/logged"
    assert (one["resource"], one["status"], one["error_code"], one["source_ip"]) == (
        FUNCTION + "logged",
        201,
        "",
        "127.0.0.1",
    )
    assert one["parameters"]["Environment"] == {"PASSWORD": "***"}
    assert "Boto3" in one["user_agent"]
    everything = json.dumps(calls(here, limit="1000"))
    assert "hunter2" not in everything
    assert who.secret not in everything


def test_the_log_of_calls_has_refusals_and_no_reading(here: Site) -> None:
    who = here.user("refused")
    with pytest.raises(ClientError):
        here.client("lambda", who).get_function(FunctionName="f")
    here.client("lambda").get_function(FunctionName="f")
    found = calls(here, operation="GetFunction", failed="true", access_key=who.access_key)
    assert [(one["status"], one["error_code"]) for one in found] == [(403, "AccessDeniedException")]
    assert not [one for one in calls(here, operation="GetFunction") if one["status"] < 400]
    httpx.get(here.url + "/2015-03-31/functions/")
    unsigned = calls(here, failed="true", limit="5")[0]
    assert (unsigned["principal"], unsigned["error_code"]) == ("", "MissingAuthenticationTokenException")
