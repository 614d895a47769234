"""The idempotency helper where functions use it: in the real sandbox, on every Python, and under a worker that kills."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from fnrunner.model.invocation import FunctionError, Succeeded
from fnrunner.runtimes.python import PythonRuntime
from fnrunner.runtimes.runtime import RuntimeUnavailable
from fnrunner.worker.environment import Environment
from tests.installation import Installation
from tests.integration.environment_kit import Kit, invocation, kit


@pytest.fixture
def shared() -> Iterator[Path]:
    """A directory that functions see. Not below /tmp: they have a /tmp of their own."""
    with TemporaryDirectory(dir="/var/tmp") as directory:
        yield Path(directory)


@pytest.fixture
async def full(tmp_path: Path) -> AsyncIterator[Kit]:
    async with kit("full", tmp_path) as made:
        yield made


@pytest.fixture
async def bare(tmp_path: Path) -> AsyncIterator[Kit]:
    async with kit("bare", tmp_path) as made:
        yield made


async def answer_of(environment: Environment, event: object, request_id: str = "r-1") -> object:
    answer = await environment.invoke(invocation(json.dumps(event).encode(), request_id))
    assert isinstance(answer.outcome, Succeeded), answer
    return json.loads(answer.outcome.payload)


async def error_of(environment: Environment, event: object) -> FunctionError:
    answer = await environment.invoke(invocation(json.dumps(event).encode(), "r-1"))
    assert isinstance(answer.outcome, FunctionError), answer
    return answer.outcome


COUNTS = """
    import sys
    from fnrunner_idempotency import SQLiteStore, idempotent

    ran = 0

    @idempotent(store=SQLiteStore({path!r}), payload="$")
    def handler(event, context):
        global ran
        ran += 1
        return {{"ran": ran, "by": list(sys.version_info[:2])}}
"""


@pytest.mark.parametrize("runtime", ["python3.11", "python3.12", "python3.13"])
async def test_two_environments_share_a_record_on_every_python(full: Kit, shared: Path, runtime: str) -> None:
    try:
        PythonRuntime().interpreter(runtime)
    except RuntimeUnavailable as error:
        pytest.skip(str(error))
    source = COUNTS.format(path=str(shared / ".idempotency.sqlite"))
    one, other = [await full.started(source, runtime=runtime) for _ in range(2)]
    assert await answer_of(one, {"n": 1}) == {"ran": 1, "by": [3, int(runtime.split(".")[1])]}
    assert await answer_of(other, {"n": 1}) == await answer_of(one, {"n": 1})
    assert (await error_of(other, {"n": 2})).error_type == "IdempotencyValidationError"
    second = await answer_of(other, {"n": 2}, "r-2")
    assert isinstance(second, dict)
    assert second["ran"] == 1


async def test_the_private_tmp_is_refused_and_the_error_says_where_to_go(full: Kit) -> None:
    if not full.sandbox.describe().mount_namespace:
        pytest.skip("functions see the host's /tmp here")
    error = await error_of(await full.started(COUNTS.format(path="/tmp/.idempotency.sqlite")), {})
    assert error.error_type == "IdempotencyPlaceError"
    assert "a bucket's (!GetAtt NAME.Directory" in error.message


async def test_the_private_directory_is_refused_where_the_sandbox_cannot_mount(bare: Kit) -> None:
    source = """
        import os, tempfile
        from fnrunner_idempotency import SQLiteStore, idempotent

        @idempotent(store=SQLiteStore(tempfile.gettempdir() + "/.idempotency.sqlite"))
        def handler(event, context):
            return 1
    """
    error = await error_of(await bare.started(source), {})
    assert error.error_type == "IdempotencyPlaceError"


async def test_a_function_without_psycopg_is_told_to_bring_it(full: Kit) -> None:
    source = """
        from fnrunner_idempotency import PostgresStore

        def handler(event, context):
            return repr(PostgresStore("postgresql://127.0.0.1:1/x"))
    """
    error = await error_of(await full.started(source), {})
    assert error.error_type == "IdempotencyDriverMissingError"
    assert "requirements.txt" in error.message


async def test_what_a_function_brings_under_the_same_name_comes_first(full: Kit) -> None:
    (full.code / "fnrunner_idempotency").mkdir(parents=True)
    (full.code / "fnrunner_idempotency" / "__init__.py").write_text("own = 5\n")
    source = """
        from fnrunner_idempotency import own

        def handler(event, context):
            return own
    """
    assert await answer_of(await full.started(source), {}) == 5


KILLED_IN_THE_MIDDLE = """
    import os
    import time

    from fnrunner_idempotency import SQLiteStore, idempotent, idempotent_function

    store = SQLiteStore(os.environ["SHARED"] + "/.idempotency.sqlite")

    def note(text):
        with open(os.environ["SHARED"] + "/log", "a") as file:
            file.write(text + "\\n")

    def stall_once(place):
        if not os.path.exists(os.environ["SHARED"] + "/" + place):
            open(os.environ["SHARED"] + "/" + place, "w").close()
            time.sleep(30)

    @idempotent_function(store=store, key="order")
    def charge(order):
        stall_once("before the effect")
        note("charged")
        return {"charged": order}

    @idempotent(store=store)
    def handler(event, context):
        note(f"began {context.aws_request_id}")
        charged = charge(event["order"])
        stall_once("after the effect")
        note("ended")
        return charged
"""


@pytest.mark.slow
def test_a_function_that_is_killed_by_its_timeout_has_its_effect_once(shared: Path) -> None:
    with Installation(shared) as server:
        server.start("dev")
        variables = {"Variables": {"SHARED": str(shared)}}
        server.deploy("payments", KILLED_IN_THE_MIDDLE, Timeout=1, Environment=variables)
        event = server.send("payments", {"order": "o-1"})
        balance = server.settled("payments", 1)
        assert (balance["succeeded"], balance["missing"]) == (1, 0)
        # killed before the effect, killed after it, and then to the end: each retry took over what the last had claimed
        began = f"began {event}"
        assert (shared / "log").read_text().splitlines() == [began, began, "charged", began, "ended"]
        outcomes = [attempt["error_type"] for attempt in server.story(event)["attempts"]]
        assert outcomes[:2] == ["Sandbox.Timedout"] * 2
        assert len(outcomes) == 3
        # another event with the same order: its handler runs, the effect does not
        server.send("payments", {"order": "o-1"})
        server.settled("payments", 2)
        assert (shared / "log").read_text().splitlines()[-1] == "ended"
        assert (shared / "log").read_text().count("charged") == 1
