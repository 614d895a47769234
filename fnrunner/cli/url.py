"""`fnrunner url`: function URLs, at which anybody, or whoever signs, calls a function over plain HTTP."""

from __future__ import annotations

from typing import Any

import click

from fnrunner.cli import option
from fnrunner.cli.client import ADMIN, Client, segment
from fnrunner.cli.function import confirm
from fnrunner.cli.option import rows
from fnrunner.cli.output import Output

_CONFIGS = "/2021-10-31/functions"


def register(app: click.Group) -> None:
    group = click.Group("url", help="Create, list, show and remove function URLs.", no_args_is_help=True)
    group.add_command(create)
    group.add_command(list_urls)
    group.add_command(show)
    group.add_command(remove)
    app.add_command(group)


@click.command("create")
@option.function_name
@click.option(
    "--auth", "auth", type=click.Choice(["NONE", "AWS_IAM"]), default="NONE", show_default=True,
    help="Who may call: everybody, or whoever signs with a key of the credentials file.",
)  # fmt: skip
@click.option("--stream", "stream", is_flag=True, help="Send the answer while the function makes it.")
@click.option("--cors-origin", "origins", metavar="ORIGIN", multiple=True, help="Pages that may read it; repeatable.")
@click.option("--cors-method", "methods", metavar="METHOD", multiple=True, help="What pages may send; repeatable.")
@click.option("--cors-header", "headers", metavar="NAME", multiple=True, help="Headers pages may send; repeatable.")
@option.as_json
@option.endpoint
def create(
    name: str,
    auth: str,
    stream: bool,
    origins: tuple[str, ...],
    methods: tuple[str, ...],
    headers: tuple[str, ...],
    as_json: bool,
    endpoint_url: str,
) -> None:
    """Give a function a URL, and print it. With --json: what the Lambda API answers.

    Keys for --auth AWS_IAM are made by `fnrunner credentials create USER`.
    """
    document: dict[str, Any] = {"AuthType": auth}
    if stream:
        document["InvokeMode"] = "RESPONSE_STREAM"
    given = {"AllowOrigins": list(origins), "AllowMethods": list(methods), "AllowHeaders": list(headers)}
    if cors := {key: values for key, values in given.items() if values}:
        document["Cors"] = cors
    made = Client(endpoint_url).send("POST", url_path(name), document)
    output = Output(as_json)
    if as_json:
        output.json(made)
    output.line(made["FunctionUrl"])


@click.command("ls")
@option.as_json
@option.endpoint
def list_urls(as_json: bool, endpoint_url: str) -> None:
    """List all function URLs. With --json: {"urls": [{"function", "url", "auth_type", "invoke_mode"}]}."""
    found = Client(endpoint_url).get(f"{ADMIN}/urls")
    output = Output(as_json)
    if as_json:
        output.json(found)
        return
    output.table(
        ("FUNCTION", "AUTH", "MODE", "URL"),
        rows(found["urls"], "function", "auth_type", "invoke_mode", "url"),
        empty="There are no function URLs yet. `fnrunner url create NAME` makes one.",
    )


@click.command("show")
@option.function_name
@option.as_json
@option.endpoint
def show(name: str, as_json: bool, endpoint_url: str) -> None:
    """Show a function's URL. With --json: what the Lambda API answers."""
    found = Client(endpoint_url).get(url_path(name))
    output = Output(as_json)
    if as_json:
        output.json(found)
        return
    for label, key in (("URL", "FunctionUrl"), ("Auth", "AuthType"), ("Mode", "InvokeMode"), ("Since", "CreationTime")):
        output.line(f"{label + ':':<9}{found[key]}")
    for key, value in found.get("Cors", {}).items():
        output.line(f"{key}: {', '.join(value) if isinstance(value, list) else value}")


@click.command("rm")
@option.function_name
@click.option("--yes", "-y", "yes", is_flag=True, help="Do not ask.")
@option.as_json
@option.endpoint
def remove(name: str, yes: bool, as_json: bool, endpoint_url: str) -> None:
    """Take a function's URL away. A new one will have another name. With --json: {"removed": NAME}."""
    client, output = Client(endpoint_url), Output(as_json)
    client.get(url_path(name))
    confirm(f"Take the URL of {name} away? A new one will have another name.", yes)
    client.call("DELETE", url_path(name))
    if as_json:
        output.json({"removed": name})
    output.line(f"Removed the URL of {name}.")


def url_path(name: str) -> str:
    """The path of a function's URL in the Lambda API."""
    return f"{_CONFIGS}/{segment(name)}/url"
