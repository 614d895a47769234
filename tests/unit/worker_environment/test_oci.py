"""What container images decide without touching the host: names, processes, the OCI runtime's description."""

from __future__ import annotations

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fnrunner.cli.deploy import image as deployed
from fnrunner.model.image import ImageConfig
from fnrunner.sandbox.oci import bundle, engine, process, reference, store
from fnrunner.sandbox.oci.bundle import Shown
from fnrunner.sandbox.oci.errors import ContainersUnavailable, ImageRefused


@pytest.mark.parametrize("module", [reference, process, store, deployed])
def test_the_examples_in_the_docstrings_hold(module: object) -> None:
    result = doctest.testmod(module)  # type: ignore[arg-type]
    assert (result.attempted > 0, result.failed) == (True, 0)


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "docker://",
        "dir:/etc",
        "oci:relative",
        "docker-archive:../x.tar",
        "--help",
        "docker://--help",
        "a b",
        "docker://host/../x",
        "http://host/image",
        "h/" + "a" * 2000,
        "h/a\n--help",
    ],
)
def test_what_is_no_name_of_an_image_is_refused(uri: str) -> None:
    with pytest.raises(ImageRefused):
        reference.source(uri)


@given(st.text(max_size=40))
def test_no_name_becomes_an_option_of_a_tool(uri: str) -> None:
    try:
        source = reference.source(uri)
    except ImageRefused:
        return
    assert source.startswith(reference.TRANSPORTS)


@pytest.mark.parametrize(
    ("override", "argv"),
    [
        (ImageConfig(), ("/run", "app.handler")),
        (ImageConfig(entry_point=("/other",)), ("/other", "app.handler")),
        (ImageConfig(command=("b.c",)), ("/run", "b.c")),
        (ImageConfig(entry_point=(), command=("/alone",)), ("/alone",)),
    ],
)
def test_a_function_overrides_entry_point_and_command_by_themselves(
    override: ImageConfig, argv: tuple[str, ...]
) -> None:
    assert process.image({"Entrypoint": ["/run"], "Cmd": ["app.handler"]}, override, "/r").argv == argv


@pytest.mark.parametrize("config", [{}, {"Cmd": None}, {"Cmd": [""]}, {"Entrypoint": "text"}, {"Cmd": [1]}])
def test_an_image_that_runs_nothing_is_refused(config: dict[str, object]) -> None:
    with pytest.raises(ImageRefused):
        process.image(config, ImageConfig(), "/r")


def test_a_container_has_no_capability_its_own_namespaces_and_a_root_that_cannot_be_written() -> None:
    made = bundle.bundle(
        "/rootfs",
        ("/init",),
        marker="A=b",
        shown=[Shown("/host", "/inside"), Shown("/tmp/x", "/tmp", writable=True)],
        limits={"RLIMIT_NOFILE": 1024},
        user=(1000, 1001),
        own_network=True,
    )
    begun = made["process"]
    assert not any(begun["capabilities"].values())
    assert (begun["noNewPrivileges"], begun["env"], made["root"]["readonly"]) == (True, ["A=b"], True)
    kinds = {one["type"] for one in made["linux"]["namespaces"]}
    assert kinds == {"user", "mount", "pid", "ipc", "uts", "network"}
    shown = {mount["destination"]: mount["options"] for mount in made["mounts"]}
    assert "ro" in shown["/inside"]
    assert {"rw", "nosuid", "nodev"} <= set(shown["/tmp"])
    assert made["linux"]["uidMappings"] == [{"containerID": 0, "hostID": 1000, "size": 1}]
    refused = {name for rule in made["linux"]["seccomp"]["syscalls"] for name in rule["names"]}
    assert {"mount", "unshare", "setns", "ptrace", "bpf", "clone3", "keyctl", "io_uring_setup"} <= refused


def test_an_images_package_is_compared_by_its_digest_and_sent_by_its_name() -> None:
    package = deployed.packed("host/app:1", "ab" * 32)
    assert deployed.source(package) == {"ImageUri": f"host/app:1@sha256:{'ab' * 32}"}
    assert deployed.source(deployed.packed("oci:/a:b", "cd")) == {"ImageUri": "oci:/a:b"}
    assert deployed.published_sha256(package) == "ab" * 32
    there = {"PackageType": "Image", "CodeSha256": "ab" * 32}
    seen = deployed.in_terms_of_packages(there, {"ImageUri": f"host/app:1@sha256:{'ab' * 32}"})
    assert (seen["CodeSha256"], seen["ImageConfig"]) == (package.code_sha256, deployed.UNCHANGED)


def test_a_host_without_the_tools_says_which_and_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name, path=None: "/usr/bin/skopeo" if name == "skopeo" else None)
    with pytest.raises(ContainersUnavailable, match=r"need umoci, which .* apt-get install umoci"):
        store.Tools.on_this_host()
    with pytest.raises(ContainersUnavailable, match=r"need an OCI runtime, .* Install one .*apt-get install crun"):
        engine.require_any()
