"""The condition keys that every request has, whatever it asks for.

Source: IAM, AWS global condition context keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from fnrunner.auth.identity import Identity
from fnrunner.auth.pattern import Context
from fnrunner.auth.principal import Principal, Session, User
from fnrunner.model.arn import Home
from sources.http.request import Request

_TYPES = {User: "User", Session: "AssumedRole"}


def of_request(request: Request, home: Home, now: datetime) -> dict[str, tuple[str, ...]]:
    """What the request itself says."""
    found = {
        "aws:sourceip": request.source_ip,
        "aws:currenttime": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "aws:epochtime": str(int(now.timestamp())),
        "aws:securetransport": "true" if request.scheme == "https" else "false",
        "aws:useragent": request.header("user-agent"),
        "aws:referer": request.header("referer"),
        "aws:requestedregion": home.region,
        "aws:viaawsservice": "false",
    }
    return {key: (value,) for key, value in found.items() if value}


def of_principal(principal: Principal, identity: Identity | None) -> dict[str, tuple[str, ...]]:
    """Who asks. ``identity`` is the user, or the role of a session."""
    found = {
        "aws:principalarn": principal.role_arn if isinstance(principal, Session) else principal.arn,
        "aws:principalaccount": principal.account,
        "aws:principaltype": _TYPES.get(type(principal), "Anonymous"),
        "aws:userid": principal.unique_id,
    }
    if isinstance(principal, User):
        found["aws:username"] = principal.name
    if identity is not None:
        found |= {f"aws:principaltag/{key}".lower(): value for key, value in identity.tags.items()}
    return {key: (value,) for key, value in found.items() if value}


def of_tags(tags: Mapping[str, str]) -> Context:
    """Of the resource."""
    return {f"aws:resourcetag/{key}".lower(): (value,) for key, value in tags.items()}
