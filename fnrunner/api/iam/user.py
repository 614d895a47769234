"""Users and their access keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fnrunner.api.iam.call import Call, Route, page, tag_list, tags
from fnrunner.auth import identity_store as rows
from fnrunner.auth.credentials import new_key_id, new_secret
from fnrunner.auth.iam import place_of_key
from fnrunner.auth.iam_error import IamError
from fnrunner.auth.identity import Identity, Kind, new_id
from fnrunner.auth.identity_store import AccessKey

Answer = Mapping[str, Any]


async def create(call: Call) -> Answer:
    one = Identity(Kind.USER, call.text("UserName"), new_id("AIDA"), call.now, call.text("Path", "/"), tags=tags(call))
    made = await call.iam.change(lambda connection: rows.add(connection, one))
    return {"User": described(call, made)}


async def get(call: Call) -> Answer:
    name = call.user
    found = await call.iam.read(lambda connection: rows.find(connection, Kind.USER, name))
    return {"User": described(call, found)}


async def every(call: Call) -> Answer:
    """By name."""
    prefix = call.text("PathPrefix", "/")
    found = await call.iam.read(rows.every)
    users = [one for one in found if one.kind is Kind.USER and one.path.startswith(prefix)]
    return page(call, "Users", users, lambda one: described(call, replace(one, tags={})))


async def delete(call: Call) -> Answer:
    name = call.text("UserName")
    await call.iam.change(lambda connection: rows.remove(connection, Kind.USER, name))
    return {}


def described(call: Call, one: Identity) -> dict[str, Any]:
    found = {
        "Path": one.path,
        "UserName": one.name,
        "UserId": one.id,
        "Arn": one.arn(call.iam.home),
        "CreateDate": one.created,
    }
    return found | ({"Tags": tag_list(one)} if one.tags else {})


async def create_key(call: Call) -> Answer:
    """The only time that the secret is shown."""
    key_id, secret = new_key_id(), new_secret()
    await call.iam.keyring.fresh()
    sealed = call.iam.keyring.seal_text(secret, place_of_key(key_id))
    key = AccessKey(key_id, call.user, active=True, secret=sealed, created=call.now)
    made = await call.iam.change(lambda connection: rows.add_key(connection, key))
    return {"AccessKey": _key(made) | {"SecretAccessKey": secret}}


async def keys(call: Call) -> Answer:
    name = call.user
    found = await call.iam.read(lambda connection: rows.keys_of(connection, name))
    return page(call, "AccessKeyMetadata", found, _key)


async def update_key(call: Call) -> Answer:
    name, key, status = call.user, call.text("AccessKeyId"), call.text("Status")
    if status not in ("Active", "Inactive"):
        raise _Expired
    await call.iam.change(lambda connection: rows.activate_key(connection, key, name, status == "Active"))
    return {}


async def delete_key(call: Call) -> Answer:
    name, key = call.user, call.text("AccessKeyId")
    await call.iam.change(lambda connection: rows.remove_key(connection, key, name))
    return {}


def _key(key: AccessKey) -> dict[str, Any]:
    status = "Active" if key.active else "Inactive"
    return {"UserName": key.owner, "AccessKeyId": key.id, "Status": status, "CreateDate": key.created}


class _Expired(IamError):
    """A key can be made Active or Inactive; Expired is what only the service makes it."""

    code, status = "InvalidInput", 400


def _of_user(params: Mapping[str, Any], account: str) -> str:
    path = str(params.get("Path", "/"))
    return f"arn:aws:iam::{account}:user{path}{params.get('UserName', '')}"


def _of_all(params: Mapping[str, Any], account: str) -> str:
    return f"arn:aws:iam::{account}:user{params.get('PathPrefix', '/')}"


_BOUNDARY = frozenset({"PermissionsBoundary"})

ROUTES = (
    Route("CreateUser", create, _of_user, _BOUNDARY),
    Route("GetUser", get, _of_user),
    Route("ListUsers", every, _of_all),
    Route("DeleteUser", delete, _of_user),
    Route("CreateAccessKey", create_key, _of_user),
    Route("ListAccessKeys", keys, _of_user),
    Route("UpdateAccessKey", update_key, _of_user),
    Route("DeleteAccessKey", delete_key, _of_user),
)
