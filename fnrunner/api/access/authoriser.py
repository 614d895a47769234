"""Whether a caller may do what a request is about: each need judged by the caller's policies and by the resource's."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import lru_cache

from fnrunner.api.access.refusal import Denied
from fnrunner.auth import condition_keys as keys
from fnrunner.auth import policy as policy_language
from fnrunner.auth.action import Need
from fnrunner.auth.evaluation import Action, Decision, Policies, decide, explain
from fnrunner.auth.iam import Iam, Known
from fnrunner.auth.pattern import Context
from fnrunner.auth.policy import Kind, MalformedPolicy, Policy
from fnrunner.auth.principal import Principal, Service
from fnrunner.catalogue import Catalogue
from fnrunner.catalogue.policies import LAYER, Place
from fnrunner.catalogue.policies import find as find_policy
from fnrunner.model import limits
from fnrunner.model.arn import FunctionRef, InvalidArn, parse
from sources.http.request import Request
from sources.mapping import EventSourceMapping

log = logging.getLogger(__name__)


class Authoriser:
    """``now`` gives aware UTC."""

    def __init__(self, iam: Iam, catalogue: Catalogue, now: Callable[[], datetime]) -> None:
        self._iam = iam
        self._catalogue = catalogue
        self._now = now

    def context(self, request: Request, known: Known) -> Context:
        """The condition keys that every request of this caller has."""
        identity = self._iam.directory.identity_of(known.principal)
        return keys.of_request(request, self._iam.home, self._now()) | keys.of_principal(known.principal, identity)

    async def check(self, request: Request, known: Known, needs: Iterable[Need]) -> None:
        """Raises Denied with IAM's sentence for the first need that is not allowed."""
        shared = self.context(request, known)
        for need in needs:
            action = self._action(known.principal, need, shared)
            decision = self._iam.decide(known, action, await self._policies(need.resource))
            if not decision.allowed:
                raise Denied(explain(action, decision))

    async def check_without_identity(self, request: Request, principal: Principal, needs: Iterable[Need]) -> None:
        """As ``check``, for a service, or for nobody: only the resource's policy counts. Raises Denied."""
        shared = keys.of_request(request, self._iam.home, self._now()) | keys.of_principal(principal, None)
        for need in needs:
            action = self._action(principal, need, shared)
            decision = decide(action, Policies(resource=await self._policies(need.resource)))
            if not decision.allowed:
                raise Denied(explain(action, decision))

    async def decide(self, principal: Principal, need: Need, context: Context) -> Decision:
        """What would be decided, for whoever wants to know beforehand."""
        action = self._action(principal, need, context)
        resource = await self._policies(need.resource)
        if isinstance(principal, Service):
            return decide(action, Policies(resource=resource))
        return decide(action, Policies(self._iam.directory.policies_of(principal), resource))

    def _action(self, principal: Principal, need: Need, shared: Context) -> Action:
        found = {**shared, **self._of_resource(need.resource), **need.context}
        return Action(principal, need.action, need.resource, _account(need.resource, self._iam.home.account), found)

    def _of_resource(self, resource: str) -> Mapping[str, tuple[str, ...]]:
        """Tags of a function, and the function of an event source mapping."""
        kind, _, name = _resource(resource).partition(":")
        if kind == "function":
            function = self._catalogue.snapshot.function(name.partition(":")[0])
            return {} if function is None else keys.of_tags(function.tags)
        if kind == "event-source-mapping":
            mapping = self._catalogue.snapshot.of_type(EventSourceMapping).get(name)
            if mapping is not None:
                arn = self._iam.home.function(mapping.function)
                return {"lambda:functionarn": (arn,), "aws:resourceaccount": (self._iam.home.account,)}
        return {}

    async def _policies(self, resource: str) -> tuple[Policy, ...]:
        """What the resource's own policy says, of one that is here."""
        text = ""
        if ":function:" in resource:
            text = self._of_function(resource)
        elif ":layer:" in resource:
            text = await self._of_layer(resource)
        return (_parsed(text, resource),) if text else ()

    def _of_function(self, resource: str) -> str:
        home = self._iam.home
        try:
            ref = FunctionRef.parse(resource)
        except InvalidArn:
            return ""
        if (ref.region, ref.account) != (home.region, home.account):
            return ""
        qualifier = "" if ref.qualifier == limits.LATEST else ref.qualifier
        return self._catalogue.snapshot.policies.get((ref.name, qualifier), "")

    async def _of_layer(self, resource: str) -> str:
        home, (name, _, version) = self._iam.home, resource.partition(":layer:")[2].partition(":")
        if not version or not resource.startswith(f"arn:aws:lambda:{home.region}:{home.account}:layer:"):
            return ""
        place = Place(LAYER, name, version)
        found = await self._catalogue.read(lambda connection: find_policy(connection, place))
        return found.document if found else ""


def _account(resource: str, own: str) -> str:
    """Whose the resource is; what has no ARN, and AWS's own, is this account's."""
    try:
        account = parse(resource).account
    except InvalidArn:
        return own
    return account if account.isdigit() else own


def _resource(arn: str) -> str:
    parts = arn.split(":", 5)
    return parts[5] if len(parts) == 6 else ""


@lru_cache(maxsize=1024)
def _parsed(text: str, name: str) -> Policy:
    """What cannot be read denies everything: it might have been a Deny."""
    try:
        return policy_language.parse(text, Kind.RESOURCE, name)
    except MalformedPolicy:
        log.exception("the policy of %s cannot be read: whatever it is about is denied", name)
        return policy_language.read(_NOTHING, Kind.RESOURCE, name)


_NOTHING = {"Version": "2012-10-17", "Statement": {"Effect": "Deny", "Principal": "*", "Action": "*", "Resource": "*"}}
