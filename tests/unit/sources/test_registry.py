from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from sources.adapters.file import BucketWatch
from sources.errors import AdapterInvalid
from sources.registry import adapters, declared
from sources.source import Adapter

PLUGIN = "from sources.source import Adapter\nADAPTER = Adapter({!r}, int, lambda configuration, services: None)\n"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[dict[str, str]], ModuleType]]:
    """A package of the modules given by name and text."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def package(modules: dict[str, str]) -> ModuleType:
        (tmp_path / "plugins").mkdir()
        (tmp_path / "plugins" / "__init__.py").write_text("")
        for name, text in modules.items():
            (tmp_path / "plugins" / f"{name}.py").write_text(text)
        import plugins  # type: ignore[import-not-found]

        return plugins  # type: ignore[no-any-return]

    yield package
    for name in [name for name in sys.modules if name.partition(".")[0] == "plugins"]:
        del sys.modules[name]


def test_the_file_watcher_is_found() -> None:
    assert adapters(Adapter)["s3"].configuration is BucketWatch


def test_a_file_in_the_folder_is_all_it_takes(package: Callable[[dict[str, str]], ModuleType]) -> None:
    found = declared(package({"two": PLUGIN.format("b"), "one": PLUGIN.format("a")}))
    assert list(found) == ["a", "b"]


def test_a_module_that_declares_no_adapter_is_refused(package: Callable[[dict[str, str]], ModuleType]) -> None:
    with pytest.raises(AdapterInvalid, match=r"plugins\.stray declares no ADAPTER"):
        declared(package({"stray": ""}))


def test_two_adapters_of_one_name_are_refused(package: Callable[[dict[str, str]], ModuleType]) -> None:
    with pytest.raises(AdapterInvalid, match="'a'"):
        declared(package({"one": PLUGIN.format("a"), "two": PLUGIN.format("a")}))
