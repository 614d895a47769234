"""What is seen of layers that lie over each other."""

from __future__ import annotations

import time
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from fnrunner.catalogue.archive import Kind
from fnrunner.catalogue.merging import Item, Parts, covered, name_of

NAMES = st.sampled_from("abc")
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(tuple)


@st.composite
def trees(draw: st.DrawFn) -> dict[Parts, Item]:
    """Files and links, with the directories above them, each before what it holds."""
    tree: dict[Parts, Item] = {}
    for path in draw(st.lists(PATHS, max_size=6)):
        above = [path[:length] for length in range(1, len(path))]
        if any(tree.get(one, Item(Kind.DIRECTORY, Path())).kind is not Kind.DIRECTORY for one in above):
            continue
        if any(other[: len(path)] == path for other in tree):
            continue
        for one in above:
            tree.setdefault(one, Item(Kind.DIRECTORY, Path(*one)))
        tree[path] = Item(draw(st.sampled_from((Kind.FILE, Kind.LINK))), Path(*path))
    return dict(sorted(tree.items()))


@given(st.lists(trees(), max_size=4))
def test_everything_lies_in_a_directory_and_the_last_tree_is_seen_whole(layers: list[dict[Parts, Item]]) -> None:
    seen = covered(layers)
    for path in seen:
        for length in range(1, len(path)):
            assert seen[path[:length]].kind is Kind.DIRECTORY
    if layers:
        assert layers[-1].items() <= seen.items()


@given(st.lists(trees(), max_size=4))
def test_what_is_seen_is_of_the_last_tree_that_has_it(layers: list[dict[Parts, Item]]) -> None:
    for path, item in covered(layers).items():
        assert item == next(tree[path] for tree in reversed(layers) if path in tree)


def test_a_layer_that_covers_thousands_of_directories_takes_no_longer_than_its_size() -> None:
    def place(number: int) -> Parts:
        return ("python", f"package-{number}")

    folder, file = Item(Kind.DIRECTORY, Path()), Item(Kind.FILE, Path())
    below: dict[Parts, Item] = {("python",): folder}
    for number in range(10_000):
        below |= {place(number): folder, (*place(number), "module.py"): file}
    above = {("python",): folder, **{place(number): file for number in range(10_000)}}
    begun = time.process_time()
    assert covered([below, above]) == above
    assert time.process_time() - begun < 5


def test_one_layer_is_its_own_tree_and_the_order_of_several_counts() -> None:
    assert name_of(["a" * 64]) == "a" * 64
    assert len({name_of(["a", "b"]), name_of(["b", "a"]), name_of(["a"]), name_of(["b"])}) == 4
