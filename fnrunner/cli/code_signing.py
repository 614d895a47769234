"""`fnrunner signing`: who may sign code, and signing it. The private key stays in a file of whoever signs."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fnrunner.cli import option
from fnrunner.cli.client import ADMIN, Client
from fnrunner.cli.error import UsageFault
from fnrunner.cli.layer import zipped
from fnrunner.cli.output import Output, clean

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PROFILES = f"{ADMIN}/signing-profiles"


def register(app: click.Group) -> None:
    group = click.Group("signing", help="Sign code, and say who may.", no_args_is_help=True)
    for command in (create, list_profiles, revoke, sign):
        group.add_command(command)
    app.add_command(group)


@click.command("create")
@click.argument("name", metavar="NAME")
@click.option("--key", "key_file", required=True, metavar="FILE", help="Where the private key is, or is to be written.")
@option.as_json
@option.endpoint
def create(name: str, key_file: str, as_json: bool, endpoint_url: str) -> None:
    """Make a version of a signing profile from the key in FILE, which is made where there is none.

    The server gets the public half only. Name the ARN in a code signing configuration. With --json: {"arn", "public_key",
    "created", "revoked"}.
    """
    made = Client(endpoint_url).send("POST", PROFILES, {"name": name, "public_key": _public(_key(Path(key_file)))})
    output = Output(as_json)
    if as_json:
        output.json(made)
    output.line(f"{made['arn']} vouches for what {clean(key_file)} signs.")


@click.command("ls")
@option.as_json
@option.endpoint
def list_profiles(as_json: bool, endpoint_url: str) -> None:
    """List the versions of signing profiles. With --json: {"signing_profiles": [{"arn", "public_key", …}]}."""
    found, output = Client(endpoint_url).get(PROFILES), Output(as_json)
    if as_json:
        output.json(found)
        return
    output.table(
        ("ARN", "CREATED", "STATE"),
        [
            [one["arn"], one["created"][:19], "revoked" if one["revoked"] else "active"]
            for one in found["signing_profiles"]
        ],
        empty="There are no signing profiles yet. `fnrunner signing create NAME --key FILE` makes one.",
    )


@click.command("revoke")
@click.argument("arn", metavar="ARN")
@option.as_json
@option.endpoint
def revoke(arn: str, as_json: bool, endpoint_url: str) -> None:
    """Trust a version of a signing profile no more: what it signed is deployed no longer. What runs goes on.

    With --json: {"arn", "public_key", "created", "revoked"}.
    """
    told = Client(endpoint_url).send("POST", f"{PROFILES}/revoke", {"arn": arn})
    output = Output(as_json)
    if as_json:
        output.json(told)
    output.line(f"Revoked {clean(arn)}.")


@click.command("sign")
@click.argument("path", metavar="PATH")
@click.option("--profile", required=True, metavar="ARN", help="The version of the profile that the key belongs to.")
@click.option("--key", "key_file", required=True, metavar="FILE", help="The private key, in PEM.")
@click.option("--days", type=click.IntRange(1, 3650), metavar="N", help="How long the signature is good. [always]")
@click.option("--output", "target", required=True, metavar="ZIP", help="Where the signed zip is written.")
@option.as_json
def sign(path: str, profile: str, key_file: str, days: int | None, target: str, as_json: bool) -> None:
    """Sign a zip, or the zip of a folder. With --json: {"path": ZIP}."""
    from fnrunner.catalogue import signing
    from fnrunner.catalogue.errors import CatalogueError

    file = Path(key_file)
    if not file.is_file():
        raise UsageFault(f"--key: there is no {file}", "`fnrunner signing create NAME --key FILE` makes one.")
    expires = datetime.now(UTC) + timedelta(days=days) if days else None
    try:
        signed = signing.sign(zipped(Path(path)), _key(file), profile, expires=expires)
    except (signing.NoProfile, CatalogueError) as error:
        raise UsageFault(str(error), "Nothing was written. Correct what the message names.") from error
    Path(target).write_bytes(signed)
    output = Output(as_json)
    if as_json:
        output.json({"path": target})
    output.line(f"{clean(target)} is signed{f' until {expires:%Y-%m-%d}' if expires else ''}.")


def _key(file: Path) -> Ed25519PrivateKey:
    """The key in a file, which is made where there is none, for its owner only. Raises UsageFault."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    if not file.exists():
        return _made(file)
    try:
        key = load_pem_private_key(file.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise UsageFault(
            f"{file}: this is no private key in PEM", "Name another file, or one that is not there."
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageFault(f"{file}: this is no Ed25519 key", "Name another file, or one that is not there.")
    return key


def _made(file: Path) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(pem)
    return key


def _public(key: Ed25519PrivateKey) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
