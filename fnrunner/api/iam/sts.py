"""STS: who calls, and temporary credentials of roles."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from fnrunner.api.iam.call import Call, Route
from fnrunner.auth import identity_store as rows
from fnrunner.auth import managed
from fnrunner.auth.evaluation import Action, Decision, Reason, explain
from fnrunner.auth.iam_error import AccessDenied, InvalidInput, MalformedPolicyDocument, NoSuchEntity, ValidationError
from fnrunner.auth.policy import MalformedPolicy, parse
from fnrunner.auth.principal import Session

Answer = Mapping[str, Any]
CHAINED = timedelta(hours=1)
"""The longest session that somebody who is a session already can have."""


async def identity(call: Call) -> Answer:
    """Nobody can be denied this."""
    principal = call.caller.principal
    return {"UserId": principal.unique_id, "Account": principal.account, "Arn": principal.arn}


async def assume(call: Call) -> Answer:
    """Raises AccessDenied, also for a role that does not exist: nobody learns here which there are."""
    arn, principal = call.text("RoleArn"), call.caller.principal
    context = {**call.context, "sts:rolesessionname": (call.text("RoleSessionName"),)}
    if external := call.text("ExternalId"):
        context["sts:externalid"] = (external,)
    action = Action(principal, "sts:AssumeRole", arn, call.iam.home.account, context)
    role = call.iam.role(arn)
    if role is None:
        raise AccessDenied(explain(action, Decision(Reason.NO_RESOURCE)).partition(" because ")[0])
    decision = call.iam.may_assume(call.caller, role, action)
    if not decision.allowed:
        sentence = explain(action, decision)
        raise AccessDenied(sentence if decision.reason.explicit else sentence.partition(" because ")[0])
    lifetime = timedelta(seconds=call.params.get("DurationSeconds", 3600))
    if lifetime > role.max_session:
        raise ValidationError("The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
    if isinstance(principal, Session) and lifetime > CHAINED:
        raise ValidationError("The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role "
                              "chaining.")  # fmt: skip
    issued = await call.iam.issue(role, call.text("RoleSessionName"), lifetime, await _session_policies(call))
    session = issued.session
    return {
        "Credentials": {
            "AccessKeyId": issued.access_key,
            "SecretAccessKey": issued.secret,
            "SessionToken": issued.token,
            "Expiration": issued.expires,
        },
        "AssumedRoleUser": {"AssumedRoleId": session.unique_id, "Arn": session.arn},
    }


async def key_info(call: Call) -> Answer:
    """The account of a key of this installation. Raises InvalidInput for any other."""
    if await call.iam.known(call.text("AccessKeyId")) is None:
        raise InvalidInput("The access key is none of this installation.")
    return {"Account": call.iam.home.account}


async def _session_policies(call: Call) -> list[str] | None:
    """The documents that limit the session; None: nothing does."""
    texts = [call.text("Policy")] if "Policy" in call.params else []
    for text in texts:
        try:
            parse(text)
        except MalformedPolicy as error:
            raise MalformedPolicyDocument(str(error)) from error
    texts += [await _document(call, given.get("arn", "")) for given in call.params.get("PolicyArns", ())]
    return texts or None


async def _document(call: Call, arn: str) -> str:
    if (content := managed.document(arn)) is not None:
        return json.dumps(content)
    try:
        return (await call.iam.read(lambda connection: rows.find_policy(connection, arn))).document
    except NoSuchEntity as error:
        raise InvalidInput(f"The policy {arn} does not exist.") from error


def _nothing(_: Mapping[str, Any], __: str) -> str:
    return ""


ROUTES = (
    Route("GetCallerIdentity", identity, _nothing),
    Route("AssumeRole", assume, _nothing, frozenset({"Tags", "TransitiveTagKeys", "SerialNumber", "TokenCode",
                                                     "SourceIdentity", "ProvidedContexts"})),
    Route("GetAccessKeyInfo", key_info, _nothing),
)  # fmt: skip
