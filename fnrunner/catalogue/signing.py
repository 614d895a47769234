"""Sign a zip, as ``fnrunner signing sign`` does: where the private key is, which is never the server.

See :mod:`fnrunner.catalogue.package` for what a signature is.
"""

from __future__ import annotations

import base64
import io
import json
import re
import zipfile
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from fnrunner.catalogue.package import MEMBER, manifest_of, statement_of

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_PROFILE = re.compile(r"arn:aws[a-zA-Z-]*:signer:(?P<region>[a-z0-9-]+):(?P<account>\d{12}):/signing-profiles/\w+/\w+")


class NoProfile(ValueError):
    """Not the ARN of a signing profile's version: arn:aws:signer:REGION:ACCOUNT:/signing-profiles/NAME/VERSION."""


def sign(zipped: bytes, key: Ed25519PrivateKey, profile: str, *, expires: datetime | None = None) -> bytes:
    """The zip with a signature of ``profile`` in it, instead of the one that it had. Blocking.

    Raises NoProfile, and as :class:`~fnrunner.catalogue.archive.Archive` does.
    """
    if (match := _PROFILE.fullmatch(profile)) is None:
        raise NoProfile(f"{profile!r} is not the ARN of a signing profile's version")
    fields: dict[str, Any] = {
        "profile_version_arn": profile,
        "job_arn": f"arn:aws:signer:{match['region']}:{match['account']}:/signing-jobs/{uuid4()}",
        "signed_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "expires_at": expires.isoformat() if expires else None,
        "manifest_sha256": manifest_of(zipped),
    }
    fields["signature"] = base64.b64encode(key.sign(statement_of(fields))).decode()
    return _with_member(zipped, json.dumps(fields, indent=1).encode())


def _with_member(zipped: bytes, member: bytes) -> bytes:
    signed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(zipped)) as given, zipfile.ZipFile(signed, "w", zipfile.ZIP_DEFLATED) as made:
        for info in given.infolist():
            if info.filename != MEMBER:
                made.writestr(info, given.read(info), info.compress_type)
        # always the same date: the zip depends on its contents alone
        made.writestr(zipfile.ZipInfo(MEMBER), member)
    return signed.getvalue()
