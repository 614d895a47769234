"""Code signing in the store: configurations, the profiles that may sign, and whether a zip may be deployed.

An installation keeps the public key of each version of a signing profile; the private one stays with who signs. A zip is
refused that was changed after signing, whatever the policy; one that is unsigned, expired, or signed by somebody else is
refused by the policy Enforce, and by Warn deployed with a warning in the log.

Each function with a ``connection`` runs inside :meth:`~fnrunner.catalogue.catalogue.Catalogue.change`, or ``read`` where it
only reads. Source: Lambda, code signing.
"""

from __future__ import annotations

import json
import logging
import secrets
import string
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from fnrunner.catalogue import document, function_setting, resource_tags
from fnrunner.catalogue.errors import (
    CodeSigningConfigInUse,
    CodeSigningConfigMissing,
    CodeSigningConfigNotFound,
    CodeVerificationFailed,
    InvalidCodeSignature,
)
from fnrunner.catalogue.function_setting import Name
from fnrunner.catalogue.package import Signed
from fnrunner.catalogue.signing_profiles import find as find_profile
from fnrunner.catalogue.signing_profiles import is_genuine
from fnrunner.model.arn import Home
from fnrunner.model.signing import CodeSigningConfig, Signature, SigningProfile
from fnrunner.store.schema import code_signing_config as table

log = logging.getLogger(__name__)

CHANGEABLE = frozenset({"description", "publishers", "enforce"})
_ID_CHARS = string.ascii_lowercase + string.digits


def new_id() -> str:
    return "csc-" + "".join(secrets.choice(_ID_CHARS) for _ in range(17))


def create(connection: Connection, config: CodeSigningConfig) -> CodeSigningConfig:
    connection.execute(insert(table).values(id=config.config_id, document=_dump(config)))
    return config


def fetch(connection: Connection, home: Home, arn: str) -> CodeSigningConfig:
    """Raises CodeSigningConfigMissing."""
    if (found := _find(connection, home, arn)) is None:
        raise CodeSigningConfigMissing(arn)
    return found


def every(connection: Connection) -> list[CodeSigningConfig]:
    """By id."""
    query = select(table.c.id, table.c.document)
    return sorted((_load(row.id, row.document) for row in connection.execute(query)), key=lambda one: one.config_id)


def change(
    connection: Connection, home: Home, arn: str, changes: Mapping[str, Any], now: datetime
) -> CodeSigningConfig:
    """``changes`` maps names of :data:`CHANGEABLE`. Raises CodeSigningConfigMissing; TypeError for other names."""
    if unknown := set(changes) - CHANGEABLE:
        raise TypeError(f"no part of a code signing configuration: {', '.join(sorted(unknown))}")
    config = replace(fetch(connection, home, arn), **changes, modified=now)
    connection.execute(update(table).where(table.c.id == config.config_id).values(document=_dump(config)))
    return config


def remove(connection: Connection, home: Home, arn: str) -> None:
    """Raises CodeSigningConfigMissing, CodeSigningConfigInUse."""
    config = fetch(connection, home, arn)
    if users := users_of(connection, arn):
        raise CodeSigningConfigInUse(arn, users)
    connection.execute(delete(table).where(table.c.id == config.config_id))
    resource_tags.forget(connection, resource_tags.config(config.config_id))


def users_of(connection: Connection, arn: str) -> list[str]:
    """The names of the functions that have it."""
    return function_setting.with_value(connection, Name.CODE_SIGNING, arn)


def attach(connection: Connection, home: Home, function: str, arn: str) -> None:
    """From the next deployment on. The function exists. Raises CodeSigningConfigNotFound."""
    if _find(connection, home, arn) is None:
        raise CodeSigningConfigNotFound(arn)
    function_setting.put(connection, function, Name.CODE_SIGNING, arn)


def detach(connection: Connection, function: str) -> None:
    """Harmless where there is none."""
    function_setting.remove(connection, function, Name.CODE_SIGNING)


def attached(connection: Connection, function: str) -> str:
    """The ARN of the function's configuration; empty where there is none."""
    return function_setting.find(connection, function, Name.CODE_SIGNING)


def config_of(connection: Connection, home: Home, function: str) -> CodeSigningConfig | None:
    arn = attached(connection, function)
    return _find(connection, home, arn) if arn else None


def weighed(connection: Connection, signed: Signed | None) -> Signature | None:
    """What is known of a signature by the profile's key, if anybody knows it."""
    if signed is None:
        return None
    fault = signed.fault
    if not fault and (profile := find_profile(connection, signed.profile)) is not None:
        fault = "" if is_genuine(profile, signed) else "the signature is not the profile's"
    return Signature(signed.profile, signed.job, signed.expires, fault)


def admit(
    connection: Connection, config: CodeSigningConfig | None, what: str, signature: Signature | None, now: datetime
) -> Signature | None:
    """The signature that ``what`` (a function, or the ARN of a layer) is deployed with; None without, or with a bad one.

    Raises InvalidCodeSignature, CodeVerificationFailed.
    """
    if config is None:
        return None
    if signature is not None and signature.fault:
        raise InvalidCodeSignature(f"{what}: {signature.fault}")
    profile = find_profile(connection, signature.profile) if signature else None
    if not (why := objection(config, signature, profile, now)):
        return signature
    if config.enforce:
        raise CodeVerificationFailed(f"{what}: {why}")
    log.warning("%s is deployed although its signature is not as its configuration wants it: %s", what, why)
    return None


def objection(
    config: CodeSigningConfig, signature: Signature | None, profile: SigningProfile | None, now: datetime
) -> str:
    """Why code with this signature is not to be deployed; empty where it may be."""
    if signature is None:
        return "it is not signed"
    if signature.profile not in config.publishers:
        return f"it is signed by {signature.profile}, who is none of the allowed publishers"
    if profile is None:
        return f"nobody knows the key of {signature.profile}"
    if profile.revoked:
        return f"{signature.profile} was revoked"
    if signature.expires is not None and signature.expires <= now:
        return f"the signature expired at {signature.expires:%Y-%m-%dT%H:%M:%SZ}"
    return ""


def _find(connection: Connection, home: Home, arn: str) -> CodeSigningConfig | None:
    config_id = arn.rpartition(":")[2]
    if arn != home.code_signing_config(config_id):
        return None
    text = connection.execute(select(table.c.document).where(table.c.id == config_id)).scalar()
    return None if text is None else _load(config_id, text)


def _dump(config: CodeSigningConfig) -> str:
    return document.dump(
        {
            "publishers": list(config.publishers),
            "description": config.description,
            "enforce": config.enforce,
            "modified": config.modified.isoformat(),
        }
    )


def _load(config_id: str, text: str) -> CodeSigningConfig:
    found: dict[str, Any] = json.loads(text)
    return CodeSigningConfig(
        config_id,
        tuple(found["publishers"]),
        found.get("description", ""),
        found.get("enforce", False),
        datetime.fromisoformat(found["modified"]),
    )
