"""Packages that lie in buckets: functions and layers take them, and nothing outside of a bucket can be had by way of one."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError

from fnrunner.catalogue import bucket_object
from fnrunner.catalogue.bucket_object import NoSuchKey, ObjectForbidden, ObjectTooLarge
from fnrunner.model import limits
from fnrunner.model.function import Bucket
from tests.api_server import CODE, ROLE, zipped
from tests.iam_kit import TRUST_LAMBDA, Site, document, site

NEW = {"Role": ROLE, "Runtime": "python3.12", "Handler": "app.handler"}
NEWER = zipped(app_py="def handler(event, context): return 2\n")
GET = "Error occurred while GetObject. S3 Error Code: "
NO_BUCKET = GET + "NoSuchBucket. S3 Error Message: The specified bucket does not exist"
NO_KEY = GET + "NoSuchKey. S3 Error Message: The specified key does not exist."


@pytest.fixture
def here(tmp_path: Path) -> Bucket:
    (tmp_path / "b" / "in").mkdir(parents=True)
    (tmp_path / "b" / "in" / "app.zip").write_bytes(CODE)
    (tmp_path / "secret").write_bytes(NEWER)
    return Bucket("packages", str(tmp_path / "b"))


class TestAnObject:
    def test_is_read_by_its_key(self, here: Bucket) -> None:
        assert bucket_object.read(here, "in/app.zip", 1000) == CODE

    @pytest.mark.parametrize(
        "key",
        [
            "in/none.zip", "in", "in/", "/in/app.zip", "in//app.zip", "../secret", "in/../in/app.zip", "in/../../secret", ".",
            "..", "./in/app.zip", "in/app.zip/x", ".hidden", "a\0b", "x" * 300, "\ud800",
        ],
    )  # fmt: skip
    def test_that_is_not_there_is_no_key(self, here: Bucket, key: str) -> None:
        Path(here.directory, ".hidden").write_bytes(CODE)
        with pytest.raises(NoSuchKey):
            bucket_object.read(here, key, 1000)

    @pytest.mark.parametrize("target", ["../../secret", "absolute", "chain"])
    def test_that_is_a_link_out_of_the_bucket_is_refused_with_the_reason(self, here: Bucket, target: str) -> None:
        root = Path(here.directory)
        if target == "absolute":
            target = str(root.parent / "secret")
        elif target == "chain":
            (root / "in" / "other").symlink_to("../../secret")
            target = "other"
        (root / "in" / "link.zip").symlink_to(target)
        with pytest.raises(ObjectForbidden, match=r"in/link\.zip is a link that leads out of the bucket packages"):
            bucket_object.read(here, "in/link.zip", 1000)

    def test_below_a_directory_that_is_a_link_out_of_the_bucket_is_refused(self, here: Bucket) -> None:
        (Path(here.directory) / "up").symlink_to("..")
        with pytest.raises(ObjectForbidden):
            bucket_object.read(here, "up/secret", 1000)

    def test_that_is_a_link_within_the_bucket_is_what_it_leads_to(self, here: Bucket) -> None:
        (Path(here.directory) / "newest.zip").symlink_to("in/app.zip")
        assert bucket_object.read(here, "newest.zip", 1000) == CODE

    def test_that_becomes_a_link_while_it_is_opened_is_not_followed(
        self, here: Bucket, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        resolve = os.path.realpath

        def slow(path: str) -> str:
            found = resolve(path)
            if found.endswith("app.zip"):
                file = Path(found)
                file.unlink()
                file.symlink_to("../../secret")
            return found

        monkeypatch.setattr(os.path, "realpath", slow)
        with pytest.raises(NoSuchKey):
            bucket_object.read(here, "in/app.zip", 1000)

    def test_that_is_a_pipe_keeps_nobody_waiting(self, here: Bucket) -> None:
        os.mkfifo(f"{here.directory}/pipe")
        with pytest.raises(NoSuchKey):
            bucket_object.read(here, "pipe", 1000)

    def test_that_is_too_large_is_not_read(self, here: Bucket) -> None:
        with pytest.raises(ObjectTooLarge, match=f"larger than {len(CODE) - 1} bytes"):
            bucket_object.read(here, "in/app.zip", len(CODE) - 1)
        assert bucket_object.read(here, "in/app.zip", len(CODE)) == CODE

    def test_of_a_bucket_whose_directory_is_not_here_says_where_it_has_to_be(self, here: Bucket) -> None:
        with pytest.raises(ObjectForbidden, match=r"is not on the host of this API process\. Mount it there"):
            bucket_object.read(Bucket("packages", here.directory + "-elsewhere"), "in/app.zip", 1000)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_that_may_not_be_read_says_who_must_be_let_in(self, here: Bucket) -> None:
        Path(here.directory, "in").chmod(0)
        try:
            with pytest.raises(ObjectForbidden, match=f"user id {os.geteuid()}"):
                bucket_object.read(here, "in/app.zip", 1000)
        finally:
            Path(here.directory, "in").chmod(0o755)

    def test_that_the_system_refuses_says_who_must_be_let_in(
        self, here: Bucket, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refused(*_: object, **__: object) -> int:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(os, "open", refused)
        with pytest.raises(ObjectForbidden, match=f"user id {os.geteuid()}.* may not read .*in/app.zip. Let it read"):
            bucket_object.read(here, "in/app.zip", 1000)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("api")) as running:
        directory = tmp_path_factory.mktemp("packages")
        (directory / "app.zip").write_bytes(CODE)
        (directory / "newer.zip").write_bytes(NEWER)
        (directory / "text.zip").write_bytes(b"no zip")
        (directory / "empty.zip").write_bytes(b"")
        running.server.run(running.server.services.catalogue.put_bucket(Bucket("packages", str(directory))))
        running.client("iam").create_role(
            RoleName=ROLE.rpartition("/")[2], AssumeRolePolicyDocument=document(TRUST_LAMBDA)
        )
        running.client("lambda").create_function(FunctionName="f", Code={"ZipFile": CODE}, **NEW)
        yield running


@pytest.fixture(scope="module")
def client(api: Site) -> Any:
    return api.client("lambda")


def refusal(call: Any, **params: Any) -> tuple[str, int, str]:
    with pytest.raises(ClientError) as caught:
        call(**params)
    found = caught.value.response
    return found["Error"]["Code"], found["ResponseMetadata"]["HTTPStatusCode"], found["Error"]["Message"]


def at(key: str, bucket: str = "packages", **more: str) -> dict[str, str]:
    return {"S3Bucket": bucket, "S3Key": key, **more}


def test_a_function_is_made_and_updated_from_a_bucket(client: Any) -> None:
    made = client.create_function(FunctionName="made", Code=at("app.zip", S3ObjectStorageMode="COPY"), **NEW)
    assert made["CodeSize"] == len(CODE)
    location = client.get_function(FunctionName="made")["Code"]["Location"]
    assert httpx.get(location).content == CODE
    dry = client.update_function_code(FunctionName="made", DryRun=True, **at("newer.zip"))
    assert dry["CodeSha256"] == made["CodeSha256"]
    changed = client.update_function_code(FunctionName="made", Publish=True, **at("newer.zip", S3ObjectVersion="null"))
    assert (changed["Version"], changed["CodeSize"]) == ("1", len(NEWER))
    assert client.get_function_configuration(FunctionName="made")["CodeSha256"] == changed["CodeSha256"]


def test_a_layer_is_published_from_a_bucket(client: Any) -> None:
    made = client.publish_layer_version(LayerName="l", Content=at("app.zip"))
    assert made["Content"]["CodeSize"] == len(CODE)


WRONG: list[tuple[dict[str, Any], str]] = [
    (at("app.zip", "nowhere"), NO_BUCKET),
    (at("none.zip"), NO_KEY),
    (at("../app.zip"), NO_KEY),
    (at("app.zip", S3ObjectVersion="3"), GET + "NoSuchVersion. S3 Error Message: The specified version does not exist. (3: "),
    (at("text.zip"), "Could not unzip uploaded file."),
    (at("empty.zip"), "Uploaded file must be a non-empty zip"),
    ({"S3Bucket": "packages"}, "Please provide a source for "),
    ({"S3Key": "app.zip"}, "Please provide a source for "),
    ({"ZipFile": CODE, "S3Key": "app.zip"}, "Please do not provide other FunctionCode parameters when providing a ZipFile."),
    ({"ZipFile": CODE, "S3ObjectVersion": "null"}, "Please do not provide other FunctionCode parameters when providing a Zip"),
]  # fmt: skip


@pytest.mark.parametrize(("code", "message"), WRONG)
def test_what_is_wrong_is_told_and_changes_nothing(client: Any, code: dict[str, Any], message: str) -> None:
    before = client.get_function_configuration(FunctionName="f")["RevisionId"]
    for found in (
        refusal(client.create_function, FunctionName="g", Code=code, **NEW),
        refusal(client.update_function_code, FunctionName="f", **code),
        refusal(client.publish_layer_version, LayerName="never", Content=code),
    ):
        assert found[:2] == ("InvalidParameterValueException", 400)
        assert message in found[2]
    assert refusal(client.get_function, FunctionName="g")[1] == 404
    assert client.get_function_configuration(FunctionName="f")["RevisionId"] == before
    assert client.list_layer_versions(LayerName="never")["LayerVersions"] == []


def test_a_function_that_is_not_there_is_said_before_its_package(client: Any) -> None:
    assert refusal(client.update_function_code, FunctionName="nobody", **at("none.zip"))[1] == 404


def test_a_package_may_be_larger_in_a_bucket_than_in_a_request(client: Any, api: Site) -> None:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("app.py", "def handler(event, context): return event\n")
        archive.writestr("large.bin", bytes(limits.ZIP_BYTES))
    bucket = api.server.run(api.server.services.catalogue.list_buckets())[0]
    Path(bucket.directory, "large.zip").write_bytes(buffer.getvalue())
    made = client.create_function(FunctionName="large", Code=at("large.zip"), **NEW)
    assert made["CodeSize"] == len(buffer.getvalue()) > limits.ZIP_BYTES


def test_whoever_may_not_read_the_object_may_not_deploy_it(api: Site, client: Any) -> None:
    everything_but = {"Effect": "Allow", "NotAction": "s3:*", "Resource": "*"}
    one = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::packages/app.zip"}
    shut, open_ = (api.client("lambda", api.user(name, *more)) for name, more in
                   (("shut", (everything_but,)), ("open", (everything_but, one))))  # fmt: skip
    for code in (at("app.zip"), at("none.zip"), at("app.zip", "nowhere")):
        for found in (
            refusal(shut.create_function, FunctionName="h", Code=code, **NEW),
            refusal(shut.update_function_code, FunctionName="f", **code),
            refusal(shut.publish_layer_version, LayerName="l", Content=code),
        ):
            assert found[:2] == ("AccessDeniedException", 403)
            resource = f"arn:aws:s3:::{code['S3Bucket']}/{code['S3Key']}"
            assert f"not authorized to perform: s3:GetObject on resource: {resource}" in found[2]
    assert open_.create_function(FunctionName="h", Code=at("app.zip"), **NEW)["CodeSize"] == len(CODE)
    assert refusal(open_.create_function, FunctionName="i", Code=at("newer.zip"), **NEW)[1] == 403
