"""What a function is: its code, its configuration, and what happens to its asynchronous events."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum

from fnrunner.model import limits
from fnrunner.model.image import ImageCode
from fnrunner.model.signing import Signature

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class State(Enum):
    PENDING = "Pending"
    ACTIVE = "Active"
    FAILED = "Failed"


class UpdateStatus(Enum):
    SUCCESSFUL = "Successful"
    IN_PROGRESS = "InProgress"
    FAILED = "Failed"


@dataclass(frozen=True, slots=True)
class Code:
    """``digest`` is the SHA-256 of the zip in hex and names the artifact; ``size_bytes`` is the zip's size,
    ``unzipped_bytes`` that of its contents, 0 where it was not measured.
    """

    digest: str
    size_bytes: int
    unzipped_bytes: int = 0

    @property
    def sha256(self) -> str:
        """The digest as Lambda shows it.

        >>> Code("00" * 32, 0).sha256
        'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA='
        """
        return base64.b64encode(bytes.fromhex(self.digest)).decode()


@dataclass(frozen=True, slots=True)
class AttachedLayer:
    """A version of a layer that a function sees below ``/opt``, complete: it stays as it is when the layer is deleted."""

    arn: str
    code: Code
    signature: Signature | None = None


@dataclass(frozen=True, slots=True)
class Function:
    """One version of a function (``$LATEST`` unless published). ``environment`` is secret: it is not in ``repr``.

    ``reserved_concurrency`` None means uncapped, 0 means that nothing runs. ``dead_letter_arn`` and tags as on Lambda.
    ``layers`` in the order of merging: a later one covers what an earlier one has. ``signature`` is the one
    that its code was accepted with, None where none was asked for. Where the code is an ``image``, ``runtime`` and ``handler``
    are empty, and the code's digest is the image's.
    """

    name: str
    runtime: str
    handler: str
    code: Code
    role: str
    version: str = limits.LATEST
    description: str = ""
    timeout: timedelta = timedelta(seconds=3)
    memory_mb: int = 128
    ephemeral_storage_mb: int = 512
    architecture: str = "x86_64"
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    has_environment: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)
    dead_letter_arn: str = ""
    reserved_concurrency: int | None = None
    log_format: str = "Text"
    application_log_level: str = ""
    system_log_level: str = ""
    log_group: str = ""
    tracing_mode: str = "PassThrough"
    layers: tuple[AttachedLayer, ...] = ()
    snap_start: str = "None"
    signature: Signature | None = None
    image: ImageCode | None = None
    kms_key_arn: str = ""
    sealed_environment: str = field(default="", repr=False)
    environment_error: str = ""
    state: State = State.ACTIVE
    update_status: UpdateStatus = UpdateStatus.SUCCESSFUL
    last_modified: datetime = EPOCH
    revision_id: str = ""

    @property
    def is_snapped(self) -> bool:
        """Whether each of its environments begins as a copy of one that has been initialised."""
        return self.snap_start != "None" and self.version != limits.LATEST


@dataclass(frozen=True, slots=True)
class EventInvokeConfig:
    """What follows an asynchronous event of one qualifier; None means Lambda's default. Destinations are ARNs."""

    function: str
    qualifier: str = limits.LATEST
    max_retries: int | None = None
    max_age: timedelta | None = None
    on_success: str = ""
    on_failure: str = ""
    last_modified: datetime = EPOCH

    @property
    def retries(self) -> int:
        return limits.DEFAULT_RETRIES if self.max_retries is None else self.max_retries

    @property
    def age(self) -> timedelta:
        return limits.DEFAULT_EVENT_AGE if self.max_age is None else self.max_age


@dataclass(frozen=True, slots=True)
class Bucket:
    """A watched directory. ``directory`` is absolute on the host that runs the sources."""

    name: str
    directory: str


@dataclass(frozen=True, slots=True)
class Notification:
    """Which events of a bucket invoke which function. ``events`` as in S3: ``s3:ObjectCreated:*``,
    ``s3:ObjectRemoved:*`` and their exact forms. ``prefix`` and ``suffix`` filter keys; empty means all.
    """

    id: str
    bucket: str
    function: str
    qualifier: str = ""
    events: tuple[str, ...] = ("s3:ObjectCreated:*",)
    prefix: str = ""
    suffix: str = ""
