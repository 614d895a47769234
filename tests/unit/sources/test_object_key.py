from __future__ import annotations

import os
from urllib.parse import unquote_plus, unquote_to_bytes

from hypothesis import given
from hypothesis import strategies as st

from sources.object_key import LONGEST_BYTES, from_stored, hidden, stored, to_bytes, too_long, wire

byte_names = st.binary(min_size=1, max_size=12).filter(lambda b: b"\0" not in b and not b.startswith(b"/"))
keys = byte_names.map(lambda b: b.decode("utf-8", "surrogateescape"))


@given(keys)
def test_every_key_comes_back_from_the_store(key: str) -> None:
    stored(key).encode()
    assert from_stored(stored(key)) == key


@given(keys, keys)
def test_two_keys_are_never_stored_as_one(one: str, other: str) -> None:
    assert (stored(one) == stored(other)) == (one == other)


@given(keys)
def test_a_function_that_decodes_the_key_finds_the_file(key: str) -> None:
    assert wire(key).isascii()
    assert unquote_to_bytes(wire(key).replace("+", " ")) == os.fsencode(key) == to_bytes(key)


@given(st.text(min_size=1).filter(lambda t: not any(0xD800 <= ord(c) < 0xE000 for c in t)))
def test_a_key_in_unicode_decodes_as_the_documentation_says(key: str) -> None:
    assert unquote_plus(wire(key)) == key


def test_a_slash_stays_a_slash() -> None:
    assert wire("in/red flower+1.jpg") == "in/red+flower%2B1.jpg"


def test_a_dot_hides_at_the_start_of_any_name_and_nowhere_else() -> None:
    assert hidden(".a")
    assert hidden("a/.b/c")
    assert not hidden("a.b/c.d")


def test_the_limit_of_a_key_counts_bytes() -> None:
    assert not too_long("é" * (LONGEST_BYTES // 2))
    assert too_long("é" * (LONGEST_BYTES // 2) + "a")
