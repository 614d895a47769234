"""Everything on the one port, as one ASGI application. The list of routes is the map of it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from fnrunner.api import (
    access,
    alias,
    code_signing,
    concurrency,
    event_invoke,
    event_source_mapping,
    function,
    function_url,
    health,
    invoke,
    layer,
    permission,
    provisioned_concurrency,
    recursion,
    runtime_management,
    tag,
    version,
)
from fnrunner.api.admin import (
    account,
    audit,
    bucket,
    call,
    code,
    cold_start,
    dead_letter,
    deletion,
    endpoint,
    event,
    http_api,
    key,
    log,
    mapping,
    queue,
    recording,
    saved,
    schedule,
    signing_profile,
    stack,
    status,
    stream,
    subscription,
    url,
)
from fnrunner.api.errors import ApiError, UnknownOperation
from fnrunner.api.guard import Guard
from fnrunner.api.http_door import HttpDoor
from fnrunner.api.iam import absent
from fnrunner.api.lambda_api import LambdaApi
from fnrunner.api.services import Services

LAMBDA_ROUTES = (
    *function.ROUTES,
    *version.ROUTES,
    *alias.ROUTES,
    *invoke.ROUTES,
    *event_invoke.ROUTES,
    *event_source_mapping.ROUTES,
    *function_url.ROUTES,
    *concurrency.ROUTES,
    *provisioned_concurrency.ROUTES,
    *tag.ROUTES,
    *layer.ROUTES,
    *permission.ROUTES,
    *code_signing.ROUTES,
    *recursion.ROUTES,
    *runtime_management.ROUTES,
)
ADMIN_ROUTES = (
    *status.ROUTES,
    *log.ROUTES,
    *event.ROUTES,
    *cold_start.ROUTES,
    *saved.ROUTES,
    *recording.ROUTES,
    *dead_letter.ROUTES,
    *audit.ROUTES,
    *call.ROUTES,
    *key.ROUTES,
    *bucket.ROUTES,
    *queue.ROUTES,
    *stream.ROUTES,
    *deletion.ROUTES,
    *stack.ROUTES,
    *signing_profile.ROUTES,
    *mapping.ROUTES,
    *schedule.ROUTES,
    *subscription.ROUTES,
    *http_api.ROUTES,
    *url.ROUTES,
    *code.ROUTES,
    *account.ROUTES,
)
_DATED = re.compile(r"/\d{4}-\d{2}-\d{2}(/|$)")


class DatedPaths(BaseRoute):
    """Every path that begins with a date is the Lambda API's, whichever dates its model has."""

    def __init__(self, app: LambdaApi) -> None:
        self._app = app

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] == "http" and _DATED.match(scope["path"]):
            return Match.FULL, {}
        return Match.NONE, {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


class NotAllowed(ApiError):
    """The path exists, but not with this method."""

    code, status, message_key, type = "MethodNotAllowedException", 405, "message", ""


def create_app(services: Services, extra_routes: Sequence[BaseRoute] = ()) -> Starlette:
    """The application. ``extra_routes`` (the console's) come after its own.

    Reads the API's model, which takes about 0.1 s.
    """
    settings = services.settings
    check_host = settings.auth != "iam" and not settings.trust_network
    return Starlette(
        routes=[
            DatedPaths(LambdaApi(services, LAMBDA_ROUTES)),
            *health.routes(services),
            *endpoint.mount(ADMIN_ROUTES, services),
            *extra_routes,
            *((absent.ROUTE,) if services.iam is None else ()),
        ],
        middleware=[
            Middleware(HttpDoor, services=services, check_host=check_host),
            Middleware(Guard, check_host=check_host),
            *access.middleware(services, ADMIN_ROUTES),
        ],
        exception_handlers={HTTPException: _no_route},
    )


async def _no_route(_: Request, error: Exception) -> Response:
    method_is_wrong = isinstance(error, HTTPException) and error.status_code == 405
    return endpoint.failure(NotAllowed() if method_is_wrong else UnknownOperation())
