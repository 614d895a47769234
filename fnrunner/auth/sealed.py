"""Sealed data: encrypted with a key of its own, which a version of a managed key wraps. Pure.

::

    magic │ key id (16 bytes) │ version (4) │ nonce (12) │ wrapped data key (48) │ nonce (12) │ ciphertext and tag

AES-256-GCM throughout. What stands before a ciphertext is authenticated with it, and so is the ``context``: what was sealed for
one place cannot be opened in another. Wrapping anew leaves the ciphertext as it is, so that rotation is cheap for large data.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MAGIC = b"FNE1"
_HEAD = struct.Struct(">4s16sI")
_NONCE = 12
_WRAPPED = 48
_BODY = _HEAD.size + _NONCE + _WRAPPED + _NONCE


class Damaged(ValueError):
    """The data is not as it was sealed, or was sealed for another place."""


@dataclass(frozen=True, slots=True)
class Label:
    """Which version of which key opens it."""

    key: str
    version: int


def is_sealed(data: bytes) -> bool:
    return data.startswith(MAGIC) and len(data) > _BODY


def label(data: bytes) -> Label:
    """Raises Damaged for what is not sealed."""
    if not is_sealed(data):
        raise Damaged("it is not sealed data")
    _, key, version = _HEAD.unpack_from(data)
    return Label(str(UUID(bytes=key)), version)


def seal(data: bytes, by: Label, wrapping: bytes, context: bytes) -> bytes:
    """``wrapping`` are the 32 bytes of the key's version."""
    head, data_key = _head(by), AESGCM.generate_key(256)
    nonce = os.urandom(_NONCE)
    body = AESGCM(data_key).encrypt(nonce, data, MAGIC + context)
    return head + _wrap(data_key, head, wrapping) + nonce + body


def unseal(data: bytes, wrapping: bytes, context: bytes) -> bytes:
    """Raises Damaged."""
    try:
        data_key = _unwrap(data, wrapping)
        nonce = data[_BODY - _NONCE : _BODY]
        return AESGCM(data_key).decrypt(nonce, data[_BODY:], MAGIC + context)
    except InvalidTag as error:
        raise Damaged("it is not as it was sealed") from error


def rewrap(data: bytes, old: bytes, by: Label, new: bytes) -> bytes:
    """The same, for another version of a key. Raises Damaged."""
    try:
        data_key = _unwrap(data, old)
    except InvalidTag as error:
        raise Damaged("it is not as it was sealed") from error
    head = _head(by)
    return head + _wrap(data_key, head, new) + data[_HEAD.size + _NONCE + _WRAPPED :]


def wrap_key(key: bytes, master: bytes, name: str) -> bytes:
    """A version of a managed key, wrapped by the master key for this name."""
    nonce = os.urandom(_NONCE)
    return nonce + AESGCM(master).encrypt(nonce, key, name.encode())


def unwrap_key(wrapped: bytes, master: bytes, name: str) -> bytes:
    """Raises Damaged."""
    try:
        return AESGCM(master).decrypt(wrapped[:_NONCE], wrapped[_NONCE:], name.encode())
    except (InvalidTag, ValueError) as error:
        raise Damaged("the master key does not open it") from error


def _head(by: Label) -> bytes:
    return _HEAD.pack(MAGIC, UUID(by.key).bytes, by.version)


def _wrap(data_key: bytes, head: bytes, wrapping: bytes) -> bytes:
    nonce = os.urandom(_NONCE)
    return nonce + AESGCM(wrapping).encrypt(nonce, data_key, head)


def _unwrap(data: bytes, wrapping: bytes) -> bytes:
    nonce = data[_HEAD.size : _HEAD.size + _NONCE]
    wrapped = data[_HEAD.size + _NONCE : _HEAD.size + _NONCE + _WRAPPED]
    return AESGCM(wrapping).decrypt(nonce, wrapped, data[: _HEAD.size])
