"""Wraps the API: lets in who has signed and is allowed, refuses the others, and keeps the log of calls.

With ``auth`` off (``iam`` None) everybody is let in, as before; changes are logged all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import uuid
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from fnrunner.api import body as request_body
from fnrunner.api.access.authenticator import Authenticator
from fnrunner.api.access.authoriser import Authoriser
from fnrunner.api.access.refusal import refuse, refuse_query
from fnrunner.api.access.subject import INVOCATIONS, AdminSubjects, LambdaSubjects
from fnrunner.api.admin.endpoint import MAX_BODY_BYTES as MAX_ADMIN_BYTES
from fnrunner.api.errors import ApiError, BodyTooLarge, ClientGone
from fnrunner.api.http_visit import request_of
from fnrunner.api.iam.door import MAX_BODY_BYTES as MAX_FORM_BYTES
from fnrunner.api.iam.door import Asked, IamApi
from fnrunner.api.lambda_api import path_of
from fnrunner.auth import call as calls
from fnrunner.auth.call import Call
from fnrunner.auth.iam import Known
from fnrunner.auth.subject import Subject
from fnrunner.auth.trail import Trail
from fnrunner.model import limits
from sources.http.request import Request

_DATED = re.compile(r"/\d{4}-\d{2}-\d{2}(/|$)")
_READING = frozenset(("GET", "HEAD", "OPTIONS"))
_WITH_CODE = frozenset(("CreateFunction", "UpdateFunctionCode", "PublishLayerVersion"))
CHUNK_SIGNATURES_BYTES = 64 * 1024
"""How much longer a body may be than what it holds, for the signatures of its chunks; the operation limits what it holds."""

LARGE_BYTES = 256 * 1024
_OPEN = frozenset(("/healthz", "/readyz", "/metrics"))
_LINKS = "/fnrunner/v1/code/"


class Door(Enum):
    """Which API a path leads to. Links to code carry a signature of their own."""

    OPEN = "open"
    LAMBDA = "lambda"
    ADMIN = "admin"
    QUERY = "query"


def door_of(method: str, path: str) -> Door:
    """``path`` is decoded, as the application's own routes see it. Every path that is not known is the administration's.

    >>> door_of("GET", "/healthz"), door_of("POST", "/"), door_of("GET", "/anything").value
    (<Door.OPEN: 'open'>, <Door.QUERY: 'query'>, 'admin')
    """
    if _DATED.match(path):
        return Door.LAMBDA
    if path == "/":
        return Door.QUERY
    if path in _OPEN or (method in ("GET", "HEAD") and path.startswith(_LINKS) and "/" not in path[len(_LINKS) :]):
        return Door.OPEN
    return Door.ADMIN


@dataclass(frozen=True, slots=True)
class Access:
    """What the gate needs to refuse anybody."""

    authenticator: Authenticator
    authoriser: Authoriser
    iam_api: IamApi


@dataclass(slots=True)
class _Passage:
    """What is known of one request so far."""

    scope: Scope
    door: Door
    request: Request
    request_id: str
    subject: Subject | None = None
    known: Known | None = None
    asked: Asked | None = None
    key: str = ""
    content: bytes = field(default=b"", repr=False)
    read_again: Callable[[], bytes] | None = None


class Gate:
    """``lambda_subjects`` and ``admin_subjects`` say what requests are about. ``access`` None: everybody may."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        lambda_subjects: LambdaSubjects,
        admin_subjects: AdminSubjects,
        access: Access | None,
        trail: Trail | None,
        now: Callable[[], datetime],
    ) -> None:
        self._app = app
        self._lambda = lambda_subjects
        self._admin = admin_subjects
        self._access = access
        self._trail = trail
        self._now = now

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        door = door_of(scope["method"], scope["path"]) if scope["type"] == "http" else Door.OPEN
        if door is Door.OPEN or (self._access is None and (self._trail is None or scope["method"] in _READING)):
            await self._app(scope, receive, send)
            return
        passage = _Passage(scope, door, request_of(scope), str(uuid.uuid4()))
        if self._access is None:
            await self._watch(passage, receive, send)
            return
        try:
            await self._enter(passage, receive, self._access)
        except ClientGone:
            return
        except Exception as error:  # the one border of what is refused here
            await self._refuse(passage, error, send)
            return
        if passage.asked is not None:
            await self._answer(passage, passage.asked, send)
        else:
            await self._pass(passage, _Inside(passage.content, receive).receive, send)

    async def _watch(self, passage: _Passage, receive: Receive, send: Send) -> None:
        """Nobody has to sign: the application reads, and only what the log of calls wants is read again afterwards."""
        if passage.door is Door.LAMBDA:
            try:
                if self._lambda.named(passage.scope, path_of(passage.scope)) in INVOCATIONS:
                    await self._app(passage.scope, receive, send)
                    return
            except ApiError:
                # it is the application's to refuse
                await self._app(passage.scope, receive, send)
                return
        seen: list[bytes] = []

        async def copied() -> MutableMapping[str, Any]:
            message = await receive()
            if message["type"] == "http.request":
                seen.append(message.get("body", b""))
            return message

        passage.read_again = lambda: b"".join(seen)
        await self._pass(passage, copied, send)

    async def _enter(self, passage: _Passage, receive: Receive, access: Access) -> None:
        """Raises SignatureRefused, Denied, and what keeps one from deciding."""
        query = passage.door is Door.QUERY
        claims, known = await access.authenticator.screen(passage.request, query=query)
        passage.key = claims.access_key
        whole = replace(passage.request, body=await self._read(passage, receive))
        passage.request = access.authenticator.verify(whole, claims, known)
        passage.known, passage.content = known, passage.request.body
        if query:
            passage.asked = access.iam_api.read(passage.request.raw_query, passage.content, claims.service)
            passage.subject = access.iam_api.subject(passage.asked, known)
        else:
            passage.subject = await self._subject(passage, passage.content)
        await access.authoriser.check(passage.request, known, passage.subject.needs)

    async def _subject(self, passage: _Passage, content: bytes) -> Subject:
        if passage.door is not Door.LAMBDA:
            return self._admin.of(passage.scope, content)
        if len(content) < LARGE_BYTES:
            return self._lambda.of(passage.scope, path_of(passage.scope), content)
        # decoding a large zip takes a while, and everybody else would wait
        return await asyncio.to_thread(self._lambda.of, passage.scope, path_of(passage.scope), content)

    async def _read(self, passage: _Passage, receive: Receive) -> bytes:
        """Raises BodyTooLarge, ClientGone."""
        name = passage.scope["path"]
        if passage.door is not Door.LAMBDA:
            limit = MAX_FORM_BYTES if passage.door is Door.QUERY else MAX_ADMIN_BYTES
            return await request_body.read_limited(receive, limit, name)
        with contextlib.suppress(ApiError):  # what is no operation is said when the signature has been verified
            name = self._lambda.named(passage.scope, path_of(passage.scope))
        limit = limits.REQUEST_BODY_BYTES if name in _WITH_CODE else limits.SYNC_PAYLOAD_BYTES
        try:
            return await request_body.read(receive, limit + CHUNK_SIGNATURES_BYTES)
        except request_body.TooLong as error:
            name = "InvokeFunction" if name in INVOCATIONS else name
            raise BodyTooLarge(f"Request must be smaller than {limit} bytes for the {name} operation") from error

    async def _answer(self, passage: _Passage, asked: Asked, send: Send) -> None:
        assert self._access is not None
        assert passage.known is not None
        try:
            context = self._access.authoriser.context(passage.request, passage.known)
            status = await self._access.iam_api.respond(send, asked, passage.known, passage.request_id, context)
        except Exception as error:
            await self._refuse(passage, error, send)
            return
        self._record(passage, status, "")

    async def _pass(self, passage: _Passage, receive: Receive, send: Send) -> None:
        """Into the application, with an eye on what it answers."""
        status, code, request_id = 0, "", ""

        async def watched(message: MutableMapping[str, Any]) -> None:
            nonlocal status, code, request_id
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = dict(message.get("headers", ()))
                code = headers.get(b"x-amzn-errortype", b"").decode("latin-1")
                request_id = headers.get(b"x-amzn-requestid", b"").decode("latin-1")
            await send(message)

        try:
            await self._app(passage.scope, receive, watched)
        finally:
            if passage.read_again is not None:
                passage.subject = await self._subject(passage, passage.read_again())
            if passage.subject is not None and passage.subject.changes:
                passage.request_id = request_id or passage.request_id
                self._record(passage, status or 500, code)

    async def _refuse(self, passage: _Passage, error: Exception, send: Send) -> None:
        if passage.door is Door.QUERY and self._access is not None:
            api = self._access.iam_api
            namespace = api.namespace(passage.subject.service if passage.subject else "sts")
            failure = await refuse_query(send, error, passage.request_id, namespace)
        else:
            failure = await refuse(send, error, passage.request_id, admin=passage.door is Door.ADMIN)
        if self._access is not None:
            self._record(passage, failure.status, failure.code)

    def _record(self, passage: _Passage, status: int, code: str) -> None:
        subject, request = passage.subject, passage.request
        if self._trail is None or (subject is not None and not subject.changes and status < 400):
            return
        known = passage.known
        self._trail.add(
            Call(
                at_ms=int(self._now().timestamp() * 1000),
                request_id=passage.request_id,
                principal=known.principal.arn if known else "",
                access_key=passage.key,
                service=subject.service if subject else passage.door.value,
                operation=subject.operation if subject else request.method,
                resource=subject.resource if subject else request.raw_path,
                parameters=calls.shown(subject.params) if subject else "{}",
                source_ip=request.source_ip,
                user_agent=request.header("user-agent"),
                status=status,
                error_code=code.partition(":")[0],
            )
        )


class _Inside:
    """The body that has been read, for the application to read again; then what the server says next."""

    def __init__(self, content: bytes, receive: Receive) -> None:
        self._content: bytes | None = content
        self._receive = receive

    async def receive(self) -> MutableMapping[str, Any]:
        if (content := self._content) is not None:
            self._content = None
            return {"type": "http.request", "body": content, "more_body": False}
        return await self._receive()
