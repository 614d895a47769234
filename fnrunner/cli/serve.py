"""`fnrunner dev`, `api`, `worker` and `sources`: the server itself, in this process.

Settings come from the environment; an option that is given wins over its variable. They are read together, so that every
mistake is shown at once.
"""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

import click

from fnrunner.cli.error import CliError, UsageFault

if TYPE_CHECKING:
    from collections.abc import Callable

    from fnrunner.app.node import Beside
    from fnrunner.settings import Settings


def register(app: click.Group) -> None:
    app.add_command(dev)
    app.add_command(api)
    app.add_command(worker)
    app.add_command(sources)


@click.command("dev")
@click.argument("paths", metavar="[PATH]...", nargs=-1)
@click.option("--host", "host", metavar="H", help="Address to listen on. [default: 127.0.0.1]")
@click.option("--port", "port", metavar="P", type=int, help="Port to listen on. [default: 9000]")
@click.option("--data-dir", "data_dir", metavar="DIR", help="Where state is kept. [default: .fnrunner]")
@click.option("--broker-url", "broker_url", metavar="U", help="embedded:, amqp://… or amqps://…")
@click.option(
    "--bucket", "bucket", metavar="NAME=DIR", multiple=True, help="A directory to watch as a bucket; repeatable."
)
@click.option("--capacity", "capacity", metavar="N", type=int, help="Environments that run at once.")
def dev(
    paths: tuple[str, ...],
    host: str | None,
    port: int | None,
    data_dir: str | None,
    broker_url: str | None,
    bucket: tuple[str, ...],
    capacity: int | None,
) -> None:
    """Run everything in one process, until Ctrl-C.

    Each PATH (a SAM template, a folder or a .py file) is deployed as `fnrunner deploy PATH` does, and followed: code that
    is saved runs at the next invocation, and a template or requirements.txt that is saved is deployed again. What is saved
    is for this server's $LATEST only: `fnrunner deploy` makes a deployment of it, from which versions can be published.
    """
    for path in paths:
        if not os.path.exists(path):
            raise UsageFault(f"{path} is not there", "Name what to deploy: `fnrunner dev PATH`.")
    settings = read(host=host, port=port, data_dir=data_dir, broker_url=broker_url, buckets=bucket, capacity=capacity)
    _serve("dev", settings, _following(paths))


@click.command("api")
@click.option("--host", "host", metavar="H", help="Address to listen on. [default: 127.0.0.1]")
@click.option("--port", "port", metavar="P", type=int, help="Port to listen on. [default: 9000]")
@click.option("--data-dir", "data_dir", metavar="DIR", help="Where state is kept. [default: .fnrunner]")
@click.option("--broker-url", "broker_url", metavar="U", help="embedded:, amqp://… or amqps://…")
def api(host: str | None, port: int | None, data_dir: str | None, broker_url: str | None) -> None:
    """Run the HTTP door. It shares the broker, the store and the artifacts with the other parts."""
    settings = read(host=host, port=port, data_dir=data_dir, broker_url=broker_url)
    _serve("api", settings)


@click.command("worker")
@click.option("--capacity", "capacity", metavar="N", type=int, help="Environments that run at once.")
@click.option("--zone", "zone", metavar="Z", help="The availability zone's label.")
@click.option("--data-dir", "data_dir", metavar="DIR", help="Where state is kept. [default: .fnrunner]")
@click.option("--broker-url", "broker_url", metavar="U", help="embedded:, amqp://… or amqps://…")
def worker(capacity: int | None, zone: str | None, data_dir: str | None, broker_url: str | None) -> None:
    """Run functions. Start as many workers as there is work for."""
    settings = read(capacity=capacity, zone=zone, data_dir=data_dir, broker_url=broker_url)
    _serve("worker", settings)


@click.command("sources")
@click.option("--data-dir", "data_dir", metavar="DIR", help="Where state is kept. [default: .fnrunner]")
@click.option("--broker-url", "broker_url", metavar="U", help="embedded:, amqp://… or amqps://…")
@click.option(
    "--bucket", "bucket", metavar="NAME=DIR", multiple=True, help="A directory to watch as a bucket; repeatable."
)
def sources(data_dir: str | None, broker_url: str | None, bucket: tuple[str, ...]) -> None:
    """Watch buckets and turn what happens into events."""
    settings = read(data_dir=data_dir, broker_url=broker_url, buckets=bucket)
    _serve("sources", settings)


def _following(paths: tuple[str, ...]) -> Beside | None:
    """What runs beside the server so that it follows these paths."""
    if not paths:
        return None
    from fnrunner.cli.live.reload import following

    return following(paths)


def _serve(role: str, settings: Settings, beside: Beside | None = None) -> None:
    """Blocks until the process is told to stop. Raises CliError when it cannot start, with what to do about it, and
    UsageFault for a part of an installation whose other parts it could not reach.
    """
    from broker.errors import BrokerError
    from fnrunner import app
    from fnrunner.app.patience import STATUS, GaveUp
    from fnrunner.app.secrecy import AuthForgotten
    from fnrunner.app.server import PortInUse
    from fnrunner.auth.master_key import MasterKeyError
    from fnrunner.catalogue.errors import CatalogueError
    from fnrunner.sandbox.sandbox import SandboxError
    from fnrunner.settings import EMBEDDED
    from fnrunner.store.errors import StoreError
    from sources.errors import SourcesError

    if role != "dev" and settings.broker_url == EMBEDDED:
        raise UsageFault(
            f"`fnrunner {role}` works with others, which cannot reach the embedded broker of this process",
            "Set FNRUNNER_BROKER_URL (amqp://…) for all of them, or use `fnrunner dev`, which is everything in one process.",
        )
    runs: dict[str, Callable[[Settings], None]] = {
        "dev": partial(app.run_dev, beside=beside),
        "api": app.run_api,
        "worker": app.run_worker,
        "sources": app.run_sources,
    }
    try:
        runs[role](settings)
    except (
        AuthForgotten, BrokerError, StoreError, SandboxError, CatalogueError, SourcesError, PortInUse, MasterKeyError
    ) as error:  # fmt: skip
        # The first sentence of these errors names the fault, the rest the remedy.
        fault, _, remedy = str(error).partition(". ")
        raise CliError(fault, remedy) from error
    except GaveUp as error:
        raise CliError(str(error), "Start it again: it waits for what is away.", status=STATUS) from error


def read(
    *,
    host: str | None = None,
    port: int | None = None,
    data_dir: str | None = None,
    broker_url: str | None = None,
    buckets: tuple[str, ...] = (),
    capacity: int | None = None,
    zone: str | None = None,
) -> Settings:
    """The environment's settings under the options. Raises UsageFault with every mistake."""
    from fnrunner.settings import Settings, SettingsError

    given = {
        "FNRUNNER_HOST": host,
        "FNRUNNER_PORT": None if port is None else str(port),
        "FNRUNNER_DATA_DIR": data_dir,
        "FNRUNNER_BROKER_URL": broker_url,
        "FNRUNNER_BUCKETS": _buckets(buckets, os.environ.get("FNRUNNER_BUCKETS", "")),
        "FNRUNNER_WORKER_CAPACITY": None if capacity is None else str(capacity),
        "FNRUNNER_ZONE": zone,
    }
    environment = {**os.environ, **{name: value for name, value in given.items() if value is not None}}
    try:
        return Settings.read(environment)
    except SettingsError as error:
        raise UsageFault(str(error), "Correct these settings; `fnrunner dev --help` names the options.") from error


def _buckets(options: tuple[str, ...], environment: str) -> str | None:
    """Both together; an option replaces the environment's bucket of the same name."""
    for option in options:
        if "=" not in option or "," in option:
            raise UsageFault(f"--bucket: {option!r} is not NAME=DIR", "For example: --bucket photos=./photos")
    if not options:
        return None
    named = {option.partition("=")[0] for option in options}
    kept = [part for part in environment.split(",") if part.strip() and part.partition("=")[0].strip() not in named]
    return ",".join((*kept, *options))
