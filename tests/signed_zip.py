"""Signing for tests: a key, and zips signed with it."""

from __future__ import annotations

from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fnrunner.catalogue.signing import sign


class Signer:
    def __init__(self) -> None:
        self.key = Ed25519PrivateKey.generate()

    @property
    def public_key(self) -> str:
        return self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def sign(self, zipped: bytes, profile: str, expires: datetime | None = None) -> bytes:
        return sign(zipped, self.key, profile, expires=expires)
