"""Who may sign code: versions of signing profiles with their public keys. A version never changes, but it can be revoked."""

from __future__ import annotations

import json
import re
import secrets
import string
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select, update

from fnrunner.catalogue import document
from fnrunner.catalogue.errors import InvalidParameterValue, NotFound
from fnrunner.catalogue.package import Signed
from fnrunner.model.arn import Home
from fnrunner.model.signing import SigningProfile
from fnrunner.store.schema import signing_profile as table

NAME = re.compile(r"[a-zA-Z0-9_]{2,64}")
_VERSION_CHARS = string.ascii_letters + string.digits


class SigningProfileNotFound(NotFound):
    """``arn`` is that of the version."""

    def __init__(self, arn: str) -> None:
        super().__init__(f"There is no signing profile {arn}. `fnrunner signing ls` lists them.")


class BadPublicKey(InvalidParameterValue):
    """The public key is no Ed25519 key in PEM. `fnrunner signing create` makes a pair."""


def create(connection: Connection, home: Home, name: str, public_key: str, now: datetime) -> SigningProfile:
    """A new version of the profile; earlier ones go on vouching for what they signed. Raises InvalidParameterValue."""
    if not NAME.fullmatch(name):
        raise InvalidParameterValue("The name of a signing profile has 2 to 64 letters, digits and _.")
    _key(public_key)
    version = "".join(secrets.choice(_VERSION_CHARS) for _ in range(10))
    profile = SigningProfile(home.signing_profile(name, version), public_key, now)
    connection.execute(insert(table).values(arn=profile.arn, document=_dump(profile)))
    return profile


def find(connection: Connection, arn: str) -> SigningProfile | None:
    text = connection.execute(select(table.c.document).where(table.c.arn == arn)).scalar()
    return None if text is None else _load(arn, text)


def every(connection: Connection) -> list[SigningProfile]:
    """The oldest first."""
    found = [_load(row.arn, row.document) for row in connection.execute(select(table.c.arn, table.c.document))]
    return sorted(found, key=lambda profile: (profile.created, profile.arn))


def revoke(connection: Connection, arn: str) -> SigningProfile:
    """Nothing that it signed is deployed any more. Raises SigningProfileNotFound."""
    if (profile := find(connection, arn)) is None:
        raise SigningProfileNotFound(arn)
    profile = replace(profile, revoked=True)
    connection.execute(update(table).where(table.c.arn == arn).values(document=_dump(profile)))
    return profile


def is_genuine(profile: SigningProfile, signed: Signed) -> bool:
    """Whether the profile's key made the signature."""
    # it takes a while to load, and most installations never sign
    from cryptography.exceptions import InvalidSignature

    try:
        _key(profile.public_key).verify(signed.signature, signed.statement)
    except InvalidSignature:
        return False
    return True


def _key(public_key: str) -> Any:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(public_key.encode())
    except (ValueError, TypeError, UnicodeEncodeError) as error:
        raise BadPublicKey from error
    if not isinstance(key, Ed25519PublicKey):
        raise BadPublicKey
    return key


def _dump(profile: SigningProfile) -> str:
    return document.dump(
        {"public_key": profile.public_key, "created": profile.created.isoformat(), "revoked": profile.revoked}
    )


def _load(arn: str, text: str) -> SigningProfile:
    found: dict[str, Any] = json.loads(text)
    return SigningProfile(
        arn, found["public_key"], datetime.fromisoformat(found["created"]), found.get("revoked", False)
    )
