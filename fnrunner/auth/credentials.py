"""Access keys in a file of AWS's shared-credentials format; a profile's name is the user's.

::

    [alice]
    aws_access_key_id = AKIAIOSFODNN7EXAMPLE
    aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY

Each user may call every function URL that wants a signature. It counts while nobody has to sign for the API
(``FNRUNNER_AUTH=off``); otherwise users and their policies are in the store (:mod:`fnrunner.auth.iam`). A profile with an
``aws_session_token`` is a session: its requests must carry the token.
"""

from __future__ import annotations

import configparser
import fcntl
import logging
import os
import re
import secrets
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

log = logging.getLogger(__name__)

USER = re.compile(r"[A-Za-z0-9_+=,.@-]{1,64}")
_KEY_ID = re.compile(r"[A-Za-z0-9_]{4,128}")
_KNOWN = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")


class CredentialsError(Exception):
    """The credentials file cannot be used. The message says which line or profile is wrong, and how to correct it."""


class UserExists(CredentialsError):
    """The file has this user already. Remove the profile from it first, or choose another name."""


@dataclass(frozen=True, slots=True)
class Credential:
    """``token`` is empty unless the key belongs to a session, which ends when it ``expires``. ``user`` is a name."""

    user: str
    access_key: str
    secret: str = field(repr=False)
    token: str = field(default="", repr=False)
    expires: datetime | None = None


class CredentialsFile:
    """The keys of one file, read again whenever it has changed. It need not exist."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp: tuple[int, int, int, int] | None = None
        self._known: Mapping[str, Credential] = {}

    def find(self, access_key: str) -> Credential | None:
        """The credential with this key id. What is wrong with the file is logged once a change."""
        self._refresh()
        return self._known.get(access_key)

    def _refresh(self) -> None:
        try:
            status = self.path.stat()
            # the time of the inode tells of a new owner or mode as well: what could not be read may be readable now
            stamp = (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)
        except OSError:
            self._stamp, self._known = None, {}
            return
        if stamp == self._stamp:
            return
        self._stamp, self._known = stamp, {}
        if status.st_mode & 0o077:
            log.warning("others can read the secrets in %s: chmod 600 it", self.path)
        try:
            found, problems = parse(self.path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, CredentialsError) as error:
            log.error("nobody can sign requests: %s cannot be used: %s", self.path, error)
            return
        for problem in problems:
            log.error("%s: %s", self.path, problem)
        self._known = found


def parse(text: str) -> tuple[dict[str, Credential], list[str]]:
    """The credentials by key id, and what is wrong with profiles that were left out. Raises CredentialsError.

    >>> found, problems = parse("[bob]\\naws_access_key_id = AKIA1\\naws_secret_access_key = s\\n[eve]\\nrole_arn = r")
    >>> found["AKIA1"].user, problems
    ('bob', ['profile eve: role_arn is not supported: give it aws_access_key_id and aws_secret_access_key'])
    """
    reader = configparser.RawConfigParser(default_section="", strict=True)
    try:
        reader.read_string(text)
    except configparser.Error as error:
        # the parser's own message quotes the line, which may be a secret
        raise CredentialsError(_fault(error)) from None
    found: dict[str, Credential] = {}
    problems = []
    for user in reader.sections():
        profile = dict(reader.items(user))
        if (problem := _problem(user, profile, found)) is not None:
            problems.append(f"profile {user}: {problem}")
            continue
        key, secret, token = (profile.get(name, "") for name in _KNOWN)
        found[key] = Credential(user, key, secret, token)
    return found, problems


def _problem(user: str, profile: Mapping[str, str], found: Mapping[str, Credential]) -> str | None:
    if not USER.fullmatch(user):
        return "it is no name for a user: 1 to 64 of A-Z a-z 0-9 _ + = , . @ -"
    if unknown := [name for name in profile if name not in _KNOWN]:
        return f"{unknown[0]} is not supported: give it aws_access_key_id and aws_secret_access_key"
    if missing := [name for name in _KNOWN[:2] if not profile.get(name)]:
        return f"it has no {missing[0]}"
    if not _KEY_ID.fullmatch(profile["aws_access_key_id"]):
        return "its aws_access_key_id is not 4 to 128 letters and digits"
    if (other := found.get(profile["aws_access_key_id"])) is not None:
        return f"it has the aws_access_key_id of {other.user}"
    return None


def _fault(error: configparser.Error) -> str:
    if isinstance(error, configparser.DuplicateSectionError):
        return f"line {error.lineno}: the profile {error.section} is there twice"
    if isinstance(error, configparser.DuplicateOptionError):
        return f"line {error.lineno}: {error.option} is there twice in the profile {error.section}"
    if isinstance(error, configparser.MissingSectionHeaderError):
        return f"line {error.lineno}: a profile begins with its name in brackets, such as [alice]"
    if isinstance(error, configparser.ParsingError) and error.errors:
        return f"line {error.errors[0][0]}: it has the form name = value"
    return "it is not in AWS's shared-credentials format"


def create(path: Path, user: str) -> Credential:
    """A new user with a new key, appended to the file, which only its owner can read then.

    Raises UserExists, CredentialsError.
    """
    if not USER.fullmatch(user):
        raise CredentialsError(f"{user!r} is no name for a user. Use 1 to 64 of A-Z a-z 0-9 _ + = , . @ -")
    made = Credential(user, new_key_id(), new_secret())
    profile = f"[{user}]\naws_access_key_id = {made.access_key}\naws_secret_access_key = {made.secret}\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # never for a moment readable by others, also where the umask would let them
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with open(descriptor, "r+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            os.fchmod(descriptor, 0o600)
            file.seek(0)
            text = file.read()
            _check_absent(text, user)
            file.write(("" if not text or text.endswith("\n") else "\n") + profile)
            file.flush()
            os.fsync(descriptor)
    except (OSError, UnicodeDecodeError) as error:
        raise CredentialsError(f"{path} cannot be written: {error}. Name another with --file") from error
    return made


def _check_absent(text: str, user: str) -> None:
    reader = configparser.RawConfigParser(default_section="", strict=True)
    try:
        reader.read_string(text)
    except configparser.Error as error:
        raise CredentialsError(f"{_fault(error)}. Correct the file first") from None
    if reader.has_section(user):
        raise UserExists(f"There is a user {user} already. Remove the profile [{user}] first, or choose another name")


def new_key_id(prefix: str = "AKIA") -> str:
    """``AKIA``: a user's; ``ASIA``: a session's."""
    return prefix + "".join(secrets.choice(string.ascii_uppercase + "234567") for _ in range(16))


def new_secret() -> str:
    """240 bits, in the form of AWS's."""
    return "".join(secrets.choice(string.ascii_letters + string.digits + "+/") for _ in range(40))
