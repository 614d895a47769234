"""Users, keys and sessions in both databases: sealed, seen by other processes, and limited in time."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, text

from fnrunner.auth import call as calls
from fnrunner.auth import identity_store as rows
from fnrunner.auth.bootstrap import administrator
from fnrunner.auth.call import Call, Query
from fnrunner.auth.evaluation import Action
from fnrunner.auth.iam import AGAIN, LAMBDA, MAX_ASKING, Iam
from fnrunner.auth.iam_error import EntityAlreadyExists
from fnrunner.auth.identity import Identity, Kind, new_id
from fnrunner.auth.keyring import Keyring
from fnrunner.auth.master_key import MasterKey, MasterKeys
from fnrunner.auth.role_session import LIFETIME, RoleSessions
from fnrunner.model.arn import Home
from fnrunner.store.engine import Store
from fnrunner.store.errors import StoreUnavailable
from fnrunner.store.schema import iam_access_key, iam_session

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)
MASTER = MasterKeys((MasterKey(b"k" * 32, "master.key"),))
TRUST = {
    "Version": "2012-10-17",
    "Statement": {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "lambda.amazonaws.com"}},
}


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


async def iam_of(store: Store, clock: Clock | None = None) -> Iam:
    iam = Iam(store, Keyring(store, MASTER), Home(), clock or Clock())
    await iam.start()
    return iam


async def role_of(iam: Iam, name: str = "worker") -> Identity:
    role = Identity(Kind.ROLE, name, new_id("AROA"), NOW, trust=json.dumps(TRUST))
    return await iam.change(lambda connection: rows.add(connection, role))


async def test_the_first_administrator_may_everything_and_is_made_once(store: Store) -> None:
    iam = await iam_of(store)
    made = await administrator(iam, "admin", NOW)
    known = await iam.known(made.access_key)
    assert known is not None
    assert known.credential.secret == made.secret
    assert iam.decide(known, Action(known.principal, "any:Thing", "*", iam.home.account)).allowed
    with pytest.raises(EntityAlreadyExists, match="There is a user admin already"):
        await administrator(iam, "admin", NOW)
    sealed = await store.read(lambda connection: connection.execute(select(iam_access_key.c.secret)).scalar_one())
    assert made.secret not in sealed


async def test_another_process_hears_of_a_new_key_when_it_is_used_and_of_a_disabled_one_soon(store: Store) -> None:
    here, there = await iam_of(store), await iam_of(store)
    made = await administrator(here, "admin", NOW)
    there._looked -= AGAIN.total_seconds()
    assert await there.known(made.access_key) is not None
    await here.change(lambda connection: rows.activate_key(connection, made.access_key, "admin", False))
    assert await here.known(made.access_key) is None
    await there.refresh(timedelta(0))
    assert await there.known(made.access_key) is None


async def test_sessions_are_sealed_known_everywhere_and_forgotten_when_they_are_over(store: Store) -> None:
    here, there = await iam_of(store), await iam_of(store)
    role = await role_of(here)
    issued = await here.issue(role, "s", timedelta(hours=1))
    known = await there.known(issued.access_key)
    assert known is not None
    assert (known.credential.secret, known.credential.token) == (issued.secret, issued.token)
    assert known.credential.expires == NOW + timedelta(hours=1)
    stored = await store.read(lambda connection: str(connection.execute(select(iam_session)).all()))
    assert issued.secret not in stored
    assert issued.token not in stored
    assert await here.forget_expired(NOW) == 0
    assert await here.forget_expired(NOW + timedelta(hours=2)) == 1


async def test_a_session_ends_with_its_role_even_if_one_of_the_same_name_is_made(store: Store) -> None:
    here, there = await iam_of(store), await iam_of(store)
    role = await role_of(here)
    issued = await here.issue(role, "s", timedelta(hours=1))
    # the role is new to this process, too
    assert await there.known(issued.access_key) is not None
    await here.change(lambda connection: rows.remove(connection, Kind.ROLE, "worker"))
    assert await here.known(issued.access_key) is None
    await role_of(here)
    assert await here.known(issued.access_key) is None
    await there.refresh(timedelta(0))
    assert await there.known(issued.access_key) is None


async def test_keys_that_do_not_exist_do_not_take_the_store_from_others(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    iam = await iam_of(store)
    most, running, read = 0, 0, store.read

    async def watched(work: Any) -> Any:
        nonlocal most, running
        running += 1
        most = max(most, running)
        found = await read(work)
        running -= 1
        return found

    monkeypatch.setattr(store, "read", watched)
    found = await asyncio.gather(*(iam.known(f"ASIA{number:016}") for number in range(50)))
    assert found == [None] * 50
    assert 0 < most <= MAX_ASKING


async def test_a_change_that_cannot_be_read_back_is_done_all_the_same(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    iam = await iam_of(store)

    async def broken() -> None:
        raise StoreUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(iam, "_reload", broken)
        role = await role_of(iam)
    assert iam.role(role.arn(iam.home)) is None
    await iam.refresh()
    assert iam.role(role.arn(iam.home)) == role


async def test_of_two_readings_at_once_the_newer_stays(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    iam = await iam_of(store)
    most, running, reload = 0, 0, iam._reload

    async def watched() -> None:
        nonlocal most, running
        running += 1
        most = max(most, running)
        await reload()
        running -= 1

    monkeypatch.setattr(iam, "_reload", watched)
    await asyncio.gather(*(role_of(iam, f"role-{number}") for number in range(4)), iam.refresh(timedelta(0)))
    assert most == 1
    assert len(iam.directory.identities) == 4


async def test_environments_share_credentials_until_half_of_their_time_is_over(store: Store) -> None:
    clock = Clock()
    iam = await iam_of(store, clock)
    role = await role_of(iam)
    sessions, arn = RoleSessions(iam, clock), role.arn(iam.home)
    first = await sessions.of("f", arn)
    assert set(first) == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"}
    assert await sessions.of("f", arn) is first
    assert (await sessions.of("g", arn))["AWS_ACCESS_KEY_ID"] != first["AWS_ACCESS_KEY_ID"]
    clock.now += LIFETIME / 2
    second = await sessions.of("f", arn)
    assert second["AWS_ACCESS_KEY_ID"] != first["AWS_ACCESS_KEY_ID"]
    await iam.change(lambda connection: rows.remove(connection, Kind.ROLE, "worker"))
    assert await sessions.of("f", arn) == {}
    await role_of(iam)
    assert (await sessions.of("f", arn))["AWS_ACCESS_KEY_ID"] not in (
        first["AWS_ACCESS_KEY_ID"],
        second["AWS_ACCESS_KEY_ID"],
    )


async def test_a_role_that_does_not_trust_lambda_gives_nothing(store: Store) -> None:
    iam = await iam_of(store)
    trust = json.dumps(TRUST).replace("lambda.", "ec2.")
    one = Identity(Kind.ROLE, "other", new_id("AROA"), NOW, trust=trust)
    await iam.change(lambda connection: rows.add(connection, one))
    assert await iam.assumable(one.arn(iam.home), LAMBDA) is None
    assert await RoleSessions(iam, Clock()).of("f", one.arn(iam.home)) == {}


async def test_two_processes_that_start_at_once_have_one_default_key(store: Store) -> None:
    first, second = Keyring(store, MASTER), Keyring(store, MASTER)
    await first.load()
    await second.load()
    assert [key.id for key in first.listed()] == [key.id for key in second.listed()]
    assert second.open(first.seal(b"x", "here"), "here") == b"x"
    await first.rotate("fnrunner")
    second._looked -= 60
    await second.fresh()
    assert second.open(first.seal(b"y", "here"), "here") == b"y"


async def test_calls_are_found_by_what_is_asked_and_go_with_their_age(store: Store) -> None:
    def made(number: int, **more: object) -> Call:
        values = {"at_ms": number, "request_id": f"r{number}", "principal": f"arn:user/u{number % 2}", "access_key": "A",
                  "service": "lambda", "operation": "CreateFunction", "resource": f"function:f{number}_x",
                  "parameters": "{}", "source_ip": "", "user_agent": "a\0b" + "c" * 999, "status": 200,
                  "error_code": ""}  # fmt: skip
        return Call(**(values | more))  # type: ignore[arg-type]

    some = [made(number) for number in range(1, 7)] + [made(7, status=403, error_code="AccessDenied")]
    await store.write(lambda connection: calls.write(connection, some))

    async def ids(**query: object) -> list[str]:
        found = await store.read(lambda connection: calls.find(connection, Query(**query)))  # type: ignore[arg-type]
        return [row.request_id for row in found]

    assert await ids() == [f"r{number}" for number in range(7, 0, -1)]
    assert await ids(principal="u0") == ["r6", "r4", "r2"]
    assert await ids(resource="f3_") == ["r3"]
    assert await ids(failed=True) == ["r7"]
    assert await ids(since_ms=3, until_ms=5) == ["r4", "r3"]
    assert await ids(limit=2) == ["r7", "r6"]
    assert await ids(operation="Nothing") == []
    assert await store.write(lambda connection: calls.forget(connection, 5)) == 4
    assert await ids() == ["r7", "r6", "r5"]


async def test_a_policy_that_cannot_be_read_denies_everything(store: Store) -> None:
    iam = await iam_of(store)
    made = await administrator(iam, "admin", NOW)
    damage = text("INSERT INTO iam_inline_policy (kind, owner, name, document) VALUES ('user', 'admin', 'x', '{')")
    await iam.change(lambda connection: connection.execute(damage))
    known = await iam.known(made.access_key)
    assert known is not None
    assert not iam.decide(known, Action(known.principal, "lambda:GetFunction", "*", iam.home.account)).allowed
