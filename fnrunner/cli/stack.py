"""`fnrunner stack`: what `fnrunner deploy` has deployed from templates, each as a whole."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from fnrunner.cli import option
from fnrunner.cli.error import UsageFault
from fnrunner.cli.output import Output, clean, moment

if TYPE_CHECKING:
    from fnrunner.cli.deploy.deployment import Deployment
    from fnrunner.cli.deploy.stack_record import Record

_stack = click.argument("name", metavar="NAME")


def register(app: click.Group) -> None:
    group = click.Group(
        "stack", help="List, show, recover and remove what was deployed from templates.", no_args_is_help=True
    )
    for command in (list_stacks, show, recover, remove):
        group.add_command(command)
    app.add_command(group)


@click.command("ls")
@option.as_json
@option.endpoint
def list_stacks(as_json: bool, endpoint_url: str) -> None:
    """List the stacks. With --json: {"stacks": [what `fnrunner stack show --json` gives]}."""
    output = Output(as_json)
    found = _deployment(endpoint_url, output).stacks.every()
    if as_json:
        output.json({"stacks": [_described(record) for record in found]})
        return
    rows = [[one.name, one.status.value, len(one.owned), moment(one.updated_ms), _origin(one)] for one in found]
    output.table(
        ("NAME", "STATUS", "RESOURCES", "UPDATED", "FROM"), rows, empty="No stacks. `fnrunner deploy` makes one."
    )


@click.command("show")
@_stack
@option.as_json
@option.endpoint
def show(name: str, as_json: bool, endpoint_url: str) -> None:
    """Show what a stack has and what it answers.

    With --json: {"name", "status", "revision", "updated_ms", "holder", "from", "resources": [{"kind", "name"}], "outputs",
    "exports"}; status is complete, deploying, cleaning or deleting, and holder who deploys it now.
    """
    output = Output(as_json)
    record = _existing(_deployment(endpoint_url, output), name)
    if as_json:
        output.json(_described(record))
        return
    output.line(f"{clean(record.name)}: {record.status.value}, {moment(record.updated_ms)}, from {_origin(record)}")
    if record.holder:
        output.line(f"being deployed by {clean(record.holder)}")
    for one in (*record.owned, *record.creating):
        output.line(f"{one.kind.replace('_', ' ')} {clean(one.name)}")
    for key, value in record.outputs.items():
        output.line(f"{key} = {clean(value)}")
    for key, value in record.exports.items():
        output.line(f"export {key} = {clean(value)}")


@click.command("recover")
@_stack
@option.as_json
@option.endpoint
def recover(name: str, as_json: bool, endpoint_url: str) -> None:
    """Bring a deployment that broke off to an end: as it was before, or, where it had come far enough, as it was to be.

    With --json: {"name", "status"}; status is complete, or gone when nothing was there before.
    """
    output = Output(as_json)
    deployment = _deployment(endpoint_url, output)
    _existing(deployment, name)
    record = deployment.recover(name)
    status = record.status.value if record else "gone"
    if as_json:
        output.json({"name": name, "status": status})
    output.line(f"stack {name}: {status}")


@click.command("rm")
@_stack
@click.option("--yes", "-y", "yes", is_flag=True, help="Do not ask. Needed where there is no terminal.")
@option.as_json
@option.endpoint
def remove(name: str, yes: bool, as_json: bool, endpoint_url: str) -> None:
    """Take away everything that a stack made, with what is in its queues and streams, and the stack.

    Files in the directories of its buckets stay. With --json: {"removed": [{"kind", "name"}]}.
    """
    output = Output(as_json)
    if not yes and (as_json or not sys.stdin.isatty()):
        raise UsageFault("Removing a stack takes away all that it made", "Say --yes.")

    def agree(record: Record) -> bool:
        return yes or click.confirm(
            f"Take away {', '.join(f'{one.kind} {one.name}' for one in record.owned) or 'nothing but the stack'}?"
        )

    gone = _deployment(endpoint_url, output).delete(name, agree)
    if as_json:
        output.json({"removed": [one._asdict() for one in gone]})
    for one in gone:
        output.line(f"{one.kind.replace('_', ' ')} {one.name}: {output.paint('removed', 'red')}")
    output.line(f"stack {name}: removed")


def _deployment(endpoint_url: str, output: Output) -> Deployment:
    from fnrunner.cli.deploy.deployment import Deployment

    return Deployment.at(endpoint_url, output, os.environ)


def _existing(deployment: Deployment, name: str) -> Record:
    record = deployment.stacks.find(name)
    if record.revision == 0:
        raise UsageFault(f"There is no stack {name}", "`fnrunner stack ls` lists them.")
    return record


def _origin(record: Record) -> str:
    revision = record.current or record.target
    return clean(revision.origin) if revision else "-"


def _described(record: Record) -> dict[str, Any]:
    return {
        "name": record.name, "status": record.status.value, "revision": record.revision, "updated_ms": record.updated_ms,
        "holder": record.holder, "from": _origin(record), "resources": [one._asdict() for one in record.owned],
        "outputs": dict(record.outputs), "exports": dict(record.exports),
    }  # fmt: skip
