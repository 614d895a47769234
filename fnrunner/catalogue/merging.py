"""Layers over each other: one directory of several unzipped trees, as functions see it at ``/opt``. Blocking.

A file covers a file of an earlier tree, directories are merged. Files are hard links to those of the trees: merging
costs a name for each, and no space. Nothing is written through a link, since what is where is decided before anything is made.

Source: Lambda, layers: they are extracted to /opt in the order in which the function lists them.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from fnrunner.catalogue import unpacking
from fnrunner.catalogue.archive import Kind

Parts = tuple[str, ...]
PREFIX = "layers-"


@dataclass(frozen=True, slots=True)
class Item:
    """``source`` is where it is in its tree."""

    kind: Kind
    source: Path


def name_of(digests: Sequence[str]) -> str:
    """Of the merged tree, in the cache: the same for the same zips in the same order.

    >>> name_of(["a", "b"]) == name_of(["b", "a"])
    False
    """
    if len(digests) == 1:
        return digests[0]
    return PREFIX + hashlib.sha256("\n".join(digests).encode()).hexdigest()


def merge(cache_directory: Path, digests: Sequence[str], trees: Sequence[Path]) -> Path:
    """The merged tree of the unzipped ones, unless someone has made it. Raises OSError."""

    def write(directory: Path) -> None:
        write_items(covered(dict(items_of(tree)) for tree in trees), directory)

    return unpacking.build(cache_directory, name_of(digests), write)


def covered(trees: Iterable[Mapping[Parts, Item]]) -> dict[Parts, Item]:
    """What is seen of trees that lie over each other, the last on top. In each, directories come before what they hold.

    >>> def file(name): return Item(Kind.FILE, Path(name))
    >>> def folder(name): return Item(Kind.DIRECTORY, Path(name))
    >>> seen = covered([{("a",): folder("1/a"), ("a", "b"): file("1/a/b"), ("c",): file("1/c")}, {("a",): file("2/a")}])
    >>> {path: str(item.source) for path, item in seen.items()}
    {('c',): '1/c', ('a',): '2/a'}

    What was compiled of a source that another covers goes with it: the interpreter may not compare the two.

    >>> one = {("m.py",): file("1/m.py"), ("__pycache__", "m.cpython-313.pyc"): file("1/m.pyc")}
    >>> list(covered([one, {("m.py",): file("2/m.py")}]))
    [('m.py',)]
    """
    seen: dict[Parts, Item] = {}
    for tree in trees:
        sources = {(path[:-1], path[-1].removesuffix(".py")) for path in tree if path[-1].endswith(".py")}
        seen = {path: item for path, item in seen.items() if _compiled_of(path) not in sources}
        covering = {path for path, item in tree.items() if item.kind is not Kind.DIRECTORY}
        folders = {path for path in covering & seen.keys() if seen[path].kind is Kind.DIRECTORY}
        if folders:
            seen = {path: item for path, item in seen.items() if not _lies_in(path, folders)}
        seen.update(tree)
    return seen


def _compiled_of(path: Parts) -> tuple[Parts, str] | None:
    """The directory and the module that this was compiled of; None for what is no compiled file.

    >>> _compiled_of(("python", "__pycache__", "m.cpython-313.pyc"))
    (('python',), 'm')
    """
    if len(path) < 2 or path[-2] != "__pycache__" or not path[-1].endswith(".pyc"):
        return None
    return path[:-2], path[-1].partition(".")[0]


def _lies_in(path: Parts, folders: Set[Parts]) -> bool:
    """In one of these, or is one."""
    return any(path[:length] in folders for length in range(1, len(path) + 1))


def items_of(tree: Path, above: Parts = ()) -> Iterator[tuple[Parts, Item]]:
    """Everything in the tree; links are not followed. Raises OSError."""
    with os.scandir(tree) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            path, source = (*above, entry.name), Path(entry.path)
            if entry.is_symlink():
                yield path, Item(Kind.LINK, source)
            elif entry.is_dir():
                yield path, Item(Kind.DIRECTORY, source)
                yield from items_of(source, path)
            else:
                yield path, Item(Kind.FILE, source)


def write_items(items: Mapping[Parts, Item], directory: Path) -> None:
    """Below ``directory``, which is empty. Raises OSError."""
    for path, item in sorted(items.items(), key=lambda pair: pair[0]):
        target = directory.joinpath(*path)
        if item.kind is Kind.DIRECTORY:
            target.mkdir(mode=0o755)
        elif item.kind is Kind.LINK:
            target.symlink_to(os.readlink(item.source))
        else:
            _link(item.source, target)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        # the file system has no hard links, or this file has as many as it takes
        shutil.copy2(source, target)
