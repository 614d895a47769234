"""Who may sign code: versions of signing profiles, each with the public half of a key."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from fnrunner.api.admin.endpoint import Ask, Endpoint, answer, field, only
from fnrunner.catalogue import signing_profiles
from fnrunner.model.signing import SigningProfile


async def every(ask: Ask) -> Response:
    """The oldest first."""
    found = await ask.services.catalogue.read(signing_profiles.every)
    return answer({"signing_profiles": [_described(profile) for profile in found]})


async def create(ask: Ask) -> Response:
    """A new version of the profile, which has a new ARN. ``public_key`` is PEM of an Ed25519 key."""
    document = await ask.document()
    only(document, "name", "public_key")
    name = field(document, "name", str, "the profile's name")
    key = field(document, "public_key", str, "an Ed25519 key in PEM")
    home, now = ask.services.home, ask.services.now()
    profile = await ask.services.catalogue.change(lambda c: signing_profiles.create(c, home, name, key, now))
    return answer(_described(profile), 201)


async def revoke(ask: Ask) -> Response:
    """What it signed is deployed no more."""
    document = await ask.document()
    only(document, "arn")
    arn = field(document, "arn", str, "the ARN of a version")
    return answer(_described(await ask.services.catalogue.change(lambda c: signing_profiles.revoke(c, arn))))


def _described(profile: SigningProfile) -> dict[str, Any]:
    return {
        "arn": profile.arn,
        "public_key": profile.public_key,
        "created": profile.created.isoformat(),
        "revoked": profile.revoked,
    }


ROUTES = (
    Endpoint("GET", "/signing-profiles", every),
    Endpoint("POST", "/signing-profiles", create),
    Endpoint("POST", "/signing-profiles/revoke", revoke),
)
