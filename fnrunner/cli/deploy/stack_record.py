"""What is remembered of a stack, on the server, so that anybody can go on from where a deployment ended or broke off.

====================  ==============================================================================================
``complete``          ``current`` is deployed
``deploying``         on the way from ``current`` to ``target``; what breaks off goes back to ``current``
``cleaning``          ``current`` is deployed; what is among ``owned`` and not in it has yet to go
``deleting``          everything among ``owned`` has yet to go
====================  ==============================================================================================
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

from fnrunner.cli.deploy.spec import Stack


class Status(Enum):
    COMPLETE = "complete"
    DEPLOYING = "deploying"
    CLEANING = "cleaning"
    DELETING = "deleting"


class Owned(NamedTuple):
    """Something that a stack made. ``kind`` is one of :data:`KINDS`; a layer's name is NAME:DIGEST of its content, a version's
    and an alias's FUNCTION:NAME."""

    kind: str
    name: str


KINDS = ("http_api", "alias", "version", "function", "layer", "queue", "stream", "topic", "bucket", "role", "policy")
"""In the order in which they are taken away."""


def owned_by(stack: Stack) -> tuple[Owned, ...]:
    """All that a stack wants to be there."""
    return (
        *(Owned("http_api", api.name) for api in stack.apis if api.routes),
        *(Owned("alias", f"{one.name}:{alias.name}") for one in stack.functions for alias in one.aliases),
        *(Owned("version", f"{one.name}:{v.number}") for one in stack.functions for v in one.versions if v.number),
        *(Owned("function", function.name) for function in stack.functions),
        *(Owned("layer", f"{layer.name}:{layer.digest}") for layer in stack.layers),
        *(Owned("queue", queue.name) for queue in stack.queues),
        *(Owned("stream", stream.name) for stream in stack.streams),
        *(Owned("topic", name) for name in stack.topics),
        *(Owned("bucket", name) for name in stack.buckets),
        *(Owned("role", role.name) for role in stack.roles),
        *(Owned("policy", policy.name) for policy in stack.policies),
    )


@dataclass(frozen=True, slots=True)
class Revision:
    """A template with all that it takes to deploy it again: its parameters and the code of its functions.

    ``code`` maps functions to the SHA-256 of their packages in hex, and ``layers`` layers to that of their content.
    ``versions`` maps functions to ALIAS:VERSION, what AutoPublishAlias has published. ``origin`` is HOST:PATH of the template.
    ``published`` are the versions that are resources, as :class:`~fnrunner.cli.deploy.naming.Entry` has them, by logical id.
    ``imports`` and ``exports`` are names of what other stacks export and of what this one does. ``sealed`` are the parameters
    where the server cannot open them: they are written back as they are.
    """

    text: str = field(repr=False)
    file: str
    parameters: Mapping[str, str] = field(repr=False, default_factory=dict)
    code: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    origin: str = ""
    implicit_api: str = ""
    layers: Mapping[str, str] = field(default_factory=dict)
    sealed: str = field(repr=False, default="")
    published: Mapping[str, str] = field(default_factory=dict)
    imports: tuple[str, ...] = ()
    exports: tuple[str, ...] = ()

    def code_sha256(self, function: str) -> str:
        """As Lambda has it, in base64."""
        return b64encode(bytes.fromhex(self.code[function])).decode()

    def same_as(self, other: Revision | None) -> bool:
        """Whether deploying this after the other could only change the record."""
        mine = (self.text, self.parameters, self.sealed, self.code, self.layers, self.implicit_api)
        return other is not None and mine == (
            other.text, other.parameters, other.sealed, other.code, other.layers, other.implicit_api
        )  # fmt: skip

    def document(self) -> dict[str, Any]:
        """For the server, which keeps the code that is named here."""
        code = {function: {"digest": digest} for function, digest in self.code.items()}
        layers = {layer: {"digest": digest} for layer, digest in self.layers.items()}
        return {
            "text": self.text, "file": self.file, "parameters": self.sealed or dict(self.parameters), "code": code,
            "versions": dict(self.versions), "origin": self.origin, "implicit_api": self.implicit_api,
            "content": {"code": layers}, "published": dict(self.published),
            "imports": list(self.imports), "exports": list(self.exports),
        }  # fmt: skip

    @classmethod
    def of(cls, document: Mapping[str, Any] | None) -> Revision | None:
        if not document:
            return None
        code = {function: one["digest"] for function, one in document["code"].items()}
        layers = {layer: one["digest"] for layer, one in document.get("content", {}).get("code", {}).items()}
        rest = {key: value for key, value in document.items() if key not in ("code", "content")}
        if isinstance(sealed := document.get("parameters"), str):
            rest |= {"parameters": {}, "sealed": sealed}
        rest |= {key: tuple(document.get(key, ())) for key in ("imports", "exports")}
        return cls(**rest, code=code, layers=layers)


@dataclass(frozen=True, slots=True)
class Record:
    """``adopted`` are functions that were there before the stack, as they were then, for the way back.

    ``creating`` is what the deployment under way makes: on the way back it goes. ``previous`` is what was deployed before
    ``current``, while cleaning. ``numbers`` are the versions that functions of a deployment under way had before it; what it
    publishes besides goes on the way back. ``exports`` are values that others may import. Queues, streams, topics and buckets
    that were there before are used and never owned.
    """

    name: str
    status: Status = Status.COMPLETE
    current: Revision | None = None
    target: Revision | None = None
    previous: Revision | None = None
    owned: tuple[Owned, ...] = ()
    creating: tuple[Owned, ...] = ()
    adopted: Mapping[str, Any] = field(repr=False, default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    revision: int = 0
    holder: str = ""
    held_for_s: float = 0.0
    updated_ms: int = 0
    numbers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    exports: Mapping[str, str] = field(default_factory=dict)

    @property
    def imports(self) -> frozenset[str]:
        """All that has to stay exported by others, whichever way a deployment under way goes."""
        revisions = [one for one in (self.current, self.target, self.previous) if one is not None]
        return frozenset(name for one in revisions for name in one.imports)

    @property
    def claims(self) -> frozenset[str]:
        """What a deployment under way is to export."""
        return frozenset(self.target.exports if self.target else ())

    def document(self) -> dict[str, Any]:
        return {
            "status": self.status.value,
            "current": self.current.document() if self.current else None,
            "target": self.target.document() if self.target else None,
            "previous": self.previous.document() if self.previous else None,
            "owned": [list(one) for one in self.owned],
            "creating": [list(one) for one in self.creating],
            "adopted": dict(self.adopted),
            "numbers": {function: list(numbers) for function, numbers in self.numbers.items()},
            "outputs": dict(self.outputs),
            "exports": dict(self.exports),
        }

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Record:
        """From the server's answer; empty where nothing has been written yet."""
        document = answer["document"]
        return cls(
            name=answer["name"],
            status=Status(document.get("status", "complete")),
            current=Revision.of(document.get("current")),
            target=Revision.of(document.get("target")),
            previous=Revision.of(document.get("previous")),
            owned=tuple(Owned(*one) for one in document.get("owned", ())),
            creating=tuple(Owned(*one) for one in document.get("creating", ())),
            adopted=document.get("adopted", {}),
            numbers={function: tuple(known) for function, known in document.get("numbers", {}).items()},
            outputs=document.get("outputs", {}),
            exports=document.get("exports", {}),
            revision=answer["revision"],
            holder=answer["holder"],
            held_for_s=answer["held_for_s"],
            updated_ms=answer["updated_ms"],
        )
