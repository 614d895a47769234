from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sources.snapshot import Identity, Kind, Objects, Root, change_of, removals_credible, within

identities = st.builds(Identity, st.integers(0, 2**63 - 1), st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**64 - 1))
names = st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=4)
paths = st.lists(names, min_size=1, max_size=4).map("/".join)


@given(st.none() | identities, st.none() | identities)
def test_following_the_announced_changes_leads_to_what_is_there(before: Identity | None, now: Identity | None) -> None:
    match change_of(before, now):
        case None:
            assert before == now
        case Kind.CREATED:
            assert now is not None
            assert now != before
        case Kind.REMOVED:
            assert now is None
            assert before is not None


@given(st.dictionaries(paths, identities))
def test_packed_objects_are_the_objects_that_were_put_in(objects: dict[str, Identity]) -> None:
    assert dict(Objects(objects)) == objects
    assert sorted(Objects(objects).keys_now()) == sorted(objects)


def test_packed_objects_are_changed_like_a_dict() -> None:
    objects = Objects({"a": Identity(1, 2, 3)})
    objects["a"] = Identity(4, 5, 6)
    assert objects.pop("a") == Identity(4, 5, 6)
    assert "a" not in objects
    assert len(objects) == 0


@given(paths, paths)
def test_a_key_is_within_a_directory_exactly_when_its_path_continues_it(key: str, directory: str) -> None:
    assert within(key, {directory}) == key.startswith(directory + "/")
    assert within(f"{directory}/{key}", {directory})
    assert within(key, {""})


HERE = Root(1, 10)


def test_what_is_missing_from_the_same_directory_was_removed() -> None:
    assert removals_credible(HERE, HERE, survivors=0, empty=True)


def test_an_empty_mount_point_is_not_a_bucket_whose_objects_were_removed() -> None:
    assert not removals_credible(HERE, Root(2, 1), survivors=0, empty=True)


def test_a_stray_file_in_the_mount_point_changes_nothing() -> None:
    assert not removals_credible(HERE, Root(2, 1), survivors=0, empty=False)


def test_a_file_system_that_comes_back_with_another_device_number_is_believed_when_it_has_an_object() -> None:
    assert removals_credible(HERE, Root(2, 10), survivors=1, empty=False)


def test_a_directory_that_was_made_again_is_believed_once_something_is_in_it() -> None:
    assert not removals_credible(HERE, Root(1, 11), survivors=0, empty=True)
    assert removals_credible(HERE, Root(1, 11), survivors=0, empty=False)


def test_the_first_comparison_is_believed() -> None:
    assert removals_credible(None, HERE, survivors=0, empty=True)
