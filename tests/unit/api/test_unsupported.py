"""What has no effect is refused by its name; what means *off* is accepted."""

from __future__ import annotations

from typing import Any

import pytest

from fnrunner.api.errors import NotSupported
from fnrunner.api.function import ROUTES
from fnrunner.api.unsupported import refuse, refuse_operation

SUPPORTS = {route.operation: route.supports for route in ROUTES}


@pytest.mark.parametrize(
    ("params", "name"),
    [
        ({"VpcConfig": {"SubnetIds": ["subnet-1"], "SecurityGroupIds": []}}, "VpcConfig"),
        ({"FileSystemConfigs": [{}]}, "FileSystemConfigs"),
        ({"Code": {"S3Bucket": "b", "S3ObjectStorageMode": "REFERENCE"}}, "Code.S3ObjectStorageMode"),
        ({"DurableConfig": {"RetentionPeriodInDays": 1}}, "DurableConfig"),
        ({"TenancyConfig": {"TenantIsolationMode": "PER_TENANT"}}, "TenancyConfig"),
    ],
)
def test_a_parameter_without_effect_is_named(params: dict[str, Any], name: str) -> None:
    text = f"^fnrunner 1.2 does not support the parameter {name} of CreateFunction yet.$"
    with pytest.raises(NotSupported, match=text):
        refuse("CreateFunction", params, SUPPORTS["CreateFunction"], "1.2")


@pytest.mark.parametrize(
    "params",
    [
        {"Layers": []}, {"VpcConfig": {"SubnetIds": [], "SecurityGroupIds": []}}, {"VpcConfig": {}}, {"KMSKeyArn": ""},
        {"FileSystemConfigs": []}, {"SnapStart": {"ApplyOn": "None"}}, {"TracingConfig": {"Mode": "PassThrough"}},
        {"Publish": False}, {"Publish": True}, {"Layers": ["arn:aws:lambda:us-east-1:000000000000:layer:l:1"]},
        {"SnapStart": {"ApplyOn": "PublishedVersions"}}, {"CodeSigningConfigArn": "arn"},
        {"TracingConfig": {"Mode": "Active"}}, {"PackageType": "Zip"}, {"LoggingConfig": {"LogFormat": "JSON"}},
        {"Code": {"ZipFile": b"z"}}, {"Code": {"S3Bucket": "b", "S3Key": "k", "S3ObjectStorageMode": "COPY"}},
    ],
)  # fmt: skip
def test_what_means_off_and_what_works_is_accepted(params: dict[str, Any]) -> None:
    refuse("CreateFunction", params, SUPPORTS["CreateFunction"], "1.2")


def test_an_operation_is_named_too() -> None:
    assert str(refuse_operation("StopDurableExecution", "1.2")) == (
        "fnrunner 1.2 does not support StopDurableExecution yet: it has no durable functions."
    )
    assert str(refuse_operation("WhatIsNew", "1.2")) == "fnrunner 1.2 does not support WhatIsNew yet."
