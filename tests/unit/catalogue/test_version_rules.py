from dataclasses import replace
from types import MappingProxyType

import pytest

from fnrunner.catalogue import aliases, versions
from fnrunner.catalogue.errors import InvalidParameterValue, ValidationFailed
from fnrunner.catalogue.snapshot import Snapshot, compare
from fnrunner.catalogue.versions import Publication
from fnrunner.model.alias import Additional, Alias, ticket
from fnrunner.model.function import Code, EventInvokeConfig, Function

LATEST = Function(
    "f", "python3.12", "app.handler", Code("ab" * 32, 7), "arn:aws:iam::000000000000:role/r",
    description="now", tags=MappingProxyType({"team": "a"}), reserved_concurrency=5, revision_id="r7",
)  # fmt: skip
ONE = replace(LATEST, version="1", description="first")
TWO = replace(LATEST, version="2", description="second")


def snapshot(*found: Alias) -> Snapshot:
    functions = {("f", one.version): one for one in (LATEST, ONE, TWO)}
    return Snapshot(1, functions, aliases={("f", alias.name): alias for alias in found})


def test_a_version_is_all_of_the_function_but_what_its_versions_share() -> None:
    version = versions.published(LATEST, 3, None)
    assert (version.version, version.description) == ("3", "now")
    assert (version.tags, version.reserved_concurrency) == ({}, None)
    assert version.revision_id not in ("", LATEST.revision_id)
    assert replace(versions.belonging(version, LATEST), version="$LATEST", revision_id="r7") == LATEST


def test_a_version_may_have_a_description_of_its_own() -> None:
    assert versions.published(LATEST, 3, "gold").description == "gold"
    assert versions.published(LATEST, 3, "").description == ""
    with pytest.raises(
        ValidationFailed, match="'description' failed to satisfy constraint: Member must have length less"
    ):
        versions.published(LATEST, 3, "x" * 257)


def test_nothing_has_changed_while_the_revision_is_the_one_that_publishing_left() -> None:
    assert versions.unchanged(Publication(2, "r7"), LATEST)
    assert not versions.unchanged(Publication(2, "r6"), LATEST)
    assert not versions.unchanged(None, LATEST)


def test_a_qualifier_is_the_unpublished_function_a_version_or_an_alias() -> None:
    found = snapshot(Alias("f", "live", "2"), Alias("f", "beta", "$LATEST"))
    assert found.resolve("f", "") is found.resolve("f", "$LATEST") is found.resolve("f", "beta") is LATEST
    assert found.resolve("f", "1") is ONE
    assert found.resolve("f", "live") is found.resolve("f", "2") is TWO
    for name, qualifier in (("f", "3"), ("f", "prod"), ("g", ""), ("g", "live"), ("f", "$LATEST.PUBLISHED")):
        assert found.resolve(name, qualifier) is None


def test_an_alias_of_two_versions_runs_both_by_ticket() -> None:
    found = snapshot(Alias("f", "live", "1", additional=Additional("2", 0.5)))
    ran = [found.resolve("f", "live", ticket(str(number), 0)) for number in range(100)]
    assert 30 < ran.count(ONE) < 70
    assert ran.count(ONE) + ran.count(TWO) == 100
    assert found.resolve("f", "live") is ONE


def test_each_qualifier_has_its_own_event_invoke_configuration_or_the_defaults() -> None:
    config = EventInvokeConfig("f", "live", max_retries=0)
    found = replace(snapshot(Alias("f", "live", "1")), configs={("f", "live"): config})
    assert found.event_invoke_config("f", "live") is config
    assert found.event_invoke_config("f", "1") == EventInvokeConfig("f", "1")
    assert found.event_invoke_config("f") == found.event_invoke_config("f", "$LATEST") == EventInvokeConfig("f")


def test_an_alias_that_moves_is_a_change_of_its_function() -> None:
    before, after = snapshot(Alias("f", "live", "1")), snapshot(Alias("f", "live", "2"))
    assert compare(before, after).functions == {"f"}
    assert not compare(before, before)


@pytest.mark.parametrize(
    ("alias", "problem"),
    [
        (Alias("f", "7", "1"), r"Value '7' at 'name' failed .* pattern: \(\?!\^\[0-9\]\+\$\)\(\[a-zA-Z0-9-_\]\+\)"),
        (Alias("f", "$LATEST", "1"), "at 'name' failed"),
        (Alias("f", "", "1"), "at 'name' failed"),
        (Alias("f", "a" * 129, "1"), "at 'name' failed .* less than or equal to 128"),
        (Alias("f", "a", "1", "x" * 257), "at 'description' failed"),
        (
            Alias("f", "a", "1", additional=Additional("2", 1.5)),
            "additionalVersionWeights' failed .* less than or equal to 1",
        ),
        (
            Alias("f", "a", "1", additional=Additional("2", -0.1)),
            "additionalVersionWeights' failed .* greater than or equal",
        ),
    ],
)
def test_what_is_wrong_with_an_alias_is_said(alias: Alias, problem: str) -> None:
    with pytest.raises(ValidationFailed, match=problem):
        raise ValidationFailed(list(aliases.problems(alias)))


def test_two_versions_share_an_alias_only_with_one_role_and_one_dead_letter_target() -> None:
    alias = Alias("f", "live", "1", additional=Additional("2", 0.5))
    aliases.check_routing(alias, ONE, TWO)
    with pytest.raises(InvalidParameterValue, match="versions 1 and 2 of alias live have different execution roles"):
        aliases.check_routing(alias, ONE, replace(TWO, role="arn:aws:iam::000000000000:role/other"))
    with pytest.raises(InvalidParameterValue, match="different dead-letter targets"):
        aliases.check_routing(alias, ONE, replace(TWO, dead_letter_arn="arn:aws:sqs:us-east-1:000000000000:q"))
