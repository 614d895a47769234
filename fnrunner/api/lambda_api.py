"""The ASGI application of the dated paths: finds the operation, reads it, has it handled, renders what came of it.

Invoke has a door of its own (:mod:`fnrunner.api.invoke`), since its cost counts, and so has its streaming sister
(:mod:`fnrunner.api.response_stream`), whose answer is no document; everything else takes the generic path.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from urllib.parse import quote

from starlette.types import Receive, Scope, Send

from fnrunner.api import body as request_body
from fnrunner.api import shape, unsupported
from fnrunner.api.errors import ClientGone, describe
from fnrunner.api.http_address import base_url_of
from fnrunner.api.invoke import Invoke
from fnrunner.api.request import Call, Route, headers_of, parameters, query_of
from fnrunner.api.response import Reply, send_failure, send_reply
from fnrunner.api.response_stream import InvokeWithResponseStream
from fnrunner.api.router import Router
from fnrunner.api.services import Services
from fnrunner.api.shape import Operation
from fnrunner.api.validation import validate
from fnrunner.model import limits


class LambdaApi:
    """``routes`` are what this release has; every other operation of the model is refused by name."""

    def __init__(self, services: Services, routes: Iterable[Route]) -> None:
        operations = shape.load()
        self._services = services
        self._router = Router(operations)
        self._routes: Mapping[str, Route] = {route.operation: route for route in routes}
        by_name = {operation.name: operation for operation in operations}
        self._invoke = Invoke(services, by_name["Invoke"])
        self._invoke_stream = InvokeWithResponseStream(services, by_name["InvokeWithResponseStream"])

    async def __call__(self, scope: Scope, receive: Receive, send_: Send) -> None:
        raw_path = path_of(scope)
        if (segment := self._invoke.function_of(scope["method"], raw_path)) is not None:
            await self._invoke(scope, receive, send_, segment)
            return
        if (segment := self._invoke_stream.function_of(scope["method"], raw_path)) is not None:
            await self._invoke_stream(scope, receive, send_, segment)
            return
        request_id = str(uuid.uuid4())
        try:
            operation, reply = await self._answer(scope, receive, raw_path, request_id)
        except ClientGone:
            return
        except Exception as error:  # the one border: everything becomes a response, the unexpected is logged
            await send_failure(send_, describe(error, request_id), request_id)
            return
        await send_reply(send_, reply, operation.status, request_id)

    async def _answer(self, scope: Scope, receive: Receive, raw_path: str, request_id: str) -> tuple[Operation, Reply]:
        query = query_of(scope)
        operation, labels = self._router.match(scope["method"], raw_path, query)
        route = self._routes.get(operation.name)
        if route is None:
            raise unsupported.refuse_operation(operation.name, self._services.version)
        content = await request_body.read_limited(receive, limits.REQUEST_BODY_BYTES, operation.name)
        headers = headers_of(scope)
        params = parameters(operation, labels, query, headers, content)
        validate(operation.input, params)
        unsupported.refuse(operation.name, params, route.supports, self._services.version)
        now = self._services.now()
        call = Call(operation, params, request_id, self._services, base_url_of(scope), now, content, headers)
        return operation, await route.handle(call)


def path_of(scope: Scope) -> str:
    """The path as it was sent, still percent-encoded."""
    raw: bytes | None = scope.get("raw_path")
    return raw.decode("latin-1") if raw is not None else quote(scope["path"])
