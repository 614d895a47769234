"""Code signing in the catalogue, on both databases: what may be deployed, and what is refused."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fnrunner.catalogue import NO_CODE, Artifacts, Catalogue, code_signing, signing_profiles
from fnrunner.catalogue.errors import (
    CodeSigningConfigInUse,
    CodeSigningConfigMissing,
    CodeSigningConfigNotFound,
    CodeVerificationFailed,
    InvalidCodeSignature,
    InvalidParameterValue,
)
from fnrunner.catalogue.package import MEMBER
from fnrunner.model.arn import Home
from fnrunner.model.function import Function
from fnrunner.model.layer import LayerVersion
from fnrunner.model.signing import CodeSigningConfig, SigningProfile
from fnrunner.store.engine import Store
from tests.layer_zip import zip_of
from tests.signed_zip import Signer

HOME = Home()
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
DRAFT = Function(name="f", runtime="python3.12", handler="app.handler", code=NO_CODE, role=HOME.role())
CODE = zip_of({"app.py": "code", "bin/run": ("#!/bin/sh", 0o755)})


@pytest.fixture
def catalogue(store: Store, tmp_path: Path) -> Catalogue:
    return Catalogue(store, Artifacts(tmp_path / "artifacts"), HOME, lambda: NOW)


async def profile_of(catalogue: Catalogue, signer: Signer) -> SigningProfile:
    return await catalogue.change(lambda c: signing_profiles.create(c, HOME, "team", signer.public_key, NOW))


async def configured(catalogue: Catalogue, *publishers: str, enforce: bool = True) -> str:
    config = CodeSigningConfig(code_signing.new_id(), publishers, enforce=enforce)
    await catalogue.change(lambda c: code_signing.create(c, config))
    return HOME.code_signing_config(config.config_id)


def altered(zipped: bytes, name: str, content: str) -> bytes:
    """With another content of one member, everything else as it was."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(zipped)) as given, zipfile.ZipFile(made, "w") as changed:
        for info in given.infolist():
            changed.writestr(info, content if info.filename == name else given.read(info))
    return made.getvalue()


async def test_signed_code_is_deployed_and_says_who_signed_it(catalogue: Catalogue) -> None:
    signer = Signer()
    profile = await profile_of(catalogue, signer)
    config = await configured(catalogue, profile.arn)
    signed = signer.sign(CODE, profile.arn, NOW + timedelta(days=1))
    made = await catalogue.create_function(DRAFT, signed, code_signing_config=config)
    assert made.signature is not None
    assert (made.signature.profile, made.signature.fault) == (profile.arn, "")
    assert made.signature.job.startswith("arn:aws:signer:us-east-1:000000000000:/signing-jobs/")
    again = await catalogue.update_code("f", signer.sign(signed, profile.arn))
    assert again.signature is not None
    assert again.signature.job != made.signature.job


async def test_unsigned_foreign_expired_and_revoked_code_is_refused_and_changes_nothing(catalogue: Catalogue) -> None:
    signer, other = Signer(), Signer()
    profile, foreign = await profile_of(catalogue, signer), await profile_of(catalogue, other)
    config = await configured(catalogue, profile.arn)
    before = await catalogue.create_function(DRAFT, signer.sign(CODE, profile.arn), code_signing_config=config)
    unknown = profile.arn[:-1] + ("a" if profile.arn[-1] != "a" else "b")
    for bad, why in (
        (CODE, "it is not signed"),
        (other.sign(CODE, foreign.arn), "none of the allowed publishers"),
        (signer.sign(CODE, unknown), "none of the allowed publishers"),
        (signer.sign(CODE, profile.arn, NOW), "the signature expired"),
    ):
        with pytest.raises(CodeVerificationFailed, match=why):
            await catalogue.update_code("f", bad)
        with pytest.raises(CodeVerificationFailed, match=why):
            await catalogue.update_code("f", bad, dry_run=True)
        with pytest.raises(CodeVerificationFailed, match=why):
            await catalogue.create_function(replace(DRAFT, name="g"), bad, code_signing_config=config)
    await catalogue.change(lambda c: signing_profiles.revoke(c, profile.arn))
    with pytest.raises(CodeVerificationFailed, match="was revoked"):
        await catalogue.update_code("f", signer.sign(CODE, profile.arn))
    assert await catalogue.get_function("f") == before
    assert catalogue.lookup("g") is None
    assert await catalogue.read(lambda c: code_signing.attached(c, "g")) == ""


@pytest.mark.parametrize("enforce", [True, False])
async def test_what_was_changed_after_signing_is_refused_whatever_the_policy(
    catalogue: Catalogue, enforce: bool
) -> None:
    signer = Signer()
    profile = await profile_of(catalogue, signer)
    config = await configured(catalogue, profile.arn, enforce=enforce)
    await catalogue.create_function(DRAFT, signer.sign(CODE, profile.arn), code_signing_config=config)
    signed = signer.sign(CODE, profile.arn)
    with zipfile.ZipFile(io.BytesIO(signed)) as archive:
        fields: dict[str, Any] = json.loads(archive.read(MEMBER))
    longer = json.dumps(fields | {"expires_at": "2099-01-01T00:00:00+00:00"})
    for bad in (
        altered(signed, "app.py", "other code"),
        altered(signed, MEMBER, longer),
        altered(signed, MEMBER, "no json"),
        Signer().sign(CODE, profile.arn),
    ):
        with pytest.raises(InvalidCodeSignature):
            await catalogue.update_code("f", bad)


async def test_by_the_policy_warn_what_nobody_signed_is_deployed_with_a_warning(
    catalogue: Catalogue, caplog: pytest.LogCaptureFixture
) -> None:
    config = await configured(catalogue, HOME.signing_profile("team", "abc"), enforce=False)
    made = await catalogue.create_function(DRAFT, CODE, code_signing_config=config)
    assert made.signature is None
    assert "f is deployed although its signature is not as its configuration wants it: it is not signed" in caplog.text


async def test_layers_are_verified_when_a_function_gets_them(catalogue: Catalogue) -> None:
    signer = Signer()
    profile = await profile_of(catalogue, signer)
    config = await configured(catalogue, profile.arn)
    good = await catalogue.publish_layer(LayerVersion("good", NO_CODE), signer.sign(CODE, profile.arn))
    await catalogue.publish_layer(LayerVersion("plain", NO_CODE), CODE)
    assert good.signature is not None
    signed = signer.sign(CODE, profile.arn)
    await catalogue.create_function(DRAFT, signed, code_signing_config=config, layer_arns=[HOME.layer("good", 1)])
    with pytest.raises(CodeVerificationFailed, match=r"layer:plain:1: it is not signed"):
        await catalogue.update_configuration("f", {"layers": [HOME.layer("plain", 1)]})


async def test_a_configuration_counts_from_the_next_deployment_until_it_is_taken_away(catalogue: Catalogue) -> None:
    config = await configured(catalogue, HOME.signing_profile("team", "abc"))
    await catalogue.create_function(DRAFT, CODE)
    await catalogue.change(lambda c: code_signing.attach(c, HOME, "f", config))
    await catalogue.update_configuration("f", {"description": "still there"})
    with pytest.raises(CodeVerificationFailed):
        await catalogue.update_code("f", CODE)
    with pytest.raises(CodeSigningConfigInUse):
        await catalogue.change(lambda c: code_signing.remove(c, HOME, config))
    await catalogue.change(lambda c: code_signing.detach(c, "f"))
    await catalogue.update_code("f", CODE)
    await catalogue.change(lambda c: code_signing.remove(c, HOME, config))
    with pytest.raises(CodeSigningConfigMissing):
        await catalogue.read(lambda c: code_signing.fetch(c, HOME, config))
    with pytest.raises(CodeSigningConfigNotFound):
        await catalogue.change(lambda c: code_signing.attach(c, HOME, "f", config))


async def test_a_function_that_is_deleted_leaves_its_configuration_free(catalogue: Catalogue) -> None:
    config = await configured(catalogue, HOME.signing_profile("team", "abc"), enforce=False)
    await catalogue.create_function(DRAFT, CODE, code_signing_config=config)
    assert await catalogue.read(lambda c: code_signing.users_of(c, config)) == ["f"]
    await catalogue.delete_function("f")
    await catalogue.change(lambda c: code_signing.remove(c, HOME, config))


async def test_only_ed25519_keys_of_well_named_profiles_are_taken(catalogue: Catalogue) -> None:
    for name, key in (("team", "no key"), ("team", ""), ("a b", Signer().public_key), ("t", Signer().public_key)):
        with pytest.raises(InvalidParameterValue):
            await catalogue.change(partial(signing_profiles.create, home=HOME, name=name, public_key=key, now=NOW))
    assert await catalogue.read(signing_profiles.every) == []
