"""The Extensions API, and the subscriptions of the Telemetry and Logs APIs: who may ask what, and when.

Source: Lambda, Extensions API; types and texts are those of its runtime interface emulator.
"""

from __future__ import annotations

import os

from . import fault
from .extension import FAILED, INVOKE, MOST_EXTENSIONS, REGISTERED, RUNNING, SHUTDOWN, STARTED, Extension
from .server import Collector, Receiver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .server import Exchange
    from .telemetry import Telemetry

NAME, IDENTIFIER, ERROR_TYPE, FEATURES = (
    "lambda-extension-name",
    "lambda-extension-identifier",
    "lambda-extension-function-error-type",
    "lambda-extension-accept-feature",
)
ACCEPTED = b'{"status":"OK"}\n'


class ExtensionRoutes:
    """All extensions of one environment. ``changed``: one has registered or waits; ``failed``: one gave up."""

    def __init__(
        self,
        telemetry: Telemetry,
        account: str,
        *,
        changed: Callable[[], None],
        ready: Callable[[Extension], None],
        failed: Callable[[Extension, str, str], None],
    ) -> None:
        self.all: list[Extension] = []
        self.closed = False
        """Whether it is too late to register: initialisation is over."""
        self._telemetry, self._account = telemetry, account
        self._changed, self._ready, self._failed = changed, ready, failed

    # Routes

    def register(self, exchange: Exchange) -> Receiver:
        name = exchange.head.headers.get(NAME, "")
        if not name:
            fault.refuse(exchange, 403, "Extension.InvalidExtensionName", "Empty extension name")
            return Receiver()
        return self._with_json(exchange, lambda body: self._register(exchange, name, body))

    def next(self, exchange: Exchange) -> Receiver:
        if (extension := self._named(exchange)) is not None:
            if extension.state not in (REGISTERED, RUNNING) and (extension.asking or not extension.ready):
                self._forbid(exchange, extension, "Ready")
                return Receiver()
            if extension.state == REGISTERED:
                self._ready(extension)
            extension.wait(exchange)
            self._changed()
        return Receiver()

    def init_error(self, exchange: Exchange) -> Receiver:
        return self._give_up(exchange, "InitError", (REGISTERED,))

    def exit_error(self, exchange: Exchange) -> Receiver:
        return self._give_up(exchange, "ExitError", (REGISTERED, RUNNING, "Ready"))

    def subscribe(self, exchange: Exchange, *, logs: bool) -> Receiver:
        extension = self._named(exchange)
        if extension is None:
            return Receiver()
        return self._with_json(exchange, lambda body: self._subscribe(exchange, extension, body, logs))

    # What follows

    def _register(self, exchange: Exchange, name: str, body: Any) -> None:
        events = body.get("events", []) if isinstance(body, dict) else None
        if not isinstance(events, list) or not all(isinstance(event, str) for event in events):
            fault.refuse(exchange, 403, "InvalidRequestFormat", 'the body should be {"events": ["INVOKE", "SHUTDOWN"]}')
            return
        extension = next((one for one in self.all if one.name == name), None)
        external = extension is not None and extension.external
        for event in events:
            if event == SHUTDOWN and not external:
                message = f"{event}: ShutdownEventNotSupportedForInternalExtension"
            elif event not in (INVOKE, SHUTDOWN):
                message = f"{event}: InvalidEventType"
            else:
                continue
            fault.refuse(exchange, 403, "Extension.InvalidEventType", message)
            return
        if extension is None:
            extension = self._internal(exchange, name)
        elif not external:
            fault.refuse(
                exchange, 403, "Extension.InvalidExtensionState", "Extension with this name already registered"
            )
            return
        if extension is None:
            return
        if extension.state != STARTED:
            self._forbid(exchange, extension, REGISTERED)
            return
        extension.state, extension.events = REGISTERED, list(dict.fromkeys(events))
        exchange.answer(200, self._described(exchange), (("Lambda-Extension-Identifier", extension.identifier),))
        self._changed()

    def _internal(self, exchange: Exchange, name: str) -> Extension | None:
        if self.closed:
            fault.refuse(exchange, 403, "Extension.RegistrationClosed", "Extension registration closed already")
        elif len(self.all) >= MOST_EXTENSIONS:
            message = f"Extension limit ({MOST_EXTENSIONS}) reached"
            fault.refuse(exchange, 403, "Extension.TooManyExtensions", message)
        else:
            self.all.append(extension := Extension(name, external=False))
            return extension
        return None

    def _described(self, exchange: Exchange) -> bytes:
        import json

        document = {
            "functionName": os.environ.get("AWS_LAMBDA_FUNCTION_NAME", ""),
            "functionVersion": os.environ.get("AWS_LAMBDA_FUNCTION_VERSION", ""),
            "handler": os.environ.get("_HANDLER", ""),
        }
        if "accountid" in exchange.head.headers.get(FEATURES, "").lower().replace(" ", "").split(","):
            document["accountId"] = self._account
        return json.dumps(document, separators=(",", ":")).encode()

    def _give_up(self, exchange: Exchange, following: str, allowed: tuple[str, ...]) -> Receiver:
        extension = self._named(exchange)
        if extension is None:
            return Receiver()
        kind = exchange.head.headers.get(ERROR_TYPE, "")
        if not kind:
            message = "Missing Lambda-Extension-Function-Error-Type header"
            fault.refuse(exchange, 403, "Extension.MissingHeader", message)
            return Receiver()
        if extension.state not in allowed:
            self._forbid(exchange, extension, following)
            return Receiver()
        extension.state = FAILED

        def done(body: bytes | None) -> None:
            exchange.answer(202, ACCEPTED)
            known = (
                f"Extension.{following}" if not kind.startswith("Extension.") else fault.known_type(kind, "Extension")
            )
            self._failed(extension, known, _message(body))

        return Collector(fault.LARGEST_ERROR, done, lambda: None)

    def _subscribe(self, exchange: Exchange, extension: Extension, body: Any, logs: bool) -> None:
        from .subscription import Invalid, parse

        api = "Logs" if logs else "Telemetry"
        if self._telemetry.closed:
            fault.refuse(exchange, 403, f"{api}.SubscriptionClosed", f"{api} API subscription is closed already")
            return
        try:
            wanted = parse(body, logs=logs)
        except Invalid as error:
            fault.refuse(exchange, 400, "ValidationError", str(error))
            return
        self._telemetry.subscribe(extension.name, wanted)
        exchange.answer(200, b'"OK"')
        kind = "platform.logsSubscription" if logs else "platform.telemetrySubscription"
        self._telemetry.emit(kind, {"name": extension.name, "state": "Subscribed", "types": wanted.types})

    def _named(self, exchange: Exchange) -> Extension | None:
        """The extension that asks; without one the request is answered."""
        identifier = exchange.head.headers.get(IDENTIFIER, "")
        if not identifier:
            message = "Missing Lambda-Extension-Identifier header"
            fault.refuse(exchange, 403, "Extension.MissingExtensionIdentifier", message)
            return None
        if not _is_uuid(identifier):
            message = "Invalid Lambda-Extension-Identifier"
            fault.refuse(exchange, 403, "Extension.InvalidExtensionIdentifier", message)
            return None
        for extension in self.all:
            if extension.identifier == identifier.lower() and extension.registered:
                return extension
        fault.refuse(exchange, 403, "Extension.UnknownExtensionIdentifier", f"Unknown extension {identifier}")
        return None

    def _with_json(self, exchange: Exchange, take: Callable[[Any], None]) -> Receiver:
        def done(body: bytes | None) -> None:
            import json

            if body is None:
                fault.refuse(exchange, 413, "RequestEntityTooLarge", "The request is too large")
                return
            try:
                value = json.loads(body)
            except (ValueError, RecursionError) as error:
                fault.refuse(exchange, 403, "InvalidRequestFormat", f"the body is not JSON: {error}")
                return
            take(value)

        return Collector(fault.LARGEST_REQUEST, done, lambda: None)

    @staticmethod
    def _forbid(exchange: Exchange, extension: Extension, following: str) -> None:
        message = f"State transition from {extension.state} to {following} failed for extension {extension.name}."
        full = f"{message} Error: State transition is not allowed"
        fault.refuse(exchange, 403, "Extension.InvalidExtensionState", full)


def _is_uuid(text: str) -> bool:
    digits = text.split("-")
    return [len(part) for part in digits] == [8, 4, 4, 4, 12] and set("".join(digits).lower()) <= set(
        "0123456789abcdef"
    )


def _message(body: bytes | None) -> str:
    """What an extension says of its error."""
    import json

    try:
        return str(json.loads(body or b"")["errorMessage"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return ""
