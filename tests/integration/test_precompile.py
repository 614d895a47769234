"""Packages are compiled once, in a sandbox, whatever is in them."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import stat
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fnrunner.model.invocation import Succeeded
from fnrunner.runtimes.python import PythonRuntime
from fnrunner.worker import precompile
from fnrunner.worker.precompile import Package, Precompiler
from tests.installation import RUNTIME
from tests.integration.environment_kit import Kit, invocation, kit

TAG = "cpython-" + RUNTIME.removeprefix("python").replace(".", "")
ORIGIN = "import sys\ndef handler(event, context):\n    import lib\n    return [lib.__cached__ , lib.f.__code__.co_filename]\n"


@pytest.fixture(params=["namespace", "bare"])
async def made(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Kit]:
    async with kit(request.param, tmp_path) as made:
        yield made


def tree(made: Kit, **files: str) -> Path:
    """Modules by name, those in packages with slashes."""
    for name, text in files.items():
        place = made.code / f"{name}.py"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        os.utime(place, (315532800, 315532800))  # 1980, as zips without times have it
        place.chmod(0o444)
    for folder, _, _ in os.walk(made.code):
        os.chmod(folder, 0o555)
    return made.code


def compiler(made: Kit) -> Precompiler:
    return Precompiler(made.sandbox, PythonRuntime(), made.root.parent / "scratch")


def compiled(code: Path) -> set[str]:
    return {str(path.relative_to(code)) for path in code.rglob("*.pyc")}


async def test_every_module_is_compiled_and_used(made: Kit) -> None:
    code = tree(made, f=ORIGIN, lib="def f(): pass\n", **{"pkg/__init__": "", "pkg/deep/m": "x = 1\n"})
    count = await compiler(made).compile(Package(code, RUNTIME))
    assert count == 4
    cache = code / "__pycache__" / f"lib.{TAG}.pyc"
    assert stat.S_IMODE(cache.stat().st_mode) == 0o444
    assert stat.S_IMODE(code.stat().st_mode) == stat.S_IMODE(cache.parent.stat().st_mode) == 0o555
    # compiled code of the kind that is not compared: magic number, then flags of 1
    assert cache.read_bytes()[:8] == importlib.util.MAGIC_NUMBER + b"\1\0\0\0"
    # so that what is compiled is what runs shows where the two differ
    (code / "lib.py").chmod(0o644)
    (code / "lib.py").write_text("raise RuntimeError('the source was read')\n")
    environment = await _started(made)
    answer = await environment.invoke(invocation())
    assert isinstance(answer.outcome, Succeeded)
    assert json.loads(answer.outcome.payload)[1].endswith("/lib.py")


async def _started(made: Kit) -> Any:
    text = (made.code / "f.py").read_text()
    (made.code / "f.py").chmod(0o644)
    made.code.chmod(0o755)
    return await made.started(text)


async def test_it_is_done_once_a_host_and_runtime(made: Kit) -> None:
    code = tree(made, lib="x = 1\n")
    assert await compiler(made).compile(Package(code, RUNTIME)) == 1
    (code / "__pycache__" / f"lib.{TAG}.pyc").unlink()
    assert await compiler(made).compile(Package(code, RUNTIME)) == 0
    assert not compiled(code)


async def test_what_cannot_be_compiled_is_left_out_and_the_rest_is_not(made: Kit) -> None:
    code = tree(made, good="x = 1\n", bad="def (:\n", nul="x = '\\0'\n" + "(" * 300, deep="-" * 100_000 + "1\n")
    assert await compiler(made).compile(Package(code, RUNTIME)) >= 1
    assert f"__pycache__/good.{TAG}.pyc" in compiled(code)
    assert f"__pycache__/bad.{TAG}.pyc" not in compiled(code)


async def test_a_package_cannot_have_its_own_code_run_by_it(made: Kit) -> None:
    told = made.root.parent / "told"
    evil = f"import pathlib\npathlib.Path({str(told)!r}).touch()\n"
    code = tree(
        made, sitecustomize=evil, usercustomize=evil, compileall=evil, py_compile=evil, struct=evil, encodings=evil
    )
    await compiler(made).compile(Package(code, RUNTIME))
    assert not told.exists()


async def test_a_source_that_takes_too_long_is_given_up(made: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precompile, "MOST_TIME", timedelta(seconds=1.5))
    code = tree(made, a="x = 1\n", z="x = " + "+".join(["(1)"] * 3_000_000) + "\n")
    async with asyncio.timeout(60):
        await compiler(made).compile(Package(code, RUNTIME))
    assert f"__pycache__/z.{TAG}.pyc" not in compiled(code)


async def test_what_a_hostile_compiler_would_leave_is_not_taken_over(tmp_path: Path) -> None:
    code, out, secret = tmp_path / "code", tmp_path / "out", tmp_path / "secret"
    (code / "pkg").mkdir(parents=True)
    (out / "compiled" / "pkg").mkdir(parents=True)
    (out / "compiled" / "elsewhere").mkdir()
    secret.write_text("secret")
    for name in ("link", "hard", "dir", "good", "there"):
        (code / "pkg" / f"{name}.py").write_text("")
    (code / "pkg" / "__pycache__").mkdir()
    (code / "pkg" / "__pycache__" / f"there.{TAG}.pyc").write_text("the package's own")
    (code / "linked.py").symlink_to(secret)
    made = out / "compiled" / "pkg"
    (made / f"link.{TAG}.pyc").symlink_to(secret)
    os.link(secret, made / f"hard.{TAG}.pyc")
    (made / f"dir.{TAG}.pyc").mkdir()
    (made / f"unknown.{TAG}.pyc").write_text("x")
    (made / f"there.{TAG}.pyc").write_text("another")
    (made / f"good.{TAG}.pyc").write_text("good")
    (made / "good.so").write_text("x")
    (out / "compiled" / f"linked.{TAG}.pyc").write_text("x")
    (out / "compiled" / "elsewhere" / f"good.{TAG}.pyc").write_text("x")
    assert precompile._take_over(out, code) == 1
    assert compiled(code) == {f"pkg/__pycache__/good.{TAG}.pyc", f"pkg/__pycache__/there.{TAG}.pyc"}
    assert (code / "pkg" / "__pycache__" / f"there.{TAG}.pyc").read_text() == "the package's own"


async def test_requests_are_worked_off_in_the_background_and_an_error_stops_nothing(made: Kit) -> None:
    code = tree(made, lib="x = 1\n")
    working = compiler(made)
    working.start()
    try:
        working.request(Package(code, "nodejs20.x"))
        working.request(Package(code, "python3.99"))
        working.request(Package(code / "nowhere", RUNTIME))
        working.request(Package(code, RUNTIME))
        async with asyncio.timeout(60):
            while not compiled(code):
                await asyncio.sleep(0.02)
    finally:
        await working.close()
    assert not (made.root.parent / "scratch").exists()
