"""A stack that wants signatures, from its first key to the credentials of its functions, with the commands and boto3."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.installation import PROGRAM, RUNTIME, Installation, zipped

ACCOUNT = "000000000000"
SECRET = "an-environment-secret-of-the-function"
CODE = """
    import os

    def handler(event, context):
        return {name: os.environ.get(name) for name in
                ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "SECRET", "AWS_ENDPOINT_URL_STS")}
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    directory = tmp_path_factory.mktemp("iam")
    with Installation(directory, FNRUNNER_AUTH="iam", HOME=str(directory)) as installation:
        for name in [name for name in installation.environ if name.startswith("AWS_")]:
            del installation.environ[name]
        installation.start("dev")
        yield installation


def run(stack: Installation, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Everything but the bootstrap as on another host: that signatures are wanted is the server's to say."""
    here = arguments[1] == "bootstrap"
    own = {name: value for name, value in stack.environ.items() if here or name != "FNRUNNER_AUTH"}
    command = [*PROGRAM, *arguments]
    return subprocess.run(command, env={**own, **environ}, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def admin(stack: Installation) -> dict[str, str]:
    made = run(stack, "iam", "bootstrap", "--json")
    assert made.returncode == 0, made.stderr
    document = json.loads(made.stdout)
    return {"AWS_ACCESS_KEY_ID": document["access_key_id"], "AWS_SECRET_ACCESS_KEY": document["secret_access_key"]}


def client(stack: Installation, service: str, keys: dict[str, str]) -> Any:
    return boto3.client(
        service,
        endpoint_url=stack.url,
        region_name="us-east-1",
        aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
        aws_session_token=keys.get("AWS_SESSION_TOKEN"),
        config=Config(retries={"total_max_attempts": 1}),
    )


def test_commands_sign_and_say_what_to_do_without_a_key(stack: Installation, admin: dict[str, str]) -> None:
    without = run(stack, "functions", "ls")
    assert without.returncode == 4
    assert "AWS_ACCESS_KEY_ID" in without.stderr
    assert run(stack, "functions", "ls", "--json", **admin).returncode == 0
    wrong = run(stack, "functions", "ls", **{**admin, "AWS_SECRET_ACCESS_KEY": "wrong"})
    assert (wrong.returncode, "signature" in wrong.stderr) == (4, True)
    again = run(stack, "iam", "bootstrap")
    assert (again.returncode, "already" in again.stderr) == (1, True)


def test_users_roles_policies_and_keys_by_command(stack: Installation, admin: dict[str, str]) -> None:
    made = json.loads(run(stack, "iam", "user", "create", "reader", "--key", "--json", **admin).stdout)
    reader = {
        "AWS_ACCESS_KEY_ID": made["AccessKey"]["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": made["AccessKey"]["SecretAccessKey"],
    }
    assert run(stack, "functions", "ls", **reader).returncode == 4
    attached = run(stack, "iam", "policy", "attach", "AWSLambda_ReadOnlyAccess", "--user", "reader", **admin)
    assert attached.returncode == 0, attached.stderr
    assert run(stack, "functions", "ls", **reader).returncode == 0
    simulated = run(stack, "iam", "simulate", f"arn:aws:iam::{ACCOUNT}:user/reader", "lambda:GetFunction",
                    "lambda:DeleteFunction", "--json", **admin)  # fmt: skip
    assert simulated.returncode == 1
    assert [one["decision"] for one in json.loads(simulated.stdout)] == ["allowed", "implicitDeny"]
    key = reader["AWS_ACCESS_KEY_ID"]
    assert run(stack, "iam", "key", "disable", "reader", key, **admin).returncode == 0
    assert run(stack, "functions", "ls", **reader).returncode == 4
    keys = json.loads(run(stack, "iam", "key", "ls", "reader", "--json", **admin).stdout)
    assert [one["status"] for one in keys] == ["Inactive"]
    document = '{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "lambda:*", "Resource": "*"}}'
    assert run(stack, "iam", "policy", "create", "mine", document, **admin).stdout.strip().endswith("policy/mine")
    assert "mine" in run(stack, "iam", "policy", "ls", **admin).stdout
    assert run(stack, "iam", "policy", "rm", "mine", **admin).returncode == 0
    removed = run(stack, "iam", "user", "rm", "reader", **admin)
    assert removed.returncode == 0, removed.stderr
    assert "reader" not in run(stack, "iam", "user", "ls", **admin).stdout
    calls = json.loads(run(stack, "audit", "--calls", "--operation", "CreateUser", "--json", **admin).stdout)["calls"]
    assert calls[0]["principal"] == f"arn:aws:iam::{ACCOUNT}:user/admin"
    assert "CreateUser" in run(stack, "audit", "--calls", "--since", "1h", **admin).stdout
    assert run(stack, "audit", "--failed", **admin).returncode == 2


def test_a_function_has_the_credentials_of_its_role(stack: Installation, admin: dict[str, str]) -> None:
    code = {"ZipFile": zipped({"app.py": CODE})}
    owner = client(stack, "lambda", admin)
    role = f"arn:aws:iam::{ACCOUNT}:role/worker"
    given = {"Role": role, "Runtime": RUNTIME, "Handler": "app.handler", "Code": code,
             "Environment": {"Variables": {"SECRET": SECRET}}}  # fmt: skip
    with pytest.raises(ClientError) as error:
        owner.create_function(FunctionName="f", **given)
    assert error.value.response["Error"]["Code"] == "InvalidParameterValueException"
    assert error.value.response["Error"]["Message"] == "The role defined for the function cannot be assumed by Lambda."
    assert run(stack, "iam", "role", "create", "stranger", "--trust", ACCOUNT, **admin).returncode == 0
    with pytest.raises(ClientError, match=r"cannot be assumed by Lambda\."):
        owner.create_function(FunctionName="f", **(given | {"Role": f"arn:aws:iam::{ACCOUNT}:role/stranger"}))
    made = run(stack, "iam", "role", "create", "worker", "--policy", "AWSLambda_ReadOnlyAccess", **admin)
    assert made.stdout.strip() == role, made.stderr
    owner.create_function(FunctionName="f", **given)
    owner.get_waiter("function_active_v2").wait(FunctionName="f")
    with pytest.raises(ClientError, match=r"cannot be assumed by Lambda\."):
        owner.update_function_configuration(FunctionName="f", Role=f"arn:aws:iam::{ACCOUNT}:role/none")
    keys = json.loads(owner.invoke(FunctionName="f", Payload=b"{}")["Payload"].read())
    assert keys["SECRET"] == SECRET
    assert keys["AWS_ENDPOINT_URL_STS"] == stack.url
    who = client(stack, "sts", keys).get_caller_identity()["Arn"]
    assert who == f"arn:aws:sts::{ACCOUNT}:assumed-role/worker/f"
    own = client(stack, "lambda", keys)
    assert own.get_function(FunctionName="f")
    with pytest.raises(ClientError) as error:
        own.delete_function(FunctionName="f")
    assert error.value.response["Error"]["Code"] == "AccessDeniedException"
    second = json.loads(owner.invoke(FunctionName="f", Payload=b"{}")["Payload"].read())
    assert second["AWS_ACCESS_KEY_ID"] == keys["AWS_ACCESS_KEY_ID"]
    hidden = [keys["AWS_SECRET_ACCESS_KEY"], keys["AWS_SESSION_TOKEN"], admin["AWS_SECRET_ACCESS_KEY"]]
    for text in hidden:
        assert text not in stack.log("dev")
        assert not [path for path in files(stack.directory) if text.encode() in path.read_bytes()], (
            "a secret in the clear"
        )


def files(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file() and "spawner" not in path.parts]


def test_the_store_has_no_secret_in_the_clear(stack: Installation, admin: dict[str, str]) -> None:
    with sqlite3.connect(f"file:{stack.directory}/data/store.sqlite?mode=ro", uri=True) as store:
        rows = store.execute("SELECT secret FROM iam_access_key").fetchall()
    assert rows
    assert all(secret.startswith("sealed:") for (secret,) in rows)
    assert (stack.directory / "data" / "master.key").stat().st_mode & 0o777 == 0o600


def test_a_function_cannot_be_invoked_while_its_key_is_disabled(stack: Installation, admin: dict[str, str]) -> None:
    key = json.loads(run(stack, "key", "create", "payments", "--json", **admin).stdout)
    run(stack, "iam", "role", "create", "paying", **admin)
    owner = client(stack, "lambda", admin)
    owner.create_function(
        FunctionName="paying", Role=f"arn:aws:iam::{ACCOUNT}:role/paying", Runtime=RUNTIME, Handler="app.handler",
        Code={"ZipFile": zipped({"app.py": CODE})}, Environment={"Variables": {"SECRET": SECRET}}, KMSKeyArn=key["arn"],
    )  # fmt: skip
    owner.get_waiter("function_active_v2").wait(FunctionName="paying")
    assert json.loads(owner.invoke(FunctionName="paying")["Payload"].read())["SECRET"] == SECRET
    disabled = run(stack, "key", "disable", "payments", **admin)
    assert "disabled" in disabled.stdout, disabled.stderr
    with pytest.raises(ClientError) as error:
        owner.invoke(FunctionName="paying")
    response = error.value.response
    assert (response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]) == ("KMSDisabledException", 502)
    assert "fnrunner key enable payments" in response["Error"]["Message"]
    assert run(stack, "key", "enable", "payments", **admin).returncode == 0
    assert run(stack, "key", "rotate", "payments", **admin).returncode == 0
    assert json.loads(owner.invoke(FunctionName="paying")["Payload"].read())["SECRET"] == SECRET
    assert json.loads(run(stack, "key", "reseal", "--json", **admin).stdout)["environments"] >= 1


def test_the_master_key_is_replaced_while_the_server_runs(stack: Installation, admin: dict[str, str]) -> None:
    owner = client(stack, "lambda", admin)
    run(stack, "iam", "role", "create", "lasting", **admin)
    owner.create_function(
        FunctionName="lasting", Role=f"arn:aws:iam::{ACCOUNT}:role/lasting", Runtime=RUNTIME, Handler="app.handler",
        Code={"ZipFile": zipped({"app.py": CODE})}, Environment={"Variables": {"SECRET": SECRET}},
    )  # fmt: skip
    file = stack.directory / "data" / "master.key"
    before = file.read_bytes()
    turned = run(stack, "key", "rotate-master", "--json")
    assert turned.returncode == 0, turned.stderr
    done = json.loads(turned.stdout)
    assert done["wrapped"] >= 1
    assert file.read_bytes() != before == Path(done["retired"][0]).read_bytes()
    # the server knows nothing of it but the file and the store
    assert json.loads(owner.invoke(FunctionName="lasting")["Payload"].read())["SECRET"] == SECRET
    rotated = run(stack, "key", "rotate", "fnrunner", "--json", **admin)
    assert json.loads(rotated.stdout)["master_key"] == done["master_key"], rotated.stderr
    owner.update_function_configuration(FunctionName="lasting", Description="changed")
    assert json.loads(run(stack, "key", "reseal", "--json", **admin).stdout)["failed"] == []
    assert json.loads(owner.invoke(FunctionName="lasting")["Payload"].read())["SECRET"] == SECRET
    without = run(stack, "key", "rotate-master", "--data-dir", str(stack.directory / "nowhere"))
    assert (without.returncode, "There is no master key" in without.stderr) == (1, True)
