"""Stacks: what `fnrunner deploy` keeps about what it has deployed, so that anybody can go on from there.

::

    POST /stacks/NAME/hold     {"holder": text, "seconds": number, "instead_of"?: text}   409 while another holds it
    PUT  /stacks/NAME          {"holder": text, "document": {…}}                          409 unless held
    POST /stacks/NAME/release  {"holder": text}
    DELETE /stacks/NAME?holder=TEXT                                                       409 unless held
    PUT  /stack-code           a zip; {"digest": SHA-256 in hex}. It is kept for an hour, and while a stack names it
    GET  /stacks/NAME/code/DIGEST   the zip, of one that the stack's document names under ``code``
"""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from typing import Any

from starlette.responses import Response

from fnrunner.api.admin.endpoint import Ask, Endpoint, answer, field, only
from fnrunner.api.errors import InvalidParameter, InvalidRequestContent, ResourceNotFound
from fnrunner.catalogue import archive, stacks
from fnrunner.catalogue.errors import ArtifactMissing
from fnrunner.catalogue.stacks import Stack

LONGEST_S = 300
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")


async def every(ask: Ask) -> Response:
    """By name, without their documents' code and templates."""
    found = await ask.services.catalogue.read(stacks.every)
    return answer({"stacks": [_shown(ask, one) for one in found if one.revision]})


async def show(ask: Ask) -> Response:
    return answer(_shown(ask, await ask.services.catalogue.read(lambda c: stacks.fetch(c, _name(ask)))))


async def hold(ask: Ask) -> Response:
    document = await ask.document()
    only(document, "holder", "seconds", "instead_of")
    name, holder = _name(ask), _holder(document)
    seconds = field(document, "seconds", (int, float), f"a number of seconds up to {LONGEST_S}")
    if not 0 < seconds <= LONGEST_S:
        raise InvalidRequestContent(f"seconds takes a number of seconds up to {LONGEST_S}")
    instead_of, now = field(document, "instead_of", str, "a text", ""), ask.services.now()
    span = timedelta(seconds=seconds)
    held = await ask.services.store.write(lambda c: stacks.hold(c, name, holder, span, now, instead_of=instead_of))
    return answer(_shown(ask, held))


async def put(ask: Ask) -> Response:
    document = await ask.document()
    only(document, "holder", "document")
    name, holder, now = _name(ask), _holder(document), ask.services.now()
    given = field(document, "document", dict, "an object")
    return answer(_shown(ask, await ask.services.store.write(lambda c: stacks.save(c, name, holder, given, now))))


async def release(ask: Ask) -> Response:
    document = await ask.document()
    only(document, "holder")
    name, holder = _name(ask), _holder(document)
    await ask.services.store.write(lambda c: stacks.release(c, name, holder))
    return Response(status_code=204)


async def remove(ask: Ask) -> Response:
    name, holder, now = _name(ask), ask.text("holder"), ask.services.now()
    await ask.services.store.write(lambda c: stacks.remove(c, name, holder, now))
    return Response(status_code=204)


async def put_code(ask: Ask) -> Response:
    """Raises BadArchive and its like for what no function could have as code."""
    zipped = await ask.content()
    await asyncio.to_thread(archive.check, zipped)
    code = await ask.services.catalogue.artifacts.put(zipped)
    return answer({"digest": code.digest, "size_bytes": code.size_bytes})


async def code(ask: Ask) -> Response:
    name, digest = _name(ask), ask.path("digest")
    found = await ask.services.catalogue.read(lambda c: stacks.fetch(c, name))
    try:
        if digest not in stacks.digests_of(found.document):
            raise ArtifactMissing(digest)
        zipped = await ask.services.catalogue.artifacts.read(digest)
    except ArtifactMissing as error:
        raise ResourceNotFound(f"The stack {name} has no code {digest}") from error
    return Response(zipped, media_type="application/zip", headers={"cache-control": "no-store"})


def _name(ask: Ask) -> str:
    name = ask.path("name")
    if not _NAME.fullmatch(name):
        raise InvalidParameter(
            f"{name[:64]!r} is no name for a stack: 1 to 128 of A-Z a-z 0-9 . _ -, first a letter or digit"
        )
    return name


def _holder(document: dict[str, Any]) -> str:
    holder: str = field(document, "holder", str, "a text of 1 to 255 characters")
    if not 1 <= len(holder) <= 255 or "\0" in holder:
        raise InvalidRequestContent("holder takes a text of 1 to 255 characters")
    return holder


def _shown(ask: Ask, stack: Stack) -> dict[str, Any]:
    left = stack.held_until_ms / 1000 - ask.services.now().timestamp()
    return {
        "name": stack.name, "revision": stack.revision, "updated_ms": stack.updated_ms,
        "holder": stack.holder if left > 0 else "", "held_for_s": max(left, 0.0), "document": dict(stack.document),
    }  # fmt: skip


ROUTES = (
    Endpoint("GET", "/stacks", every),
    Endpoint("POST", "/stacks/{name}/hold", hold),
    Endpoint("POST", "/stacks/{name}/release", release),
    Endpoint("GET", "/stacks/{name}/code/{digest}", code),
    Endpoint("PUT", "/stack-code", put_code),
    Endpoint("GET", "/stacks/{name}", show),
    Endpoint("PUT", "/stacks/{name}", put),
    Endpoint("DELETE", "/stacks/{name}", remove),
)
