"""What a deployment says of runtimes that workers lack."""

from __future__ import annotations

from typing import Any

import pytest

from fnrunner.cli.deploy.interpreter import warnings
from fnrunner.cli.deploy.spec import CodeSource, FunctionSpec


def function(name: str, runtime: str | None = "python3.14", image: str = "") -> FunctionSpec:
    code = CodeSource(None, image=image) if image else CodeSource(None)
    return FunctionSpec(name, code, {"Runtime": runtime} if runtime else {})


def worker(host: str, *there: str, state: str = "alive", **instead: str) -> dict[str, Any]:
    runtimes = {**{name: name for name in there}, **{name.replace("_", "."): other for name, other in instead.items()}}
    return {"host": host, "state": state, "runtimes": runtimes}


def test_nothing_is_said_where_every_worker_has_it() -> None:
    workers = [worker("a", "python3.14"), worker("b", "python3.14", "python3.9")]
    assert warnings([function("f"), function("g", "python3.14")], workers) == []


def test_a_runtime_that_no_worker_has_is_said_once_with_its_functions_and_the_remedies() -> None:
    (said,) = warnings(
        [function("f"), function("g")], [worker("a", "python3.10"), worker("b", "python3.9", "nodejs20.x")]
    )
    assert said == (
        "python3.14 is on no worker (a, b): f, g will fail. Install python3.14 there and start the workers again, or set "
        "FNRUNNER_STAND_IN=on for them, so that the nearest version stands in, or choose one of python3.9, python3.10"
    )


def test_where_no_worker_has_the_language_all_that_they_have_is_named() -> None:
    (said,) = warnings([function("f")], [worker("a", "nodejs20.x", "provided.al2")])
    assert said.endswith("or choose one of nodejs20.x, provided.al2")


def test_a_runtime_that_some_workers_lack_names_their_hosts() -> None:
    (said,) = warnings([function("f")], [worker("a", "python3.14"), worker("b", "python3.9")])
    assert said.startswith("python3.14 is not on 1 of 2 workers (b): f will fail there. Install python3.14 there")


def test_what_stands_in_is_named() -> None:
    workers = [worker("a", "python3.14"), worker("b", "python3.13", python3_14="python3.13")]
    (said,) = warnings([function("f")], workers)
    assert said.startswith("python3.14 is not on b: python3.13 stands in for f. Install python3.14 there")


@pytest.mark.parametrize(
    "workers",
    [[], [worker("a", "python3.9", state="silent")], [worker("a")], [{"host": "a", "state": "alive"}]],
    ids=["none", "not alive", "says nothing yet", "older release"],
)
def test_nothing_is_said_where_nothing_is_known(workers: list[dict[str, Any]]) -> None:
    assert warnings([function("f")], workers) == []


def test_images_bring_their_own() -> None:
    assert warnings([function("f", None, image="shop:1"), function("g", image="shop:1")], [worker("a", "x")]) == []
