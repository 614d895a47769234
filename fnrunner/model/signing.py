"""Signed code: who may sign what a function runs, and what is known of a signature."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Signature:
    """Of a zip. ``profile`` is the ARN of the signing profile's version, ``job`` that of the act of signing.

    ``expires`` None: never. ``fault`` says why it is not genuine; empty where it is, or where nobody knows the profile.
    """

    profile: str
    job: str
    expires: datetime | None = None
    fault: str = ""


@dataclass(frozen=True, slots=True)
class SigningProfile:
    """``arn`` is that of its version. ``public_key`` is PEM of an Ed25519 key. A revoked one vouches for nothing."""

    arn: str
    public_key: str
    created: datetime = EPOCH
    revoked: bool = False


@dataclass(frozen=True, slots=True)
class CodeSigningConfig:
    """``publishers`` are ARNs of versions of signing profiles. ``enforce``: what is not signed by them is not deployed;
    otherwise it is, with a warning.
    """

    config_id: str
    publishers: tuple[str, ...]
    description: str = ""
    enforce: bool = False
    modified: datetime = EPOCH
