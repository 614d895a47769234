"""Which queues take a message: exchanges and bindings with RabbitMQ's matching rules, as pure lookups.

>>> topic_matches("a.*.#".split("."), "a.b".split("."))
True
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from broker.errors import TopologyConflict
from broker.topology import Binding, Exchange, ExchangeKind

Names = dict[str, None]
"""Queue names, each once, in the order they were bound."""


@dataclass(slots=True)
class _Bound:
    """One exchange with its bindings; ``exact`` holds what a dictionary finds, ``matched`` what must be tried."""

    exchange: Exchange
    bindings: list[Binding] = field(default_factory=list)
    exact: dict[str, Names] = field(default_factory=dict)
    matched: list[tuple[Sequence[str] | Mapping[str, Any], str]] = field(default_factory=list)

    def index(self, binding: Binding) -> None:
        match self.exchange.kind:
            case ExchangeKind.FANOUT:
                self.exact.setdefault("", {})[binding.queue] = None
            case ExchangeKind.HEADERS:
                self.matched.append((binding.arguments, binding.queue))
            case ExchangeKind.TOPIC if {"*", "#"} & set(words := binding.routing_key.split(".")):
                self.matched.append((words, binding.queue))
            case _:
                self.exact.setdefault(binding.routing_key, {})[binding.queue] = None

    def rebuild(self, bindings: list[Binding]) -> None:
        self.bindings, self.exact, self.matched = bindings, {}, []
        for binding in bindings:
            self.index(binding)

    def queues(self, routing_key: str, headers: Mapping[str, Any]) -> Iterator[str]:
        yield from self.exact.get("" if self.exchange.kind is ExchangeKind.FANOUT else routing_key, ())
        if not self.matched:
            return
        words = routing_key.split(".")
        for pattern, queue in self.matched:
            if isinstance(pattern, Mapping):
                if headers_match(pattern, headers):
                    yield queue
            elif topic_matches(pattern, words):
                yield queue


class Router:
    """All exchanges; the default exchange ``""`` is not here, since it needs only the queues."""

    def __init__(self) -> None:
        self._bound: dict[str, _Bound] = {}

    @property
    def exchanges(self) -> list[Exchange]:
        return [b.exchange for b in self._bound.values()]

    def get(self, name: str) -> Exchange | None:
        bound = self._bound.get(name)
        return bound.exchange if bound else None

    def check(self, exchange: Exchange) -> bool:
        """Whether it is new. Raises TopologyConflict when it exists with other arguments."""
        known = self.get(exchange.name)
        if known is not None and known != exchange:
            raise TopologyConflict(f"the exchange {exchange.name!r} exists with other arguments: {known}")
        return known is None

    def add(self, exchange: Exchange) -> None:
        self._bound[exchange.name] = _Bound(exchange)

    def remove(self, name: str) -> bool:
        """Whether it was there."""
        return self._bound.pop(name, None) is not None

    def bind(self, binding: Binding) -> bool:
        """Whether the binding is new."""
        bound = self._bound[binding.exchange]
        if binding in bound.bindings if bound.exchange.kind is ExchangeKind.HEADERS else self.has(binding):
            return False
        bound.bindings.append(binding)
        bound.index(binding)
        return True

    def has(self, binding: Binding) -> bool:
        bound = self._bound.get(binding.exchange)
        if bound is None:
            return False
        if bound.exchange.kind is ExchangeKind.DIRECT:
            return binding.queue in bound.exact.get(binding.routing_key, ())
        return binding in bound.bindings

    def unbind_queue(self, queue: str) -> None:
        """Forget every binding of a queue that is deleted."""
        for bound in self._bound.values():
            kept = [b for b in bound.bindings if b.queue != queue]
            if len(kept) != len(bound.bindings):
                bound.rebuild(kept)

    def route(self, exchange: str, routing_key: str, headers: Mapping[str, Any]) -> list[str]:
        """The queues that take the message, each once; through alternate exchanges when no binding takes it."""
        tried: set[str] = set()
        name: str | None = exchange
        while name is not None and name not in tried and (bound := self._bound.get(name)) is not None:
            tried.add(name)
            if found := list(dict.fromkeys(bound.queues(routing_key, headers))):
                return found
            name = bound.exchange.alternate
        return []


def topic_matches(pattern: Sequence[str], words: Sequence[str]) -> bool:
    """``*`` stands for exactly one word, ``#`` for any number, none included."""
    reachable = {0}
    for part in pattern:
        if part == "#":
            reachable = set(range(min(reachable), len(words) + 1))
        else:
            reachable = {i + 1 for i in reachable if i < len(words) and part in ("*", words[i])}
        if not reachable:
            return False
    return len(words) in reachable


def headers_match(arguments: Mapping[str, Any], headers: Mapping[str, Any]) -> bool:
    """``x-match``: ``all`` (default), ``any``, and ``all-with-x``, ``any-with-x``, which alone look at keys in ``x-``.

    Source: RabbitMQ, AMQP 0-9-1 model, headers exchange. An argument without a value asks only for presence.

    >>> headers_match({"a": 1}, {"a": 1, "b": 2}), headers_match({"a": 1, "x-match": "any"}, {"b": 1})
    (True, False)
    >>> headers_match({"x-node": "n", "x-match": "all-with-x"}, {"x-node": "m"})
    False
    """
    mode = arguments.get("x-match", "all")
    with_x = str(mode).endswith("-with-x")
    wanted = [(k, v) for k, v in arguments.items() if k != "x-match" and (with_x or not k.startswith("x-"))]
    hits = (k in headers and (v is None or _same(v, headers[k])) for k, v in wanted)
    return any(hits) if str(mode).startswith("any") else all(hits)


def _same(a: object, b: object) -> bool:
    return a == b and isinstance(a, bool) == isinstance(b, bool)
