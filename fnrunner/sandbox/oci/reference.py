"""The name of an image, as skopeo wants it. Pure.

>>> source("123456789012.dkr.ecr.us-east-1.amazonaws.com/app:1")
'docker://123456789012.dkr.ecr.us-east-1.amazonaws.com/app:1'
>>> source("oci:/images/app:latest"), pinned("docker://host/app:1", "ab" * 32)[:26]
('oci:/images/app:latest', 'docker://host/app@sha256:a')
"""

from __future__ import annotations

import re

from fnrunner.sandbox.oci.errors import ImageRefused

TRANSPORTS = ("docker://", "oci:", "oci-archive:", "docker-archive:", "containers-storage:")
REMOTE = "docker://"
MOST_CHARS = 1024
_PRINTABLE = re.compile(r"[\x21-\x7e]+")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]*")


def source(uri: str) -> str:
    """The same with its transport; a registry where none is named. Raises ImageRefused."""
    if len(uri) > MOST_CHARS or not _PRINTABLE.fullmatch(uri):
        raise ImageRefused(f"{ImageRefused()} ({uri[:80]!r})")
    for transport in TRANSPORTS:
        if uri.startswith(transport):
            if not uri[len(transport) :]:
                break
            if transport == REMOTE:
                return REMOTE + _checked(uri, uri[len(transport) :])
            if transport != "containers-storage:" and not uri[len(transport) :].startswith("/"):
                raise ImageRefused(f"{uri!r} names a file of no certain place: write an absolute path")
            return uri
    else:
        if "://" not in uri:
            return REMOTE + _checked(uri, uri)
    raise ImageRefused(f"{ImageRefused()} ({uri[:80]!r})")


def pinned(uri: str, digest: str) -> str:
    """The source of exactly this image, where its place can be asked for it by digest; otherwise as ``source``.

    Raises ImageRefused.
    """
    found = source(uri)
    return f"{_without_tag(found)}@sha256:{digest}" if found.startswith(REMOTE) else found


def resolved(uri: str, digest: str) -> str:
    """For ResolvedImageUri.

    >>> resolved("host:5000/app:1", "ab")
    'host:5000/app@sha256:ab'
    """
    return f"{_without_tag(uri)}@sha256:{digest}"


def _without_tag(name: str) -> str:
    """
    >>> _without_tag("docker://h:5000/a:1"), _without_tag("docker://h:5000/a@sha256:ab"), _without_tag("oci:/a/b")
    ('docker://h:5000/a', 'docker://h:5000/a', 'oci:/a/b')
    """
    name = name.partition("@")[0]
    path, slash, last = name.rpartition("/")
    return path + slash + last.partition(":")[0]


def _checked(uri: str, name: str) -> str:
    """Of a tag and a digest, the digest counts: tools take one of them.

    >>> _checked("", "h:5000/a:1@sha256:ab")
    'h:5000/a@sha256:ab'
    """
    if not _NAME.fullmatch(name) or ".." in name or ":/" in name:
        raise ImageRefused(f"{ImageRefused()} ({uri[:80]!r})")
    _, at, digest = name.partition("@")
    return f"{_without_tag(name)}{at}{digest}" if at else name
