"""Who makes a request, as a value, and which principals of a policy stand for whom.

>>> session = Session("000000000000", "worker", "f", role_id="AROA1")
>>> session.arn
'arn:aws:sts::000000000000:assumed-role/worker/f'
>>> how_named(("000000000000",), session), how_named(("arn:aws:iam::000000000000:role/worker",), session)
(<Named.ACCOUNT: 'account'>, <Named.ITSELF: 'itself'>)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum


class Named(Enum):
    """How a policy names a principal. By its account alone is a delegation: the account's own policies decide then."""

    NOT = "not"
    ACCOUNT = "account"
    ITSELF = "itself"


@dataclass(frozen=True, slots=True)
class User:
    """A user of an account. ``path`` begins and ends with ``/``."""

    account: str
    name: str
    user_id: str = ""
    path: str = "/"

    @property
    def arn(self) -> str:
        return f"arn:aws:iam::{self.account}:user{self.path}{self.name}"

    @property
    def unique_id(self) -> str:
        return self.user_id

    @property
    def names(self) -> tuple[str, ...]:
        """The ARNs that mean this principal in a policy."""
        return (self.arn,)


@dataclass(frozen=True, slots=True)
class Session:
    """Someone who assumed a role. ``path`` is the role's."""

    account: str
    role: str
    name: str
    role_id: str = ""
    path: str = "/"

    @property
    def arn(self) -> str:
        return f"arn:aws:sts::{self.account}:assumed-role/{self.role}/{self.name}"

    @property
    def role_arn(self) -> str:
        return f"arn:aws:iam::{self.account}:role{self.path}{self.role}"

    @property
    def unique_id(self) -> str:
        return f"{self.role_id}:{self.name}"

    @property
    def names(self) -> tuple[str, ...]:
        return (self.arn, self.role_arn)


@dataclass(frozen=True, slots=True)
class Service:
    """A service that acts for itself, such as ``s3.amazonaws.com``."""

    name: str
    account: str = ""

    @property
    def arn(self) -> str:
        return self.name

    @property
    def unique_id(self) -> str:
        return self.name

    @property
    def names(self) -> tuple[str, ...]:
        return ()


@dataclass(frozen=True, slots=True)
class Anonymous:
    """Nobody has signed."""

    account: str = ""
    arn: str = "anonymous"
    unique_id: str = "anonymous"
    names: tuple[str, ...] = ()


Principal = User | Session | Service | Anonymous

_ROOT = re.compile(r"arn:aws[a-z-]*:iam::(\d{12}):root")


def how_named(listed: Sequence[str], principal: Principal) -> Named:
    """How the AWS principals of a statement name this one."""
    if "*" in listed or any(name in listed for name in principal.names):
        return Named.ITSELF
    if not isinstance(principal, User | Session):
        return Named.NOT
    accounts = {(found[1] if (found := _ROOT.fullmatch(text)) else text) for text in listed}
    return Named.ACCOUNT if principal.account in accounts else Named.NOT
