"""Users, roles, policies and access keys in the store. Each function runs inside a transaction of
:class:`~fnrunner.auth.iam.Iam` and raises what IAM answers.

Names are unique whatever their case, and kept in the case in which they were given. Source: IAM API.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from sqlalchemy import Connection, delete, func, insert, select, update

from fnrunner.auth import managed
from fnrunner.auth.iam_error import DeleteConflict, EntityAlreadyExists, LimitExceeded, NoSuchEntity
from fnrunner.auth.identity import (
    Identity,
    Kind,
    ManagedPolicy,
    Version,
    dump_identity,
    dump_policy,
    load_identity,
    load_policy,
)
from fnrunner.store.schema import iam_access_key as keys
from fnrunner.store.schema import iam_attachment as attachments
from fnrunner.store.schema import iam_identity as identities
from fnrunner.store.schema import iam_inline_policy as inlines
from fnrunner.store.schema import iam_policy as policies

MAX_KEYS = 2
MAX_VERSIONS = 5
MAX_ATTACHED = 10


@dataclass(frozen=True, slots=True)
class AccessKey:
    """``secret`` is sealed."""

    id: str
    owner: str
    active: bool
    secret: str
    created: datetime


def find(connection: Connection, kind: Kind, name: str) -> Identity:
    """Raises NoSuchEntity."""
    query = select(identities).where(identities.c.kind == kind.value, func.lower(identities.c.name) == name.lower())
    if (row := connection.execute(query).first()) is None:
        raise NoSuchEntity(f"The {kind.value} with name {name} cannot be found.")
    return load_identity(kind, row.name, row.document)


def every(connection: Connection) -> list[Identity]:
    """Users and roles, by name."""
    query = select(identities).order_by(identities.c.kind, identities.c.name)
    return [load_identity(Kind(row.kind), row.name, row.document) for row in connection.execute(query)]


def add(connection: Connection, one: Identity) -> Identity:
    """Raises EntityAlreadyExists."""
    taken = select(identities.c.name).where(
        identities.c.kind == one.kind.value, func.lower(identities.c.name) == one.name.lower()
    )
    if connection.execute(taken).first():
        raise EntityAlreadyExists(f"{one.kind.value.title()} with name {one.name} already exists.")
    connection.execute(insert(identities).values(kind=one.kind.value, name=one.name, document=dump_identity(one)))
    return one


def save(connection: Connection, one: Identity) -> Identity:
    where = identities.c.kind == one.kind.value, identities.c.name == one.name
    connection.execute(update(identities).where(*where).values(document=dump_identity(one)))
    return one


def remove(connection: Connection, kind: Kind, name: str) -> Identity:
    """Raises NoSuchEntity, DeleteConflict."""
    one = find(connection, kind, name)
    for table, what in ((attachments, "must detach all policies first."), (inlines, "must delete policies first.")):
        if connection.execute(select(table).where(table.c.kind == kind.value, table.c.owner == one.name)).first():
            raise DeleteConflict(f"Cannot delete entity, {what}")
    if kind is Kind.USER and connection.execute(select(keys.c.id).where(keys.c.owner == one.name)).first():
        raise DeleteConflict("Cannot delete entity, must delete access keys first.")
    connection.execute(delete(identities).where(identities.c.kind == kind.value, identities.c.name == one.name))
    return one


def find_policy(connection: Connection, arn: str) -> ManagedPolicy:
    """One of this account's. Raises NoSuchEntity."""
    if (text := connection.execute(select(policies.c.document).where(policies.c.arn == arn)).scalar()) is None:
        raise NoSuchEntity(f"Policy {arn} was not found.")
    return load_policy(text)


def every_policy(connection: Connection) -> list[ManagedPolicy]:
    """This account's, by ARN."""
    return [
        load_policy(text) for text in connection.execute(select(policies.c.document).order_by(policies.c.arn)).scalars()
    ]


def add_policy(connection: Connection, policy: ManagedPolicy) -> ManagedPolicy:
    """Raises EntityAlreadyExists."""
    if any(one.name.lower() == policy.name.lower() for one in every_policy(connection)):
        raise EntityAlreadyExists(f"A policy called {policy.name} already exists. Duplicate names are not allowed.")
    connection.execute(insert(policies).values(arn=policy.arn, document=dump_policy(policy)))
    return policy


def remove_policy(connection: Connection, arn: str) -> None:
    """Raises NoSuchEntity, DeleteConflict."""
    policy = find_policy(connection, arn)
    if connection.execute(select(attachments.c.arn).where(attachments.c.arn == arn)).first():
        raise DeleteConflict("Cannot delete a policy attached to entities.")
    if len(policy.versions) > 1:
        raise DeleteConflict("This policy has more than one version. Before you delete a policy, you must delete the "
                             "policy's versions. The default version is deleted with the policy.")  # fmt: skip
    connection.execute(delete(policies).where(policies.c.arn == arn))


def add_version(
    connection: Connection, arn: str, document: str, now: datetime, *, default: bool
) -> tuple[ManagedPolicy, Version]:
    """Raises NoSuchEntity, LimitExceeded."""
    policy = find_policy(connection, arn)
    if len(policy.versions) >= MAX_VERSIONS:
        raise LimitExceeded(f"A managed policy can have up to {MAX_VERSIONS} versions. Before you create a new version, you "
                            "must delete an existing version.")  # fmt: skip
    version = Version(max(one.number for one in policy.versions) + 1, document, now)
    changed = replace(policy, versions=(*policy.versions, version), updated=now)
    return _save_policy(connection, replace(changed, default=version.number) if default else changed), version


def remove_version(connection: Connection, arn: str, number: int) -> None:
    """Raises NoSuchEntity, DeleteConflict."""
    policy = find_policy(connection, arn)
    find_version(policy, number)
    if policy.default == number:
        raise DeleteConflict("Cannot delete the default version of a policy.")
    left = tuple(one for one in policy.versions if one.number != number)
    _save_policy(connection, replace(policy, versions=left))


def set_default_version(connection: Connection, arn: str, number: int) -> None:
    """Raises NoSuchEntity."""
    policy = find_policy(connection, arn)
    _save_policy(connection, replace(policy, default=find_version(policy, number).number))


def find_version(policy: ManagedPolicy, number: int) -> Version:
    """Raises NoSuchEntity."""
    for version in policy.versions:
        if version.number == number:
            return version
    raise NoSuchEntity(f"Policy {policy.arn} version v{number} does not exist or is not attachable.")


def _save_policy(connection: Connection, policy: ManagedPolicy) -> ManagedPolicy:
    connection.execute(update(policies).where(policies.c.arn == policy.arn).values(document=dump_policy(policy)))
    return policy


def attach(connection: Connection, kind: Kind, name: str, arn: str) -> None:
    """Harmless when it is attached. Raises NoSuchEntity, LimitExceeded."""
    owner = find(connection, kind, name).name
    if managed.document(arn) is None:
        try:
            find_policy(connection, arn)
        except NoSuchEntity as error:
            raise NoSuchEntity(f"Policy {arn} does not exist or is not attachable.") from error
    has = attached(connection, kind, owner)
    if arn in has:
        return
    if len(has) >= MAX_ATTACHED:
        raise LimitExceeded(f"Cannot exceed quota for PoliciesPer{kind.value.title()}: {MAX_ATTACHED}")
    connection.execute(insert(attachments).values(kind=kind.value, owner=owner, arn=arn))


def detach(connection: Connection, kind: Kind, name: str, arn: str) -> None:
    """Raises NoSuchEntity."""
    owner = find(connection, kind, name).name
    where = attachments.c.kind == kind.value, attachments.c.owner == owner, attachments.c.arn == arn
    if connection.execute(delete(attachments).where(*where)).rowcount == 0:
        raise NoSuchEntity(f"Policy {arn} was not found.")


def attached(connection: Connection, kind: Kind, name: str) -> list[str]:
    """The ARNs, in order. Raises NoSuchEntity."""
    owner = find(connection, kind, name).name
    where = attachments.c.kind == kind.value, attachments.c.owner == owner
    return list(connection.execute(select(attachments.c.arn).where(*where).order_by(attachments.c.arn)).scalars())


def count_attachments(connection: Connection, arn: str) -> int:
    return connection.execute(
        select(func.count()).select_from(attachments).where(attachments.c.arn == arn)
    ).scalar_one()


def put_inline(connection: Connection, kind: Kind, name: str, policy: str, document: str) -> None:
    """Replaces it where it is there. Raises NoSuchEntity."""
    owner = find(connection, kind, name).name
    where = inlines.c.kind == kind.value, inlines.c.owner == owner, inlines.c.name == policy
    if connection.execute(update(inlines).where(*where).values(document=document)).rowcount == 0:
        connection.execute(insert(inlines).values(kind=kind.value, owner=owner, name=policy, document=document))


def find_inline(connection: Connection, kind: Kind, name: str, policy: str) -> str:
    """The document. Raises NoSuchEntity."""
    owner = find(connection, kind, name).name
    where = inlines.c.kind == kind.value, inlines.c.owner == owner, inlines.c.name == policy
    if (text := connection.execute(select(inlines.c.document).where(*where)).scalar()) is None:
        raise NoSuchEntity(f"The {kind.value} policy with name {policy} cannot be found.")
    return str(text)


def remove_inline(connection: Connection, kind: Kind, name: str, policy: str) -> None:
    """Raises NoSuchEntity."""
    find_inline(connection, kind, name, policy)
    owner = find(connection, kind, name).name
    connection.execute(
        delete(inlines).where(inlines.c.kind == kind.value, inlines.c.owner == owner, inlines.c.name == policy)
    )


def inline_names(connection: Connection, kind: Kind, name: str) -> list[str]:
    """In order. Raises NoSuchEntity."""
    owner = find(connection, kind, name).name
    where = inlines.c.kind == kind.value, inlines.c.owner == owner
    return list(connection.execute(select(inlines.c.name).where(*where).order_by(inlines.c.name)).scalars())


def add_key(connection: Connection, key: AccessKey) -> AccessKey:
    """Raises NoSuchEntity, LimitExceeded."""
    owner = find(connection, Kind.USER, key.owner).name
    if len(keys_of(connection, owner)) >= MAX_KEYS:
        raise LimitExceeded(f"Cannot exceed quota for AccessKeysPerUser: {MAX_KEYS}")
    row = {"id": key.id, "owner": owner, "active": int(key.active), "secret": key.secret}
    connection.execute(insert(keys).values(**row, created_ms=int(key.created.timestamp() * 1000)))
    return replace(key, owner=owner)


def keys_of(connection: Connection, user: str) -> list[AccessKey]:
    """The oldest first. Raises NoSuchEntity."""
    owner = find(connection, Kind.USER, user).name
    return [key for key in every_key(connection) if key.owner == owner]


def every_key(connection: Connection) -> list[AccessKey]:
    query = select(keys).order_by(keys.c.created_ms, keys.c.id)
    return [
        AccessKey(row.id, row.owner, bool(row.active), row.secret, datetime.fromtimestamp(row.created_ms / 1000, UTC))
        for row in connection.execute(query)
    ]


def find_key(connection: Connection, key_id: str, owner: str = "") -> AccessKey:
    """Raises NoSuchEntity, also for a key of somebody else."""
    for key in every_key(connection):
        if key.id == key_id and owner.lower() in ("", key.owner.lower()):
            return key
    raise NoSuchEntity(f"The Access Key with id {key_id} cannot be found.")


def activate_key(connection: Connection, key_id: str, owner: str, active: bool) -> None:
    """Raises NoSuchEntity."""
    find_key(connection, key_id, owner)
    connection.execute(update(keys).where(keys.c.id == key_id).values(active=int(active)))


def remove_key(connection: Connection, key_id: str, owner: str) -> None:
    """Raises NoSuchEntity."""
    find_key(connection, key_id, owner)
    connection.execute(delete(keys).where(keys.c.id == key_id))
