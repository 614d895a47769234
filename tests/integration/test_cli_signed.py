"""The commands sign when the server wants them to and there is a key, from the first request on; and say who they are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from botocore.exceptions import ClientError
from click.testing import CliRunner, Result

from fnrunner import __version__
from fnrunner.cli.client import ADMIN, FUNCTIONS, Client
from fnrunner.cli.error import CliError, ServerRefused
from fnrunner.cli.iam.api import IamClient
from fnrunner.cli.main import Debugging, application
from tests.api_server import ApiServer
from tests.iam_kit import ACCOUNT, TRUST_LAMBDA, Site, document, site
from tests.installation import eventually


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "FNRUNNER_AUTH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "aws"))


def by_admin(here: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", here.admin.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", here.admin.secret)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path / "data") as running:
        yield running


@pytest.mark.parametrize("where", ["environment", "file"])
def test_no_command_is_refused_before_it_signs(
    here: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, where: str
) -> None:
    key, secret = here.admin.access_key, here.admin.secret
    if where == "environment":
        by_admin(here, monkeypatch)
    else:
        (tmp_path / "aws").write_text(f"[default]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n")
    assert Client(here.url).get(FUNCTIONS)["Functions"] == []
    Client(here.url).call("PUT", f"{ADMIN}/topics/t", body=json.dumps({}).encode())
    IamClient(here.url).call("create_user", UserName="u")

    def logged() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = Client(here.url).get(f"{ADMIN}/calls")["calls"]
        return found if len(found) >= 2 else []

    calls = eventually(logged, within_s=30)
    assert [call["operation"] for call in calls if call["status"] >= 400] == []
    assert {call["user_agent"] for call in calls} == {f"fnrunner/{__version__}"}


def test_without_a_key_the_refusal_says_where_to_put_one(here: Site) -> None:
    for ask in (lambda: Client(here.url).get(FUNCTIONS), lambda: IamClient(here.url).call("list_users")):
        with pytest.raises(ServerRefused) as refused:
            ask()
        assert "AWS_ACCESS_KEY_ID" in refused.value.remedy


def test_a_function_without_a_role_says_how_to_make_one_and_takes_it_by_name(
    here: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    by_admin(here, monkeypatch)
    (tmp_path / "hello").mkdir()
    (tmp_path / "hello" / "app.py").write_text("def handler(event, context): return 1\n")
    deploy = ["deploy", str(tmp_path / "hello"), "--endpoint-url", here.url, "--json"]
    refused = CliRunner().invoke(application, deploy, obj=Debugging())
    assert isinstance(refused.exception, CliError)
    assert "cannot be assumed by Lambda" in str(refused.exception)
    assert "`fnrunner iam role create NAME`" in refused.exception.remedy
    assert "--role NAME" in refused.exception.remedy
    IamClient(here.url).call("create_role", RoleName="runner", AssumeRolePolicyDocument=document(TRUST_LAMBDA))
    made = CliRunner().invoke(application, [*deploy, "--role", "runner"], obj=Debugging())
    assert made.exception is None
    found = Client(here.url).get(f"{FUNCTIONS}/hello/configuration")
    assert found["Role"] == f"arn:aws:iam::{ACCOUNT}:role/runner"


def test_decisions_are_simulated_for_a_role_or_user_by_name(here: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    by_admin(here, monkeypatch)
    iam = IamClient(here.url)
    for name in ("runner", "both"):
        iam.call("create_role", RoleName=name, AssumeRolePolicyDocument=document(TRUST_LAMBDA))
    iam.call("create_user", UserName="both")

    def simulate(who: str) -> Result:
        words = ["iam", "simulate", who, "lambda:InvokeFunction", "--endpoint-url", here.url, "--json"]
        return CliRunner().invoke(application, words, obj=Debugging(), standalone_mode=False)

    assert (simulate("admin").return_value, simulate("runner").return_value) == (0, 1)
    assert json.loads(simulate(f"arn:aws:iam::{ACCOUNT}:user/admin").stdout)[0]["decision"] == "allowed"
    assert "arn:aws:iam::000000000000:role/both" in str(getattr(simulate("both").exception, "remedy", ""))
    assert "There is no role and no user nobody" in str(simulate("nobody").exception)


@pytest.mark.parametrize("with_a_key", [True, False])
def test_iam_and_sts_of_a_server_without_users_say_how_to_start_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, with_a_key: bool
) -> None:
    if with_a_key:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with ApiServer(tmp_path / "data") as server:
        with pytest.raises(ServerRefused, match="This server has no users and roles") as refused:
            IamClient(server.url).call("list_users")
        assert refused.value.remedy == "Start it with FNRUNNER_AUTH=iam."
        sts = boto3.client("sts", endpoint_url=server.url, region_name="us-east-1", aws_access_key_id="a",
                           aws_secret_access_key="b")  # fmt: skip
        with pytest.raises(ClientError, match="Start it with FNRUNNER_AUTH=iam"):
            sts.get_caller_identity()
        # what is neither has no operation at this path, as before
        for content in (b"", b"Action=Publish&Version=2010-03-31", b"x" * (2 * 1024 * 1024)):
            assert httpx.post(server.url, content=content).status_code == 404
        assert httpx.get(server.url).status_code == 404


def test_where_nobody_has_to_sign_keys_that_are_no_use_do_no_harm(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nowhere")
    with ApiServer(tmp_path / "data") as server:
        assert Client(server.url).get(FUNCTIONS)["Functions"] == []
