"""Wildcards of IAM's policy language: ``*`` any text, ``?`` one character; and ``${…}``, the policy variables.

>>> matches("lambda:Get*", "lambda:GetFunction"), matches("a?c", "ac")
(True, False)
>>> matches_arn("arn:aws:lambda:*:1:function:f*", "arn:aws:lambda:us-east-1:1:function:f:prod")
True

Patterns come from whoever may write a policy, and are matched while everybody waits: the time is bounded by the product of
the lengths, whatever the pattern.

Source: IAM, JSON policy elements: Resource, and IAM policy elements: variables and tags.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache

Context = Mapping[str, tuple[str, ...]]
"""What a request is judged by: values by condition key in lower case. A key that is absent is not in the request."""

_VARIABLE = re.compile(r"\$\{([^{}]*)\}")
_DEFAULT = re.compile(r"\s*([^,\s]+)\s*,\s*'([^']*)'\s*")
_SPECIAL = frozenset("*?$")
_PARTS = 6


def matches(pattern: str, text: str, *, ignore_case: bool = False) -> bool:
    """Whether the pattern covers the whole text."""
    return _covers(_glob(pattern.lower()), text.lower()) if ignore_case else _covers(_glob(pattern), text)


def matches_arn(pattern: str, text: str) -> bool:
    """Whether a ``Resource`` covers an ARN. A wildcard within one of the parts before the resource stays in that part;
    at the end of a part it may go on over colons, as in IAM.

    >>> matches_arn("arn:aws:s*:us:1:q", "arn:aws:sqs:us:1:q"), matches_arn("arn:aws:s*s:1:q", "arn:aws:sqs:us:s:1:q")
    (True, False)
    """
    return _covers(_arn_glob(pattern), text)


def matches_arn_parts(pattern: str, text: str) -> bool:
    """As ``ArnLike`` compares: each of the six parts for itself."""
    wanted, given = pattern.split(":", _PARTS - 1), text.split(":", _PARTS - 1)
    if len(wanted) != _PARTS or len(given) != _PARTS:
        return False
    return all(matches(one, other) for one, other in zip(wanted, given, strict=True))


def expand(text: str, context: Context) -> str | None:
    """The pattern with its variables replaced; wildcards in their values stand for themselves. None: one has no value,
    and the element that it is in covers nothing then.

    >>> expand("home/${aws:username}/*", {"aws:username": ("al*ce",)})
    'home/al\\x00*ce/*'
    >>> expand("${aws:PrincipalTag/team, 'all'}", {}), expand("${aws:username}", {}), expand("${*}x", {})
    ('all', None, '\\x00*x')
    """
    if "${" not in text:
        return text
    missing = False

    def value(match: re.Match[str]) -> str:
        nonlocal missing
        name = match[1]
        if name in _SPECIAL:
            return _literal(name)
        default = None
        if given := _DEFAULT.fullmatch(name):
            name, default = given[1], given[2]
        values = context.get(name.strip().lower(), ())
        if len(values) == 1:
            return _literal(values[0])
        if default is None:
            missing = True
            return ""
        return _literal(default)

    expanded = _VARIABLE.sub(value, text)
    return None if missing else expanded


def plain(expanded: str) -> str:
    """The expanded text for comparisons that know no wildcards.

    >>> plain("al\\x00*ce")
    'al*ce'
    """
    return expanded.replace("\0", "")


def _literal(text: str) -> str:
    """NUL says that the next character is no wildcard; no name and no ARN has one."""
    return re.sub(r"([*?])", "\0\\1", text.replace("\0", ""))


class _Wildcard(Enum):
    """``MANY`` goes over colons, ``PART`` does not."""

    ONE = auto()
    MANY = auto()
    PART = auto()


@dataclass(frozen=True, slots=True)
class _Glob:
    """``prefix`` is what stands before the first wildcard."""

    prefix: str
    rest: tuple[str | _Wildcard, ...]


@lru_cache(maxsize=4096)
def _glob(pattern: str) -> _Glob:
    return _read(pattern, lambda _: _Wildcard.MANY)


@lru_cache(maxsize=4096)
def _arn_glob(pattern: str) -> _Glob:
    head_end = _head_end(pattern)

    def star(position: int) -> _Wildcard:
        at_end = position + 1 == len(pattern) or pattern[position + 1] == ":"
        return _Wildcard.MANY if position >= head_end or at_end else _Wildcard.PART

    return _read(pattern, star)


def _head_end(pattern: str) -> int:
    """Where the sixth part begins; the pattern's length if it has fewer."""
    position = -1
    for _ in range(_PARTS - 1):
        position = pattern.find(":", position + 1)
        if position < 0:
            return len(pattern)
    return position


def _read(pattern: str, star: Callable[[int], _Wildcard]) -> _Glob:
    tokens = tuple(_tokens(pattern, star))
    first = next((at for at, token in enumerate(tokens) if isinstance(token, _Wildcard)), len(tokens))
    return _Glob("".join(str(token) for token in tokens[:first]), tokens[first:])


def _tokens(pattern: str, star: Callable[[int], _Wildcard]) -> Iterator[str | _Wildcard]:
    """One for each character to be matched and each wildcard."""
    position = 0
    while position < len(pattern):
        character = pattern[position]
        if character == "\0" and position + 1 < len(pattern):
            position += 1
            yield pattern[position]
        elif character == "*":
            # neighbours are one: the last says how far
            if pattern[position + 1 : position + 2] != "*":
                yield star(position)
        elif character == "?":
            yield _Wildcard.ONE
        else:
            yield character
        position += 1


def _covers(glob: _Glob, text: str) -> bool:
    """Every place in the text where the pattern may have got to is a bit, and each token moves all of them at once."""
    if not text.startswith(glob.prefix):
        return False
    if not glob.rest:
        return len(text) == len(glob.prefix)
    if glob.rest == (_Wildcard.MANY,):
        return True
    where, end, reached = _places(text), 1 << len(text), 1 << len(glob.prefix)
    for token in glob.rest:
        if token is _Wildcard.ONE:
            reached = (reached & (end - 1)) << 1
        elif token is _Wildcard.MANY:
            reached = _onwards(reached, 2 * end - 1)
        elif token is _Wildcard.PART:
            reached = sum(_onwards(reached, part) for part in _parts(where.get(":", 0), 2 * end - 1))
        else:
            reached = (reached & where.get(str(token), 0)) << 1
        if not reached:
            return False
    return bool(reached & end)


@lru_cache(maxsize=64)
def _places(text: str) -> Mapping[str, int]:
    """Where each character stands, a bit for each place."""
    where: dict[str, int] = {}
    for place, character in enumerate(text):
        where[character] = where.get(character, 0) | 1 << place
    return where


def _onwards(reached: int, within: int) -> int:
    """From the first place that was reached among these, all of them."""
    found = reached & within
    return within & -(found & -found) if found else 0


def _parts(colons: int, everywhere: int) -> Iterator[int]:
    """The places of each part: up to a colon, which is not to be gone over."""
    done = 0
    while colons:
        colon = colons & -colons
        upto = 2 * colon - 1
        yield upto & ~done
        done, colons = upto, colons ^ colon
    yield everywhere & ~done
