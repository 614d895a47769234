"""The first administrator of an installation, made by whoever has its store and master key."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

from fnrunner.auth import identity_store as rows
from fnrunner.auth import managed
from fnrunner.auth.credentials import Credential, new_key_id, new_secret
from fnrunner.auth.iam import Iam, place_of_key
from fnrunner.auth.iam_error import EntityAlreadyExists, NoSuchEntity
from fnrunner.auth.identity import Identity, Kind, new_id
from fnrunner.auth.identity_store import AccessKey


async def administrator(iam: Iam, name: str, now: datetime) -> Credential:
    """A user who may do everything, with a new key. Raises EntityAlreadyExists for a user who is there, LimitExceeded."""
    key_id, secret = new_key_id(), new_secret()
    await iam.keyring.fresh()
    key = AccessKey(key_id, name, active=True, secret=iam.keyring.seal_text(secret, place_of_key(key_id)), created=now)

    def work(connection: Connection) -> None:
        try:
            rows.find(connection, Kind.USER, name)
        except NoSuchEntity:
            rows.add(connection, Identity(Kind.USER, name, new_id("AIDA"), now))
        else:
            raise EntityAlreadyExists(f"There is a user {name} already. Name another, or make a key for this one.")
        rows.attach(connection, Kind.USER, name, managed.admin())
        rows.add_key(connection, key)

    await iam.change(work)
    return Credential(name, key_id, secret)
