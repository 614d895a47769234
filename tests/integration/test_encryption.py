"""What is stored is encrypted: none of it is in the clear, keys rotate, and what a missing key needs is said."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from sqlalchemy import Connection, text

from fnrunner.app.secrecy import started_keyring
from fnrunner.auth.master_key import MasterKeyError
from fnrunner.catalogue import resealing
from fnrunner.catalogue.resealing import Resealed
from fnrunner.settings import Settings
from fnrunner.store.engine import Store
from tests.api_server import ApiServer, services_in, zipped
from tests.iam_kit import ACCOUNT, TRUST_LAMBDA, Sent, Site, document, signed, site

ROLE = f"arn:aws:iam::{ACCOUNT}:role/runner"
VARIABLE = "hunter2-is-the-password"
MARK = "a_line_of_code_that_is_not_compressed"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path) as running:
        running.client("iam").create_role(RoleName="runner", AssumeRolePolicyDocument=document(TRUST_LAMBDA))
        yield running


def create(here: Site, name: str, **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = here.client("lambda").create_function(
        FunctionName=name, Role=ROLE, Runtime="python3.12", Handler="app.handler",
        Code={"ZipFile": zipped(app_py=f"def handler(e, c): return '{MARK}'\n")},
        Environment={"Variables": {"PASSWORD": VARIABLE}}, **more,
    )  # fmt: skip
    return made


def admin(here: Site, method: str, path: str, **body: Any) -> Any:
    content = json.dumps(body).encode() if method == "POST" else b""
    answer = signed(here.url, here.admin, Sent(method, f"/fnrunner/v1{path}", body=content)).to(here.url)
    assert answer.status_code < 400, answer.text
    return answer.json()


def stored(here: Site) -> bytes:
    """Everything in the data directory."""
    directory = here.server.services.settings.data_dir
    return b"".join(path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file())


def variables(here: Site, name: str) -> Any:
    return here.client("lambda").get_function_configuration(FunctionName=name)["Environment"]


def versions(here: Site, name: str) -> set[int]:
    """The key versions that the variables of a function are sealed with."""
    directory = here.server.services.settings.data_dir
    with sqlite3.connect(f"file:{directory}/store.sqlite?mode=ro", uri=True) as store:
        rows = store.execute("SELECT document FROM function WHERE name = ?", (name,)).fetchall()
    sealed = [base64.b64decode(json.loads(text)["environment"].removeprefix("sealed:")) for (text,) in rows]
    return {int.from_bytes(data[20:24], "big") for data in sealed}


def test_neither_variables_nor_code_nor_secrets_are_stored_in_the_clear(here: Site) -> None:
    create(here, "f", Publish=True)
    assert variables(here, "f") == {"Variables": {"PASSWORD": VARIABLE}}
    everything = stored(here)
    for secret in (VARIABLE, MARK, here.admin.secret):
        assert secret.encode() not in everything


def test_what_is_encrypted_comes_back_as_it_was(here: Site) -> None:
    made = create(here, "f")
    code = here.server.run(here.server.services.catalogue.artifacts.read(base64.b64decode(made["CodeSha256"]).hex()))
    assert MARK.encode() in code
    client = here.client("lambda")
    assert client.publish_version(FunctionName="f")["Environment"] == {"Variables": {"PASSWORD": VARIABLE}}
    client.update_function_configuration(FunctionName="f", Description="other")
    assert variables(here, "f") == {"Variables": {"PASSWORD": VARIABLE}}


def test_a_rotated_key_seals_with_its_new_version_and_opens_the_old_ones(here: Site) -> None:
    create(here, "before")
    assert admin(here, "POST", "/keys/fnrunner/rotate")["version"] == 2
    create(here, "after")
    assert (versions(here, "before"), versions(here, "after")) == ({1}, {2})
    assert variables(here, "before") == variables(here, "after") == {"Variables": {"PASSWORD": VARIABLE}}
    assert here.client("sts").get_caller_identity()["Account"] == ACCOUNT
    done = admin(here, "POST", "/reseal")
    assert (done["secrets"], done["environments"], done["code"]) == (1, 1, 1)
    assert versions(here, "before") == {2}
    again = {"secrets": 0, "environments": 0, "stacks": 0, "code": 0, "failed": []}
    assert admin(here, "POST", "/reseal") == again
    assert variables(here, "before") == {"Variables": {"PASSWORD": VARIABLE}}


def test_what_is_damaged_is_named_and_stops_nothing(here: Site) -> None:
    for name in ("whole", "hurt"):
        create(here, name)
    client = here.client("lambda")
    client.update_function_code(FunctionName="hurt", ZipFile=zipped(app_py="x = 1\n"))
    code = client.get_function_configuration(FunctionName="hurt")["CodeSha256"]
    whole, hurt = here.user("whole"), here.user("hurt")
    admin(here, "POST", "/stacks/shop/hold", holder="me", seconds=60)
    parameters = {"current": {"parameters": {"Password": VARIABLE}}, "before": {"parameters": {"Password": "other"}}}
    sent = Sent("PUT", "/fnrunner/v1/stacks/shop", body=json.dumps({"holder": "me", "document": parameters}).encode())
    assert signed(here.url, here.admin, sent).to(here.url).status_code == 200
    damage(here, "iam_access_key", "secret", "id", hurt.access_key)
    damage(here, "function", "document", "name", "hurt")
    damage(here, "stack", "document", "name", "shop")
    artifact = here.server.services.settings.artifacts / base64.b64decode(code).hex()
    artifact.write_bytes(artifact.read_bytes()[:-1] + b"?")
    admin(here, "POST", "/keys/fnrunner/rotate")
    done = admin(here, "POST", "/reseal")
    assert [done[what] for what in ("secrets", "environments", "stacks", "code")] == [2, 1, 1, 1]
    assert [one.split(":")[0] for one in done["failed"]] == [
        f"access key {hurt.access_key}", "function hurt, $LATEST", "stack shop", f"code {artifact.name}",
    ]  # fmt: skip
    assert all("Restore it from a backup" in one for one in done["failed"])
    assert (versions(here, "whole"), versions(here, "hurt")) == ({2}, {1})
    assert variables(here, "whole") == {"Variables": {"PASSWORD": VARIABLE}}
    assert here.client("sts", whole).get_caller_identity()["Account"] == ACCOUNT
    again = admin(here, "POST", "/reseal")
    assert [again[what] for what in ("secrets", "environments", "stacks", "code")] == [0, 0, 0, 0]
    assert again["failed"] == done["failed"]


def damage(here: Site, table: str, column: str, key: str, name: str) -> None:
    """The last character of what is sealed first is another."""
    path = here.server.services.settings.data_dir / "store.sqlite"
    with sqlite3.connect(path) as store:
        text: str = store.execute(f"SELECT {column} FROM {table} WHERE {key} = ?", (name,)).fetchone()[0]
        begin = text.index("sealed:")
        end = text.find('"', begin) if '"' in text[begin:] else len(text)
        place = end - 8
        other = "A" if text[place] != "A" else "B"
        store.execute(
            f"UPDATE {table} SET {column} = ? WHERE {key} = ?", (text[:place] + other + text[place + 1 :], name)
        )


def test_a_record_that_is_no_document_is_named_and_the_others_are_sealed(here: Site) -> None:
    create(here, "whole")
    services = here.server.services
    assert services.keyring is not None
    ring = services.keyring
    admin(here, "POST", "/keys/fnrunner/rotate")

    def work(connection: Connection) -> tuple[Resealed, Resealed]:
        row = {"version": "1", "revision_id": "", "digest": ""}
        connection.execute(text("INSERT INTO function (name, version, revision_id, digest, document) VALUES "
                                "('cut', :version, :revision_id, :digest, '{')"), row)  # fmt: skip
        connection.execute(text("UPDATE stack SET document = '['"))
        return resealing.functions(connection, ring), resealing.stacks(connection, ring)

    admin(here, "POST", "/stacks/shop/hold", holder="me", seconds=60)
    found, stacks = here.server.run(services.store.write(work))
    assert (found.changed, found.failed) == (
        1, ("function cut, 1: its record is damaged. Restore it from a backup of the store",),
    )  # fmt: skip
    assert (stacks.changed, len(stacks.failed)) == (0, 1)


def test_the_parameters_of_a_stack_are_sealed_and_kept_while_their_key_is_disabled(here: Site) -> None:
    document = {"current": {"parameters": {"Password": VARIABLE}, "text": "the template"}}
    admin(here, "POST", "/stacks/shop/hold", holder="me", seconds=60)
    sent = Sent("PUT", "/fnrunner/v1/stacks/shop", body=json.dumps({"holder": "me", "document": document}).encode())
    assert signed(here.url, here.admin, sent).to(here.url).status_code == 200
    assert b"the template" in stored(here)
    assert VARIABLE.encode() not in stored(here)
    assert admin(here, "GET", "/stacks/shop")["document"] == document
    admin(here, "POST", "/keys/fnrunner/rotate")
    admin(here, "POST", "/reseal")
    assert admin(here, "GET", "/stacks/shop")["document"] == document
    admin(here, "POST", "/keys/fnrunner/disable")
    assert admin(here, "GET", "/stacks/shop")["document"]["current"]["parameters"].startswith("sealed:")
    admin(here, "POST", "/keys/fnrunner/enable")
    assert admin(here, "GET", "/stacks/shop")["document"] == document


def test_a_function_may_name_its_key_and_its_variables_are_kept_while_that_is_disabled(here: Site) -> None:
    arn = admin(here, "POST", "/keys", alias="payments")["arn"]
    create(here, "paying", KMSKeyArn=arn)
    create(here, "other")
    client = here.client("lambda")
    assert client.get_function_configuration(FunctionName="paying")["KMSKeyArn"] == arn
    admin(here, "POST", "/keys/payments/disable")
    assert variables(here, "paying")["Error"]["ErrorCode"] == "KMSDisabledException"
    assert "fnrunner key enable payments" in variables(here, "paying")["Error"]["Message"]
    assert variables(here, "other") == {"Variables": {"PASSWORD": VARIABLE}}
    # what cannot be read is kept by a change of something else
    client.put_function_concurrency(FunctionName="paying", ReservedConcurrentExecutions=5)
    client.update_function_configuration(FunctionName="paying", Description="still there")
    admin(here, "POST", "/keys/payments/enable")
    assert variables(here, "paying") == {"Variables": {"PASSWORD": VARIABLE}}


@pytest.mark.parametrize("what", ["unknown", "disabled"])
def test_a_key_that_cannot_be_used_is_refused_by_name(here: Site, what: str) -> None:
    arn = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/00000000-0000-0000-0000-000000000000"
    if what == "disabled":
        arn = admin(here, "POST", "/keys", alias="off")["arn"]
        admin(here, "POST", "/keys/off/disable")
    with pytest.raises(ClientError) as error:
        create(here, "f", KMSKeyArn=arn)
    assert error.value.response["Error"]["Code"] == "InvalidParameterValueException"
    code = "KMSNotFoundException" if what == "unknown" else "KMSDisabledException"
    assert code in error.value.response["Error"]["Message"]
    with pytest.raises(ClientError, match="ResourceNotFound"):
        here.client("lambda").get_function(FunctionName="f")


def test_a_master_key_of_others_is_refused_and_the_right_one_opens_everything(tmp_path: Path) -> None:
    with site(tmp_path) as first:
        first.client("iam").create_role(RoleName="runner", AssumeRolePolicyDocument=document(TRUST_LAMBDA))
        create(first, "f")
        fingerprint = admin(first, "GET", "/keys")["keys"][0]["master_key"]
        who = first.admin
    kept = (tmp_path / "master.key").read_bytes()
    (tmp_path / "master.key").write_bytes(base64.b64encode(secrets.token_bytes(32)))
    with pytest.raises(MasterKeyError, match=f"Put the master key {fingerprint} back there"):
        asyncio.run(_start(Settings(data_dir=tmp_path, auth="iam")))
    (tmp_path / "master.key").write_bytes(kept)
    with ApiServer(tmp_path, auth="iam") as server:
        assert variables(Site(server, who), "f") == {"Variables": {"PASSWORD": VARIABLE}}


def test_a_key_file_alone_encrypts_where_nobody_has_to_sign(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(base64.b64encode(secrets.token_bytes(32)))
    file.chmod(0o600)
    with ApiServer(tmp_path / "data", master_key_file=file) as server:
        keys = _unsigned(server)
        keys("create_function", FunctionName="f", Role=ROLE, Runtime="python3.12", Handler="app.handler",
             Code={"ZipFile": zipped(app_py=MARK)}, Environment={"Variables": {"PASSWORD": VARIABLE}})  # fmt: skip
        everything = b"".join(p.read_bytes() for p in sorted((tmp_path / "data").rglob("*")) if p.is_file())
        assert VARIABLE.encode() not in everything
        assert MARK.encode() not in everything


def test_a_process_without_the_key_never_replaces_what_is_sealed_with_clear_text(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(base64.b64encode(secrets.token_bytes(32)))
    file.chmod(0o600)
    with ApiServer(tmp_path) as server:
        keys = _unsigned(server)
        keys("create_function", FunctionName="f", Role=ROLE, Runtime="python3.12", Handler="app.handler",
             Code={"ZipFile": zipped(app_py=MARK)}, Environment={"Variables": {"PASSWORD": VARIABLE}})  # fmt: skip
        sealing = Settings(data_dir=tmp_path, master_key_file=file)
        server.run(_seal_everything(sealing))
        server.run(server.services.catalogue.change(lambda _: None))
        with pytest.raises(ClientError, match="FNRUNNER_MASTER_KEY_FILE"):
            keys("update_function_configuration", FunctionName="f", Environment={"Variables": {"PASSWORD": "other"}})
        keys("update_function_configuration", FunctionName="f", Description="other")
        with sqlite3.connect(f"file:{tmp_path}/store.sqlite?mode=ro", uri=True) as store:
            (text,) = store.execute("SELECT document FROM function WHERE name = 'f'").fetchone()
        assert json.loads(text)["environment"].startswith("sealed:")


async def _start(settings: Settings) -> None:
    async with services_in(settings.data_dir, auth=settings.auth):
        pass


async def _seal_everything(settings: Settings) -> None:
    """As another process does that has a key."""
    store = Store(settings.store)
    await store.start()
    try:
        keyring = await started_keyring(settings, store)
        assert keyring is not None
        await store.write(lambda connection: resealing.functions(connection, keyring))
    finally:
        await store.close()


def test_what_was_stored_in_the_clear_is_read_and_sealed_on_request(tmp_path: Path) -> None:
    with ApiServer(tmp_path) as server:
        _unsigned(server)("create_function", FunctionName="f", Role=ROLE, Runtime="python3.12", Handler="app.handler",
                          Code={"ZipFile": zipped(app_py=MARK)}, Environment={"Variables": {"PASSWORD": VARIABLE}})  # fmt: skip
    with site(tmp_path) as later:
        assert variables(later, "f") == {"Variables": {"PASSWORD": VARIABLE}}
        assert admin(later, "POST", "/reseal")["code"] == 1
        assert variables(later, "f") == {"Variables": {"PASSWORD": VARIABLE}}
        artifacts = later.server.services.settings.artifacts
        assert not [path for path in artifacts.iterdir() if MARK.encode() in path.read_bytes()]


def test_without_keys_a_function_cannot_name_one(tmp_path: Path) -> None:
    with ApiServer(tmp_path) as server, pytest.raises(ClientError, match="FNRUNNER_MASTER_KEY_FILE"):
        _unsigned(server)("create_function", FunctionName="f", Role=ROLE, Runtime="python3.12", Handler="app.handler",
                          Code={"ZipFile": zipped(app_py=MARK)}, KMSKeyArn=f"arn:aws:kms:r:{ACCOUNT}:key/x")  # fmt: skip


def _unsigned(server: ApiServer) -> Callable[..., Any]:
    import boto3

    client = boto3.client("lambda", endpoint_url=server.url, region_name="us-east-1", aws_access_key_id="a",
                          aws_secret_access_key="b")  # fmt: skip
    return lambda operation, **params: getattr(client, operation)(**params)
