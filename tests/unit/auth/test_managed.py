"""The policies of AWS allow what is about functions, and nothing that guards other things."""

from __future__ import annotations

import json

import pytest

from fnrunner.api.access.subject import actions
from fnrunner.api.app import ADMIN_ROUTES
from fnrunner.auth import managed
from fnrunner.auth.evaluation import Action, Policies, decide
from fnrunner.auth.policy import parse
from fnrunner.auth.principal import User

GUARDED = {
    "fnrunner:GetCalls", "fnrunner:GetKeys", "fnrunner:GetSigningProfiles", "fnrunner:PostKeys", "fnrunner:PostKeysRotate",
    "fnrunner:PostKeysDisable", "fnrunner:PostKeysEnable", "fnrunner:PostReseal", "fnrunner:PostSigningProfiles",
    "fnrunner:PostSigningProfilesRevoke",
}  # fmt: skip


def allowed(name: str) -> set[str]:
    """Of the administration's actions."""
    policy = parse(json.dumps(managed.document(f"{managed.PREFIX}/{name}")))
    who = User("000000000000", "ann")
    every = [*actions(ADMIN_ROUTES), "fnrunner:PutOther"]
    return {one for one in every if decide(Action(who, one, "*", who.account), Policies((policy,))).allowed}


@pytest.mark.parametrize("name", ["AWSLambda_FullAccess", "AWSLambda_ReadOnlyAccess"])
def test_keys_signing_profiles_and_the_log_of_calls_are_not_lambdas(name: str) -> None:
    assert not allowed(name) & GUARDED
    assert {"fnrunner:GetFunctionsLogs", "fnrunner:GetStatus", "fnrunner:GetEvents"} <= allowed(name)


def test_who_may_only_read_changes_nothing() -> None:
    assert all(one.startswith("fnrunner:Get") for one in allowed("AWSLambda_ReadOnlyAccess"))


def test_full_access_sets_off_functions() -> None:
    wanted = {"fnrunner:PutHttpApis", "fnrunner:PutSchedules", "fnrunner:PutFunctionsNotifications", "fnrunner:PutStacks",
              "fnrunner:PutTopicsSubscriptions", "fnrunner:PostFunctionsDeadLettersRedrive",
              "fnrunner:PutStackCode"}  # fmt: skip
    assert wanted <= allowed("AWSLambda_FullAccess")
    assert "fnrunner:PutOther" not in allowed("AWSLambda_FullAccess")
