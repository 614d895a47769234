"""Resource policies as Lambda writes them: from the parameters of a permission to a statement in IAM's language. Pure.

Source: Lambda API, AddPermission and AddLayerVersionPermission; their answers as recorded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from fnrunner.auth import policy
from fnrunner.auth.policy import Kind, MalformedPolicy
from fnrunner.catalogue.errors import InvalidParameterValue
from fnrunner.catalogue.policies import compact

_ACCOUNT = re.compile(r"\d{12}")
_AWS_PRINCIPAL = re.compile(
    r"arn:aws[a-zA-Z-]*:(iam|sts)::\d{12}:(root|user/.+|role/.+|assumed-role/.+|federated-user/.+)"
)
_SERVICE = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)*\.(amazonaws\.com|amazonaws\.com\.cn|amazon\.com|aws\.internal)")


class InvalidPrincipal(InvalidParameterValue):
    """The provided principal was invalid. Please check the principal and try again."""


class PolicyMalformed(InvalidParameterValue):
    """The policy is not in IAM's language."""


def function_statement(params: Mapping[str, Any], resource: str) -> dict[str, Any]:
    """The statement that AddPermission adds; ``params`` as in the API. Raises InvalidPrincipal, InvalidParameterValue.

    >>> params = {"StatementId": "s3", "Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com"}
    >>> function_statement(params | {"SourceArn": "arn:aws:s3:::b"}, "arn")["Condition"]
    {'ArnLike': {'AWS:SourceArn': 'arn:aws:s3:::b'}}
    """
    return _statement(params, resource, _condition(params))


def layer_statement(params: Mapping[str, Any], resource: str) -> dict[str, Any]:
    """The statement that AddLayerVersionPermission adds. Raises InvalidParameterValue."""
    organization = params.get("OrganizationId")
    if organization and params["Principal"] != "*":
        raise InvalidParameterValue("OrganizationId takes effect with the principal * only.")
    condition = {"StringEquals": {"aws:PrincipalOrgID": organization}} if organization else {}
    return _statement(params, resource, condition)


def _statement(params: Mapping[str, Any], resource: str, condition: Mapping[str, Any]) -> dict[str, Any]:
    """Raises InvalidPrincipal."""
    statement = {
        "Sid": params["StatementId"],
        "Effect": "Allow",
        "Principal": principal(params["Principal"]),
        "Action": params["Action"],
        "Resource": resource,
    }
    return statement | ({"Condition": condition} if condition else {})


def principal(text: str) -> str | dict[str, str]:
    """As a statement has it. Raises InvalidPrincipal.

    >>> principal("123456789012"), principal("sns.amazonaws.com"), principal("*")
    ({'AWS': 'arn:aws:iam::123456789012:root'}, {'Service': 'sns.amazonaws.com'}, '*')
    """
    if text == "*":
        return text
    if _ACCOUNT.fullmatch(text):
        return {"AWS": f"arn:aws:iam::{text}:root"}
    if _AWS_PRINCIPAL.fullmatch(text):
        return {"AWS": text}
    if _SERVICE.fullmatch(text):
        return {"Service": text}
    raise InvalidPrincipal


def whole(text: str) -> str:
    """A policy that somebody wrote, compact. Raises PolicyMalformed.

    >>> statement = '{"Effect": "Allow", "Principal": "*", "Action": "lambda:*", "Resource": "*"}'
    >>> whole('{"Version": "2012-10-17", "Statement": ' + statement + '}')[:50]
    '{"Version":"2012-10-17","Statement":[{"Effect":"Al'
    """
    try:
        policy.parse(text, Kind.RESOURCE)
    except MalformedPolicy as error:
        raise PolicyMalformed(f"The policy is malformed: {error}") from error
    document: dict[str, Any] = json.loads(text)
    statements = document["Statement"]
    # as AddPermission finds it: a list, which it appends to
    return compact(document | {"Statement": statements if isinstance(statements, list) else [statements]})


def _condition(params: Mapping[str, Any]) -> dict[str, Any]:
    equals = {
        key: params[name]
        for name, key in (
            ("SourceAccount", "AWS:SourceAccount"),
            ("EventSourceToken", "lambda:EventSourceToken"),
            ("FunctionUrlAuthType", "lambda:FunctionUrlAuthType"),
            ("PrincipalOrgID", "aws:PrincipalOrgID"),
        )
        if name in params
    }
    condition: dict[str, Any] = {"StringEquals": equals} if equals else {}
    if "SourceArn" in params:
        condition["ArnLike"] = {"AWS:SourceArn": params["SourceArn"]}
    if "InvokedViaFunctionUrl" in params:
        condition["Bool"] = {"lambda:InvokedViaFunctionUrl": str(params["InvokedViaFunctionUrl"]).lower()}
    return condition
