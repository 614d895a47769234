"""Hooks of a function around its snapshot, with the names of Lambda's library for SnapStart.

Before a snapshot they run last registered first; in each environment that is made from it, in the order of registration.
"""

from __future__ import annotations

TYPE_CHECKING = False  # what type checkers take for True
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Hook = tuple[Callable[..., object], tuple[Any, ...], dict[str, Any]]

_before_snapshot: list[Hook] = []
_after_restore: list[Hook] = []


def register_before_snapshot(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Callable[..., Any]:
    """Call ``func`` with these arguments when everything is imported, before the snapshot is taken. Works as a decorator."""
    _before_snapshot.append((func, args, kwargs))
    return func


def register_after_restore(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Callable[..., Any]:
    """Call ``func`` with these arguments in each new environment, before its first invocation. Works as a decorator."""
    _after_restore.append((func, args, kwargs))
    return func


def get_before_snapshot() -> list[Hook]:
    return _before_snapshot


def get_after_restore() -> list[Hook]:
    return _after_restore
