"""The decorators: a handler, or a function that it calls, whose effect happens once for each key."""

from __future__ import annotations

import functools
import os
import time
from datetime import timedelta
from typing import NamedTuple

from . import deadline
from .errors import IdempotencyConfigurationError, IdempotencyContextError, IdempotencyKeyError
from .key import checked, digest, selected, written
from .procedure import Ask, Pause, Run, Time, new_owner, procedure
from .record import Claim

TYPE_CHECKING = False  # what type checkers take for True
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any

    from .key import Selector
    from .store import Store

COROUTINE = 0x80
STREAMING = 0x20 | 0x200
"""Flags of a function's code, as in the module inspect, which is slow to import: a coroutine; a generator of either kind."""

DAY = timedelta(hours=24)
MARGIN = timedelta(milliseconds=500)
GRACE = timedelta(milliseconds=500)
"""How long after its deadline a function may still be alive: until the worker has killed it."""


class Options(NamedTuple):
    """What is the same for every call of one function. Made by ``options``."""

    store: Store
    key: Selector | None
    payload: Selector | None
    expires: timedelta
    margin: timedelta
    lease: timedelta | None
    scope: str


def idempotent(
    *,
    store: Store,
    key: Selector | None = None,
    expires: timedelta = DAY,
    payload: Selector | None = None,
    margin: timedelta = MARGIN,
    scope: str | None = None,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a handler, ``handler(event, context)``, run once for each key.

    ``key`` is the request id unless given, which is the same for every attempt at an event: a path into the event
    (``order.id``; ``$`` is all of it), a list of paths, or a callable of the event. ``payload``, in the same forms, is what
    must not differ between two events with one key. ``expires`` is how long a complete record is kept; it has to be longer
    than events may be on their way. A duplicate waits while the first runs, until ``margin`` before its own deadline. Keys
    are apart by ``scope``: unless given, the Lambda function's name and the handler's module and name.

    The handler may be ``async def``. What it returns has to be JSON, and comes back as JSON makes it.

    Raises, when called: IdempotencyAlreadyInProgressError, IdempotencyKeyError, IdempotencyValidationError,
    IdempotencyPersistenceLayerError (nothing was run), IdempotencyResultError, IdempotencyLeaseLostError (it has run), and
    whatever the handler raises, after which the record is gone. IdempotencyConfigurationError when decorating.
    """

    def decorate(handler: Callable[..., Any]) -> Callable[..., Any]:
        chosen = options(handler, store, key, payload, expires, margin, None, scope)

        def claimed(arguments: tuple[Any, ...], named: dict[str, Any]) -> tuple[Claim, Time, Any]:
            event, context = _event_and_context(arguments, named)
            if not deadline.is_context(context):
                raise IdempotencyContextError(
                    "an idempotent handler is called with (event, context), and this context has no "
                    "get_remaining_time_in_millis(). Pass the one that the platform gives"
                )
            found = getattr(context, "aws_request_id", None) if chosen.key is None else _part(chosen.key, event)
            checksum = None if chosen.payload is None else digest(_part(chosen.payload, event))
            return (*_claim(chosen, found, checksum, context), context)

        return _wrapped(handler, chosen.store, claimed)

    return decorate


def idempotent_function(
    *,
    store: Store,
    key: Selector,
    expires: timedelta = DAY,
    payload: Selector | None = None,
    margin: timedelta = MARGIN,
    lease: timedelta | None = None,
    scope: str | None = None,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make any function run once for each key. Everything is as in ``idempotent``, but for:

    ``key`` and ``payload`` are paths that begin with a parameter's name (``order.id`` for ``charge(order)``), or callables of
    the same arguments. The deadline is that of the context among the arguments, or of the ``invocation`` it is called in, or
    ``lease`` from now where there is neither; without any, calls raise IdempotencyContextError.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        if key is None:
            raise IdempotencyConfigurationError(
                "an idempotent function needs a `key`, such as a path into its arguments"
            )
        chosen = options(function, store, key, payload, expires, margin, lease, scope)
        import inspect  # slow, and only for this form

        signature = inspect.signature(function)

        def claimed(arguments: tuple[Any, ...], named: dict[str, Any]) -> tuple[Claim, Time, Any]:
            bound = signature.bind(*arguments, **named)
            bound.apply_defaults()

            def part(selector: Selector) -> Any:
                if callable(selector):
                    return selector(*arguments, **named)
                # the context is no part of what is asked, and no JSON
                known = {k: v for k, v in bound.arguments.items() if not deadline.is_context(v)}
                return selected(selector, known)

            context = deadline.current((*arguments, *named.values()))
            checksum = None if chosen.payload is None else digest(part(chosen.payload))
            return (*_claim(chosen, part(key), checksum, context), context)

        return _wrapped(function, chosen.store, claimed)

    return decorate


def options(
    function: Callable[..., Any],
    store: Store,
    key: Selector | None,
    payload: Selector | None,
    expires: timedelta,
    margin: timedelta,
    lease: timedelta | None,
    scope: str | None,
) -> Options:
    """Everything checked at once. Raises IdempotencyConfigurationError."""
    if not callable(function):
        raise IdempotencyConfigurationError(f"only functions can be idempotent, not {function!r}")
    name = getattr(function, "__qualname__", "")
    if scope is None and (not name or "<lambda>" in name):
        raise IdempotencyConfigurationError(
            f"{function!r} has no name that keeps its keys apart from others'. Give `scope`"
        )
    if flags(function) & STREAMING or getattr(function, "streams_response", False):
        raise IdempotencyConfigurationError(
            f"{name or 'this function'} streams its response, which cannot be stored. "
            "Make the function idempotent that has the effect"
        )
    if not callable(getattr(store, "claim", None)):
        raise IdempotencyConfigurationError(f"store takes a SQLiteStore or a PostgresStore, not {store!r}")
    for what, value in (("expires", expires), ("lease", lease)):
        if value is not None and not (isinstance(value, timedelta) and value > timedelta(0)):
            raise IdempotencyConfigurationError(f"{what} takes a timedelta above zero, not {value!r}")
    if not isinstance(margin, timedelta) or margin < timedelta(0):
        raise IdempotencyConfigurationError(f"margin takes a timedelta of zero or more, not {margin!r}")
    if key is not None:
        checked(key, "key")
    if payload is not None:
        checked(payload, "payload")
    names = (os.environ.get("AWS_LAMBDA_FUNCTION_NAME"), getattr(function, "__module__", None), name)
    usual = ".".join(part for part in names if part)
    return Options(store, key, payload, expires, margin, lease, checked_scope(scope, usual))


def flags(function: Any) -> int:
    """Those of the code that a call runs: of a function, a method, a partial, or an object that can be called."""
    while isinstance(function, functools.partial):
        function = function.func
    for found in (function, type(function).__call__):
        code = getattr(found, "__code__", None)
        if code is not None:
            return int(code.co_flags)
    return 0


def checked_scope(scope: str | None, usual: str) -> str:
    """What keeps the keys of two functions apart. Raises IdempotencyConfigurationError."""
    scope = usual if scope is None else scope
    if not isinstance(scope, str) or not scope.isprintable():
        raise IdempotencyConfigurationError(f"scope takes a printable text, not {scope!r}")
    return scope


def _event_and_context(arguments: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, Any]:
    given = [*arguments, *(named[name] for name in ("event", "context") if name in named)]
    if len(given) != 2:
        raise TypeError("an idempotent handler is called with an event and a context")
    return given[0], given[1]


def _part(selector: Selector, event: Any) -> Any:
    return selector(event) if callable(selector) else selected(selector, event)


def _claim(chosen: Options, key: Any, checksum: str | None, context: Any) -> tuple[Claim, Time]:
    if key is None:
        raise IdempotencyKeyError
    left_s = deadline.time_left_s(context, chosen.lease)
    claim = Claim(
        scope=chosen.scope,
        key=written(key),
        owner=new_owner(),
        lease_ms=int((left_s + GRACE.total_seconds()) * 1000),
        expires_ms=max(1, chosen.expires // timedelta(milliseconds=1)),
        payload_hash=checksum,
    )
    return claim, Time(left_s - chosen.margin.total_seconds())


def _wrapped(
    function: Callable[..., Any],
    store: Store,
    claimed: Callable[[tuple[Any, ...], dict[str, Any]], tuple[Claim, Time, Any]],
) -> Callable[..., Any]:
    if flags(function) & COROUTINE:

        @functools.wraps(function)
        async def once_async(*arguments: Any, **named: Any) -> Any:
            claim, allowed, context = claimed(arguments, named)
            return await _drive_async(
                procedure(store, claim, allowed), functools.partial(function, *arguments, **named), context
            )

        return once_async

    @functools.wraps(function)
    def once_blocking(*arguments: Any, **named: Any) -> Any:
        claim, allowed, context = claimed(arguments, named)
        return _drive(procedure(store, claim, allowed), functools.partial(function, *arguments, **named), context)

    return once_blocking


def _drive(steps: Generator[Ask | Pause | Run, Any, Any], run: Callable[[], Any], context: Any) -> Any:
    answer: Any = None
    error: BaseException | None = None
    while True:
        try:
            step = steps.send(answer) if error is None else steps.throw(error)
        except StopIteration as end:
            return end.value
        answer, error = None, None
        try:
            if isinstance(step, Ask):
                answer = step.question()
            elif isinstance(step, Pause):
                time.sleep(step.seconds)
            else:
                answer = _inside(context, run)
        except BaseException as raised:
            error = raised


async def _drive_async(steps: Generator[Ask | Pause | Run, Any, Any], run: Callable[[], Any], context: Any) -> Any:
    import asyncio  # only where it runs already: it is the slowest import of all

    answer: Any = None
    error: BaseException | None = None
    while True:
        try:
            step = steps.send(answer) if error is None else steps.throw(error)
        except StopIteration as end:
            return end.value
        answer, error = None, None
        try:
            if isinstance(step, Ask):
                answer = await asyncio.to_thread(step.question)
            elif isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
            elif context is None:
                answer = await run()
            else:
                with deadline.invocation(context):
                    answer = await run()
        except BaseException as raised:
            error = raised


def _inside(context: Any, run: Callable[[], Any]) -> Any:
    if context is None:
        return run()
    with deadline.invocation(context):
        return run()
