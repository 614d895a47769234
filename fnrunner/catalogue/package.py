"""An uploaded zip, looked at once: how large it is unzipped, and its signature.

A signature is a member of the zip, :data:`MEMBER`: JSON that names the signing profile's version and the SHA-256 of
everything else in the zip, signed with the profile's Ed25519 key. :func:`statement_of` is what is signed, and
:func:`manifest_line` what each file adds to the digest.

>>> manifest_line("bin/run", "file", 0o755, b"\\x01" * 32)[:12]
b'file 755 010'
>>> manifest_line("a\\nb", "file", 0o755, b"")
b'file 755  "a\\\\nb"\\n'
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fnrunner.catalogue.archive import Archive, Kind
from fnrunner.model import limits

MEMBER = "META-INF/fnrunner-signature.json"
MAX_MEMBER_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class Signed:
    """A signature as it stands in the zip. ``statement`` is the signed text. ``fault``: why it cannot be genuine, empty
    while only the profile's key can tell.
    """

    profile: str = ""
    job: str = ""
    expires: datetime | None = None
    statement: bytes = b""
    signature: bytes = b""
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Package:
    unzipped_bytes: int
    signed: Signed | None


def inspect(data: bytes, largest: int = limits.ZIP_BYTES) -> Package:
    """Inflate all of it. Blocking; raises as :class:`~fnrunner.catalogue.archive.Archive` does."""
    archive = Archive(data, largest)
    signed = any(entry.name == MEMBER for entry in archive.entries)
    contents = _read_all(archive, hashing=signed)
    signature = read(contents.member, contents.manifest) if signed else None
    return Package(contents.size_bytes, signature)


def manifest_of(data: bytes) -> str:
    """What a signature vouches for: the SHA-256 of all that is in the zip but a signature, in hex.

    Blocking; raises as :class:`~fnrunner.catalogue.archive.Archive` does.
    """
    return _read_all(Archive(data, limits.UNZIPPED_BYTES), hashing=True).manifest


@dataclass(frozen=True, slots=True)
class _Contents:
    size_bytes: int
    member: bytes
    manifest: str


def _read_all(archive: Archive, *, hashing: bool) -> _Contents:
    size, lines, member = 0, [], bytearray()
    for entry in archive.entries:
        digest = hashlib.sha256(entry.target.encode())
        for chunk in archive.contents(entry) if entry.kind is Kind.FILE else ():
            size += len(chunk)
            if entry.name == MEMBER:
                member += chunk[: MAX_MEMBER_BYTES + 1 - len(member)]
            elif hashing:
                digest.update(chunk)
        if entry.kind is not Kind.DIRECTORY and entry.name != MEMBER:
            lines.append(manifest_line(entry.name, entry.kind.value, entry.mode, digest.digest()))
    # the order in the zip does not matter
    return _Contents(size, bytes(member), hashlib.sha256(b"".join(sorted(lines))).hexdigest())


def manifest_line(name: str, kind: str, mode: int, digest: bytes) -> bytes:
    """``digest`` is the SHA-256 of a file's contents or of where a link points; ``mode`` is 0644 or 0755.

    The name is JSON: one with a line feed would else read as several files.
    """
    return f"{kind} {mode:o} {digest.hex()} {json.dumps(name)}\n".encode()


def statement_of(fields: Mapping[str, Any]) -> bytes:
    """What is signed: every field but the signature itself.

    >>> statement_of({"signature": "x", "b": 1, "a": None})
    b'{"a":null,"b":1}'
    """
    kept = {name: value for name, value in fields.items() if name != "signature"}
    return json.dumps(kept, sort_keys=True, separators=(",", ":")).encode()


def read(member: bytes, found: str) -> Signed:
    """The member's meaning, for a zip whose manifest is ``found``."""
    try:
        fields: dict[str, Any] = json.loads(member if len(member) <= MAX_MEMBER_BYTES else b"")
        profile, job, manifest_said = fields["profile_version_arn"], fields["job_arn"], fields["manifest_sha256"]
        expires = datetime.fromisoformat(fields["expires_at"]) if fields.get("expires_at") else None
        signature = base64.b64decode(fields["signature"], validate=True)
        if not isinstance(profile, str) or not isinstance(job, str) or (expires and expires.tzinfo is None):
            raise TypeError
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, binascii.Error):
        return Signed(fault=f"{MEMBER} cannot be read")
    fault = "" if manifest_said == found else "the files are not those that were signed"
    return Signed(profile, job, expires, statement_of(fields), signature, fault)
