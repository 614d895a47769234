"""RevisionId, wherever the model has it: a stale one is a 412 that changes nothing, and the present one is taken."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.api import model
from tests.conformance.api.verdict import of_an_error
from tests.conformance.api.wire import send
from tests.conformance.api.world import World

WITH_REVISION = [name for name in model.supported() if "RevisionId" in model.members(name)]
READ_BY = {
    "UpdateFunctionCode": "GetFunctionConfiguration", "UpdateFunctionConfiguration": "GetFunctionConfiguration",
    "PublishVersion": "GetFunctionConfiguration", "UpdateAlias": "GetAlias", "AddPermission": "GetPolicy",
    "RemovePermission": "GetPolicy", "AddLayerVersionPermission": "GetLayerVersionPolicy",
    "RemoveLayerVersionPermission": "GetLayerVersionPolicy", "PutResourcePolicy": "GetResourcePolicy",
    "DeleteResourcePolicy": "GetResourcePolicy",
}  # fmt: skip
"""What tells the present one. The policy of a resource has one, whichever operation looks."""


@pytest.mark.parametrize("name", WITH_REVISION)
def test_a_stale_revision_is_refused_and_changes_nothing(world: World, name: str) -> None:
    before = world.state()
    answer = send(
        world.client, name, world.good(name) | {"RevisionId": "00000000-0000-4000-8000-000000000000"} | also(name)
    )
    assert (answer.status_code, answer.headers["x-amzn-errortype"]) == (412, "PreconditionFailedException"), answer.text
    assert of_an_error(answer) == ""
    assert answer.json()["message"].startswith(
        "The Revision Id provided does not match the latest Revision Id. Call the "
    )
    assert world.state() == before


@pytest.mark.parametrize("name", WITH_REVISION)
def test_the_present_revision_is_taken(world: World, name: str) -> None:
    found = send(world.client, READ_BY[name], world.good(READ_BY[name])).json()
    answer = send(world.client, name, world.good(name) | {"RevisionId": found["RevisionId"]} | also(name))
    try:
        assert answer.is_success, answer.text
    finally:
        undo(world, name)


def also(name: str) -> dict[str, Any]:
    return {"Policy": POLICY} if name == "PutResourcePolicy" else {}


def undo(world: World, name: str) -> None:
    """So that another order of these tests finds what it needs."""
    if name == "RemovePermission":
        send(world.client, "AddPermission", world.good("AddPermission") | {"StatementId": "statement"})
    elif name == "RemoveLayerVersionPermission":
        good = world.good("AddLayerVersionPermission")
        send(world.client, "AddLayerVersionPermission", good | {"StatementId": "statement"})
    elif name in ("AddPermission", "AddLayerVersionPermission"):
        removing = name.replace("Add", "Remove")
        send(world.client, removing, world.good(removing) | {"StatementId": "new"})
    elif name in ("PutResourcePolicy", "DeleteResourcePolicy"):
        send(world.client, "DeleteResourcePolicy", world.good("DeleteResourcePolicy"))
        send(world.client, "AddPermission", world.good("AddPermission") | {"StatementId": "statement"})


POLICY = (
    '{"Version":"2012-10-17","Statement":[{"Sid":"statement","Effect":"Allow","Principal":{"Service":"s3.amazonaws.com"},'
    '"Action":"lambda:InvokeFunction","Resource":"arn:aws:lambda:us-east-1:000000000000:function:f"}]}'
)
