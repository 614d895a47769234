"""`fnrunner bucket`: which directories are watched as buckets."""

from __future__ import annotations

import os

import click

from fnrunner.cli import option
from fnrunner.cli.client import ADMIN, Client, segment
from fnrunner.cli.option import rows
from fnrunner.cli.output import Output


def register(app: click.Group) -> None:
    group = click.Group("bucket", help="List, make and remove buckets: watched directories.", no_args_is_help=True)
    group.add_command(list_buckets)
    group.add_command(put)
    group.add_command(remove)
    app.add_command(group)


@click.command("ls")
@option.as_json
@option.endpoint
def list_buckets(as_json: bool, endpoint_url: str) -> None:
    """List the buckets. With --json: {"buckets": [{"name", "arn", "directory"}]}."""
    found = Client(endpoint_url).get(f"{ADMIN}/buckets")
    output = Output(as_json)
    if as_json:
        output.json(found)
        return
    output.table(
        ("NAME", "DIRECTORY", "ARN"),
        rows(found["buckets"], "name", "directory", "arn"),
        empty="There are no buckets yet. `fnrunner bucket put NAME DIR` makes one.",
    )


@click.command("put")
@click.argument("name", metavar="NAME")
@click.argument("directory", metavar="[DIR]", default="")
@click.option("--create", "create", is_flag=True, help="Make DIR where it does not exist.")
@option.as_json
@option.endpoint
def put(name: str, directory: str, create: bool, as_json: bool, endpoint_url: str) -> None:
    """Watch a directory as a bucket, or point a bucket elsewhere. With --json: {"name", "arn", "directory"}.

    DIR is on the host that runs the sources; without one a new bucket gets buckets/NAME in the data directory. In one
    process with the server, DIR must exist unless --create is given; sources elsewhere make what is missing.
    """
    document = {"directory": os.path.abspath(directory), "create": create} if directory else {}
    made = Client(endpoint_url).send("PUT", bucket_path(name), document)
    output = Output(as_json)
    if as_json:
        output.json(made)
    output.line(f"{made['arn']} is {made['directory']}")


@click.command("rm")
@click.argument("name", metavar="NAME")
@option.as_json
@option.endpoint
def remove(name: str, as_json: bool, endpoint_url: str) -> None:
    """Watch a bucket no longer. With --json: {"removed": NAME}.

    Its files are not touched, but what was announced of them is forgotten. Refused while a function is invoked by it. A
    bucket that the server's settings name comes back with its next start.
    """
    Client(endpoint_url).call("DELETE", bucket_path(name))
    output = Output(as_json)
    if as_json:
        output.json({"removed": name})
    output.line(f"Removed {name}.")


def bucket_path(name: str) -> str:
    """The path of a bucket."""
    return f"{ADMIN}/buckets/{segment(name)}"
