"""Users, roles and managed policies as values, and as JSON in the store."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum

from fnrunner.auth import principal
from fnrunner.model.arn import Home

_ID_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
DEFAULT_SESSION = timedelta(hours=1)
EPOCH = datetime(2015, 1, 1, tzinfo=UTC)
"""Since when the policies are there that nobody here has made."""


class Kind(Enum):
    """Whose policies they are. The value is what the store has."""

    USER = "user"
    ROLE = "role"


@dataclass(frozen=True, slots=True)
class Identity:
    """A user or a role. ``trust`` is a role's policy: who may assume it. ``path`` begins and ends with ``/``."""

    kind: Kind
    name: str
    id: str
    created: datetime
    path: str = "/"
    description: str = ""
    trust: str = ""
    max_session: timedelta = DEFAULT_SESSION
    tags: Mapping[str, str] = field(default_factory=dict)

    def arn(self, home: Home) -> str:
        return f"arn:aws:iam::{home.account}:{self.kind.value}{self.path}{self.name}"

    def user(self, home: Home) -> principal.User:
        return principal.User(home.account, self.name, self.id, self.path)

    def session(self, home: Home, name: str) -> principal.Session:
        return principal.Session(home.account, self.name, name, self.id, self.path)


@dataclass(frozen=True, slots=True)
class Version:
    """One text of a managed policy. ``number`` is shown as ``v1``."""

    number: int
    document: str
    created: datetime


@dataclass(frozen=True, slots=True)
class ManagedPolicy:
    """``default`` is the number of the version that is in force."""

    name: str
    id: str
    created: datetime
    updated: datetime
    versions: tuple[Version, ...]
    default: int = 1
    path: str = "/"
    description: str = ""
    account: str = ""

    @property
    def arn(self) -> str:
        return f"arn:aws:iam::{self.account}:policy{self.path}{self.name}"

    @property
    def document(self) -> str:
        return next(one.document for one in self.versions if one.number == self.default)


def new_id(prefix: str) -> str:
    """``AIDA`` users, ``AROA`` roles, ``ANPA`` policies."""
    return prefix + "".join(secrets.choice(_ID_LETTERS) for _ in range(17))


def dump_identity(one: Identity) -> str:
    return json.dumps({
        "id": one.id, "path": one.path, "created": _ms(one.created), "description": one.description, "trust": one.trust,
        "max_session_s": one.max_session.total_seconds(), "tags": dict(one.tags),
    })  # fmt: skip


def load_identity(kind: Kind, name: str, text: str) -> Identity:
    document = json.loads(text)
    return Identity(
        kind,
        name,
        document["id"],
        _moment(document["created"]),
        document["path"],
        document.get("description", ""),
        document.get("trust", ""),
        timedelta(seconds=document.get("max_session_s", DEFAULT_SESSION.total_seconds())),
        document.get("tags", {}),
    )


def dump_policy(one: ManagedPolicy) -> str:
    versions = [{"number": v.number, "document": v.document, "created": _ms(v.created)} for v in one.versions]
    return json.dumps({
        "name": one.name, "id": one.id, "created": _ms(one.created), "updated": _ms(one.updated), "default": one.default,
        "path": one.path, "description": one.description, "account": one.account, "versions": versions,
    })  # fmt: skip


def load_policy(text: str) -> ManagedPolicy:
    document = json.loads(text)
    return ManagedPolicy(
        name=document["name"],
        id=document["id"],
        created=_moment(document["created"]),
        updated=_moment(document["updated"]),
        versions=tuple(Version(v["number"], v["document"], _moment(v["created"])) for v in document["versions"]),
        default=document["default"],
        path=document["path"],
        description=document["description"],
        account=document["account"],
    )


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _moment(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
