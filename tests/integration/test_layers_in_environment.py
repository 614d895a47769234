"""Layers as functions see them below /opt: packages, programs, libraries, in the order of the function's list."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from fnrunner.catalogue import Artifacts
from fnrunner.model.invocation import Succeeded
from tests.integration.environment_kit import Kit, invocation, kit
from tests.layer_zip import zip_of

VERSION = "python3.11"


@pytest.fixture(params=["namespace", "full", "bare"])
async def made(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Kit]:
    async with kit(request.param, tmp_path) as sandboxed:
        yield sandboxed


async def merged(directory: Path, *layers: Mapping[str, Any]) -> str:
    artifacts = Artifacts(directory / "artifacts")
    digests = [(await artifacts.put(zip_of(layer))).digest for layer in layers]
    return str(await artifacts.merged(digests, directory / "unpacked"))


async def answer(made: Kit, source: str, **spec: Any) -> Any:
    environment = await made.started(source, **spec)
    outcome = (await environment.invoke(invocation())).outcome
    assert isinstance(outcome, Succeeded), outcome
    return json.loads(outcome.payload)


async def test_packages_of_layers_are_found_behind_the_code_and_the_versions_own_before_the_others(
    made: Kit, tmp_path: Path
) -> None:
    layers = await merged(
        tmp_path,
        {
            "python/shared.py": "where = 'python'",
            "python/both.py": "where = 'python'",
            "python/f.py": "raise ImportError('the function itself comes first')",
        },
        {f"python/lib/{VERSION}/site-packages/both.py": "where = 'site-packages'"},
    )
    source = """
        import both, shared, sys
        def handler(event, context):
            return [shared.where, both.where, sys.path[0]]
    """
    shared, both, first = await answer(made, source, layers_directory=layers)
    assert (shared, both) == ("python", "site-packages")
    assert "opt" not in first


async def test_a_later_layer_covers_an_earlier_one_and_folders_are_merged(made: Kit, tmp_path: Path) -> None:
    layers = await merged(tmp_path, {"data/a": "1", "data/b": "1", "c": "1"}, {"data/b": "2", "c/d": "2"})
    source = """
        import os
        root = os.environ["LD_LIBRARY_PATH"].split(":")[-1][:-len("/lib")]
        def handler(event, context):
            return {os.path.relpath(f"{at}/{name}", root): open(f"{at}/{name}").read()
                    for at, _, names in os.walk(root) for name in names}
    """
    assert await answer(made, source, layers_directory=layers) == {"data/a": "1", "data/b": "2", "c/d": "2"}


async def test_programs_of_layers_are_on_the_path_and_cannot_be_written(made: Kit, tmp_path: Path) -> None:
    layers = await merged(tmp_path, {"bin/greet": ("#!/bin/sh\necho hello", 0o755)})
    source = """
        import os, subprocess
        root = os.environ["PATH"].split(":")[-1]
        def handler(event, context):
            said = subprocess.check_output(["greet"]).decode()
            try:
                open(root + "/more", "w")
            except OSError as error:
                return [said, root, error.strerror]
    """
    if os.geteuid() == 0 and not made.sandbox.describe().mount_namespace:
        pytest.skip("root writes everywhere where nothing is mounted read-only")
    said, root, why = await answer(made, source, layers_directory=layers)
    assert said == "hello\n"
    assert why in ("Read-only file system", "Permission denied")
    if made.sandbox.describe().mount_namespace:
        assert root == "/opt/bin"


async def test_without_layers_nothing_of_the_hosts_opt_is_seen(made: Kit) -> None:
    source = """
        import os
        root = os.environ["LD_LIBRARY_PATH"].split(":")[-1][:-len("/lib")]
        def handler(event, context):
            return os.listdir(root) if os.path.isdir(root) else []
    """
    assert await answer(made, source) == []


async def test_a_wrapper_script_of_a_layer_starts_the_runtime(made: Kit, tmp_path: Path) -> None:
    layers = await merged(tmp_path, {"wrap": ('#!/bin/sh\nexport WRAPPED=$#\nexec "$@"', 0o755)})
    source = """
        import os
        def handler(event, context):
            return os.environ["WRAPPED"]
    """
    variables = {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/wrap"}
    assert int(await answer(made, source, layers_directory=layers, variables=variables)) > 3


async def test_merging_costs_no_space_and_is_done_once(tmp_path: Path) -> None:
    one, two = {"a": "x" * 10_000}, {"b": "y" * 10_000}
    first = Path(await merged(tmp_path, one, two))
    before = first.stat().st_ino
    assert (first / "a").stat().st_nlink == 2
    assert stat.S_IMODE((first / "a").stat().st_mode) == 0o444
    assert Path(await merged(tmp_path, one, two)).stat().st_ino == before
    assert await merged(tmp_path, two, one) != str(first)
    # the tree of a single layer is the layer itself, and the merged one shares its files
    assert (Path(await merged(tmp_path, one)) / "a").samefile(first / "a")


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
async def test_libraries_of_layers_are_found_by_the_loader(made: Kit, tmp_path: Path) -> None:
    library = tmp_path / "libanswer.so"
    (tmp_path / "answer.c").write_text("int answer(void) { return 42; }")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, tmp_path / "answer.c"], check=True)
    layers = await merged(tmp_path, {"lib/libanswer.so": (library.read_bytes(), 0o755)})
    source = """
        import ctypes
        def handler(event, context):
            return ctypes.CDLL("libanswer.so").answer()
    """
    assert await answer(made, source, layers_directory=layers) == 42
