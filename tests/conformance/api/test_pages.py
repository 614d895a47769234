"""Every List operation in pages of one and two, also while what it lists changes between pages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.api_server import CODE, HOME, ROLE
from tests.conformance.api import model
from tests.conformance.api.verdict import of_an_error
from tests.conformance.api.wire import send

COUNT = 5
MANY = 60
F = {"FunctionName": "paged"}
NEW = {"Role": ROLE, "Code": {"ZipFile": CODE}, "Runtime": "python3.12", "Handler": "app.handler"}


def do(client: httpx.Client, name: str, **params: Any) -> Any:
    answer = send(client, name, params)
    assert answer.is_success, f"{name}: {answer.text}"
    return answer.json() if answer.content else None


@pytest.fixture(scope="module")
def paged(client: httpx.Client) -> None:
    """Five of everything that is listed by function."""
    for number in range(COUNT):
        do(client, "CreateFunction", FunctionName=f"page-{number}", **NEW)
    do(client, "CreateFunction", **F, **NEW)
    client.put("/fnrunner/v1/queues/paged", json={}).raise_for_status()
    for number in range(1, COUNT + 1):
        do(client, "UpdateFunctionConfiguration", **F, Timeout=number)
        do(client, "PublishVersion", **F)
        do(client, "CreateAlias", **F, Name=f"alias-{number}", FunctionVersion=str(number))
        do(client, "PutFunctionEventInvokeConfig", **F, Qualifier=f"alias-{number}", MaximumRetryAttempts=1)
        do(client, "CreateFunctionUrlConfig", **F, Qualifier=f"alias-{number}", AuthType="NONE")
        do(client, "PutProvisionedConcurrencyConfig", **F, Qualifier=str(number), ProvisionedConcurrentExecutions=1)
        do(
            client,
            "CreateEventSourceMapping",
            FunctionName=f"paged:alias-{number}",
            EventSourceArn=HOME.queue("paged"),
            Enabled=False,
        )
    # what an alias owns goes with it, so this one, which is removed and made again, owns nothing
    do(client, "CreateAlias", **F, Name="alias-2b", FunctionVersion="2")


LISTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "ListFunctions": ("Functions", "FunctionArn", {}),
    "ListVersionsByFunction": ("Versions", "Version", F),
    "ListAliases": ("Aliases", "Name", F),
    "ListFunctionEventInvokeConfigs": ("FunctionEventInvokeConfigs", "FunctionArn", F),
    "ListFunctionUrlConfigs": ("FunctionUrlConfigs", "FunctionArn", F),
    "ListProvisionedConcurrencyConfigs": ("ProvisionedConcurrencyConfigs", "FunctionArn", F),
    "ListEventSourceMappings": ("EventSourceMappings", "UUID", {}),
}
"""Where the items are, and what tells them apart."""


def pages(client: httpx.Client, name: str, size: int, **more: Any) -> Iterator[list[str]]:
    key, identity, params = LISTS[name]
    marker: dict[str, str] = {}
    for _ in range(MANY):
        found = do(client, name, **params, **more, **marker, MaxItems=size)
        yield [item[identity] for item in found[key]]
        if "NextMarker" not in found:
            return
        assert found["NextMarker"]
        marker = {"Marker": found["NextMarker"]}
    raise AssertionError(f"{name} has more than {MANY} pages")


@pytest.mark.parametrize("size", [1, 2, 5, 50])
@pytest.mark.parametrize("name", LISTS)
def test_pages_together_are_the_list(client: httpx.Client, paged: None, name: str, size: int) -> None:
    key, identity, params = LISTS[name]
    everything = [item[identity] for item in do(client, name, **params)[key]]
    assert len(everything) >= COUNT
    assert len(set(everything)) == len(everything)
    found = list(pages(client, name, size))
    assert [item for page in found for item in page] == everything
    assert all(len(page) == size for page in found[:-1])
    assert found[-1]


@pytest.mark.parametrize("name", LISTS)
def test_a_marker_that_no_listing_returned_is_no_failure(client: httpx.Client, paged: None, name: str) -> None:
    _, _, params = LISTS[name]
    for marker in ("nonsense", "999", "$LATEST", "\u00e9", "a" * 2000, "eyJ4Ijoi", "-1", "0", "%", "alias-3:"):
        answer = send(client, name, {**params, "Marker": marker})
        assert answer.status_code in (200, 400), answer.text
        if answer.status_code == 400:
            assert of_an_error(answer) == ""


def test_functions_are_listed_by_name_and_their_versions_by_number(client: httpx.Client, paged: None) -> None:
    names = [arn.rsplit(":", 1)[1] for page in pages(client, "ListFunctions", 3) for arn in page]
    assert names == sorted(names)
    arns = [arn for page in pages(client, "ListFunctions", 3, FunctionVersion="ALL") for arn in page]
    versions = [arn.rsplit(":", 1)[1] for arn in arns if ":paged:" in arn]
    assert versions == ["$LATEST", "1", "2", "3", "4", "5"]
    assert do(client, "ListVersionsByFunction", **F)["Versions"][0]["FunctionArn"] == HOME.function("paged", "$LATEST")


CHANGES: dict[str, tuple[tuple[str, dict[str, Any]], tuple[str, dict[str, Any]]]] = {
    "ListFunctions": (
        ("DeleteFunction", {"FunctionName": "page-1"}), ("CreateFunction", {"FunctionName": "page-1", **NEW}),
    ),
    "ListAliases": (
        ("DeleteAlias", {**F, "Name": "alias-2b"}), ("CreateAlias", {**F, "Name": "alias-2b", "FunctionVersion": "2"}),
    ),
    "ListFunctionUrlConfigs": (
        ("DeleteFunctionUrlConfig", {**F, "Qualifier": "alias-2"}),
        ("CreateFunctionUrlConfig", {**F, "Qualifier": "alias-2", "AuthType": "NONE"}),
    ),
    "ListFunctionEventInvokeConfigs": (
        ("DeleteFunctionEventInvokeConfig", {**F, "Qualifier": "alias-2"}),
        ("PutFunctionEventInvokeConfig", {**F, "Qualifier": "alias-2", "MaximumRetryAttempts": 1}),
    ),
    "ListProvisionedConcurrencyConfigs": (
        ("DeleteProvisionedConcurrencyConfig", {**F, "Qualifier": "2"}),
        ("PutProvisionedConcurrencyConfig", {**F, "Qualifier": "2", "ProvisionedConcurrentExecutions": 1}),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_what_the_last_page_ended_with_may_be_gone_when_the_next_is_asked_for(
    client: httpx.Client, paged: None, name: str
) -> None:
    key, identity, params = LISTS[name]
    (remove, removed), (make, made) = CHANGES[name]
    everything = [item[identity] for item in do(client, name, **params)[key]]
    gone = str(removed.get("Qualifier") or removed.get("Name") or removed["FunctionName"])
    found: list[str] = []
    try:
        for page in pages(client, name, 1):
            found += page
            if page[0].rsplit(":", 1)[-1] == gone:
                do(client, remove, **removed)
    finally:
        do(client, make, **made)
    assert found == everything


def test_every_list_of_functions_is_in_these_tests() -> None:
    """Lists of other things have tests beside them."""
    by_function = [
        name for name in model.supported() if name.startswith("List") and "FunctionName" in model.members(name)
    ]
    assert set(by_function) - {"ListTags"} <= set(LISTS)
