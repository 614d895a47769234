"""The keys that encrypt what is stored: names, versions and states, never the keys themselves."""

from __future__ import annotations

import json
import re
from functools import partial
from typing import Any

from sqlalchemy import Connection, Text, and_, select, type_coerce, update
from starlette.responses import Response

from fnrunner.api.admin.endpoint import Ask, Endpoint, answer, field, only
from fnrunner.api.errors import InvalidParameter, NotSupported
from fnrunner.auth.keyring import DEFAULT, Keyring, KeyringError
from fnrunner.auth.managed_key import ManagedKey
from fnrunner.store.schema import function as functions
from fnrunner.store.schema import stack as stacks

_ALIAS = re.compile(r"[a-zA-Z0-9/_-]{1,250}")


async def every(ask: Ask) -> Response:
    """By alias."""
    keyring = _keyring(ask)
    await keyring.load()
    return answer({"keys": [_shown(ask, key) for key in keyring.listed()]})


async def create(ask: Ask) -> Response:
    document = await ask.document()
    only(document, "alias")
    alias = field(document, "alias", str, "a name")
    if not _ALIAS.fullmatch(alias):
        raise InvalidParameter("alias takes 1 to 250 of a-z A-Z 0-9 / _ -")
    return answer(_shown(ask, await _keyring(ask).create(alias)), 201)


async def rotate(ask: Ask) -> Response:
    """A new version: what is stored from now on has it, what was stored before stays readable."""
    return answer(_shown(ask, await _keyring(ask).rotate(ask.path("name"))))


async def enable(ask: Ask) -> Response:
    return await _set(ask, enabled=True)


async def disable(ask: Ask) -> Response:
    """Functions whose variables it encrypts cannot be invoked until it is enabled again."""
    return await _set(ask, enabled=False)


async def reseal(ask: Ask) -> Response:
    """Put everything under the newest versions of keys, and what is in the clear under the default key.

    What cannot be opened stays as it is, and is named in ``failed`` with the reason.
    """
    keyring, services = _keyring(ask), ask.services
    await keyring.load()
    secrets = await services.iam.reseal() if services.iam is not None else 0
    environments, failed = await services.catalogue.change(partial(_reseal_functions, keyring=keyring))
    await services.store.write(_reseal_stacks)
    code = await services.catalogue.artifacts.reseal()
    failed += [f"code {one}" for one in code.failed]
    return answer({"secrets": secrets, "environments": environments, "code": code.changed, "failed": failed})


def _reseal_functions(connection: Connection, keyring: Keyring) -> tuple[int, list[str]]:
    """Reading opens, writing seals: with the newest version. How many were not sealed with it, and what failed."""
    stored = type_coerce(functions.c.document, Text).label("stored")
    changed, failed = 0, []
    for row in connection.execute(select(functions.c.name, functions.c.version, functions.c.document, stored)).all():
        try:
            if not _is_due(row.stored, keyring):
                continue
        except KeyringError as error:
            failed.append(f"function {row.name}, {row.version}: {error}")
            continue
        where = and_(functions.c.name == row.name, functions.c.version == row.version)
        connection.execute(update(functions).where(where).values(document=row.document))
        changed += 1
    return changed, failed


def _is_due(stored: str, keyring: Keyring) -> bool:
    """Whether a function's document as it is in the store has variables that its key's newest version did not seal.

    Raises KeyringError for what cannot be opened.
    """
    document = json.loads(stored)
    environment = document.get("environment")
    if not isinstance(environment, str):
        return bool(environment)
    return keyring.renewed_text(environment, document.get("kms_key_arn") or DEFAULT) != environment


def _reseal_stacks(connection: Connection) -> None:
    for row in connection.execute(select(stacks.c.name, stacks.c.document).with_for_update()).all():
        connection.execute(update(stacks).where(stacks.c.name == row.name).values(document=row.document))


async def _set(ask: Ask, *, enabled: bool) -> Response:
    key = await _keyring(ask).enable(ask.path("name"), enabled)
    # every process reads the functions again, and finds that it can or cannot open their variables
    await ask.services.catalogue.change(lambda _: None)
    return answer(_shown(ask, key))


def _keyring(ask: Ask) -> Keyring:
    """Raises NotSupported."""
    if (keyring := ask.services.keyring) is None:
        raise NotSupported("Nothing is encrypted here. Start with FNRUNNER_MASTER_KEY_FILE or FNRUNNER_AUTH=iam.")
    return keyring


def _shown(ask: Ask, key: ManagedKey) -> dict[str, Any]:
    newest = key.versions[-1]
    return {
        "alias": key.alias,
        "arn": key.arn(ask.services.home),
        "enabled": key.enabled,
        "version": newest.number,
        "rotated": newest.created.isoformat(),
        "master_key": newest.fingerprint,
    }


ROUTES = (
    Endpoint("GET", "/keys", every),
    Endpoint("POST", "/keys", create),
    Endpoint("POST", "/keys/{name}/rotate", rotate),
    Endpoint("POST", "/keys/{name}/enable", enable),
    Endpoint("POST", "/keys/{name}/disable", disable),
    Endpoint("POST", "/reseal", reseal),
)
