"""A deployed function brought to this machine: its configuration, its code, and the environment that both make.

Raises ServerRefused for what the server does not have, with what to do instead.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from fnrunner.cli.client import ADMIN, Client, function_path
from fnrunner.cli.error import CliError, ServerRefused, UsageFault

if TYPE_CHECKING:
    from fnrunner.model.invocation import EnvironmentSpec

LATEST = "$LATEST"
LAYERS = "/2018-10-31/layers"


@dataclass(frozen=True, slots=True)
class Deployed:
    """``configuration`` is Lambda's FunctionConfiguration, ``location`` where its zip can be downloaded for a while."""

    configuration: Mapping[str, Any]
    location: str

    @property
    def name(self) -> str:
        return str(self.configuration["FunctionName"])

    @property
    def version(self) -> str:
        return str(self.configuration["Version"])

    @property
    def arn(self) -> str:
        return str(self.configuration["FunctionArn"])

    @property
    def timeout(self) -> timedelta:
        return timedelta(seconds=int(self.configuration["Timeout"]))


def fetch(client: Client, name: str, qualifier: str = "") -> Deployed:
    """A version of a function as it is now. Raises ServerRefused when it, or that version of it, is not there."""
    found = client.find(function_path(name), Qualifier=qualifier or None)
    if found is None and qualifier not in ("", LATEST) and client.find(function_path(name)) is not None:
        raise ServerRefused(
            f"{name} has no version or alias {qualifier} any more",
            f"--qualifier '{LATEST}' runs the code it has now; `fnrunner functions versions {name}` lists what there is.",
            http_status=404,
        )
    if found is None:
        raise ServerRefused(
            f"There is no function {name} (any more), and so nothing to run",
            "Deploy it again with `fnrunner deploy`; then --code DIR runs code of yours with its configuration.",
            http_status=404,
        )
    return Deployed(found["Configuration"], found["Code"]["Location"])


def sha256_of(digest: str) -> str:
    """A digest in hex as FunctionConfiguration shows it.

    >>> sha256_of("00" * 32)
    'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA='
    """
    return b64encode(bytes.fromhex(digest)).decode()


def download(client: Client, location: str) -> bytes:
    """The zip behind a link that the server gave out, asked of the same server."""
    parts = urlsplit(location)
    return client.call("GET", parts.path, query=dict(parse_qsl(parts.query))).body


def package(path: Path, configuration: Mapping[str, Any]) -> bytes:
    """The zip that `fnrunner deploy PATH` would send, requirements included. Raises UsageFault."""
    import os

    from fnrunner.cli.deploy.build import Builder
    from fnrunner.cli.deploy.dependency import cache_folder
    from fnrunner.cli.deploy.spec import CodeSource, FunctionSpec

    if not path.exists():
        raise UsageFault(f"--code: there is no {path}", "Name the folder with the function's source.")
    wanted = {key: configuration[key] for key in ("Runtime", "Handler")}
    spec = FunctionSpec(
        name=str(configuration["FunctionName"]),
        code=CodeSource(path=path),
        configuration=wanted,
        architecture=next(iter(configuration.get("Architectures", ())), ""),
    )
    return Builder(cache_folder(os.environ)).build(spec).data


@contextmanager
def unpacked(code: bytes) -> Iterator[Path]:
    """A directory with the unzipped code as a worker would have it, gone afterwards. Raises CliError."""
    import hashlib
    import tempfile

    from fnrunner.catalogue.errors import BadArchive
    from fnrunner.catalogue.unpacking import unpack
    from fnrunner.sandbox.started import delete_tree

    directory = Path(tempfile.mkdtemp(prefix="fnrunner-code-"))
    try:
        try:
            yield unpack(directory, hashlib.sha256(code).hexdigest(), lambda: code)
        except BadArchive as error:
            raise CliError(str(error), "Deploy the function again.") from error
    finally:
        delete_tree(directory)


@contextmanager
def layers(client: Client, deployed: Deployed) -> Iterator[str]:
    """A directory with the function's merged layers, gone afterwards; empty where it has none. Raises CliError."""
    import hashlib
    import tempfile

    from fnrunner.catalogue import merging
    from fnrunner.catalogue.unpacking import place, unpack
    from fnrunner.sandbox.started import delete_tree

    zips = [_layer(client, str(layer["Arn"])) for layer in deployed.configuration.get("Layers", ())]
    if not zips:
        yield ""
        return
    directory = Path(tempfile.mkdtemp(prefix="fnrunner-layers-"))
    try:
        digests = [hashlib.sha256(zipped).hexdigest() for zipped in zips]
        for digest, zipped in zip(digests, zips, strict=True):
            unpack(directory, digest, partial(bytes, zipped))
        trees = [place(directory, digest) for digest in digests]
        yield str(trees[0] if len(trees) == 1 else merging.merge(directory, digests, trees))
    finally:
        delete_tree(directory)


def _layer(client: Client, arn: str) -> bytes:
    found = client.find(LAYERS, find="LayerVersion", Arn=arn)
    if found is None:
        raise ServerRefused(
            f"The function has {arn}, which was deleted: it works there, but cannot be fetched from there",
            "Publish the layer again with `fnrunner layer publish`, and let the function have the new version.",
            http_status=404,
        )
    return download(client, str(found["Content"]["Location"]))


def spec_of(
    deployed: Deployed, directory: Path, directories: tuple[str, ...] = (), layers_directory: str = ""
) -> EnvironmentSpec:
    """The environment that a worker makes of this configuration, with the code in ``directory``."""
    from fnrunner.model.invocation import EnvironmentSpec

    found = deployed.configuration
    logging = found.get("LoggingConfig", {})
    _, _, _, region, account, *_ = deployed.arn.split(":")
    return EnvironmentSpec(
        function=deployed.name,
        version=deployed.version,
        runtime=str(found["Runtime"]),
        handler=str(found["Handler"]),
        code_directory=str(directory),
        memory_mb=int(found["MemorySize"]),
        ephemeral_storage_mb=int(found.get("EphemeralStorage", {}).get("Size", 512)),
        timeout=deployed.timeout,
        key=directory.name,
        log_group=str(logging.get("LogGroup") or f"/aws/lambda/{deployed.name}"),
        account=account,
        region=region,
        variables=dict(found.get("Environment", {}).get("Variables", {})),
        log_format=str(logging.get("LogFormat", "Text")),
        application_log_level=str(logging.get("ApplicationLogLevel", "")),
        directories=directories,
        layers_directory=layers_directory,
    )


def visible(client: Client, mounts: tuple[str, ...]) -> tuple[str, ...]:
    """``mounts``, and the directories of buckets where the server is on this machine: an isolated function sees no others.

    What another machine calls its buckets is nothing that its code may write to here.
    """
    from fnrunner.settings import loopback

    here = loopback(urlsplit(client.endpoint_url).hostname or "")
    found = (str(item["directory"]) for item in client.get(f"{ADMIN}/buckets")["buckets"]) if here else ()
    return tuple(directory for directory in dict.fromkeys((*found, *mounts)) if Path(directory).is_dir())
