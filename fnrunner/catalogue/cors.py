"""What may be configured of cross-origin rules; whatever is configured ends up in headers."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from fnrunner.model.trigger import Cors

MAX_AGE_S = 86_400
_ORIGIN = re.compile(r"\*|null|[A-Za-z][A-Za-z0-9+.-]*://(\*|[A-Za-z0-9.:_\[\]-]+)", re.ASCII)
_HEADER = re.compile(r"\*|[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)


def broken(cors: Cors, methods: Collection[str]) -> Iterator[tuple[str, str, str]]:
    """The field, its value and the rule that it breaks, for each mistake.

    >>> list(broken(Cors(allow_origins=("example.com",)), ()))
    [('allow_origins', 'example.com', 'Member must be *, or an origin such as https://example.com')]
    """
    for method in cors.allow_methods:
        if method not in methods:
            yield "allow_methods", method, f"Member must satisfy enum value set: [{', '.join(methods)}]"
    for origin in cors.allow_origins:
        if not _ORIGIN.fullmatch(origin):
            yield "allow_origins", origin, "Member must be *, or an origin such as https://example.com"
    for field, names in (("allow_headers", cors.allow_headers), ("expose_headers", cors.expose_headers)):
        for name in names:
            if not _HEADER.fullmatch(name):
                yield field, name, "Member must be the name of a header"
    if not 0 <= cors.max_age_s <= MAX_AGE_S:
        yield "max_age_s", str(cors.max_age_s), f"Member must have value less than or equal to {MAX_AGE_S}"
