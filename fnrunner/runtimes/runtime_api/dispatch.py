"""Requests to the API that answers them."""

from __future__ import annotations

from .route import match
from .server import Receiver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .extension_routes import ExtensionRoutes
    from .runtime_routes import RuntimeRoutes
    from .server import Exchange

PLAIN = "text/plain; charset=utf-8"


class Dispatcher:
    """What a server calls with each request."""

    def __init__(self, runtime: RuntimeRoutes, extensions: ExtensionRoutes) -> None:
        self._runtime, self._extensions = runtime, extensions
        self._routes: dict[str, Callable[[Exchange], Receiver]] = {
            "runtime.next": runtime.next,
            "runtime.init_error": runtime.init_error,
            "extension.register": extensions.register,
            "extension.next": extensions.next,
            "extension.init_error": extensions.init_error,
            "extension.exit_error": extensions.exit_error,
            "extension.telemetry": lambda exchange: extensions.subscribe(exchange, logs=False),
            "extension.logs": lambda exchange: extensions.subscribe(exchange, logs=True),
        }

    def __call__(self, exchange: Exchange) -> Receiver:
        found = match(exchange.head.method, exchange.head.path)
        if isinstance(found, int):
            exchange.answer(found, b"404 page not found\n" if found == 404 else b"", kind=PLAIN)
            return Receiver()
        name, request_id = found
        if name == "runtime.response":
            return self._runtime.response(exchange, request_id)
        if name == "runtime.error":
            return self._runtime.error(exchange, request_id)
        return self._routes[name](exchange)
