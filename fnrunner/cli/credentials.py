"""`fnrunner credentials`: access keys of those who may call function URLs with ``AWS_IAM``."""

from __future__ import annotations

from pathlib import Path

import click

from fnrunner.cli import option
from fnrunner.cli.error import CliError
from fnrunner.cli.output import Output


def register(app: click.Group) -> None:
    group = click.Group("credentials", help="Make access keys for signed calls.", no_args_is_help=True)
    group.add_command(create)
    app.add_command(group)


@click.command("create")
@click.argument("user", metavar="USER")
@click.option("--data-dir", "data_dir", metavar="DIR", help="The server's data directory. [default: .fnrunner]")
@click.option("--file", "file", metavar="FILE", help="The file itself. [default: credentials in the data directory]")
@option.as_json
def create(user: str, data_dir: str | None, file: str | None, as_json: bool) -> None:
    """Make a user with an access key, and show the secret this once. With --json: {"user", "access_key_id",
    "secret_access_key", "file"}.

    With FNRUNNER_AUTH=iam users are in the store instead: see `fnrunner iam`.

    The key is appended to the credentials file, on the host of the API, which takes it at once. It is in the format of
    ~/.aws/credentials; to take a key away, remove its profile from the file.
    """
    from fnrunner.auth.credentials import CredentialsError
    from fnrunner.auth.credentials import create as make
    from fnrunner.cli.serve import read

    path = Path(file).absolute() if file else read(data_dir=data_dir).credentials
    try:
        made = make(path, user)
    except CredentialsError as error:
        fault, _, remedy = str(error).partition(". ")
        raise CliError(fault, remedy) from error
    output = Output(as_json)
    if as_json:
        output.json({
            "user": made.user, "access_key_id": made.access_key, "secret_access_key": made.secret, "file": str(path),
        })  # fmt: skip
        return
    output.line(f"aws_access_key_id = {made.access_key}")
    output.line(f"aws_secret_access_key = {made.secret}")
    output.note(f"Written to {path}. The secret is not shown again.")
