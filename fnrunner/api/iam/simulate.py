"""What policies would decide, without anybody doing it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fnrunner.api.iam.call import Call, Route, page
from fnrunner.auth import condition_keys as keys
from fnrunner.auth.evaluation import Action, Decision, Policies, decide
from fnrunner.auth.iam_error import InvalidInput, NoSuchEntity
from fnrunner.auth.identity import Kind
from fnrunner.auth.policy import Kind as PolicyKind
from fnrunner.auth.policy import MalformedPolicy, Policy, parse

Answer = Mapping[str, Any]
MAX_DECISIONS = 2000
"""So many may be asked for at once: everybody waits while they are made."""


async def principal_policy(call: Call) -> Answer:
    """Those of a user or a role, with ``PolicyInputList`` besides."""
    arn, directory, home = call.text("PolicySourceArn"), call.iam.directory, call.iam.home
    identity = next((one for one in directory.identities.values() if one.arn(home) == arn), None)
    if identity is None:
        raise NoSuchEntity(f"There is no user and no role {arn}.")
    who = identity.user(home) if identity.kind is Kind.USER else identity.session(home, "simulated")
    policies = (*directory.policies_of(who), *_given(call.params.get("PolicyInputList", [])))
    resource = _given([call.text("ResourcePolicy")], PolicyKind.RESOURCE) if "ResourcePolicy" in call.params else ()
    shared = keys.of_principal(who, identity) | {
        entry["ContextKeyName"].lower(): tuple(entry.get("ContextKeyValues", ()))
        for entry in call.params.get("ContextEntries", [])
    }
    names, targets = call.params["ActionNames"], call.params.get("ResourceArns") or ["*"]
    if len(names) * len(targets) > MAX_DECISIONS:
        raise InvalidInput(
            f"{len(names)} actions on {len(targets)} resources are more than the {MAX_DECISIONS} decisions that fnrunner makes "
            "at once. Ask for fewer in each call."
        )
    results = []
    for name in names:
        for target in targets:
            decision = decide(Action(who, name, target, home.account, shared), Policies(policies, resource))
            results.append(_result(name, target, decision))
    return page(call, "EvaluationResults", results, lambda one: one)


def _given(texts: list[str], kind: PolicyKind = PolicyKind.IDENTITY) -> tuple[Policy, ...]:
    """Raises InvalidInput."""
    try:
        return tuple(parse(text, kind, f"PolicyInputList.{number}") for number, text in enumerate(texts, 1))
    except MalformedPolicy as error:
        raise InvalidInput(str(error)) from error


def _result(action: str, resource: str, decision: Decision) -> dict[str, Any]:
    said = "allowed" if decision.allowed else "explicitDeny" if decision.reason.explicit else "implicitDeny"
    matched = [{"SourcePolicyId": decision.policy}] if decision.policy else []
    return {
        "EvalActionName": action,
        "EvalResourceName": resource,
        "EvalDecision": said,
        "MatchedStatements": matched,
        "MissingContextValues": [],
    }


def _of_source(params: Mapping[str, Any], _: str) -> str:
    return str(params.get("PolicySourceArn", "*"))


ROUTES = (
    Route(
        "SimulatePrincipalPolicy", principal_policy, _of_source,
        frozenset({"PermissionsBoundaryPolicyInputList", "ResourceOwner", "CallerArn", "ResourceHandlingOption"}),
    ),
)  # fmt: skip
