"""`fnrunner functions publish`, `versions`, `aliases`, `alias`, `unalias`: numbered copies of a function, and their names."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import click

from fnrunner.cli import option
from fnrunner.cli.client import Client, admin_path, function_path, segment
from fnrunner.cli.error import ServerRefused, UsageFault
from fnrunner.cli.output import Output, clean, size
from fnrunner.model import limits
from fnrunner.model.arn import FunctionRef, InvalidArn


def register(functions: click.Group) -> None:
    """Below `fnrunner functions`."""
    for command in (publish, list_versions, list_aliases, point, remove_alias):
        functions.add_command(command)


@click.command("publish")
@option.function_name
@click.option("--description", metavar="TEXT", help="What this version is. Left out: as the function's.")
@click.option("--yes", "-y", "yes", is_flag=True, help="Do not ask where saved code is not deployed.")
@option.as_json
@option.endpoint
def publish(name: str, description: str | None, yes: bool, as_json: bool, endpoint_url: str) -> None:
    """Publish what the function is now as a version that never changes.

    Nothing new is made when nothing has changed since the last one. With --json: PublishVersion's answer.
    """
    wanted = {} if description is None else {"Description": description}
    client = Client(endpoint_url)
    if not yes and _runs_saved_code(client, name):
        raise UsageFault(
            f"{bare(name)} runs code that was saved for `fnrunner dev` and never deployed: a version would have the code "
            "before that",
            "Deploy it first with `fnrunner deploy PATH`, or publish what is deployed with --yes.",
        )
    made = client.send("POST", function_path(name, "versions"), wanted)
    output = Output(as_json)
    if as_json:
        output.json(made)
        return
    output.line(f"{clean(made['FunctionName'])} has version {made['Version']}.")


def _runs_saved_code(client: Client, name: str) -> bool:
    try:
        return bool((client.find(admin_path(name, "saved")) or {}).get("saved"))
    except ServerRefused:  # whoever may publish need not be allowed to ask
        return False


@click.command("versions")
@option.function_name
@option.as_json
@option.endpoint
def list_versions(name: str, as_json: bool, endpoint_url: str) -> None:
    """List the versions of a function. `fnrunner functions rm NAME:VERSION` removes one.

    With --json: {"Versions": [FunctionConfiguration]}, as the Lambda API has them.
    """
    client = Client(endpoint_url)
    found, output = versions(client, name), Output(as_json)
    if as_json:
        output.json({"Versions": found})
        return
    named = aliases(client, name)
    output.table(
        ("VERSION", "ALIASES", "MODIFIED", "CODE", "SHA256", "DESCRIPTION"),
        [
            [
                version["Version"],
                ", ".join(alias["Name"] for alias in named if version["Version"] in _weights(alias)) or "-",
                version["LastModified"][:19],
                size(version["CodeSize"]),
                version["CodeSha256"][:12],
                version["Description"],
            ]
            for version in found
        ],
        empty="There is no version.",
    )


@click.command("aliases")
@option.function_name
@option.as_json
@option.endpoint
def list_aliases(name: str, as_json: bool, endpoint_url: str) -> None:
    """List the aliases of a function. With --json: {"Aliases": [AliasConfiguration]}, as the Lambda API has them."""
    found, output = aliases(Client(endpoint_url), name), Output(as_json)
    if as_json:
        output.json({"Aliases": found})
        return
    output.table(
        ("ALIAS", "VERSIONS", "DESCRIPTION"),
        [[alias["Name"], shared(alias), alias["Description"]] for alias in found],
        empty="There are no aliases yet. `fnrunner functions alias NAME ALIAS VERSION` makes one.",
    )


@click.command("alias")
@option.function_name
@click.argument("alias", metavar="ALIAS")
@click.argument("version", metavar="VERSION")
@click.option("--also", metavar="VERSION=WEIGHT", help="A second version and its share, such as 2=0.1. Left out: none.")
@click.option("--description", metavar="TEXT", help="What the alias is for. Left out: as it was.")
@option.as_json
@option.endpoint
def point(
    name: str, alias: str, version: str, also: str | None, description: str | None, as_json: bool, endpoint_url: str
) -> None:
    """Make an alias of a version, or move it there. With --json: AliasConfiguration, as the Lambda API has it."""
    client = Client(endpoint_url)
    wanted: dict[str, Any] = {"FunctionVersion": version, "RoutingConfig": {"AdditionalVersionWeights": _also(also)}}
    if description is not None:
        wanted["Description"] = description
    if client.find(alias_path(name, alias)):
        made = client.send("PUT", alias_path(name, alias), wanted)
    else:
        made = client.send("POST", function_path(name, "aliases"), {"Name": alias, **wanted})
    output = Output(as_json)
    if as_json:
        output.json(made)
        return
    output.line(f"{clean(alias)} of {clean(name)} is {shared(made)}.")


@click.command("unalias")
@option.function_name
@click.argument("alias", metavar="ALIAS")
@option.as_json
@option.endpoint
def remove_alias(name: str, alias: str, as_json: bool, endpoint_url: str) -> None:
    """Remove an alias; its versions stay. With --json: {"removed": ALIAS}."""
    client, output = Client(endpoint_url), Output(as_json)
    client.get(alias_path(name, alias))
    client.call("DELETE", alias_path(name, alias))
    if as_json:
        output.json({"removed": alias})
    output.line(f"Removed {clean(alias)}.")


def alias_path(name: str, alias: str) -> str:
    """The path of an alias in the Lambda API."""
    return function_path(name, "aliases", segment(alias))


def versions(client: Client, name: str) -> list[dict[str, Any]]:
    """``$LATEST`` and what was published of it, by number."""
    return list(client.pages(function_path(bare(name), "versions"), "Versions"))


def published(client: Client, name: str) -> list[str]:
    """The numbers of the published versions."""
    return [one["Version"] for one in versions(client, name) if one["Version"] != limits.LATEST]


def aliases(client: Client, name: str) -> list[dict[str, Any]]:
    """By name."""
    return list(client.pages(function_path(bare(name), "aliases"), "Aliases"))


def bare(name: str) -> str:
    """The name without its qualifier: what lists the qualifiers takes none.

    >>> bare("f:live"), bare("f")
    ('f', 'f')
    """
    with suppress(InvalidArn):  # the server says what is wrong with it
        return FunctionRef.parse(name).name
    return name


def shared(alias: dict[str, Any]) -> str:
    """What an alias runs.

    >>> shared({"FunctionVersion": "1"})
    'version 1'
    >>> shared({"FunctionVersion": "1", "RoutingConfig": {"AdditionalVersionWeights": {"2": 0.125}}})
    'version 1 (87.5 %), version 2 (12.5 %)'
    """
    weights = _weights(alias)
    if len(weights) == 1:
        return f"version {alias['FunctionVersion']}"
    return ", ".join(f"version {version} ({100 * weight:g} %)" for version, weight in weights.items())


def _weights(alias: dict[str, Any]) -> dict[str, float]:
    """The share of each version that the alias points at."""
    more = alias.get("RoutingConfig", {}).get("AdditionalVersionWeights", {})
    return {alias["FunctionVersion"]: 1 - sum(more.values()), **more}


def _also(text: str | None) -> dict[str, float]:
    """The second version and its share. Raises UsageFault."""
    if text is None:
        return {}
    version, _, weight = text.partition("=")
    try:
        share = float(weight)
    except ValueError:
        share = -1.0
    if not version or not 0 <= share <= 1:
        raise UsageFault(
            f"--also: {text!r} is no version with a weight between 0 and 1", "It has the form VERSION=WEIGHT: 2=0.1"
        )
    return {version: share}
