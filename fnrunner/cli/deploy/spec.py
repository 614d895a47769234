"""What is wanted, wherever it was said: on the command line or in a template. Pure values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from fnrunner.cli.deploy.trigger import TriggerSpec


@dataclass(frozen=True, slots=True)
class CodeSource:
    """Where a function's code comes from: ``path`` (a folder, a ``.py`` or a ``.zip`` file), or ``inline``, the source of
    ``index.py``; or ``image``, the name of a container image.
    """

    path: Path | None = None
    inline: str = ""
    image: str = ""


@dataclass(frozen=True, slots=True)
class NotificationSpec:
    """Which events of a bucket invoke the function. ``id`` names it within the function; ``full_id`` is the server's, where
    that was known before."""

    id: str
    bucket: str
    events: tuple[str, ...]
    prefix: str = ""
    suffix: str = ""
    qualifier: str = ""
    full_id: str = ""


@dataclass(frozen=True, slots=True)
class AliasSpec:
    """An alias that names the last version published, which a deployment makes when the code has changed, or with
    ``all_properties`` when anything has. ``provisioned`` environments are held for it; None: none."""

    name: str
    description: str = ""
    all_properties: bool = False
    provisioned: int | None = None


PENDING = "pending-"
"""How the number of a version begins that has none yet; its logical id follows."""


@dataclass(frozen=True, slots=True)
class VersionSpec:
    """A version that is a resource called ``name``. ``number`` empty: it has yet to be published. With ``code_sha256`` only
    this code is published. ``said`` tells what the template says of it: what says another thing is another version."""

    name: str
    number: str = ""
    description: str = ""
    code_sha256: str = ""
    said: str = ""


@dataclass(frozen=True, slots=True)
class RoutedAliasSpec:
    """An alias that is a resource: the version that it names, and the share of events that go to another one instead."""

    name: str
    version: str
    description: str = ""
    weights: Mapping[str, float] = field(default_factory=dict)
    provisioned: int | None = None


STATEMENT = "template-"
"""How the ids of statements begin that templates have made: others are somebody else's, and stay."""


@dataclass(frozen=True, slots=True)
class PermissionSpec:
    """A statement of a function's resource policy. ``parameters`` are AddPermission's. ``id`` tells what the statement says:
    another one has another id."""

    id: str
    parameters: Mapping[str, Any]
    qualifier: str = ""

    @classmethod
    def of(cls, name: str, parameters: Mapping[str, Any], qualifier: str) -> PermissionSpec:
        said = sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()[:12]
        return cls(f"{STATEMENT}{name[:70]}-{said}", parameters, qualifier)


@dataclass(frozen=True, slots=True)
class RouteSpec:
    """A route of the API called ``api``, whose type is ``http`` or ``rest``; without method and path, what no other takes.
    ``name`` is the event's, ``payload`` the version of its format."""

    name: str
    api: str
    function: str
    method: str = ""
    path: str = ""
    timeout_ms: int | None = None
    qualifier: str = ""
    type: str = "http"
    payload: str = "2.0"

    @property
    def key(self) -> str:
        """As events have it: ``GET /items``."""
        return f"{self.method} {self.path}" if self.path else "$default"


@dataclass(frozen=True, slots=True)
class ApiSpec:
    """An API with all of its routes. ``type`` is ``http`` or ``rest``; ``cors`` is in the server's shape."""

    name: str
    stage: str = "$default"
    cors: Mapping[str, Any] | None = None
    routes: tuple[RouteSpec, ...] = ()
    type: str = "http"


@dataclass(frozen=True, slots=True)
class FunctionSpec:
    """A function as it is wanted.

    ``configuration`` has keys and values of UpdateFunctionConfiguration. ``whole``: it describes the function completely,
    so that concurrency, event-invoke configuration, tags, notifications and triggers that are not wanted are taken away;
    otherwise None means "as it is". ``event_invoke`` is the body of PutFunctionEventInvokeConfig.
    """

    name: str
    code: CodeSource
    configuration: Mapping[str, Any] = field(repr=False)
    architecture: str = ""
    reserved_concurrency: int | None = None
    event_invoke: Mapping[str, Any] | None = None
    tags: Mapping[str, str] | None = None
    notifications: tuple[NotificationSpec, ...] | None = None
    triggers: tuple[TriggerSpec, ...] | None = None
    routes: tuple[RouteSpec, ...] = ()
    whole: bool = False
    alias: AliasSpec | None = None
    permissions: tuple[PermissionSpec, ...] = ()
    versions: tuple[VersionSpec, ...] = ()
    aliases: tuple[RoutedAliasSpec, ...] = ()

    @property
    def qualifiers(self) -> tuple[str, ...]:
        """Of all versions and aliases that the template names and that are there."""
        numbers = (version.number for version in self.versions)
        return tuple(filter(None, (self.qualifier, *(alias.name for alias in self.aliases), *numbers)))

    @property
    def qualifier(self) -> str:
        """What events go to: the alias, or empty for the function itself."""
        return self.alias.name if self.alias else ""


@dataclass(frozen=True, slots=True)
class QueueSpec:
    """``attributes`` are those that the template gives, in the server's shape."""

    name: str
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LayerSpec:
    """A layer whose content is in ``code``. ``runtime``: requirements are installed for it, under ``python/``; empty: the
    content is taken as it is. ``parameters`` are PublishLayerVersion's. ``digest`` is its SHA-256 in hex, once it is known.
    """

    name: str
    code: CodeSource
    runtime: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""


@dataclass(frozen=True, slots=True)
class RoleSpec:
    """An execution role: who may assume it, AWS's and own policies by ARN, and its inline policies by name. All documents
    are in IAM's language."""

    name: str
    trust: Mapping[str, Any]
    managed: tuple[str, ...] = ()
    inline: Mapping[str, Any] = field(default_factory=dict)
    description: str = ""


@dataclass(frozen=True, slots=True)
class PolicySpec:
    """A managed policy. ``name`` is the last part of its ``arn``; ``document`` is in IAM's language."""

    name: str
    arn: str
    document: Mapping[str, Any]
    description: str = ""


@dataclass(frozen=True, slots=True)
class StreamSpec:
    name: str
    partitions: int = 1


@dataclass(frozen=True, slots=True)
class Case:
    """A template as SAM's translator takes it, and where its resources stand in the file: lines by logical id."""

    file: str
    template: Mapping[str, Any]
    lines: Mapping[str, int]
    region: str


@dataclass(frozen=True, slots=True)
class Stack:
    """All that one deployment wants. ``outputs`` are a template's; ``warnings`` are for the reader before anything happens.
    ``retained`` are types and names of what stays when it leaves the template. ``exports`` are values for other stacks,
    ``imports`` the names of theirs. ``case`` is what SAM's translator judges."""

    functions: tuple[FunctionSpec, ...]
    buckets: tuple[str, ...] = ()
    queues: tuple[QueueSpec, ...] = ()
    streams: tuple[StreamSpec, ...] = ()
    topics: tuple[str, ...] = ()
    apis: tuple[ApiSpec, ...] = ()
    layers: tuple[LayerSpec, ...] = ()
    roles: tuple[RoleSpec, ...] = ()
    outputs: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    retained: frozenset[tuple[str, str]] = frozenset()
    policies: tuple[PolicySpec, ...] = ()
    exports: Mapping[str, str] = field(default_factory=dict)
    imports: frozenset[str] = frozenset()
    case: Case | None = field(default=None, compare=False, repr=False)
