"""`fnrunner deploy`: reads everything, packages everything, compares, applies, and says what changed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from fnrunner.cli import option
from fnrunner.cli.error import UsageFault
from fnrunner.cli.option import pairs
from fnrunner.cli.output import Output

COLOURS = {"created": "green", "updated": "yellow", "unchanged": "dim", "removed": "red"}
KINDS = {
    "streams": "stream", "queues": "queue", "topics": "topic", "buckets": "bucket", "functions": "function",
    "http_apis": "HTTP API",
}  # fmt: skip
"""The lists of the report in the order in which they are printed, and what one of each is called."""


def register(app: click.Group) -> None:
    app.add_command(deploy)


@click.command("deploy", short_help="Deploy a template, a folder or a .py file.")
@click.argument("path", metavar="[PATH]", default=".")
@click.option("--name", "name", help="The function's name. [default: the folder's or file's]")
@click.option("--handler", "handler", help="MODULE.FUNCTION. [default: found in the source]")
@click.option("--runtime", "runtime", help="Such as python3.12. [default: this Python's]")
@click.option("--memory", "memory", metavar="MB", type=int, help="128 to 10240.")
@click.option("--timeout", "timeout", metavar="S", type=int, help="1 to 900 seconds.")
@click.option("--env", "env", metavar="K=V", multiple=True, help="A variable; repeat for all of them.")
@click.option("--description", "description")
@click.option("--role", "role", metavar="ARN", help="The execution role.")
@click.option(
    "--reserved-concurrency",
    "reserved_concurrency",
    metavar="N",
    type=int,
    help="At most so many at once, and always room for them.",
)
@click.option(
    "--parameter-overrides",
    "parameter_overrides",
    metavar="K=V",
    multiple=True,
    help="A template's parameter; repeatable.",
)
@click.option("--no-cache", "no_cache", is_flag=True, help="Install requirements anew.")
@option.as_json
@option.endpoint
def deploy(
    path: str,
    name: str | None,
    handler: str | None,
    runtime: str | None,
    memory: int | None,
    timeout: int | None,
    env: tuple[str, ...],
    description: str | None,
    role: str | None,
    reserved_concurrency: int | None,
    parameter_overrides: tuple[str, ...],
    no_cache: bool,
    as_json: bool,
    endpoint_url: str,
) -> None:
    """Deploy a SAM template, a folder with one, or a folder or .py file with a handler.

    Running it again changes only what is different. Without a template, options that are not given stay as they are; with
    --env all variables are given. requirements.txt is installed into the package, .fnrunnerignore names what stays out.

    A template may have AWS::Serverless::Function, with FunctionUrlConfig and the events S3, SQS, SNS, Kinesis, DynamoDB, MQ,
    SelfManagedKafka, Schedule, ScheduleV2 and HttpApi; AWS::Serverless::HttpApi, AWS::Lambda::EventSourceMapping,
    AWS::Kinesis::Stream, AWS::SQS::Queue, AWS::SNS::Topic and AWS::S3::Bucket; with Ref, GetAtt, Sub and Join. !GetAtt
    BUCKET.Directory is the directory that the bucket watches, FUNCTIONUrl.FunctionUrl a function's URL, API.ApiEndpoint where
    an HTTP API answers. What invokes a function and has left the template is taken away.

    With --json: {"functions": [{"name", "action", "arn", "code_sha256", "changes": [{"key", "old", "new"}]}], "streams":
    [{"name", "action"}], "queues": [{"name", "action", "changes"}], "topics": [{"name", "action"}], "buckets": [{"name",
    "action", "directory"}], "http_apis": [{"name", "action", "url", "changes"}], "outputs": {}, "warnings": []}; action is
    created, updated, unchanged or removed.
    """
    from fnrunner.cli.client import Client
    from fnrunner.cli.deploy.deployment import Deployment
    from fnrunner.cli.deploy.local import Options
    from fnrunner.cli.deploy.server import Server

    output = Output(as_json)
    variables = pairs(env, "--env") if env else None
    options = Options(name, handler, runtime, memory, timeout, variables, description, role, reserved_concurrency)
    deployment = Deployment(Server(Client(endpoint_url)), output, os.environ, use_cache=not no_cache)
    template = template_of(Path(path))
    if template is None and parameter_overrides:
        raise UsageFault("--parameter-overrides: there is no template here", "Leave it out, or name the template.")
    if template is not None and (given := options.given()):
        raise UsageFault(f"{', '.join(given)}: a template says that itself", f"Write it into {template}.")
    report = (
        deployment.template(template, parameter_overrides)
        if template is not None
        else deployment.function(Path(path), options)
    )
    if as_json:
        output.json(report)
    _print(output, report)


def template_of(path: Path) -> Path | None:
    """The template that a path is or holds, or None. Raises UsageFault when there is nothing to deploy at the path."""
    from fnrunner.cli.deploy.template import FILES

    if path.is_dir():
        return next((path / name for name in FILES if (path / name).is_file()), None)
    if path.is_file() and path.suffix in (".yaml", ".yml", ".json"):
        return path
    if path.is_file() and path.suffix == ".py":
        return None
    missing = "is not there" if not path.exists() else "is no template (.yaml, .yml, .json), folder or .py file"
    raise UsageFault(f"{path} {missing}", "Name what to deploy: `fnrunner deploy PATH`.")


def _print(output: Output, report: dict[str, Any]) -> None:
    for kind, word in KINDS.items():
        for item in report[kind]:
            action = output.paint(item["action"], COLOURS[item["action"]])
            where = f"  drop files into {item['directory']}" if "directory" in item else ""
            where += f"  {item['url']}" if item.get("url") else ""
            output.line(f"{word} {item['name']}: {action}{where}")
            for change in item.get("changes", ()):
                output.line(f"  {change['key']}: {change['old'] or '-'} -> {change['new'] or '-'}")
    for key, value in report["outputs"].items():
        output.line(f"{key} = {value}")
