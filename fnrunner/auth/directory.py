"""Everything that deciding about a request needs to know of users and roles, at one moment: a value, never changed."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection, select

from fnrunner.auth import identity_store as rows
from fnrunner.auth import managed
from fnrunner.auth import policy as policy_language
from fnrunner.auth.identity import Identity, Kind
from fnrunner.auth.identity_store import AccessKey
from fnrunner.auth.policy import MalformedPolicy, Policy
from fnrunner.auth.principal import Principal, Session, User
from fnrunner.store.schema import iam_attachment, iam_change, iam_inline_policy

log = logging.getLogger(__name__)

Owner = tuple[Kind, str]


@dataclass(frozen=True, slots=True)
class Directory:
    """``counter`` is that of the last change in it. ``policies`` are attached and in line, parsed."""

    counter: int = -1
    identities: Mapping[Owner, Identity] = field(default_factory=dict)
    policies: Mapping[Owner, tuple[Policy, ...]] = field(default_factory=dict)
    keys: Mapping[str, AccessKey] = field(default_factory=dict, repr=False)

    def is_there(self, principal: Principal) -> bool:
        """Whether the user, or the role of a session, is the one that it was: not gone, and not made anew."""
        found = self.identity_of(principal)
        unique_id = principal.role_id if isinstance(principal, Session) else principal.unique_id
        return found is not None and found.id == unique_id

    def policies_of(self, principal: Principal) -> tuple[Policy, ...]:
        """Those of a user, or of the role that a session is of. None for one that is gone, or has been made anew."""
        found = self.identity_of(principal)
        if found is None or not self.is_there(principal):
            return ()
        return self.policies.get((found.kind, found.name), ())

    def identity_of(self, principal: Principal) -> Identity | None:
        if isinstance(principal, User):
            return self.identities.get((Kind.USER, principal.name))
        return self.identities.get((Kind.ROLE, principal.role)) if isinstance(principal, Session) else None


def current(connection: Connection) -> int:
    """The counter of the last change."""
    return connection.execute(select(iam_change.c.counter)).scalar() or 0


def read(connection: Connection) -> Directory:
    """As it is in the store now."""
    identities = {(one.kind, one.name): one for one in rows.every(connection)}
    own = {policy.arn: policy.document for policy in rows.every_policy(connection)}
    parsed: dict[str, Policy] = {}
    found: dict[Owner, list[Policy]] = {}
    for row in connection.execute(select(iam_attachment)):
        if row.arn not in parsed:
            document = managed.document(row.arn)
            text = own.get(row.arn, "") if document is None else json.dumps(document)
            parsed[row.arn] = _parsed(text, row.arn)
        found.setdefault((Kind(row.kind), row.owner), []).append(parsed[row.arn])
    for row in connection.execute(select(iam_inline_policy)):
        found.setdefault((Kind(row.kind), row.owner), []).append(_parsed(row.document, row.name))
    return Directory(
        current(connection),
        identities,
        {owner: tuple(policies) for owner, policies in found.items()},
        {key.id: key for key in rows.every_key(connection)},
    )


def _parsed(text: str, name: str) -> Policy:
    """What cannot be read denies everything: it might have been a Deny."""
    try:
        return policy_language.parse(text, name=name)
    except MalformedPolicy:
        log.exception("the policy %s cannot be read: whoever has it is denied everything", name)
        return policy_language.read(_NOTHING, name=name)


_NOTHING = {"Version": "2012-10-17", "Statement": {"Effect": "Deny", "Action": "*", "Resource": "*"}}
