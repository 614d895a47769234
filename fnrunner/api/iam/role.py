"""Roles, and who may assume them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from fnrunner.api.iam.call import Call, Route, document, encoded, page, tag_list, tags
from fnrunner.auth import identity_store as rows
from fnrunner.auth.identity import Identity, Kind, new_id
from fnrunner.auth.policy import Kind as PolicyKind

Answer = Mapping[str, Any]


async def create(call: Call) -> Answer:
    one = Identity(
        Kind.ROLE,
        call.text("RoleName"),
        new_id("AROA"),
        call.now,
        call.text("Path", "/"),
        call.text("Description"),
        document(call, "AssumeRolePolicyDocument", PolicyKind.TRUST),
        timedelta(seconds=call.params.get("MaxSessionDuration", 3600)),
        tags(call),
    )
    made = await call.iam.change(lambda connection: rows.add(connection, one))
    return {"Role": described(call, made)}


async def get(call: Call) -> Answer:
    name = call.text("RoleName")
    return {"Role": described(call, await call.iam.read(lambda connection: rows.find(connection, Kind.ROLE, name)))}


async def every(call: Call) -> Answer:
    """By name."""
    prefix = call.text("PathPrefix", "/")
    found = await call.iam.read(rows.every)
    roles = [one for one in found if one.kind is Kind.ROLE and one.path.startswith(prefix)]
    return page(call, "Roles", roles, lambda one: described(call, replace(one, tags={})))


async def update(call: Call) -> Answer:
    """What is not given stays."""
    name, given = call.text("RoleName"), call.params

    def work(connection: Any) -> Identity:
        role = rows.find(connection, Kind.ROLE, name)
        seconds = given.get("MaxSessionDuration", role.max_session.total_seconds())
        changed = replace(
            role, description=given.get("Description", role.description), max_session=timedelta(seconds=seconds)
        )
        return rows.save(connection, changed)

    await call.iam.change(work)
    return {}


async def delete(call: Call) -> Answer:
    name = call.text("RoleName")
    await call.iam.change(lambda connection: rows.remove(connection, Kind.ROLE, name))
    return {}


async def update_trust(call: Call) -> Answer:
    name, trust = call.text("RoleName"), document(call, "PolicyDocument", PolicyKind.TRUST)

    def work(connection: Any) -> Identity:
        return rows.save(connection, replace(rows.find(connection, Kind.ROLE, name), trust=trust))

    await call.iam.change(work)
    return {}


def described(call: Call, one: Identity) -> dict[str, Any]:
    found = {
        "Path": one.path,
        "RoleName": one.name,
        "RoleId": one.id,
        "Arn": one.arn(call.iam.home),
        "CreateDate": one.created,
        "AssumeRolePolicyDocument": encoded(one.trust),
        "MaxSessionDuration": int(one.max_session.total_seconds()),
    }
    if one.description:
        found["Description"] = one.description
    return found | ({"Tags": tag_list(one)} if one.tags else {})


def of_role(params: Mapping[str, Any], account: str) -> str:
    return f"arn:aws:iam::{account}:role{params.get('Path', '/')}{params.get('RoleName', '')}"


def _of_all(params: Mapping[str, Any], account: str) -> str:
    return f"arn:aws:iam::{account}:role{params.get('PathPrefix', '/')}"


ROUTES = (
    Route("CreateRole", create, of_role, frozenset({"PermissionsBoundary"})),
    Route("GetRole", get, of_role),
    Route("ListRoles", every, _of_all),
    Route("UpdateRole", update, of_role),
    Route("DeleteRole", delete, of_role),
    Route("UpdateAssumeRolePolicy", update_trust, of_role),
)
