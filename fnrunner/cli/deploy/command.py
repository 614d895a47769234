"""`fnrunner deploy`: reads everything, packages everything, compares, applies, and says what changed."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fnrunner.cli import option
from fnrunner.cli.error import INTERRUPTED, CliError, UsageFault
from fnrunner.cli.option import pairs
from fnrunner.cli.output import Output

if TYPE_CHECKING:
    from fnrunner.cli.deploy.deployment import Wish
    from fnrunner.cli.deploy.judge import Judge

FILES = ("template.yaml", "template.yml", "template.json")
"""What a folder's template is called."""
COLOURS = {"created": "green", "updated": "yellow", "unchanged": "dim", "removed": "red"}
KINDS = {
    "policies": "policy", "roles": "role",
    "streams": "stream", "queues": "queue", "topics": "topic", "buckets": "bucket", "layers": "layer", "functions": "function",
    "http_apis": "HTTP API",
}  # fmt: skip
"""The lists of the report in the order in which they are printed, and what one of each is called."""


def register(app: click.Group) -> None:
    app.add_command(deploy)


@click.command("deploy", short_help="Deploy a template, a folder, a .py file or a zip.")
@click.argument("path", metavar="[PATH]", default=".")
@click.option("--name", "name", help="The function's name. [default: the folder's or file's]")
@click.option("--handler", "handler", help="MODULE.FUNCTION. [default: found in the source]")
@click.option(
    "--runtime", "runtime", help="Such as python3.12. [default: this Python's, or the newest that the workers have]"
)
@click.option("--memory", "memory", metavar="MB", type=int, help="128 to 10240.")
@click.option("--timeout", "timeout", metavar="S", type=int, help="1 to 900 seconds.")
@click.option("--env", "env", metavar="K=V", multiple=True, help="A variable; repeat for all of them.")
@click.option("--description", "description")
@click.option("--role", "role", metavar="ROLE", help="The execution role, by name or ARN.")
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
@click.option("--parameter", "parameters", metavar="K=V", multiple=True, help="The same.")
@click.option(
    "--stack-name", "stack_name", metavar="NAME", help="What the template is deployed as. [default: the folder's]"
)
@click.option("--config-env", "config_env", metavar="ENV", help="The section of samconfig.toml. [default: default]")
@click.option("--dry-run", "--diff", "dry_run", is_flag=True, help="Show what would change, and change nothing.")
@click.option(
    "--yes",
    "-y",
    "yes",
    is_flag=True,
    help="Do not ask; take away what has left the template, with its data; give a function a runtime that no worker has.",
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
    parameters: tuple[str, ...],
    stack_name: str | None,
    config_env: str | None,
    dry_run: bool,
    yes: bool,
    no_cache: bool,
    as_json: bool,
    endpoint_url: str,
) -> None:
    """Deploy a SAM template, a folder with one, a folder or .py file with a handler, or a zip that is packaged already.

    Running it again changes only what is different. Without a template, options that are not given stay as they are; with
    --env all variables are given. requirements.txt is installed into the package, .fnrunnerignore names what stays out.

    A template is deployed as a stack: all of it or, when something fails, nothing. On a terminal the changes are shown
    first, and asked about. What has left the template is taken away, but for what has DeletionPolicy: Retain; nothing is
    ever replaced but versions, which UpdateReplacePolicy: Retain keeps. A deployment that was killed is brought to its end by
    the next one, or by `fnrunner stack recover`. samconfig.toml gives the stack's name and parameters where options do not.

    A template may have Parameters, Mappings, Conditions, Globals and Outputs, whose exports other stacks import;
    AWS::Serverless::Function, with AutoPublishAlias, FunctionUrlConfig and the events S3, SQS, SNS, Kinesis, DynamoDB, MQ,
    SelfManagedKafka, Schedule, ScheduleV2, HttpApi and Api; AWS::Lambda::Version and AWS::Lambda::Alias; and the other types
    of resources that an error names when it meets one that is not supported. !GetAtt BUCKET.Directory is the directory that
    the bucket watches, FUNCTIONUrl.FunctionUrl a function's URL, API.ApiEndpoint where an HTTP API answers.

    With --json: {"stack", "changed", "dry_run", "policies": [{"name", "action", "changes"}],
    "roles": [{"name", "action", "changes"}],
    "functions": [{"name", "action", "arn", "code_sha256", "changes": [{"key",
    "old", "new"}]}], "streams": [{"name", "action"}], "queues": [{"name", "action", "changes"}], "topics": [{"name",
    "action"}], "buckets": [{"name", "action", "directory"}], "layers": [{"name",
    "action", "arn"}], "http_apis": [{"name", "action", "url", "changes"}],
    "outputs": {}, "warnings": []}; action is created, updated, unchanged or removed.
    """
    template = template_of(Path(path))
    # Begun first of all: it takes longer than anything else.
    with _interruptible(), _judge(template, use_cache=not no_cache) as judge:
        from fnrunner.cli.deploy.deployment import Deployment
        from fnrunner.cli.deploy.local import Options

        output = Output(as_json)
        variables = pairs(env, "--env") if env else None
        options = Options(name, handler, runtime, memory, timeout, variables, description, role, reserved_concurrency)
        agree = partial(_agree, output) if _asks(as_json, yes) else lambda report: True
        deployment = Deployment.at(endpoint_url, output, os.environ, use_cache=not no_cache, agree=agree)
        if template is None:
            given = {
                "--parameter-overrides": parameter_overrides, "--parameter": parameters, "--stack-name": stack_name,
                "--config-env": config_env, "--dry-run": dry_run,
            }  # fmt: skip
            if used := [option_name for option_name, value in given.items() if value]:
                raise UsageFault(f"{', '.join(used)}: there is no template here", "Leave it out, or name the template.")
            report = deployment.function(Path(path), options, yes=yes)
        else:
            if used := options.given():
                raise UsageFault(f"{', '.join(used)}: a template says that itself", f"Write it into {template}.")
            wish = wish_of(template, (*parameter_overrides, *parameters), stack_name or "", config_env or "")
            report = deployment.template(replace(wish, dry_run=dry_run, yes=yes or _asks(as_json, yes)), judge)
    if as_json:
        output.json(report)
    show(output, report)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Once something is being changed, whoever does so tells how far it came: an interruption that arrives here was before."""
    try:
        yield
    except (KeyboardInterrupt, click.Abort) as error:
        raise CliError("Interrupted: nothing was changed", status=INTERRUPTED) from error


@contextmanager
def _judge(template: Path | None, *, use_cache: bool) -> Iterator[Judge | None]:
    """Of a template, with what takes its time under way; closed afterwards."""
    if template is None:
        yield None
        return
    from fnrunner.cli.deploy.judge import Judge, cache_folder

    with closing(Judge(cache_folder(os.environ), template.read_text(), use_cache=use_cache)) as judge:
        judge.prepare()
        yield judge


def wish_of(template: Path, overrides: tuple[str, ...], stack_name: str = "", config_env: str = "") -> Wish:
    """What a template and the samconfig.toml beside it ask for. Raises UsageFault."""
    from fnrunner.cli.deploy import parameter, samconfig
    from fnrunner.cli.deploy.deployment import Wish

    found = samconfig.read(template.absolute().parent, config_env)
    given = {**found.parameters, **parameter.overrides(overrides)}
    return Wish(template, given, stack_name or found.stack_name)


def _asks(as_json: bool, yes: bool) -> bool:
    """Only people are asked: on a terminal, and not where --yes has answered already."""
    return not as_json and not yes and sys.stdin.isatty() and sys.stdout.isatty()


def _agree(output: Output, report: Mapping[str, Any]) -> bool:
    show(output, {**report, "outputs": {}})
    return click.confirm("Deploy this?")


def template_of(path: Path) -> Path | None:
    """The template that a path is or holds, or None. Raises UsageFault when there is nothing to deploy at the path."""
    if path.is_dir():
        return next((path / name for name in FILES if (path / name).is_file()), None)
    if path.is_file() and path.suffix in (".yaml", ".yml", ".json"):
        return path
    if path.is_file() and path.suffix in (".py", ".zip"):
        return None
    missing = "is not there" if not path.exists() else "is no template (.yaml, .yml, .json), folder, .py file or zip"
    raise UsageFault(f"{path} {missing}", "Name what to deploy: `fnrunner deploy PATH`.")


def show(output: Output, report: Mapping[str, Any]) -> None:
    """Print a deployment's report for people."""
    if report.get("dry_run"):
        output.line("Nothing is changed; this would be:")
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
