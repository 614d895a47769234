"""Whether a request is allowed, and by which kind of policy not: a function of the request and the policies.

::

    a Deny that applies, anywhere ──────────────────────────────► denied, explicitly
    another account: identity AND resource must allow
    own account:     identity OR resource, the resource naming the caller itself
    service, nobody: resource alone
    a session policy must allow as well, unless the resource names the session itself

Source: IAM, policy evaluation logic.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from fnrunner.auth.condition import all_hold
from fnrunner.auth.pattern import Context, expand, matches, matches_arn
from fnrunner.auth.policy import Effect, Policy, Principals, Statement
from fnrunner.auth.principal import Anonymous, Named, Principal, Service, Session, how_named


@dataclass(frozen=True, slots=True)
class Action:
    """What is about to be done, to what. ``account`` owns the resource."""

    principal: Principal
    name: str
    resource: str
    account: str
    context: Context = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Policies:
    """Everything that speaks about an action. ``session`` None: the caller's session has no policies of its own.

    ``must_trust``: the resource has to let the caller in as well, as a role does with its trust policy.
    """

    identity: Sequence[Policy] = ()
    resource: Sequence[Policy] = ()
    session: Sequence[Policy] | None = None
    must_trust: bool = False


class Reason(Enum):
    """Why it is so. The value is the kind of policy that decided, in IAM's words."""

    ALLOWED = ""
    DENIED_BY_IDENTITY = "an identity-based policy"
    DENIED_BY_RESOURCE = "a resource-based policy"
    DENIED_BY_SESSION = "a session policy"
    NO_IDENTITY = "identity-based policy"
    NO_RESOURCE = "resource-based policy"
    NO_SESSION = "session policy"

    @property
    def explicit(self) -> bool:
        return self in (Reason.DENIED_BY_IDENTITY, Reason.DENIED_BY_RESOURCE, Reason.DENIED_BY_SESSION)


@dataclass(frozen=True, slots=True)
class Decision:
    """``policy`` names the policy that allowed or denied; empty where none did. ``statement`` is its Sid."""

    reason: Reason
    policy: str = ""
    statement: str = ""

    @property
    def allowed(self) -> bool:
        return self.reason is Reason.ALLOWED


def decide(action: Action, policies: Policies) -> Decision:
    """The one decision. Order of statements and policies makes no difference to whether it is allowed."""
    if (denied := _explicit_deny(action, policies)) is not None:
        return denied
    by_resource, named = _resource_allows(policies.resource, action)
    if isinstance(action.principal, Service | Anonymous):
        return Decision(Reason.ALLOWED, *by_resource) if by_resource else Decision(Reason.NO_RESOURCE)
    by_identity = _first(policies.identity, Effect.ALLOW, action)
    missing = _missing(action, by_identity is not None, named)
    if policies.must_trust and named is Named.NOT:
        missing = Reason.NO_RESOURCE
    if missing is None and _outside_session(action, policies):
        missing = Reason.NO_SESSION
    return Decision(Reason.ALLOWED, *(by_identity or by_resource or ())) if missing is None else Decision(missing)


def _explicit_deny(action: Action, policies: Policies) -> Decision | None:
    for found, reason in (
        (policies.identity, Reason.DENIED_BY_IDENTITY),
        (policies.resource, Reason.DENIED_BY_RESOURCE),
        (policies.session or (), Reason.DENIED_BY_SESSION),
    ):
        if (denying := _first(found, Effect.DENY, action)) is not None:
            return Decision(reason, *denying)
    return None


def _missing(action: Action, by_identity: bool, by_resource: Named) -> Reason | None:
    """Which kind of policy would have to allow it as well."""
    if action.account == action.principal.account:
        return None if by_identity or by_resource is Named.ITSELF else Reason.NO_IDENTITY
    if not by_identity:
        return Reason.NO_IDENTITY
    return Reason.NO_RESOURCE if by_resource is Named.NOT else None


def _outside_session(action: Action, policies: Policies) -> bool:
    return (
        policies.session is not None
        and _first(policies.session, Effect.ALLOW, action) is None
        and not _names_session(policies.resource, action)
    )


def explain(action: Action, decision: Decision) -> str:
    """The sentence that a client is told when it is denied. Source: IAM, access denied error messages."""
    text = f"User: {action.principal.arn} is not authorized to perform: {action.name}"
    if action.resource:
        text += f" on resource: {action.resource}"
    if decision.reason.explicit:
        return f"{text} with an explicit deny in {decision.reason.value}"
    return f"{text} because no {decision.reason.value} allows the {action.name} action"


def applies(statement: Statement, action: Action) -> bool:
    """Whether the statement speaks about this action, whoever does it."""
    context = action.context
    named = any(matches(pattern, action.name, ignore_case=True) for pattern in statement.actions)
    if named is statement.not_action:
        return False
    covered = any(_covers(pattern, action.resource, statement.variables, context) for pattern in statement.resources)
    return covered is not statement.not_resource and all_hold(statement.conditions, context)


def _covers(pattern: str, resource: str, variables: bool, context: Context) -> bool:
    expanded = expand(pattern, context) if variables else pattern
    if expanded is None:
        return False
    return expanded == "*" or matches_arn(expanded, resource)


def _first(policies: Iterable[Policy], effect: Effect, action: Action) -> tuple[str, str] | None:
    """The name of the first policy with such a statement that means the caller, and the statement's Sid."""
    for policy in policies:
        for statement in policy.statements:
            if (
                statement.effect is effect
                and _means(statement.principals, action.principal) is not Named.NOT
                and applies(statement, action)
            ):
                return policy.name, statement.sid
    return None


def _resource_allows(policies: Iterable[Policy], action: Action) -> tuple[tuple[str, str] | None, Named]:
    """The strongest way in which the resource's policies let the caller in."""
    best: tuple[str, str] | None = None
    strength = Named.NOT
    for policy in policies:
        for statement in policy.statements:
            if statement.effect is not Effect.ALLOW or strength is Named.ITSELF:
                continue
            named = _means(statement.principals, action.principal)
            if named is not Named.NOT and applies(statement, action):
                best, strength = (policy.name, statement.sid), named
    return best, strength


def _names_session(policies: Iterable[Policy], action: Action) -> bool:
    """A resource that names the session, not its role, lets it in whatever the session's own policies say."""
    principal = action.principal
    return isinstance(principal, Session) and any(
        statement.effect is Effect.ALLOW
        and statement.principals is not None
        and principal.arn in statement.principals.aws
        and applies(statement, action)
        for policy in policies
        for statement in policy.statements
    )


def _means(principals: Principals | None, principal: Principal) -> Named:
    if principals is None:
        return Named.ITSELF
    if principals.everybody:
        named = Named.ITSELF
    elif isinstance(principal, Service):
        named = Named.ITSELF if principal.name in principals.services else Named.NOT
    else:
        named = how_named(principals.aws, principal)
    if not principals.negated:
        return named
    # an account that is excepted does not except those in it: they must be named
    return Named.NOT if named is Named.ITSELF else Named.ITSELF
