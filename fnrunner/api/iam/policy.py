"""Policies: managed ones with their versions, those of users and roles in line, and what is attached to whom."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from sqlalchemy import Connection

from fnrunner.api.iam.call import Call, Handler, Route, document, encoded, page
from fnrunner.auth import identity_store as rows
from fnrunner.auth import managed
from fnrunner.auth.iam_error import AccessDenied, NoSuchEntity
from fnrunner.auth.identity import EPOCH, Kind, ManagedPolicy, Version, new_id

Answer = Mapping[str, Any]
_NAMES = {Kind.USER: "UserName", Kind.ROLE: "RoleName"}


async def create(call: Call) -> Answer:
    text = document(call, "PolicyDocument")
    policy = ManagedPolicy(
        name=call.text("PolicyName"),
        id=new_id("ANPA"),
        created=call.now,
        updated=call.now,
        versions=(Version(1, text, call.now),),
        path=call.text("Path", "/"),
        description=call.text("Description"),
        account=call.iam.home.account,
    )
    await call.iam.change(lambda connection: rows.add_policy(connection, policy))
    return {"Policy": _described(policy, 0)}


async def get(call: Call) -> Answer:
    arn = call.text("PolicyArn")

    def work(connection: Connection) -> dict[str, Any]:
        return _described(_find(connection, arn), rows.count_attachments(connection, arn))

    return {"Policy": await call.iam.read(work)}


async def every(call: Call) -> Answer:
    """This account's by ARN, then AWS's; ``Scope`` may be ``Local`` or ``AWS``."""
    scope, attached, prefix = (
        call.text("Scope", "All"),
        call.params.get("OnlyAttached", False),
        call.text("PathPrefix", "/"),
    )

    def work(connection: Connection) -> list[dict[str, Any]]:
        own = rows.every_policy(connection) if scope in ("All", "Local") else []
        theirs = [_find(connection, arn) for arn in managed.arns()] if scope in ("All", "AWS") else []
        counted = [(one, rows.count_attachments(connection, _arn(one))) for one in (*own, *theirs)]
        return [
            _described(one, count) for one, count in counted if (count or not attached) and one.path.startswith(prefix)
        ]

    return page(call, "Policies", await call.iam.read(work), lambda one: one)


async def delete(call: Call) -> Answer:
    arn = _changeable(call)
    await call.iam.change(lambda connection: rows.remove_policy(connection, arn))
    return {}


async def create_version(call: Call) -> Answer:
    arn, text, default = _changeable(call), document(call, "PolicyDocument"), bool(call.params.get("SetAsDefault"))
    policy, version = await call.iam.change(
        lambda connection: rows.add_version(connection, arn, text, call.now, default=default)
    )
    return {"PolicyVersion": _version(policy, version, whole=False)}


async def get_version(call: Call) -> Answer:
    arn, number = call.text("PolicyArn"), _number(call)
    policy = await call.iam.read(lambda connection: _find(connection, arn))
    return {"PolicyVersion": _version(policy, rows.find_version(policy, number))}


async def versions(call: Call) -> Answer:
    arn = call.text("PolicyArn")
    policy = await call.iam.read(lambda connection: _find(connection, arn))
    newest_first = sorted(policy.versions, key=lambda one: -one.number)
    return page(call, "Versions", newest_first, lambda one: _version(policy, one, whole=False))


async def delete_version(call: Call) -> Answer:
    arn, number = _changeable(call), _number(call)
    await call.iam.change(lambda connection: rows.remove_version(connection, arn, number))
    return {}


async def set_default(call: Call) -> Answer:
    arn, number = _changeable(call), _number(call)
    await call.iam.change(lambda connection: rows.set_default_version(connection, arn, number))
    return {}


async def attach(kind: Kind, call: Call) -> Answer:
    owner, arn = call.text(_NAMES[kind]), call.text("PolicyArn")
    await call.iam.change(lambda connection: rows.attach(connection, kind, owner, arn))
    return {}


async def detach(kind: Kind, call: Call) -> Answer:
    owner, arn = call.text(_NAMES[kind]), call.text("PolicyArn")
    await call.iam.change(lambda connection: rows.detach(connection, kind, owner, arn))
    return {}


async def attached(kind: Kind, call: Call) -> Answer:
    owner = call.text(_NAMES[kind])
    arns = await call.iam.read(lambda connection: rows.attached(connection, kind, owner))
    return page(call, "AttachedPolicies", arns, lambda arn: {"PolicyName": arn.rpartition("/")[2], "PolicyArn": arn})


async def put_inline(kind: Kind, call: Call) -> Answer:
    owner, name, text = call.text(_NAMES[kind]), call.text("PolicyName"), document(call, "PolicyDocument")
    await call.iam.change(lambda connection: rows.put_inline(connection, kind, owner, name, text))
    return {}


async def get_inline(kind: Kind, call: Call) -> Answer:
    key, name = _NAMES[kind], call.text("PolicyName")
    owner = call.text(key)
    text = await call.iam.read(lambda connection: rows.find_inline(connection, kind, owner, name))
    return {key: owner, "PolicyName": name, "PolicyDocument": encoded(text)}


async def delete_inline(kind: Kind, call: Call) -> Answer:
    owner, name = call.text(_NAMES[kind]), call.text("PolicyName")
    await call.iam.change(lambda connection: rows.remove_inline(connection, kind, owner, name))
    return {}


async def inline_names(kind: Kind, call: Call) -> Answer:
    owner = call.text(_NAMES[kind])
    names = await call.iam.read(lambda connection: rows.inline_names(connection, kind, owner))
    return page(call, "PolicyNames", names, lambda name: name)


def _find(connection: Connection, arn: str) -> ManagedPolicy:
    """AWS's too. Raises NoSuchEntity."""
    if (content := managed.document(arn)) is None:
        return rows.find_policy(connection, arn)
    path, _, name = arn.removeprefix(managed.PREFIX).rpartition("/")
    version = Version(1, json.dumps(content), EPOCH)
    return ManagedPolicy(
        name, f"ANPA{name.upper()[:17]:A<17}", EPOCH, EPOCH, (version,), path=f"{path}/", account="aws"
    )


def _changeable(call: Call) -> str:
    """Raises AccessDenied for a policy of AWS's."""
    arn = call.text("PolicyArn")
    if managed.document(arn) is not None:
        raise AccessDenied(f"{arn} is managed by AWS: it cannot be changed. Create a policy of your own.")
    return arn


def _number(call: Call) -> int:
    """Raises NoSuchEntity."""
    found = re.match(r"v([1-9][0-9]{0,8})", text := call.text("VersionId"))
    if found is None:
        raise NoSuchEntity(f"Policy {call.text('PolicyArn')} version {text} does not exist or is not attachable.")
    return int(found[1])


def _arn(policy: ManagedPolicy) -> str:
    return policy.arn


def _described(policy: ManagedPolicy, attachments: int) -> dict[str, Any]:
    found = {
        "PolicyName": policy.name,
        "PolicyId": policy.id,
        "Arn": policy.arn,
        "Path": policy.path,
        "DefaultVersionId": f"v{policy.default}",
        "AttachmentCount": attachments,
        "PermissionsBoundaryUsageCount": 0,
        "IsAttachable": True,
        "CreateDate": policy.created,
        "UpdateDate": policy.updated,
    }
    return found | ({"Description": policy.description} if policy.description else {})


def _version(policy: ManagedPolicy, version: Version, *, whole: bool = True) -> dict[str, Any]:
    found = {
        "VersionId": f"v{version.number}",
        "IsDefaultVersion": version.number == policy.default,
        "CreateDate": version.created,
    }
    return found | ({"Document": encoded(version.document)} if whole else {})


def _of_policy(params: Mapping[str, Any], account: str) -> str:
    if arn := params.get("PolicyArn"):
        return str(arn)
    return f"arn:aws:iam::{account}:policy{params.get('Path', '/')}{params.get('PolicyName', '*')}"


def _of_owner(kind: Kind, params: Mapping[str, Any], account: str) -> str:
    return f"arn:aws:iam::{account}:{kind.value}/{params.get(_NAMES[kind], '')}"


def _owned(operation: str, handle: Any) -> list[Route]:
    """The operation for roles and for users."""
    return [
        Route(operation.format(kind.value.title()), _bound(handle, kind), partial(_of_owner, kind)) for kind in _NAMES
    ]


def _bound(handle: Any, kind: Kind) -> Handler:
    bound: Handler = partial(handle, kind)
    return bound


ROUTES = (
    Route("CreatePolicy", create, _of_policy, frozenset({"Tags"})),
    Route("GetPolicy", get, _of_policy),
    Route("ListPolicies", every, _of_policy, frozenset({"PolicyUsageFilter"})),
    Route("DeletePolicy", delete, _of_policy),
    Route("CreatePolicyVersion", create_version, _of_policy),
    Route("GetPolicyVersion", get_version, _of_policy),
    Route("ListPolicyVersions", versions, _of_policy),
    Route("DeletePolicyVersion", delete_version, _of_policy),
    Route("SetDefaultPolicyVersion", set_default, _of_policy),
    *_owned("Attach{}Policy", attach),
    *_owned("Detach{}Policy", detach),
    *_owned("ListAttached{}Policies", attached),
    *_owned("Put{}Policy", put_inline),
    *_owned("Get{}Policy", get_inline),
    *_owned("Delete{}Policy", delete_inline),
    *_owned("List{}Policies", inline_names),
)
