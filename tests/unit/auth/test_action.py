"""Every operation of the model has its permission, on the resource that policies name."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.loaders import Loader

from fnrunner.auth.action import needed, operations
from fnrunner.model.arn import Home

HOME = Home()
ARN = "arn:aws:lambda:us-east-1:000000000000:"


def test_the_table_has_the_models_operations_and_no_others() -> None:
    model = Loader().load_service_model("lambda", "service-2", "2015-03-31")
    assert operations() == set(model["operations"])


@pytest.mark.parametrize(
    ("operation", "params", "action", "resource"),
    [
        ("Invoke", {"FunctionName": "f"}, "lambda:InvokeFunction", "function:f"),
        ("Invoke", {"FunctionName": "f:prod"}, "lambda:InvokeFunction", "function:f:prod"),
        ("Invoke", {"FunctionName": "f", "Qualifier": "1"}, "lambda:InvokeFunction", "function:f:1"),
        ("Invoke", {"FunctionName": ARN + "function:f:prod"}, "lambda:InvokeFunction", "function:f:prod"),
        ("InvokeWithResponseStream", {"FunctionName": "f"}, "lambda:InvokeFunction", "function:f"),
        ("InvokeAsync", {"FunctionName": "f"}, "lambda:InvokeFunction", "function:f"),
        ("GetFunction", {"FunctionName": "f", "Qualifier": "1"}, "lambda:GetFunction", "function:f"),
        ("AddPermission", {"FunctionName": "f", "Qualifier": "prod"}, "lambda:AddPermission", "function:f:prod"),
        ("GetLayerVersion", {"LayerName": "l", "VersionNumber": 3}, "lambda:GetLayerVersion", "layer:l:3"),
        ("GetLayerVersion", {"LayerName": ARN + "layer:l", "VersionNumber": 3}, "lambda:GetLayerVersion", "layer:l:3"),
        ("GetLayerVersionByArn", {"Arn": ARN + "layer:l:3"}, "lambda:GetLayerVersion", "layer:l:3"),
        ("PublishLayerVersion", {"LayerName": "l"}, "lambda:PublishLayerVersion", "layer:l"),
        ("DeleteEventSourceMapping", {"UUID": "u"}, "lambda:DeleteEventSourceMapping", "event-source-mapping:u"),
        ("TagResource", {"Resource": ARN + "function:f"}, "lambda:TagResource", "function:f"),
    ],
)
def test_an_operation_needs_its_action_on_its_resource(
    operation: str, params: dict[str, Any], action: str, resource: str
) -> None:
    first = needed(operation, params, HOME)[0]
    assert (first.action, first.resource) == (action, ARN + resource)


@pytest.mark.parametrize("operation", ["ListFunctions", "GetAccountSettings", "CreateEventSourceMapping", "ListLayers"])
def test_what_is_about_no_single_resource_needs_all(operation: str) -> None:
    assert needed(operation, {"FunctionName": "f"}, HOME)[0].resource == "*"


def test_creating_a_function_needs_its_role_and_its_layers_too() -> None:
    role, layer = "arn:aws:iam::000000000000:role/r", ARN + "layer:l:1"
    params = {"FunctionName": "f", "Role": role, "Layers": [layer], "Tags": {"team": "a"}}
    found = [(need.action, need.resource) for need in needed("CreateFunction", params, HOME)]
    assert found == [
        ("lambda:CreateFunction", ARN + "function:f"),
        ("iam:PassRole", role),
        ("lambda:GetLayerVersion", layer),
        ("lambda:TagResource", ARN + "function:f"),
    ]


def test_parameters_become_condition_keys() -> None:
    context = needed("AddPermission", {"FunctionName": "f", "Principal": "s3.amazonaws.com"}, HOME)[0].context
    assert context["lambda:principal"] == ("s3.amazonaws.com",)
    context = needed("CreateEventSourceMapping", {"FunctionName": "f:prod"}, HOME)[0].context
    assert context["lambda:functionarn"] == (ARN + "function:f",)
    context = needed("CreateFunctionUrlConfig", {"FunctionName": "f", "AuthType": "NONE"}, HOME)[0].context
    assert context["lambda:functionurlauthtype"] == ("NONE",)


@pytest.mark.parametrize("value", [None, 7, [], {}, "", "a/b c", "arn:x"])
def test_parameters_of_any_kind_do_not_break_it(value: Any) -> None:
    names = ("FunctionName", "Qualifier", "LayerName", "VersionNumber", "Arn", "Resource", "Role", "Layers", "Tags", "UUID",
             "VpcConfig", "Principal", "CodeSigningConfigArn", "CapacityProviderName", "DurableExecutionArn")  # fmt: skip
    for operation in operations():
        assert needed(operation, dict.fromkeys(names, value), HOME)


@pytest.mark.parametrize(
    ("operation", "params", "resource"),
    [
        ("GetLayerVersionByArn", {"Arn": "arn:aws-cn:lambda:us-east-1:000000000000:layer:l:007"}, "layer:l:7"),
        ("GetLayerVersion", {"LayerName": "arn:aws-x:lambda:us-east-1:000000000000:layer:l", "VersionNumber": 3},
         "layer:l:3"),
        ("ListTags", {"Resource": "arn:aws-cn:lambda:us-east-1:000000000000:function:f"}, "function:f"),
        ("ListTags", {"Resource": "arn:aws:lambda:function:f"}, "function:f"),
        ("ListTags", {"Resource": "arn:aws-cn:lambda:us-east-1:000000000000:event-source-mapping:u"},
         "event-source-mapping:u"),
        ("PutResourcePolicy", {"ResourceArn": "arn:aws-cn:lambda:us-east-1:000000000000:function:f:2"}, "function:f:2"),
        ("GetCodeSigningConfig",
         {"CodeSigningConfigArn": "arn:aws-cn:lambda:us-east-1:000000000000:code-signing-config:csc-1"},
         "code-signing-config:csc-1"),
        ("GetFunction", {"FunctionName": "arn:aws-cn:lambda:us-east-1:000000000000:function:f"}, "function:f"),
        ("InvokeAsync", {"FunctionName": "f:prod"}, "function:f:prod"),
    ],
)  # fmt: skip
def test_a_resource_is_judged_by_one_name_however_it_is_spelled(
    operation: str, params: dict[str, Any], resource: str
) -> None:
    assert needed(operation, params, HOME)[0].resource == ARN + resource


def test_layers_of_a_function_are_judged_by_one_name_however_they_are_spelled() -> None:
    layer = "arn:aws-cn:lambda:us-east-1:000000000000:layer:l:01"
    first, second = needed("UpdateFunctionConfiguration", {"FunctionName": "f", "Layers": [layer]}, HOME)
    assert first.context["lambda:layer"] == (ARN + "layer:l:1",)
    assert second.resource == ARN + "layer:l:1"


def test_tagging_at_creation_is_judged_in_the_own_region_and_account() -> None:
    home = Home("eu-west-1", "111122223333")
    params = {"FunctionName": "f", "Tags": {"a": "b"}}
    need = next(need for need in needed("CreateFunction", params, home) if need.action == "lambda:TagResource")
    assert need.context["lambda:functionarn"] == (home.function("f"),)


def test_a_mapping_is_changed_by_whom_both_its_functions_are_open_to() -> None:
    present, new = needed("UpdateEventSourceMapping", {"UUID": "u", "FunctionName": "g"}, HOME)
    assert present.action == new.action == "lambda:UpdateEventSourceMapping"
    assert "lambda:functionarn" not in present.context
    assert new.context["lambda:functionarn"] == (ARN + "function:g",)
    assert len(needed("UpdateEventSourceMapping", {"UUID": "u"}, HOME)) == 1


def test_results_go_only_to_functions_that_the_caller_may_invoke() -> None:
    sides = {"OnSuccess": {"Destination": ARN + "function:g:1"}, "OnFailure": {"Destination": HOME.queue("q")}}
    params = {"FunctionName": "f", "DestinationConfig": sides}
    found = [(need.action, need.resource) for need in needed("PutFunctionEventInvokeConfig", params, HOME)]
    assert found[1:] == [("lambda:InvokeFunction", ARN + "function:g:1")]


@pytest.mark.parametrize(
    ("operation", "params"),
    [
        ("CreateFunction", {"FunctionName": "f", "Code": {"S3Bucket": "b", "S3Key": "k"}}),
        ("UpdateFunctionCode", {"FunctionName": "f", "S3Bucket": "b", "S3Key": "k"}),
        ("PublishLayerVersion", {"LayerName": "l", "Content": {"S3Bucket": "b", "S3Key": "k"}}),
    ],
)
def test_what_is_deployed_from_a_bucket_must_be_open_to_the_caller(operation: str, params: dict[str, Any]) -> None:
    found = needed(operation, params, HOME)[-1]
    assert (found.action, found.resource) == ("s3:GetObject", "arn:aws:s3:::b/k")
    inner = params.get("Code") or params.get("Content") or params
    inner["S3ObjectVersion"] = "1"
    assert needed(operation, params, HOME)[-1].action == "s3:GetObjectVersion"
