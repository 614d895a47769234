"""`fnrunner layer`: publish versions of layers, list, show and delete them."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from fnrunner.cli import option
from fnrunner.cli.client import Client, segment
from fnrunner.cli.error import UsageFault
from fnrunner.cli.function import confirm
from fnrunner.cli.output import Output, clean, size

LAYERS = "/2018-10-31/layers"


def register(app: click.Group) -> None:
    group = click.Group("layer", help="Publish, list, show and delete layers.", no_args_is_help=True)
    for command in (publish, list_layers, show, delete):
        group.add_command(command)
    app.add_command(group)


@click.command("publish")
@click.argument("name", metavar="NAME")
@click.argument("path", metavar="PATH")
@click.option("--description", default="", metavar="TEXT", help="What this version is.")
@click.option("--license", "license_info", default="", metavar="TEXT", help="Its licence, such as MIT.")
@click.option("--runtime", "runtimes", multiple=True, metavar="NAME", help="A runtime it is made for; repeatable.")
@click.option("--architecture", "architectures", multiple=True, metavar="NAME", help="x86_64 or arm64; repeatable.")
@option.as_json
@option.endpoint
def publish(
    name: str, path: str, description: str, license_info: str, runtimes: tuple[str, ...],
    architectures: tuple[str, ...], as_json: bool, endpoint_url: str,
) -> None:  # fmt: skip
    """Publish a version of a layer from a zip or a folder, which is zipped as it is.

    What is in python/ or python/lib/pythonX.Y/site-packages/, in nodejs/node_modules/, bin/, lib/ and extensions/ is found by
    functions; all of it is below /opt. With --json: PublishLayerVersion's answer.
    """
    content = zipped(Path(path))
    wanted: dict[str, Any] = {"Content": {"ZipFile": base64.b64encode(content).decode()}, "Description": description}
    if license_info:
        wanted["LicenseInfo"] = license_info
    if runtimes:
        wanted["CompatibleRuntimes"] = list(runtimes)
    if architectures:
        wanted["CompatibleArchitectures"] = list(architectures)
    output = Output(as_json)
    with output.progress(f"Uploading {name}") as progress:
        made = Client(endpoint_url).send("POST", f"{LAYERS}/{segment(name)}/versions", wanted, progress=progress)
    if as_json:
        output.json(made)
    output.line(f"Published {made['LayerVersionArn']} ({size(made['Content']['CodeSize'])}).")


@click.command("ls")
@click.argument("name", metavar="[NAME]", default="")
@click.option("--runtime", metavar="NAME", help="Only what is made for this runtime.")
@option.as_json
@option.endpoint
def list_layers(name: str, runtime: str | None, as_json: bool, endpoint_url: str) -> None:
    """List the layers, each with its newest version, or the versions of one.

    With --json: {"Layers": […]} or {"LayerVersions": […]}, as the Lambda API has them.
    """
    client, output = Client(endpoint_url), Output(as_json)
    if name:
        key, path = "LayerVersions", f"{LAYERS}/{segment(name)}/versions"
    else:
        key, path = "Layers", LAYERS
    found = list(client.pages(path, key, CompatibleRuntime=runtime))
    if as_json:
        output.json({key: found})
        return
    versions = [(name or one["LayerName"], one if name else one["LatestMatchingVersion"]) for one in found]
    output.table(
        ("LAYER", "VERSION", "CREATED", "RUNTIMES", "DESCRIPTION"),
        [
            [
                layer,
                one["Version"],
                one["CreatedDate"][:19],
                ", ".join(one.get("CompatibleRuntimes", ())) or "-",
                one["Description"],
            ]
            for layer, one in versions
        ],
        empty="There are no layers yet. `fnrunner layer publish NAME PATH` makes one."
        if not name
        else "There is no version.",
    )


@click.command("show")
@click.argument("version", metavar="NAME:VERSION")
@option.as_json
@option.endpoint
def show(version: str, as_json: bool, endpoint_url: str) -> None:
    """Show a version of a layer; NAME:VERSION may be its ARN. With --json: GetLayerVersion's answer."""
    found, output = Client(endpoint_url).get(version_path(version)), Output(as_json)
    if as_json:
        output.json(found)
        return
    content = found["Content"]
    for label, value in (
        ("Layer version", found["LayerVersionArn"]),
        ("Description", found["Description"] or "-"),
        ("Created", found["CreatedDate"][:19]),
        ("Runtimes", ", ".join(found.get("CompatibleRuntimes", ())) or "-"),
        ("Architectures", ", ".join(found.get("CompatibleArchitectures", ())) or "-"),
        ("Licence", found.get("LicenseInfo", "-")),
        ("Size", size(content["CodeSize"])),
        ("SHA-256", content["CodeSha256"]),
        ("Signed by", content.get("SigningProfileVersionArn", "-")),
    ):
        output.line(f"{label + ':':15}{clean(str(value))}")


@click.command("rm")
@click.argument("version", metavar="NAME:VERSION")
@click.option("--yes", "-y", "yes", is_flag=True, help="Do not ask.")
@option.as_json
@option.endpoint
def delete(version: str, yes: bool, as_json: bool, endpoint_url: str) -> None:
    """Delete a version of a layer. Functions that have it keep it. With --json: {"removed": NAME:VERSION}."""
    client, output = Client(endpoint_url), Output(as_json)
    client.get(version_path(version))
    confirm(f"Delete the layer version {version} for good?", yes)
    client.call("DELETE", version_path(version))
    if as_json:
        output.json({"removed": version})
    output.line(f"Removed {clean(version)}.")


def version_path(text: str) -> str:
    """The path of a layer version, named by NAME:VERSION or ARN. Raises UsageFault.

    >>> version_path("numpy:3")
    '/2018-10-31/layers/numpy/versions/3'
    """
    name, found, number = text.rpartition(":")
    if not found or not (number.isascii() and number.isdecimal()):
        raise UsageFault(f"{text!r} names no version of a layer", "It has the form NAME:VERSION: numpy:3")
    return f"{LAYERS}/{quote(name, safe='')}/versions/{number}"


def zipped(path: Path) -> bytes:
    """The zip at a path, or that of a folder. Raises UsageFault."""
    from fnrunner.cli.deploy import package

    if path.is_dir():
        return package.pack(package.of_folder(path)).data
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageFault(f"{path}: {error.strerror}", "Name a zip or a folder.") from error
