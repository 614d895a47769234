"""Who has which key and which policies: the store's users and roles, held in memory and kept fresh.

::

    a request's key id ─► credential: a user's key (the directory) │ a session's (the store, then a cache) ─► Known
    Known, action, the resource's policy ─► decide ─► Decision

A change in this process is seen at once, one of another process within :data:`FRESH`. While the store does not answer, what is
known stays in force. Secrets are sealed in the store and opened when they are used for the first time.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from sqlalchemy import Connection, delete, insert, select, update

from fnrunner.auth import directory as directories
from fnrunner.auth import policy as policy_language
from fnrunner.auth.credentials import Credential, new_key_id, new_secret
from fnrunner.auth.directory import Directory
from fnrunner.auth.evaluation import Action, Decision, Policies, decide
from fnrunner.auth.identity import Identity, Kind
from fnrunner.auth.keyring import Keyring, KeyringError
from fnrunner.auth.policy import Policy
from fnrunner.auth.principal import Service, Session, User
from fnrunner.model.arn import Home
from fnrunner.store.engine import Store
from fnrunner.store.errors import StoreError
from fnrunner.store.schema import iam_access_key, iam_change, iam_session

T = TypeVar("T")
log = logging.getLogger(__name__)

FRESH = timedelta(seconds=2)
"""How old what is known may be before the store is asked whether it has changed."""

AGAIN = timedelta(milliseconds=100)
"""The same for what is not known at all, which may have been made by another process a moment ago."""

MAX_SESSIONS = 10_000
MAX_ASKING = 4
"""So many sessions are looked up in the store at once: anybody can name keys that do not exist, and others need the store."""

LAMBDA = "lambda.amazonaws.com"


@dataclass(frozen=True, slots=True)
class Known:
    """A caller. ``session_policies`` None: the session has none of its own."""

    credential: Credential
    principal: User | Session
    session_policies: tuple[Policy, ...] | None = None


@dataclass(frozen=True, slots=True)
class Issued:
    """Temporary credentials, as they are handed out once."""

    access_key: str
    secret: str = field(repr=False)
    token: str = field(repr=False)
    expires: datetime
    session: Session


class Iam:
    """One for each process. Call ``start`` first."""

    def __init__(self, store: Store, keyring: Keyring, home: Home, now: Callable[[], datetime]) -> None:
        self._store = store
        self.keyring = keyring
        self.home = home
        self._now = now
        self._directory = Directory()
        self._looked = float("-inf")
        self._refreshing = asyncio.Lock()
        self._asking = asyncio.Semaphore(MAX_ASKING)
        self._opened: dict[str, Known] = {}
        self._sessions: OrderedDict[str, Known] = OrderedDict()

    @property
    def directory(self) -> Directory:
        return self._directory

    async def start(self) -> None:
        """Raises StoreError."""
        await self.keyring.load()
        async with self._refreshing:
            await self._reload()

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Carry out ``work``, which changes nothing, on what is in the store now."""
        return await self._store.read(work)

    async def change(self, work: Callable[[Connection], T]) -> T:
        """Carry out ``work`` as one change, which this process sees at once. What it raises undoes it."""
        counted = self._store.upsert(iam_change, ["id"], {"counter": iam_change.c.counter + 1}).values(id=1, counter=1)

        def transaction(connection: Connection) -> T:
            # first, so that changes of all processes happen one after the other
            connection.execute(counted)
            return work(connection)

        result = await self._store.write(transaction)
        try:
            async with self._refreshing:
                await self._reload()
        except (StoreError, KeyringError):
            # it is committed: what fails from here on does not undo it
            log.warning("users or policies changed but could not be read back", exc_info=True)
            self._looked = float("-inf")
        return result

    async def refresh(self, older: timedelta = FRESH) -> None:
        """Look whether others have changed something, if what is known is older than this."""
        if time.monotonic() - self._looked < older.total_seconds():
            return
        async with self._refreshing:
            if time.monotonic() - self._looked < older.total_seconds():
                return
            try:
                if await self._store.read(directories.current) != self._directory.counter:
                    await self._reload()
            except StoreError:
                log.warning("users and policies may be out of date: the store does not answer", exc_info=True)
            self._looked = time.monotonic()

    async def known(self, access_key: str) -> Known | None:
        """Whose key it is; None for one that is not there or not active. Raises StoreError, KeyringError."""
        await self.refresh()
        if access_key.startswith("ASIA"):
            return await self._of_role(await self._session(access_key))
        if access_key not in self._directory.keys:
            # it may have been made by another process a moment ago
            await self.refresh(AGAIN)
        key = self._directory.keys.get(access_key)
        user = self._directory.identities.get((Kind.USER, key.owner)) if key is not None else None
        if key is None or user is None or not key.active:
            return None
        if (ready := self._opened.get(access_key)) is not None:
            return ready
        await self.keyring.fresh(key.secret)
        secret = self.keyring.open_text(key.secret, place_of_key(access_key))
        known = Known(Credential(user.name, access_key, secret), user.user(self.home))
        self._opened[access_key] = known
        return known

    def decide(self, known: Known, action: Action, resource: Sequence[Policy] = ()) -> Decision:
        """Whether the caller may do it, with the policies that its resource has."""
        identity = self._directory.policies_of(known.principal)
        return decide(action, Policies(identity, resource, known.session_policies))

    async def assumable(self, arn: str, service: str) -> Identity | None:
        """The role, if it is there and trusts the service."""
        await self.refresh()
        for _ in range(2):
            role = self.role(arn)
            if role is not None and self.trusts(role, service):
                return role
            await self.refresh(AGAIN)
        return None

    def role(self, arn: str) -> Identity | None:
        """The role of this account with this ARN."""
        name = arn.rpartition("/")[2]
        found = self._directory.identities.get((Kind.ROLE, name))
        return found if found is not None and found.arn(self.home) == arn else None

    def may_assume(self, known: Known, role: Identity, action: Action) -> Decision:
        """Whether the role trusts the caller; where it trusts only the caller's account, the caller's policies decide."""
        identity = self._directory.policies_of(known.principal)
        return decide(action, Policies(identity, (_trust(role),), known.session_policies, must_trust=True))

    def trusts(self, role: Identity, service: str) -> bool:
        """Whether the role lets a service such as ``lambda.amazonaws.com`` assume it."""
        action = Action(Service(service), "sts:AssumeRole", role.arn(self.home), self.home.account)
        return decide(action, Policies(resource=(_trust(role),))).allowed

    async def issue(
        self, role: Identity, name: str, lifetime: timedelta, policies: Sequence[str] | None = None
    ) -> Issued:
        """Temporary credentials of a role. ``policies`` are documents that limit the session. Raises StoreError."""
        session = role.session(self.home, name)
        expires = (self._now() + lifetime).replace(microsecond=0)
        issued = Issued(new_key_id("ASIA"), new_secret(), secrets.token_urlsafe(264), expires, session)
        await self.keyring.fresh()
        sealed = self.keyring.seal_text(
            json.dumps({"secret": issued.secret, "token": issued.token}), place_of_session(issued.access_key)
        )
        document = {"role": role.name, "role_id": role.id, "path": role.path, "name": name, "policies": policies}
        row = {
            "id": issued.access_key,
            "document": json.dumps(document),
            "secret": sealed,
            "expires_ms": int(expires.timestamp() * 1000),
        }
        await self._store.write(lambda connection: connection.execute(insert(iam_session).values(**row)))
        return issued

    async def forget_expired(self, before: datetime) -> int:
        """Delete sessions that ended before; how many."""
        where = iam_session.c.expires_ms < int(before.timestamp() * 1000)
        return await self._store.write(lambda connection: connection.execute(delete(iam_session).where(where)).rowcount)

    async def reseal(self, key: str = "") -> tuple[int, list[str]]:
        """Put every secret of the store under the newest version of its key; how many were not, and those that stay as they
        are since they cannot be opened, each with the reason.
        """
        return await self.change(lambda connection: _reseal(connection, self.keyring, key))

    async def _of_role(self, known: Known | None) -> Known | None:
        """None too for a session whose role is gone, or has been made anew: resources that name it mean another."""
        for _ in range(2):
            if known is None or self._directory.is_there(known.principal):
                return known
            await self.refresh(AGAIN)
        return None

    async def _session(self, access_key: str) -> Known | None:
        if (known := self._sessions.get(access_key)) is not None:
            self._sessions.move_to_end(access_key)
            return known
        query = select(iam_session).where(iam_session.c.id == access_key)
        async with self._asking:
            row = await self._store.read(lambda connection: connection.execute(query).first())
        if row is None:
            return None
        await self.keyring.fresh(row.secret)
        opened = json.loads(self.keyring.open_text(row.secret, place_of_session(access_key)))
        document = json.loads(row.document)
        session = Session(self.home.account, document["role"], document["name"], document["role_id"], document["path"])
        expires = datetime.fromtimestamp(row.expires_ms / 1000, UTC)
        texts = document["policies"]
        known = Known(
            Credential(session.name, access_key, opened["secret"], opened["token"], expires),
            session,
            None if texts is None else tuple(policy_language.parse(text) for text in texts),
        )
        if not self._directory.is_there(session):
            # the role may have been made by another process a moment ago
            await self.refresh(timedelta(0))
        self._sessions[access_key] = known
        if len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)
        return known

    async def _reload(self) -> None:
        """Only with the lock: of two at once the older might come last."""
        self._directory = await self._store.read(directories.read)
        self._looked = time.monotonic()
        # a key may have been made inactive, or a user been made anew under the same name
        self._opened.clear()
        await self.keyring.load()


def _trust(role: Identity) -> Policy:
    return policy_language.parse(role.trust, policy_language.Kind.TRUST, role.name)


def place_of_key(access_key: str) -> str:
    """What an access key's secret is sealed for."""
    return f"iam_access_key/{access_key}"


def place_of_session(access_key: str) -> str:
    return f"iam_session/{access_key}"


def _reseal(connection: Connection, keyring: Keyring, key: str) -> tuple[int, list[str]]:
    changed, failed = 0, []
    for table, what, place in (
        (iam_access_key, "access key", place_of_key),
        (iam_session, "session", place_of_session),
    ):
        for row in connection.execute(select(table.c.id, table.c.secret)).all():
            try:
                renewed = keyring.renewed_text(row.secret, place(row.id), key)
            except KeyringError as error:
                failed.append(f"{what} {row.id}: {error}")
                continue
            if renewed != row.secret:
                connection.execute(update(table).where(table.c.id == row.id).values(secret=renewed))
                changed += 1
    return changed, failed
