"""Layers, permissions, code signing, tags and what else belongs to functions, as boto3 calls it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.loaders import Loader

from fnrunner.api.absent import FEATURES
from fnrunner.api.app import LAMBDA_ROUTES
from tests.api_server import CODE, HOME, ROLE, ApiServer
from tests.layer_zip import zip_of
from tests.signed_zip import Signer

LAYER = zip_of({"python/lib.py": "x"})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with ApiServer(tmp_path_factory.mktemp("api")) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: ApiServer) -> Any:
    return boto3.client(
        "lambda", endpoint_url=server.url, region_name=HOME.region, aws_access_key_id="a", aws_secret_access_key="s",
        config=Config(retries={"max_attempts": 0}, read_timeout=60),
    )  # fmt: skip


@pytest.fixture
def function(client: Any, request: pytest.FixtureRequest) -> Iterator[str]:
    """A function of the test's own."""
    name = f"f{abs(hash(request.node.nodeid))}"[:40]
    create(client, name)
    yield name
    client.delete_function(FunctionName=name)


def create(client: Any, name: str, **more: Any) -> Any:
    given = {"Runtime": "python3.12", "Role": ROLE, "Handler": "app.handler", "Code": {"ZipFile": CODE}} | more
    return client.create_function(FunctionName=name, **given)


def refusal(call: Callable[..., Any], **params: Any) -> tuple[str, int, str]:
    with pytest.raises(ClientError) as caught:
        call(**params)
    response: Any = caught.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Message"]


def layer_of(client: Any, name: str, **more: Any) -> Any:
    return client.publish_layer_version(LayerName=name, Content={"ZipFile": LAYER}, **more)


class TestLayers:
    def test_a_version_is_answered_as_lambda_does_and_its_content_can_be_fetched(self, client: Any) -> None:
        made = layer_of(
            client, "whole", Description="d", LicenseInfo="MIT", CompatibleRuntimes=["python3.12"],
            CompatibleArchitectures=["x86_64"],
        )  # fmt: skip
        assert made["ResponseMetadata"]["HTTPStatusCode"] == 201
        assert made["LayerArn"] == HOME.layer("whole")
        assert made["LayerVersionArn"] == HOME.layer("whole", 1)
        assert (made["Version"], made["Description"], made["LicenseInfo"]) == (1, "d", "MIT")
        assert made["CreatedDate"].endswith("+0000")
        assert made["Content"]["CodeSize"] == len(LAYER)
        assert made["Content"]["CodeSha256"] == base64.b64encode(hashlib.sha256(LAYER).digest()).decode()
        for found in (
            client.get_layer_version(LayerName="whole", VersionNumber=1),
            client.get_layer_version(LayerName=HOME.layer("whole"), VersionNumber=1),
            client.get_layer_version_by_arn(Arn=HOME.layer("whole", 1)),
        ):
            assert httpx.get(found["Content"]["Location"], timeout=60).content == LAYER
            for answer in (found, made):
                answer["Content"].pop("Location", None)
                answer.pop("ResponseMetadata", None)
            assert found == made

    def test_lists_have_the_newest_first_and_heed_runtime_and_architecture(self, client: Any) -> None:
        layer_of(client, "listed-a", CompatibleRuntimes=["python3.12"])
        layer_of(client, "listed-a", CompatibleRuntimes=["nodejs22.x"], CompatibleArchitectures=["arm64"])
        layer_of(client, "listed-b")
        versions = client.list_layer_versions(LayerName="listed-a")["LayerVersions"]
        assert [one["Version"] for one in versions] == [2, 1]
        assert "Content" not in versions[0]
        paged = client.get_paginator("list_layer_versions").paginate(LayerName="listed-a", MaxItems=1)
        assert [len(page["LayerVersions"]) for page in paged] == [1, 1]

        def latest(**filters: Any) -> dict[str, int]:
            pages = client.get_paginator("list_layers").paginate(MaxItems=2, **filters)
            found = [layer for page in pages for layer in page["Layers"]]
            assert all(layer["LayerArn"] == HOME.layer(layer["LayerName"]) for layer in found)
            return {layer["LayerName"]: layer["LatestMatchingVersion"]["Version"] for layer in found}

        assert {"listed-a": 2, "listed-b": 1}.items() <= latest().items()
        assert latest(CompatibleRuntime="python3.12")["listed-a"] == 1
        assert latest(CompatibleArchitecture="arm64") == {"listed-a": 2}
        assert latest(CompatibleRuntime="python3.12", CompatibleArchitecture="arm64") == {}
        assert client.list_layer_versions(LayerName="never")["LayerVersions"] == []

    def test_what_is_not_there_is_told_and_deleted_already(self, client: Any) -> None:
        missing = f"Layer version {HOME.layer('never', 1)} does not exist."
        expected = ("ResourceNotFoundException", 404, missing)
        assert refusal(client.get_layer_version, LayerName="never", VersionNumber=1) == expected
        assert refusal(client.get_layer_version_by_arn, Arn=HOME.layer("never", 1)) == expected
        assert refusal(client.get_layer_version_policy, LayerName="never", VersionNumber=1) == expected
        gone = client.delete_layer_version(LayerName="never", VersionNumber=1)
        assert gone["ResponseMetadata"]["HTTPStatusCode"] == 204
        for call in (client.get_layer_version, client.delete_layer_version):
            code, status, message = refusal(call, LayerName="never", VersionNumber=0)
            assert (code, status, message) == (
                "InvalidParameterValueException", 400, "Layer Version Cannot be less than 1",
            )  # fmt: skip
        assert refusal(layer_of, client=client, name=HOME.layer("x").replace("us-east", "eu-west"))[1] == 400
        assert refusal(layer_of, client=client, name=HOME.layer("x").replace("000000000000", "111111111111"))[1] == 403
        assert refusal(
            client.publish_layer_version, LayerName="x", Content={"S3Bucket": "bucket", "S3Key": "key"}
        ) == (
            "InvalidParameterValueException", 400,
            "Error occurred while GetObject. S3 Error Code: NoSuchBucket. S3 Error Message: The specified bucket does not "
            "exist",
        )  # fmt: skip
        assert refusal(client.publish_layer_version, LayerName="x", Content={})[0] == "InvalidParameterValueException"

    def test_a_function_shows_its_layers_and_versions_keep_them(self, client: Any, function: str) -> None:
        layer = layer_of(client, "attached")
        shown = [{"Arn": layer["LayerVersionArn"], "CodeSize": len(LAYER)}]
        changed = client.update_function_configuration(FunctionName=function, Layers=[layer["LayerVersionArn"]])
        assert changed["Layers"] == shown
        assert client.publish_version(FunctionName=function)["Layers"] == shown
        client.delete_layer_version(LayerName="attached", VersionNumber=layer["Version"])
        assert client.get_function_configuration(FunctionName=function)["Layers"] == shown
        assert "Layers" not in client.update_function_configuration(FunctionName=function, Layers=[])
        assert client.get_function(FunctionName=function, Qualifier="1")["Configuration"]["Layers"] == shown
        created = create(client, f"{function}-more", Layers=[layer_of(client, "attached")["LayerVersionArn"]])
        assert [one["Arn"] for one in created["Layers"]] == [HOME.layer("attached", 2)]
        client.delete_function(FunctionName=f"{function}-more")

    def test_the_policy_of_a_version(self, client: Any) -> None:
        layer_of(client, "shared")
        named = {"LayerName": "shared", "VersionNumber": 1}
        wanted = named | {"StatementId": "s1", "Action": "lambda:GetLayerVersion"}
        made = client.add_layer_version_permission(**wanted, Principal="*", OrganizationId="o-abcdefghij")
        assert json.loads(made["Statement"]) == {
            "Sid": "s1", "Effect": "Allow", "Principal": "*", "Action": "lambda:GetLayerVersion",
            "Resource": HOME.layer("shared", 1),
            "Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-abcdefghij"}},
        }  # fmt: skip
        found = client.get_layer_version_policy(**named)
        assert found["RevisionId"] == made["RevisionId"]
        assert json.loads(found["Policy"])["Statement"] == [json.loads(made["Statement"])]
        code, status, message = refusal(
            client.add_layer_version_permission, **wanted, Principal="123456789012", RevisionId="other"
        )
        assert (code, status) == ("PreconditionFailedException", 412)
        assert "Call the GetLayerPolicy API" in message
        assert refusal(client.add_layer_version_permission, **wanted, Principal="*")[:2] == (
            "ResourceConflictException", 409,
        )  # fmt: skip
        client.remove_layer_version_permission(**named, StatementId="s1", RevisionId=made["RevisionId"])
        assert refusal(client.get_layer_version_policy, **named) == (
            "ResourceNotFoundException", 404, "The resource you requested does not exist.",
        )  # fmt: skip


class TestPermissions:
    def test_a_statement_has_every_condition_that_was_given(self, client: Any, function: str) -> None:
        made = client.add_permission(
            FunctionName=function, StatementId="all", Action="lambda:InvokeFunction", Principal="s3.amazonaws.com",
            SourceArn="arn:aws:s3:::photos", SourceAccount="123456789012", EventSourceToken="token",
            PrincipalOrgID="o-abcdefghij", FunctionUrlAuthType="NONE", InvokedViaFunctionUrl=True,
        )  # fmt: skip
        assert made["ResponseMetadata"]["HTTPStatusCode"] == 201
        assert json.loads(made["Statement"]) == {
            "Sid": "all", "Effect": "Allow", "Principal": {"Service": "s3.amazonaws.com"},
            "Action": "lambda:InvokeFunction", "Resource": HOME.function(function),
            "Condition": {
                "StringEquals": {
                    "AWS:SourceAccount": "123456789012", "lambda:EventSourceToken": "token",
                    "lambda:FunctionUrlAuthType": "NONE", "aws:PrincipalOrgID": "o-abcdefghij",
                },
                "ArnLike": {"AWS:SourceArn": "arn:aws:s3:::photos"},
                "Bool": {"lambda:InvokedViaFunctionUrl": "true"},
            },
        }  # fmt: skip
        policy = client.get_policy(FunctionName=function)
        assert json.loads(policy["Policy"]) == {
            "Version": "2012-10-17", "Id": "default", "Statement": [json.loads(made["Statement"])],
        }  # fmt: skip

    @pytest.mark.parametrize(
        ("given", "written"),
        [
            ("*", "*"),
            ("123456789012", {"AWS": "arn:aws:iam::123456789012:root"}),
            ("arn:aws:iam::123456789012:role/r", {"AWS": "arn:aws:iam::123456789012:role/r"}),
            ("sns.amazonaws.com", {"Service": "sns.amazonaws.com"}),
        ],
    )
    def test_principals_are_written_as_lambda_writes_them(
        self, client: Any, function: str, given: str, written: Any
    ) -> None:
        made = client.add_permission(
            FunctionName=function, StatementId="s", Action="lambda:InvokeFunction", Principal=given
        )
        assert json.loads(made["Statement"])["Principal"] == written

    def test_each_qualifier_has_its_own(self, client: Any, function: str) -> None:
        version = client.publish_version(FunctionName=function)["Version"]
        client.create_alias(FunctionName=function, Name="live", FunctionVersion=version)
        wanted = {"FunctionName": function, "Action": "lambda:InvokeFunction", "Principal": "*"}
        for qualifier in (version, "live"):
            made = client.add_permission(**wanted, StatementId=f"s-{qualifier}", Qualifier=qualifier)
            assert json.loads(made["Statement"])["Resource"] == HOME.function(function, qualifier)
        assert refusal(client.get_policy, FunctionName=function)[1] == 404
        found = json.loads(client.get_policy(FunctionName=f"{function}:live")["Policy"])["Statement"]
        assert [one["Sid"] for one in found] == ["s-live"]
        assert refusal(client.add_permission, **wanted, StatementId="s", Qualifier="$LATEST") == (
            "InvalidParameterValueException", 400, "We currently do not support adding policies for $LATEST.",
        )  # fmt: skip
        client.remove_permission(FunctionName=function, StatementId="s-live", Qualifier="live")
        assert refusal(client.get_policy, FunctionName=function, Qualifier="live")[1] == 404
        assert client.get_policy(FunctionName=function, Qualifier=version)

    def test_what_is_wrong_is_said_in_lambdas_words(self, client: Any, function: str) -> None:
        wanted = {"StatementId": "s", "Action": "lambda:InvokeFunction", "Principal": "*"}
        for missing in ({"FunctionName": "missing"}, {"FunctionName": function, "Qualifier": "missing"}):
            arn = HOME.function(missing["FunctionName"], missing.get("Qualifier", "$LATEST"))
            assert refusal(client.add_permission, **missing, **wanted) == (
                "ResourceNotFoundException", 404, f"Function not found: {arn}",
            )  # fmt: skip
            assert refusal(client.get_policy, **missing)[:2] == ("ResourceNotFoundException", 404)
        named = {"FunctionName": function}
        assert refusal(client.remove_permission, **named, StatementId="s") == (
            "ResourceNotFoundException", 404, "No policy is associated with the given resource.",
        )  # fmt: skip
        client.add_permission(**named, **wanted)
        revision = client.get_policy(**named)["RevisionId"]
        assert refusal(client.add_permission, **named, **wanted)[:2] == ("ResourceConflictException", 409)
        assert refusal(client.remove_permission, **named, StatementId="t")[2] == (
            "Statement t is not found in resource policy."
        )
        assert refusal(client.remove_permission, **named, StatementId="s", RevisionId="r")[1] == 412
        assert refusal(client.add_permission, **named, **wanted | {"StatementId": "t", "Principal": "nobody"}) == (
            "InvalidParameterValueException", 400,
            "The provided principal was invalid. Please check the principal and try again.",
        )  # fmt: skip
        assert client.get_policy(**named)["RevisionId"] == revision
        client.remove_permission(**named, StatementId="s", RevisionId=revision)

    def test_a_policy_has_20_kb(self, client: Any, function: str) -> None:
        wanted = {"FunctionName": function, "Action": "lambda:InvokeFunction", "Principal": "*"}
        source = f"arn:aws:s3:::{'b' * 2000}"
        for number in range(9):
            client.add_permission(**wanted, StatementId=f"s{number}", SourceArn=source)
        code, status, _ = refusal(client.add_permission, **wanted, StatementId="more", SourceArn=source)
        assert (code, status) == ("PolicyLengthExceededException", 400)
        assert len(client.get_policy(FunctionName=function)["Policy"]) <= 20_480

    def test_a_policy_can_be_put_as_a_whole(self, client: Any, function: str) -> None:
        arn = HOME.function(function)
        statement = {"Effect": "Allow", "Principal": "*", "Action": "lambda:InvokeFunction", "Resource": arn}
        policy = {"Version": "2012-10-17", "Statement": statement}
        made = client.put_resource_policy(ResourceArn=arn, Policy=json.dumps(policy))
        assert json.loads(made["Policy"])["Statement"] == [statement]
        assert client.get_resource_policy(ResourceArn=arn)["RevisionId"] == made["RevisionId"]
        client.add_permission(FunctionName=function, StatementId="s", Action="lambda:*", Principal="*")
        assert len(json.loads(client.get_policy(FunctionName=function)["Policy"])["Statement"]) == 2
        assert refusal(client.delete_resource_policy, ResourceArn=arn, RevisionId=made["RevisionId"])[1] == 412
        for wrong in ("no json", "{}", json.dumps(policy | {"Statement": [statement | {"Effect": "Perhaps"}]})):
            assert refusal(client.put_resource_policy, ResourceArn=arn, Policy=wrong)[0] == (
                "InvalidParameterValueException"
            )
        client.delete_resource_policy(ResourceArn=arn)
        assert refusal(client.get_resource_policy, ResourceArn=arn)[1] == 404


class TestCodeSigning:
    def test_configurations_are_made_changed_listed_attached_and_deleted(self, client: Any, function: str) -> None:
        publishers = {"SigningProfileVersionArns": [HOME.signing_profile("team", "abcdef1234")]}
        made = client.create_code_signing_config(AllowedPublishers=publishers, Tags={"team": "a"})["CodeSigningConfig"]
        arn = made["CodeSigningConfigArn"]
        assert arn == HOME.code_signing_config(made["CodeSigningConfigId"])
        assert made["CodeSigningPolicies"] == {"UntrustedArtifactOnDeployment": "Warn"}
        assert client.list_tags(Resource=arn)["Tags"] == {"team": "a"}
        policies = {"UntrustedArtifactOnDeployment": "Enforce"}
        changed = client.update_code_signing_config(
            CodeSigningConfigArn=arn, Description="d", CodeSigningPolicies=policies
        )["CodeSigningConfig"]
        assert (changed["AllowedPublishers"], changed["CodeSigningPolicies"]) == (publishers, policies)
        assert client.get_code_signing_config(CodeSigningConfigArn=arn)["CodeSigningConfig"] == changed
        assert changed in client.list_code_signing_configs()["CodeSigningConfigs"]
        named = {"FunctionName": function}
        nothing = client.get_function_code_signing_config(**named)
        assert "CodeSigningConfigArn" not in nothing
        client.put_function_code_signing_config(**named, CodeSigningConfigArn=arn)
        assert client.get_function_code_signing_config(**named)["CodeSigningConfigArn"] == arn
        users = client.list_functions_by_code_signing_config(CodeSigningConfigArn=arn)
        assert users["FunctionArns"] == [HOME.function(function)]
        code, status, message = refusal(client.update_function_code, **named, ZipFile=CODE)
        assert (code, status) == ("CodeVerificationFailedException", 400)
        assert "it is not signed" in message
        assert refusal(client.delete_code_signing_config, CodeSigningConfigArn=arn)[1] == 409
        client.delete_function_code_signing_config(**named)
        client.delete_code_signing_config(CodeSigningConfigArn=arn)
        assert refusal(client.get_code_signing_config, CodeSigningConfigArn=arn) == (
            "ResourceNotFoundException", 404, f"The Lambda code signing configuration {arn} can not be found.",
        )  # fmt: skip
        assert refusal(client.put_function_code_signing_config, **named, CodeSigningConfigArn=arn)[0] == (
            "CodeSigningConfigNotFoundException"
        )

    def test_a_profile_made_here_vouches_for_what_its_key_signed(self, client: Any, server: ApiServer) -> None:
        signer, profiles = Signer(), f"{server.url}/fnrunner/v1/signing-profiles"
        made = httpx.post(profiles, json={"name": "team", "public_key": signer.public_key}, timeout=60)
        assert made.status_code == 201, made.text
        profile = made.json()["arn"]
        config = client.create_code_signing_config(
            AllowedPublishers={"SigningProfileVersionArns": [profile]},
            CodeSigningPolicies={"UntrustedArtifactOnDeployment": "Enforce"},
        )["CodeSigningConfig"]["CodeSigningConfigArn"]
        signed = signer.sign(CODE, profile)
        function = create(client, "signed", Code={"ZipFile": signed}, CodeSigningConfigArn=config)
        assert function["SigningProfileVersionArn"] == profile
        assert function["SigningJobArn"].startswith("arn:aws:signer:")
        assert [one["arn"] for one in httpx.get(profiles, timeout=60).json()["signing_profiles"]] == [profile]
        revoked = httpx.post(f"{profiles}/revoke", json={"arn": profile}, timeout=60)
        assert revoked.json()["revoked"] is True
        code, _, message = refusal(client.update_function_code, FunctionName="signed", ZipFile=signed)
        assert (code, "was revoked" in message) == ("CodeVerificationFailedException", True)
        client.delete_function(FunctionName="signed")


class TestOthers:
    def test_mappings_have_tags(self, client: Any, function: str, server: ApiServer) -> None:
        assert httpx.put(f"{server.url}/fnrunner/v1/queues/tagged", json={}, timeout=60).is_success
        made = client.create_event_source_mapping(
            FunctionName=function, EventSourceArn=HOME.queue("tagged"), Enabled=False, Tags={"a": "1"}
        )
        arn = HOME.mapping(made["UUID"])
        client.tag_resource(Resource=arn, Tags={"b": "2"})
        client.untag_resource(Resource=arn, TagKeys=["a", "c"])
        assert client.list_tags(Resource=arn)["Tags"] == {"b": "2"}
        client.delete_event_source_mapping(UUID=made["UUID"])
        assert refusal(client.list_tags, Resource=arn) == (
            "ResourceNotFoundException", 404, f"Event source mapping not found: {arn}",
        )  # fmt: skip

    def test_what_cannot_be_tagged_is_told(self, client: Any) -> None:
        provider = f"arn:aws:lambda:{HOME.region}:{HOME.account}:capacity-provider:p"
        assert refusal(client.list_tags, Resource=provider) == (
            "ResourceNotFoundException", 404, f"Capacity provider not found: {provider}",
        )  # fmt: skip
        config = HOME.code_signing_config("csc-" + "a" * 17)
        assert refusal(client.tag_resource, Resource=config, Tags={"a": "b"})[:2] == ("ResourceNotFoundException", 404)

    def test_the_account_counts_the_code_of_functions_and_layers(self, client: Any, function: str) -> None:
        before = client.get_account_settings()["AccountUsage"]
        layer_of(client, "counted")
        after = client.get_account_settings()["AccountUsage"]
        assert after["TotalCodeSize"] - before["TotalCodeSize"] == len(LAYER)
        assert after["FunctionCount"] == before["FunctionCount"]

    def test_runtime_management_and_recursion_say_what_is_done_here(self, client: Any, function: str) -> None:
        named = {"FunctionName": function}
        auto = client.put_runtime_management_config(**named, UpdateRuntimeOn="Auto")
        assert (auto["UpdateRuntimeOn"], auto["FunctionArn"]) == ("Auto", HOME.function(function))
        assert client.get_runtime_management_config(**named)["UpdateRuntimeOn"] == "Auto"
        for mode in ("FunctionUpdate", "Manual"):
            message = refusal(client.put_runtime_management_config, **named, UpdateRuntimeOn=mode)[2]
            assert f"does not support UpdateRuntimeOn={mode}" in message
        assert client.get_function_recursion_config(**named)["RecursiveLoop"] == "Terminate"
        for loop in ("Allow", "Terminate"):
            assert client.put_function_recursion_config(**named, RecursiveLoop=loop)["RecursiveLoop"] == loop
            assert client.get_function_recursion_config(**named)["RecursiveLoop"] == loop
        assert refusal(client.put_function_recursion_config, FunctionName="missing", RecursiveLoop="Allow")[1] == 404
        assert refusal(client.get_function_recursion_config, FunctionName="missing")[1] == 404

    def test_versions_of_a_function_with_snapstart_are_optimised(self, client: Any, function: str) -> None:
        changed = client.update_function_configuration(
            FunctionName=function, SnapStart={"ApplyOn": "PublishedVersions"}
        )
        assert changed["SnapStart"] == {"ApplyOn": "PublishedVersions", "OptimizationStatus": "Off"}
        published = client.publish_version(FunctionName=function)
        assert published["SnapStart"] == {"ApplyOn": "PublishedVersions", "OptimizationStatus": "On"}
        assert refusal(client.update_function_configuration, FunctionName=function, Runtime="nodejs22.x") == (
            "InvalidParameterValueException", 400, "nodejs22.x is not supported for SnapStart enabled functions.",
        )  # fmt: skip

    def test_functions_of_another_master_region_are_none(self, client: Any, function: str) -> None:
        def names(**filters: Any) -> set[str]:
            return {one["FunctionName"] for one in client.list_functions(**filters)["Functions"]}

        assert function in names(FunctionVersion="ALL", MasterRegion="ALL")
        assert function in names(FunctionVersion="ALL", MasterRegion=HOME.region)
        assert names(FunctionVersion="ALL", MasterRegion="eu-west-1") == set()
        assert refusal(client.list_functions, MasterRegion="ALL")[1] == 400

    def test_an_event_by_the_deprecated_way_is_accepted(self, client: Any, function: str, server: ApiServer) -> None:
        answer = client.invoke_async(FunctionName=function, InvokeArgs=b'{"a": 1}')
        assert answer["Status"] == 202


def test_every_operation_is_there_or_is_refused_with_an_error_of_its_own_model_that_names_the_feature() -> None:
    model = Loader().load_service_model("lambda", "service-2", "2015-03-31")
    have = {route.operation for route in LAMBDA_ROUTES} | {"Invoke", "InvokeWithResponseStream"}
    for name, operation in model["operations"].items():
        if name in have:
            assert name not in FEATURES
            continue
        assert name in FEATURES, f"{name} is neither there nor refused for a feature"
        errors = {error["shape"] for error in operation.get("errors", ())}
        assert "InvalidParameterValueException" in errors, name


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/2025-11-30/capacity-providers"),
        ("GET", "/2025-12-01/durable-executions/arn"),
        ("GET", "/2025-11-30/functions/f/function-scaling-config?Qualifier=1"),
    ],
)
def test_a_refusal_names_its_feature(server: ApiServer, method: str, path: str) -> None:
    answer = httpx.request(method, server.url + path, timeout=60)
    assert answer.status_code == 400
    assert answer.headers["x-amzn-errortype"] == "InvalidParameterValueException"
    assert "yet: it has no " in answer.json()["message"]
