"""How much time the running invocation has left, known to the functions that it calls."""

from __future__ import annotations

import contextlib
import contextvars

from .errors import IdempotencyConfigurationError, IdempotencyContextError

TYPE_CHECKING = False  # what type checkers take for True; importing typing would cost a cold start
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import timedelta
    from typing import Any

_current: contextvars.ContextVar[Any] = contextvars.ContextVar("fnrunner_idempotency_invocation", default=None)


@contextlib.contextmanager
def invocation(context: Any) -> Iterator[None]:
    """Inside, idempotent functions know the deadline of ``context``, the handler's second argument.

    An idempotent handler is inside by itself. Threads are not: pass them the context as an argument.
    """
    if not is_context(context):
        raise IdempotencyConfigurationError("invocation() takes the context, the second argument of the handler")
    token = _current.set(context)
    try:
        yield
    finally:
        _current.reset(token)


def is_context(value: Any) -> bool:
    return callable(getattr(value, "get_remaining_time_in_millis", None))


def current(arguments: Iterable[Any] = ()) -> Any:
    """The context among ``arguments``, else the one whose ``invocation`` this is inside of, else None."""
    for argument in arguments:
        if is_context(argument):
            return argument
    return _current.get()


def time_left_s(context: Any, lease: timedelta | None) -> float:
    """Seconds until the deadline; without a context ``lease``.

    Raises IdempotencyContextError when neither is known.
    """
    if context is not None:
        return float(context.get_remaining_time_in_millis()) / 1000
    if lease is None:
        raise IdempotencyContextError
    return lease.total_seconds()
