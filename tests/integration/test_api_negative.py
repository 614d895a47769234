"""What this release has not is refused by name: operations, and parameters that would have no effect."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from fnrunner.api import function
from tests.api_server import CODE, ROLE, ApiServer
from tests.conformance.api import model
from tests.conformance.api.wire import send

GOOD = {
    "FunctionName": "new", "Role": ROLE, "Code": {"ZipFile": CODE}, "Runtime": "python3.12", "Handler": "app.handler"
}  # fmt: skip
SUPPORTED = next(route.supports for route in function.ROUTES if route.operation == "CreateFunction")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with ApiServer(tmp_path_factory.mktemp("api")) as running, httpx.Client(base_url=running.url) as client:
        yield client


WITHOUT_EFFECT: list[tuple[dict[str, Any], str]] = [
    ({"Layers": ["arn:aws:lambda:us-east-1:000000000000:layer:l:1"]}, "Layers"),
    ({"VpcConfig": {"SubnetIds": ["subnet-1"]}}, "VpcConfig"),
    ({"FileSystemConfigs": [{"Arn": "arn:aws:elasticfilesystem:us-east-1:000000000000:access-point/fsap-0123456789abcdef0",
                             "LocalMountPath": "/mnt/a"}]}, "FileSystemConfigs"),
    ({"ImageConfig": {"Command": ["x"]}}, "ImageConfig"),
    ({"SnapStart": {"ApplyOn": "PublishedVersions"}}, "SnapStart"),
    ({"KMSKeyArn": "arn:aws:kms:us-east-1:000000000000:key/k"}, "KMSKeyArn"),
    ({"PackageType": "Image"}, "PackageType"),
    ({"TracingConfig": {"Mode": "Active"}}, "TracingConfig"),
    ({"Code": {"S3Bucket": "bucket", "S3Key": "key"}}, "Code.S3Bucket"),
    ({"Code": {"ImageUri": "image"}}, "Code.ImageUri"),
    ({"TenancyConfig": {"TenantIsolationMode": "PER_TENANT"}}, "TenancyConfig"),
]  # fmt: skip


def has(name: str) -> bool:
    return any(path == name or path.startswith(f"{name}.") for path in SUPPORTED)


@pytest.mark.parametrize(("params", "name"), [(params, name) for params, name in WITHOUT_EFFECT if not has(name)])
def test_a_parameter_that_would_have_no_effect_is_refused_by_name(
    client: httpx.Client, params: dict[str, Any], name: str
) -> None:
    answer = send(client, "CreateFunction", {**GOOD, **params})
    assert (answer.status_code, answer.headers["x-amzn-errortype"]) == (400, "InvalidParameterValueException")
    assert answer.json() == {
        "Type": "User",
        "message": f"fnrunner 9.9.9 does not support the parameter {name} of CreateFunction yet.",
    }


@pytest.mark.parametrize("name", [name for name in model.service().operation_names if name not in model.supported()])
def test_every_operation_that_this_release_has_not_says_its_name(client: httpx.Client, name: str) -> None:
    answer = send(client, name, model.dummy(name))
    assert (answer.status_code, answer.headers["x-amzn-errortype"]) == (400, "InvalidParameterValueException")
    assert answer.json()["message"].startswith(f"fnrunner 9.9.9 does not support {name} yet")
