"""The keys that encrypt what is stored: names, versions and states, never the keys themselves."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from starlette.responses import Response

from fnrunner.api.admin.endpoint import Ask, Endpoint, answer, field, only
from fnrunner.api.errors import InvalidParameter, NotSupported
from fnrunner.auth.keyring import Keyring
from fnrunner.auth.managed_key import ManagedKey
from fnrunner.catalogue import resealing

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
    secrets, failed = await services.iam.reseal() if services.iam is not None else (0, [])
    environments = await services.catalogue.change(partial(resealing.functions, keyring=keyring))
    stacks = await services.store.write(partial(resealing.stacks, keyring=keyring))
    code = await services.catalogue.artifacts.reseal()
    failed += [*environments.failed, *stacks.failed, *(f"code {one}" for one in code.failed)]
    counts = {"environments": environments.changed, "stacks": stacks.changed, "code": code.changed}
    return answer({"secrets": secrets, **counts, "failed": failed})


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
