"""The event pattern language once more, slowly and plainly: flatten the event into its leaves, then look at the pattern.

Written without a look at the product's code: the way it goes is another. A pattern becomes alternatives (every ``$or``
multiplied out), each a set of (path, elements); an event becomes leaves, each with its path and the array elements it was
reached through. An alternative matches when a choice of leaves exists in which no two disagree about an array's element.
"""

from __future__ import annotations

import ipaddress
import itertools
import json
import re
from decimal import Decimal
from typing import Any

OPERATORS = {"prefix", "suffix", "equals-ignore-case", "wildcard", "anything-but", "numeric", "cidr", "exists"}
Leaf = tuple[tuple[str, ...], dict[tuple[Any, ...], int], str]
"""Path, which element of which array, and the value as JSON text."""


def load(text: str) -> Any:
    """Numbers become ``("number", text)``."""
    return json.loads(text, parse_int=lambda t: ("number", t), parse_float=lambda t: ("number", t))


def matches(pattern: str, event: str) -> bool:
    leaves = list(_leaves(load(event), (), (), {}))
    return any(_alternative_matches(alternative, leaves) for alternative in _alternatives(load(pattern), ()))


def _leaves(value: Any, path: tuple[str, ...], place: tuple[Any, ...], chosen: dict[tuple[Any, ...], int]) -> Any:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, (*path, key), (*place, key), chosen)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _leaves(inner, path, (*place, number), {**chosen, place: number})
    else:
        yield path, chosen, value


def _alternatives(tree: Any, path: tuple[str, ...]) -> list[list[tuple[tuple[str, ...], list[Any]]]]:
    every: list[list[list[tuple[tuple[str, ...], list[Any]]]]] = []
    for key, value in tree.items():
        if (
            key == "$or"
            and isinstance(value, list)
            and all(isinstance(v, dict) and not OPERATORS & set(v) for v in value)
        ):
            every.append([alternative for branch in value for alternative in _alternatives(branch, path)])
        elif isinstance(value, dict):
            every.append(_alternatives(value, (*path, key)))
        else:
            every.append([[((*path, key), value)]])
    return [[wish for part in choice for wish in part] for choice in itertools.product(*every)]


def _alternative_matches(wishes: list[tuple[tuple[str, ...], list[Any]]], leaves: list[Leaf]) -> bool:
    choices: list[list[dict[tuple[Any, ...], int]]] = []
    for path, elements in wishes:
        here = [(chosen, value) for at, chosen, value in leaves if at == path]
        fitting = [_outer(chosen, path) for chosen, value in here if any(_fits(value, e) for e in elements)]
        if not here and {"exists": False} in elements:
            fitting.append({})
        choices.append(fitting)
    return any(_agree(choice) for choice in itertools.product(*choices))


def _outer(chosen: dict[tuple[Any, ...], int], path: tuple[str, ...]) -> dict[tuple[Any, ...], int]:
    """The choices that led to the object the leaf is in: a leaf's own array binds nobody else."""
    return {
        place: number for place, number in chosen.items() if len([p for p in place if isinstance(p, str)]) < len(path)
    }


def _agree(choice: tuple[dict[tuple[Any, ...], int], ...]) -> bool:
    together: dict[tuple[Any, ...], int] = {}
    return all(together.setdefault(place, number) == number for each in choice for place, number in each.items())


def _fits(value: Any, element: Any) -> bool:
    if not isinstance(element, dict):
        return type(value) is type(element) and bool(value == element)
    ((name, operand),) = element.items()
    text = value if isinstance(value, str) else None
    match name:
        case "exists":
            return bool(operand)
        case "anything-but":
            if isinstance(operand, dict):
                ((inner, excluded),) = operand.items()
                each = excluded if isinstance(excluded, list) else [excluded]
                return not any(_fits(value, {inner: e}) for e in each)
            return not any(_fits(value, e) for e in (operand if isinstance(operand, list) else [operand]))
        case "numeric":
            if not (isinstance(value, tuple) and abs(Decimal(value[1])) <= 10**9):
                return False
            number = Decimal(value[1])
            pairs = zip(operand[::2], operand[1::2], strict=True)
            return all(_ordered(number, order, Decimal(limit[1])) for order, limit in pairs)
    if text is None:
        return False
    if isinstance(operand, dict):
        text, operand = text.lower(), operand["equals-ignore-case"].lower()
    match name:
        case "prefix":
            return text[: len(operand)] == operand
        case "suffix":
            return operand == "" or text[-len(operand) :] == operand
        case "equals-ignore-case":
            return text.lower() == operand.lower()
        case "wildcard":
            expression = re.sub(
                r"\\.|\*|[^\\*]+",
                lambda m: ".*" if m[0] == "*" else re.escape(m[0][1:] if m[0][0] == "\\" else m[0]),
                operand,
                flags=re.DOTALL,
            )
            return re.fullmatch(expression, text, re.DOTALL) is not None
        case "cidr":
            return _inside(text, operand)
    raise AssertionError(name)


def _ordered(number: Decimal, order: str, limit: Decimal) -> bool:
    return {
        "<": number < limit,
        "<=": number <= limit,
        "=": number == limit,
        ">=": number >= limit,
        ">": number > limit,
    }[order]


def _inside(address: str, block: str) -> bool:
    network, bits = block.split("/")
    try:
        one, other = ipaddress.ip_address(address), ipaddress.ip_address(network)
    except ValueError:
        return False
    shift = one.max_prefixlen - int(bits)
    return one.version == other.version and int(one) >> shift == int(other) >> shift
