"""Container-image functions from outside: boto3 creates, updates, describes and invokes them; a template deploys one."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.installation import ROLE, Installation, zipped
from tests.integration.oci_kit import app, compiled, write_image


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return compiled(tmp_path_factory.mktemp("c"))


@pytest.fixture(scope="module")
def dev(program: bytes) -> Iterator[Installation]:
    with TemporaryDirectory() as directory, Installation(Path(directory)) as found:
        found.start("dev")
        yield found


def digest_of(layout: Path) -> str:
    found: str = json.loads((layout / "index.json").read_text())["manifests"][0]["digest"]
    return found.removeprefix("sha256:")


def create(dev: Installation, name: str, uri: str, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = dev.client().create_function(
        FunctionName=name, PackageType="Image", Role=ROLE, Code={"ImageUri": uri}, Timeout=20, **more
    )
    return found


def test_boto3_creates_updates_and_invokes_an_image(dev: Installation, program: bytes, tmp_path: Path) -> None:
    client = dev.client()
    first = write_image(tmp_path / "first", [app(program)], {"Entrypoint": ["/srv/app"], "Cmd": ["one"]})
    second = write_image(tmp_path / "second", [app(program)], {"Entrypoint": ["/srv/app"], "Cmd": ["two"]})
    made = create(dev, "image", first, ImageConfig={"WorkingDirectory": "/tmp"})
    client.get_waiter("function_active_v2").wait(FunctionName="image")
    assert (made["PackageType"], made["CodeSha256"]) == ("Image", digest_of(tmp_path / "first"))
    assert "Runtime" not in made
    assert made["ImageConfigResponse"] == {"ImageConfig": {"WorkingDirectory": "/tmp"}}
    assert dev.call("image", [1, "x"]) == (200, "", [1, "x"])
    seen = dev.call("image", "probe")[2]
    assert (seen["arg"], seen["cwd"], seen["root"], seen["caps"]) == ("one", "/tmp", 30, 0)
    if "share this host's network" not in dev.log("dev"):
        assert seen["links"] > 1, "it has more than its own loopback"

    client.update_function_configuration(FunctionName="image", ImageConfig={"Command": ["changed"]})
    client.get_waiter("function_updated_v2").wait(FunctionName="image")
    assert dev.call("image", "probe")[2]["arg"] == "changed"
    client.update_function_configuration(FunctionName="image", ImageConfig={})
    updated = client.update_function_code(FunctionName="image", ImageUri=second, Publish=True)
    client.get_waiter("function_updated_v2").wait(FunctionName="image")
    assert (updated["Version"], updated["CodeSha256"]) == ("1", digest_of(tmp_path / "second"))
    assert dev.call("image", "probe")[2]["arg"] == "two"
    code = client.get_function(FunctionName="image")["Code"]
    assert code == {
        "RepositoryType": "ECR",
        "ImageUri": second,
        "ResolvedImageUri": f"oci:{tmp_path}/second@sha256:{digest_of(tmp_path / 'second')}",
    }
    client.delete_function(FunctionName="image")


def refusal(call: Any, **params: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**params)
    assert caught.value.response["Error"]["Code"] == "InvalidParameterValueException"
    return str(caught.value.response["Error"]["Message"])


def test_what_cannot_be_an_image_is_refused_and_nothing_changes(
    dev: Installation, program: bytes, tmp_path: Path
) -> None:
    client = dev.client()
    uri = write_image(tmp_path / "image", [app(program)], {"Entrypoint": ["/srv/app"]})
    common = {"FunctionName": "refused", "Role": ROLE, "PackageType": "Image"}
    said = refusal(client.create_function, **common, Code={"ImageUri": f"oci:{tmp_path}/nothing:latest"})
    assert "Source image" in said
    assert "skopeo" in said
    assert "Please provide ImageUri" in refusal(client.create_function, **common, Code={"ZipFile": b"x"})
    said = refusal(client.create_function, **common, Code={"ImageUri": uri}, Runtime="python3.11", Handler="a.b")
    assert said == "Please don't provide Handler or Runtime or Layer when the intended function PackageType is Image."
    create(dev, "kept", uri)
    assert "Please provide ImageUri" in refusal(
        client.update_function_code, FunctionName="kept", ZipFile=zipped({"a": ""})
    )
    dev.deploy("zip", "def handler(event, context): return event")
    assert "packageType Zip" in refusal(client.update_function_code, FunctionName="zip", ImageUri=uri)
    assert "refused" not in {one["FunctionName"] for one in client.list_functions()["Functions"]}
    assert client.get_function_configuration(FunctionName="kept")["CodeSha256"] == digest_of(tmp_path / "image")
    for name in ("kept", "zip"):
        client.delete_function(FunctionName=name)


def test_a_template_deploys_an_image_and_sees_that_it_changed(
    dev: Installation, program: bytes, tmp_path: Path
) -> None:
    template = tmp_path / "template.yaml"
    uri = write_image(tmp_path / "image", [app(program)], {"Entrypoint": ["/srv/app"], "Cmd": ["one"]})
    template.write_text(
        textwrap.dedent(f"""
            Transform: AWS::Serverless-2016-10-31
            Resources:
              Contained:
                Type: AWS::Serverless::Function
                Properties:
                  FunctionName: contained
                  PackageType: Image
                  ImageUri: {uri}
                  Timeout: 20
                  ImageConfig:
                    WorkingDirectory: /tmp
            """)
    )
    assert dev.command("deploy", str(template)).returncode == 0
    assert dev.call("contained", "probe")[2]["cwd"] == "/tmp"
    again = dev.command("deploy", str(template))
    assert "unchanged" in again.stdout, again.stdout
    write_image(tmp_path / "image", [app(program)], {"Entrypoint": ["/srv/app"], "Cmd": ["two"]})
    assert "unchanged" not in dev.command("deploy", str(template)).stdout
    assert dev.call("contained", "probe")[2]["arg"] == "two"
    template.write_text(template.read_text().replace(f"ImageUri: {uri}", "Description: none"))
    refused = dev.command("deploy", str(template), check=False)
    assert refused.returncode != 0
    assert "ImageUri" in refused.stderr + refused.stdout
