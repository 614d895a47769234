"""What is seen of an uploaded zip, and its signature."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime

import pytest

from fnrunner.catalogue.errors import BadArchive
from fnrunner.catalogue.package import MAX_MEMBER_BYTES, MEMBER, inspect, manifest_of
from fnrunner.catalogue.signing import NoProfile
from fnrunner.model.arn import Home
from tests.layer_zip import Files, LinkTo, zip_of
from tests.signed_zip import Signer

PROFILE = Home().signing_profile("team", "abcdef1234")
FILES: Files = {"app.py": "x" * 10, "bin/run": ("#!/bin/sh", 0o755), "link": LinkTo("app.py")}


def test_it_says_how_large_it_is_and_that_nobody_signed_it() -> None:
    seen = inspect(zip_of(FILES))
    assert (seen.unzipped_bytes, seen.signed) == (10 + len("#!/bin/sh"), None)


def test_the_order_in_the_zip_does_not_matter_and_everything_else_does() -> None:
    signed_for = manifest_of(zip_of(FILES))
    assert manifest_of(zip_of(dict(reversed(list(FILES.items()))))) == signed_for
    for other in (
        {**FILES, "app.py": "y" * 10},
        {**FILES, "app.py": ("x" * 10, 0o755)},
        {**FILES, "link": LinkTo("bin/run")},
        {**FILES, "more": ""},
        {name: content for name, content in FILES.items() if name != "link"},
        {**FILES, "link": "app.py"},
    ):
        assert manifest_of(zip_of(other)) != signed_for


def test_one_file_is_never_taken_for_two() -> None:
    content = "x" * 10
    two = {"a": content, "b": "y"}
    hexed = hashlib.sha256(b"y").hexdigest()
    one = {f"a\nfile 644 {hexed} b": content}
    digests = {manifest_of(zip_of(two)), manifest_of(zip_of(one))}
    assert len(digests) == 2


def test_a_signed_zip_names_its_profile_and_can_be_signed_again() -> None:
    signer, expires = Signer(), datetime(2030, 1, 1, tzinfo=UTC)
    first = signer.sign(zip_of(FILES), PROFILE, expires)
    second = inspect(signer.sign(first, PROFILE)).signed
    signed = inspect(first).signed
    assert signed is not None
    assert second is not None
    assert (signed.profile, signed.fault, signed.expires) == (PROFILE, "", expires)
    assert (second.fault, second.expires) == ("", None)
    assert second.job != signed.job
    assert manifest_of(first) == manifest_of(zip_of(FILES))


@pytest.mark.parametrize(
    "member",
    [
        b"", b"no json", b"[]", b"null", b"{}", b"\xff", b" " * (MAX_MEMBER_BYTES + 1),
        json.dumps({"profile_version_arn": 1, "job_arn": "", "manifest_sha256": "", "signature": ""}).encode(),
        json.dumps({"profile_version_arn": "", "job_arn": "", "manifest_sha256": "", "signature": "%"}).encode(),
        json.dumps({"profile_version_arn": "", "job_arn": "", "manifest_sha256": "", "signature": "",
                    "expires_at": "x"}).encode(),
        json.dumps({"profile_version_arn": "", "job_arn": "", "manifest_sha256": "", "signature": "",
                    "expires_at": "2030-01-01T00:00:00"}).encode(),
    ],
)  # fmt: skip
def test_a_signature_that_cannot_be_read_is_a_fault_and_no_error(member: bytes) -> None:
    signed = inspect(zip_of({**FILES, MEMBER: member})).signed
    assert signed is not None
    assert signed.fault == f"{MEMBER} cannot be read"


def test_only_versions_of_profiles_sign() -> None:
    for wrong in ("team", "arn:aws:signer:us-east-1:000000000000:/signing-profiles/team", PROFILE + "/x"):
        with pytest.raises(NoProfile):
            Signer().sign(zip_of(FILES), wrong)
    with pytest.raises(BadArchive):
        Signer().sign(b"no zip", PROFILE)
