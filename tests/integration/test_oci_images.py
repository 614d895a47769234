"""Functions that are container images: fetched, unpacked, run in an OCI runtime, and what they can and cannot do there."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fnrunner.model.image import ImageCode, ImageConfig
from fnrunner.model.invocation import FunctionError, Succeeded
from fnrunner.runtimes.image import NAME, ImageRuntime
from fnrunner.sandbox import cgroups
from fnrunner.sandbox.cgroups import MOUNT
from fnrunner.sandbox.oci.engine import Engine, engines
from fnrunner.sandbox.oci.errors import ImageChanged, ImageError, ImageRefused
from fnrunner.sandbox.oci.sandbox import ContainerSandbox
from fnrunner.sandbox.oci.store import ImageStore
from fnrunner.sandbox.ownership import Owner
from fnrunner.worker.environment import Environment, EnvironmentState
from tests.integration.environment_kit import invocation, make_spec, open_fds, processes_of
from tests.integration.oci_kit import app, compiled, entry, layer, require_tools, write_image
from tests.integration.runtime_api_kit import CLIENT


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return compiled(tmp_path_factory.mktemp("c"))


@dataclass
class World:
    directory: Path
    store: ImageStore
    sandbox: ContainerSandbox
    made: list[Environment] = field(default_factory=list)

    def image(self, *layers: bytes, name: str = "image", **config: Any) -> str:
        shutil.rmtree(self.directory / name, ignore_errors=True)
        return write_image(self.directory / name, layers, config)

    async def environment(self, uri: str, config: ImageConfig | None = None, **spec: Any) -> Environment:
        """Not started."""
        code = ImageCode(uri, await self.store.resolve(uri), config or ImageConfig())
        image = await self.store.ready(code)
        found = Environment(
            make_spec(self.directory, runtime=NAME, handler="", image=image, **spec),
            self.sandbox,
            ImageRuntime(),
            cold_reason="first",
            init_timeout=timedelta(seconds=30),
        )
        self.made.append(found)
        return found

    async def started(self, uri: str, config: ImageConfig | None = None, **spec: Any) -> Environment:
        environment = await self.environment(uri, config, **spec)
        await environment.start()
        return environment


def groups_of(environment_id: str) -> list[Path]:
    """Every control group that was made for it, whoever made it."""
    return [path for path in MOUNT.rglob(f"*{environment_id}") if path.is_dir()]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    require_tools()
    before = open_fds()
    root = tmp_path / "environments"
    root.mkdir()
    hierarchy = cgroups.discover()
    made = World(tmp_path, ImageStore(tmp_path / "images"), ContainerSandbox(root, hierarchy=hierarchy))
    yield made
    for environment in made.made:
        await environment.stop()
        assert processes_of(environment) == []
        assert groups_of(environment.environment_id) == []
    assert list(root.iterdir()) == []
    assert open_fds() <= before


async def said(environment: Environment, payload: object = "probe") -> Any:
    outcome = (await environment.invoke(invocation(json.dumps(payload).encode()))).outcome
    assert isinstance(outcome, Succeeded), outcome
    return json.loads(outcome.payload)


async def test_an_image_runs_isolated_with_its_own_settings(world: World, program: bytes) -> None:
    uri = world.image(app(program), Entrypoint=["/srv/app"], Cmd=["from-cmd"], Env=["A=image"], WorkingDir="/srv")
    environment = await world.started(uri)
    assert await said(environment, [1, 2]) == [1, 2]
    seen = await said(environment)
    # EROFS, none, EPERM, EPERM
    assert (seen["root"], seen["tmp"], seen["mount"], seen["unshare"]) == (30, 0, 1, 1)
    assert (seen["cwd"], seen["A"], seen["arg"], seen["function"]) == ("/srv", "image", "from-cmd", "f")
    assert (seen["caps"], seen["shadow"]) == (0, 2)
    assert seen["processes"] <= 3
    answer = await environment.invoke(invocation(b'"probe"'))
    assert answer.logs == b"probing\n"
    assert answer.report.max_memory_mb > 0


async def test_a_function_overrides_what_its_image_says(world: World, program: bytes) -> None:
    uri = world.image(app(program), Entrypoint=["/nothing"], Cmd=["from-cmd"], Env=["A=image", "PATH=/srv"])
    config = ImageConfig(entry_point=("app",), command=("overridden",), working_directory="/tmp")
    seen = await said(await world.started(uri, config, variables={"A": "function"}))
    assert (seen["cwd"], seen["A"], seen["arg"]) == ("/tmp", "function", "overridden")


async def test_python_with_lambdas_way_of_a_bootstrap_runs_in_an_image_that_has_it(world: World) -> None:
    home = Path(os.path.realpath("/usr/bin/python3"))
    if not home.is_file():
        pytest.skip("no system Python is on this host")
    libraries = {
        line.split()[2] for line in subprocess.check_output(["ldd", home], text=True).splitlines() if "=> /" in line
    }
    loader = next(
        path for path in ("/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1") if os.path.exists(path)
    )
    trees = {path.lstrip("/"): Path(os.path.realpath(path)) for path in (*libraries, loader)}
    version = f"usr/lib/{home.name}"
    trees |= {"usr/bin/python3": home, version: Path("/") / version}
    source = CLIENT + "\nserve(lambda event, headers: json.dumps([event, sys.version_info[0]]))"
    uri = world.image(
        layer(trees=trees), layer(entry("app.py", source.encode())), Entrypoint=["/usr/bin/python3", "-S", "/app.py"]
    )
    assert await said(await world.started(uri, memory_mb=256), "x") == ["x", 3]


async def test_layers_are_applied_with_whiteouts_links_and_nothing_outside(world: World, program: bytes) -> None:
    outside = world.directory / "outside"
    outside.write_text("kept")
    lower = layer(
        entry("srv", type=tarfile.DIRTYPE),
        entry("srv/app", program),
        entry("gone", b"x"),
        entry("hidden", type=tarfile.DIRTYPE),
        entry("hidden/old", b"x"),
    )
    upper = layer(
        entry(".wh.gone"),
        entry("hidden/.wh..wh..opq"),
        entry("hidden/new", b"x"),
        entry("hard", type=tarfile.LNKTYPE, linkname="srv/app"),
        entry("escape", type=tarfile.SYMTYPE, linkname="/.." * 20 + str(world.directory)),
        entry("escape/outside", b"overwritten"),
        entry("../../outside", b"overwritten"),
        entry("device", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
    )
    uri = world.image(lower, upper, Entrypoint=["/hard"])
    environment = await world.started(uri)
    assert await said(environment, 1) == 1
    assert environment.spec.image is not None
    root = Path(environment.spec.image.root)
    assert outside.read_text() == "kept"
    assert not (root / "gone").exists()
    assert sorted(path.name for path in (root / "hidden").iterdir()) == ["new"]
    assert (root / "hard").stat().st_ino == (root / "srv" / "app").stat().st_ino
    assert not (root / "device").is_char_device()


async def test_how_a_container_ends_is_told_as_of_any_runtime(world: World, program: bytes) -> None:
    uri = world.image(app(program), Entrypoint=["/srv/app"])
    environment = await world.started(uri)
    outcome = (await environment.invoke(invocation(b'"exit"'))).outcome
    assert isinstance(outcome, FunctionError)
    assert outcome.message == "RequestId: request-1 Error: Runtime exited with error: exit status 3"
    assert environment.state is EnvironmentState.GONE


async def test_a_container_has_the_limits_of_its_function_and_leaves_nothing(world: World, program: bytes) -> None:
    uri = world.image(app(program), Entrypoint=["/srv/app"])
    hanging = await world.started(uri, timeout=timedelta(seconds=1))
    outcome = (await hanging.invoke(invocation(b'"hang"'))).outcome
    assert isinstance(outcome, FunctionError)
    assert (outcome.error_type, processes_of(hanging)) == ("Sandbox.Timedout", [])
    eating = await world.started(uri, memory_mb=128)
    outcome = (await eating.invoke(invocation(b'"eat"'))).outcome
    assert isinstance(outcome, FunctionError)
    assert outcome.message == "RequestId: request-1 Error: Runtime exited with error: signal: killed"
    assert eating.out_of_memory


async def test_what_a_dead_worker_left_is_removed_by_the_next_one(world: World, program: bytes) -> None:
    uri = world.image(app(program), Entrypoint=["/srv/app"])
    dead = subprocess.Popen(["true"])
    dead.wait()
    owner = replace(Owner.this_process(), pid=dead.pid, start=1)
    world.sandbox._owner = owner
    environment = await world.started(uri)
    successor = ContainerSandbox(world.directory / "environments", hierarchy=cgroups.discover())
    assert await asyncio.to_thread(successor.sweep) == 1
    assert processes_of(environment) == []
    # those with limits are the other sandbox's to remove
    left = groups_of(environment.environment_id)
    assert {path.parent.name for path in left} <= {owner.name("functions")}


async def test_a_start_that_is_cancelled_while_the_container_is_made_leaves_none(world: World, program: bytes) -> None:
    environment = await world.environment(world.image(app(program), Entrypoint=["/srv/app"]))
    engine, begun = engines()[0], world.directory / "begun"
    slow = world.directory / "slow" / engine.name
    slow.parent.mkdir()
    kept = world.directory / "kept"
    # it has read all it needs when the sandbox is told to give up
    slow.write_text(f"""#!/bin/sh
case "$*" in *" create "*)
    home=$(echo "$*" | sed 's#.*--bundle \\([^ ]*\\)/bundle .*#\\1#')
    cp -r $home {kept}; : > {begun}; sleep 0.3; mkdir -p $home; cp -r {kept}/. $home;;
esac
exec {engine.path} "$@"
""")
    slow.chmod(0o755)
    world.sandbox._engine = Engine(str(slow))
    starting = asyncio.create_task(environment.start())
    async with asyncio.timeout(20):
        while not begun.exists():
            await asyncio.sleep(0.01)
    for _ in range(2):
        starting.cancel()
        await asyncio.sleep(0.05)
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert list((world.directory / "environments").iterdir()) == []
    assert processes_of(environment) == []
    assert groups_of(environment.environment_id) == []


async def test_an_image_that_cannot_be_put_in_its_place_is_not_said_to_be_there(
    world: World, program: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(target))

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(ImageError, match=r"could not be unpacked.*No space left on device"):
        await world.environment(world.image(app(program), Entrypoint=["/srv/app"]))
    assert list((world.directory / "images").iterdir()) == []


async def test_extensions_of_an_image_run_beside_its_process(world: World, program: bytes) -> None:
    uri = world.image(app(program, entry("opt/extensions/broken", b"no program")), Entrypoint=["/srv/app"])
    outcome = (await (await world.started(uri)).invoke(invocation())).outcome
    assert isinstance(outcome, FunctionError)
    assert outcome.message == "Error: fork/exec /opt/extensions/broken: exec format error"


@pytest.mark.parametrize(
    ("entry_point", "message"),
    [
        ("/no/such", "fork/exec /no/such: no such file or directory"),
        ("missing", 'exec: "missing": executable file not found in $PATH'),
    ],
)
async def test_an_entry_point_that_is_not_there_is_named(
    world: World, program: bytes, entry_point: str, message: str
) -> None:
    environment = await world.started(world.image(app(program), Entrypoint=[entry_point]))
    outcome = (await environment.invoke(invocation())).outcome
    assert isinstance(outcome, FunctionError)
    assert (outcome.error_type, outcome.message) == ("Runtime.InvalidEntrypoint", f"Error: {message}")


async def test_what_is_no_image_is_refused_with_the_reason(world: World, program: bytes) -> None:
    with pytest.raises(ImageError, match="skopeo"):
        await world.store.resolve(f"oci:{world.directory}/nothing:latest")
    with pytest.raises(ImageRefused, match="absolute path"):
        await world.store.resolve("oci:here:latest")
    with pytest.raises(ImageRefused, match="neither ENTRYPOINT nor CMD"):
        await world.environment(world.image(app(program)))
    with pytest.raises(ImageRefused, match="which fnrunner needs"):
        await world.environment(world.image(app(program, entry(".fnrunner", b"")), Cmd=["/srv/app"]))
    uri = world.image(app(program), Cmd=["/srv/app"])
    code = ImageCode(uri, await world.store.resolve(uri))
    world.image(app(program), Cmd=["/srv/app", "other"])
    with pytest.raises(ImageChanged, match="Update the function's code"):
        await world.store.ready(code)
    assert [path.name for path in (world.directory / "images").iterdir() if path.name.startswith(".aside")] == []
