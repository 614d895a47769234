"""What callers of the administration and of IAM must be allowed: on the thing that is changed, by the name it has."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, cast
from urllib.parse import urlencode

import pytest

from fnrunner.api.access.subject import AdminSubjects
from fnrunner.api.app import ADMIN_ROUTES
from fnrunner.api.iam.door import IamApi
from fnrunner.auth.credentials import Credential
from fnrunner.auth.iam import Iam, Known
from fnrunner.auth.principal import Session, User
from fnrunner.model.arn import Home

HOME = Home()
FUNCTION = "arn:aws:lambda:us-east-1:000000000000:function:"
NOW = datetime(2024, 5, 1, tzinfo=UTC)


def needs(method: str, path: str, document: Any = None) -> list[tuple[str, str]]:
    content = document if isinstance(document, bytes) else json.dumps(document).encode()
    scope = {"type": "http", "method": method, "path": "/fnrunner/v1" + path, "headers": []}
    subject = AdminSubjects(HOME, ADMIN_ROUTES).of(scope, content)
    return [(need.action, need.resource) for need in subject.needs]


def test_an_http_api_is_judged_by_the_name_it_is_kept_under() -> None:
    assert needs("DELETE", "/http-apis/Shop")[0][1] == "arn:aws:fnrunner:us-east-1:000000000000:http-apis/shop"


def test_a_name_is_decoded_once() -> None:
    # the path of a scope is decoded already: %2A is the name, not a star
    assert needs("GET", "/http-apis/%2a")[0][1].endswith("http-apis/%2a")


@pytest.mark.parametrize(
    ("method", "path", "document", "invoked"),
    [
        (
            "PUT",
            "/http-apis/a",
            {"routes": [{"function": "f"}, {"function": "g", "qualifier": "1"}, {"function": "f"}]},
            ["f", "g:1"],
        ),
        ("POST", "/schedules", {"name": "s", "function": "f:prod"}, ["f:prod"]),
        ("PUT", "/schedules/s", {"function": FUNCTION.replace("aws", "aws-cn") + "f"}, ["f"]),
        ("PUT", "/topics/t/subscriptions", {"function": "f", "qualifier": "2"}, ["f:2"]),
        ("PUT", "/functions/f/notifications", {"notifications": [{"bucket": "b", "qualifier": "p"}]}, ["f:p"]),
        ("PUT", "/functions/f/notifications", {"notifications": []}, []),
        ("PUT", "/http-apis/a", {"routes": "f"}, []),
        ("PUT", "/http-apis/a", b"no json", []),
        ("PUT", "/schedules/s/enabled", {"function": "f"}, []),
    ],
)
def test_whoever_lets_a_trigger_invoke_a_function_must_be_allowed_to_invoke_it(
    method: str, path: str, document: Any, invoked: list[str]
) -> None:
    assert needs(method, path, document)[1:] == [("lambda:InvokeFunction", FUNCTION + name) for name in invoked]


@pytest.mark.parametrize(
    ("form", "resource"),
    [
        ({"Action": "CreateAccessKey"}, "arn:aws:iam::000000000000:user/team/ann"),
        ({"Action": "GetUser", "UserName": ""}, "arn:aws:iam::000000000000:user/team/ann"),
        ({"Action": "DeleteAccessKey", "UserName": "bob"}, "arn:aws:iam::000000000000:user/bob"),
        ({"Action": "CreateUser"}, "arn:aws:iam::000000000000:user/"),
        ({"Action": "ListUsers"}, "arn:aws:iam::000000000000:user/"),
    ],
)
def test_an_operation_that_names_no_user_is_about_the_caller(form: dict[str, str], resource: str) -> None:
    # neither the store nor the keyring is asked
    api = IamApi(Iam(cast(Any, None), cast(Any, None), HOME, lambda: NOW), lambda: NOW)
    asked = api.read("", urlencode({"Version": "2010-05-08", **form}).encode(), "iam")
    principal: User | Session = User("000000000000", "ann", "AIDA1", "/team/")
    assert api.subject(asked, Known(Credential("ann", "AKIA1", "s"), principal)).needs[0].resource == resource
